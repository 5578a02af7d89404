"""Chapters: a run that goes on as another under the same key, for agents that never end.

Invariants
1. The end of a chapter and the message that begins the next one are one append; neither is without the other.
2. The next chapter starts with the caps that this one started with; what the tenant's accounts count goes on.
3. Signals that no step has taken are the next chapter's, in the same order. A chapter that was paused does not end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core import accept
from holdfast.core.address import chapter_id
from holdfast.core.heads import Status
from holdfast.errors import UsageError
from holdfast.journal.codec import digest
from holdfast.protocols import Journal, Post

if TYPE_CHECKING:
    from holdfast.runtime.current import Place
    from holdfast.runtime.driver import Driver


def check(where: Place) -> None:
    """Refuse what could not go on as another run."""
    state = where.driver.state
    if where.scope:
        raise UsageError(
            f"run.continue_as was asked for in the composite {where.step_name!r}. Nothing was done: only the agent "
            "itself goes on as another run."
        )
    if state.parent and not state.is_detached:
        raise UsageError(
            f"Run {state.run_id} is a part of run {state.parent}, which waits for its result. Nothing was done. A run "
            "that goes on as another must be started by itself, or with detached=True."
        )


def following(driver: Driver) -> str:
    """The id of the run that is the next chapter."""
    return chapter_id(driver.services.journal.hash_key, driver.lease.run_id)


def begin_next(driver: Driver, input: bytes) -> None:
    """The end of a chapter is added: begin the next one in the same append."""
    state = driver.state
    if not state.continued:  # it ended otherwise after all
        return
    shown = digest(input)
    start = accept.start(
        agent=state.agent,
        key=state.key,
        input_digest=shown,
        limits=state.stated,
        ask=state.ask,
        body=input,
        chapter=state.chapter + 1,
        previous=state.run_id,
        parent=state.parent or None,
        depth=state.depth or None,
        by=state.requester or None,
        detached=state.is_detached or None,
        accounts=list(state.books.above) or None,
        is_priced=state.books.is_priced or None,
    )
    driver.record.post(Post(state.continued, f"start {state.agent} {shown}", start))
    for number, heard in enumerate(state.unheard):
        told = accept.signal(heard.facts["name"], by=heard.facts.get("by") or "", body=heard.body)
        driver.record.post(Post(state.continued, f"signal {number} of {state.run_id}", told))
    driver.services.adopt(state.continued)


def newest(journal: Journal, run_id: str, key: str) -> str:
    """The run that is the newest chapter of the one with this id and key."""
    head = journal.head(run_id)
    if head is None or head.status is not Status.SUCCEEDED:
        return run_id
    found = journal.heads(key=key, limit=1)
    return found[0].run_id if found and found[0].agent == head.agent else run_id
