"""Questions as people see them: what is asked, what would be done, and what became of it. Read off heads and logs.

What an agent says of itself is never among the facts: those are what is recorded of the call that waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from holdfast.core.accept import MessageKind
from holdfast.core.approval import ABOUT, DECLINE
from holdfast.core.events import Event, Kind
from holdfast.core.heads import Head, OpenQuestion, Status
from holdfast.journal.codec import decode
from holdfast.protocols import Journal, Mail
from holdfast.views.show import plain

HEADS_MAX = 10_000
"""Of the runs of each status so many are looked at: the newest."""
RECORDS_MAX = 1_000
"""So many records are read to find a question that is closed: those of the newest runs."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question, open or closed."""

    run: str
    key: str
    agent: str
    id: str
    about: str
    text: str
    """Ours, or for `ask` the agent's own."""
    options: tuple[str, ...]
    to: str
    asked_at: float
    expires_at: float | None
    is_urgent: bool
    digest: str
    state: str = "open"
    """open, posted (answered, and its run has not taken the answer up yet), answered, expired or withdrawn."""
    default: str = ""
    """What is taken when nobody answers; empty: it waits, or the agent gets what it declared."""
    tool: str = ""
    """Of a step that waits: what would be called."""
    arguments: Any = None
    """With what, as plain JSON; what an `ask` shows."""
    choice: str = ""
    by: str = ""
    via: str = ""
    closed_at: float | None = None
    taken_by: str = ""
    """Who said last that they take care of it (`views.taking`)."""
    taken_at: float | None = None
    seen_by: tuple[str, ...] = ()
    """Who has opened it, signed in."""
    approvers: tuple[str, ...] = ()
    """Who may answer, as it is declared; empty: anybody."""
    people: tuple[str, ...] = ()
    """Who they were when it was asked."""
    barred: tuple[str, ...] = ()
    """Who may not answer: they asked for the run, or have agreed already."""
    why: str = ""
    """Why it is asked in the agent's own words, unverified."""
    schema: dict[str, Any] | None = None
    """Of a form: what is filled in (`core.form`)."""
    filled: Any = None
    """What was filled in."""

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        lists = ("options", "approvers", "people", "barred", "seen_by")
        return asdict(self) | {name: list(getattr(self, name)) for name in lists}


def items(journal: Journal) -> list[Item]:
    """All that is open: what nobody has answered first, of that the urgent, then by deadline, then the oldest."""
    heads = [head for status in _WITH_QUESTIONS for head in journal.heads(status=status, limit=HEADS_MAX)]
    found = [one for head in heads if head.questions for one in _all_open(journal, head)]
    never = float("inf")
    return sorted(
        found,
        key=lambda one: (one.state != "open", not one.is_urgent, one.expires_at or never, one.asked_at, one.id),
    )


_WITH_QUESTIONS = (Status.SUSPENDED, Status.RUNNING, Status.READY)


def _all_open(journal: Journal, head: Head) -> list[Item]:
    mail = journal.mail(head.run_id)
    return [_posted(_open(head, asked), mail) for asked in head.questions]


def item(journal: Journal, run_id: str, question: str) -> Item | None:
    """This question with what it is about, also when it is closed; None when the run never asked it."""
    return next((one for one in history(journal, run_id) if one.id == question), None)


def closed(journal: Journal, beginning: str) -> list[Item]:
    """Questions that are closed and whose id begins so, of the newest runs, the newest first."""
    heads = [head for head in journal.heads(limit=RECORDS_MAX) if not head.is_forgotten]
    found = [one for head in heads for one in _asked(head, journal.events(head.run_id)) if one.id.startswith(beginning)]
    return [one for one in found if one.state != "open"]


def history(journal: Journal, run_id: str) -> list[Item]:
    """All that the run has asked, in order."""
    head = journal.head(run_id)
    if head is None:
        return []
    mail = journal.mail(run_id)
    return [_posted(one, mail) for one in _asked(head, journal.events(run_id))]


def _posted(item: Item, mail: Iterable[Mail]) -> Item:
    """The same, with the answer to it that its run has not read yet."""
    for letter in mail if item.state == "open" else ():
        said = letter.message.facts if letter.message.kind is MessageKind.ANSWER else {}
        if said.get("question") == item.id:
            choice, by, via = (said.get(name) or "" for name in ("choice", "by", "via"))
            answered: dict[str, Any] = {"choice": choice, "by": by, "via": via, "filled": said.get("form")}
            return replace(item, state="posted", closed_at=letter.at, **answered)
    return item


def _open(head: Head, asked: OpenQuestion) -> Item:
    return Item(
        run=head.run_id,
        key=head.key,
        agent=head.agent,
        id=asked.id,
        about=asked.about,
        text=asked.text,
        options=asked.options,
        to=asked.to,
        asked_at=asked.asked_at,
        expires_at=asked.expires_at,
        is_urgent=asked.is_urgent,
        digest=asked.digest,
        approvers=asked.approvers,
        people=asked.people,
        barred=asked.barred,
        schema=asked.schema,
    )


def _asked(head: Head, events: Sequence[Event]) -> Iterator[Item]:
    closings = {event.facts["id"]: event for event in events if event.kind is Kind.QUESTION_CLOSED}
    is_over = next((event for event in reversed(events) if event.kind is Kind.RUN_ENDED), None)
    for event in events:
        if event.kind is Kind.QUESTION_ASKED:
            closing = closings.get(event.facts["id"])
            yield _item(head, event, closing, is_over if head.status.is_end else None)


def _item(head: Head, asked: Event, closing: Event | None, end: Event | None) -> Item:
    facts, said = asked.facts, {} if closing is None else closing.facts
    is_withdrawn = closing is None and end is not None
    closed = closing or (end if is_withdrawn else None)
    return Item(
        run=head.run_id,
        key=head.key,
        agent=head.agent,
        id=facts["id"],
        about=facts["about"],
        text=facts["text"],
        options=tuple(facts.get("options", ())),
        to=facts.get("to", ""),
        asked_at=asked.at,
        expires_at=facts.get("expires_at"),
        is_urgent=facts.get("urgent", False),
        digest=facts.get("digest", ""),
        state="withdrawn" if is_withdrawn else said.get("outcome", "open"),
        default=_default(facts),
        tool=asked.address.name if asked.address is not None and facts["about"] != "ask" else "",
        arguments=_plain(asked.body),
        choice=said.get("choice", ""),
        by=said.get("by", ""),
        via=said.get("via", ""),
        closed_at=None if closed is None else closed.at,
        approvers=tuple(facts.get("approvers", ())),
        people=tuple(facts.get("people", ())),
        barred=tuple(facts.get("barred", ())),
        why=facts.get("why", ""),
        schema=facts.get("schema"),
        filled=_plain(closing.body) if closing is not None and "schema" in facts else None,
    )


def _default(facts: dict[str, Any]) -> str:
    if facts["about"] == "ask":
        return ""  # whatever the agent has declared, as a value
    return str(facts.get("default") or (DECLINE if facts["about"] == ABOUT and "expires_at" in facts else ""))


def _plain(body: bytes | None) -> Any:
    return None if body is None else plain(decode(body))
