"""A question is not asked without the run that tells people of it, nor closed without that run being told.

Both go with the append that asks or closes: after a crash there is either the question and its chain, or neither.

1. What a run of holdfast's own asks starts no chain: nobody is asked whether somebody was told.
2. What is told to a chain decides nothing: it looks at the question before it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.core import accept, chain, questions
from holdfast.core.address import run_id
from holdfast.core.events import Event, Kind
from holdfast.core.heads import Head, Status
from holdfast.core.state import State
from holdfast.errors import JournalCorrupt, MessageRefused
from holdfast.journal.codec import digest, encode
from holdfast.protocols import Asked, Journal, Post

if TYPE_CHECKING:
    from holdfast.runtime.settings import Services

HEADS_MAX: Final = 10_000
"""Of the runs of each status so many are looked at for questions that nobody was told of: the newest."""


def opened(services: Services, run: str, key: str, asker: str, event: Event) -> Post | None:
    """What starts the chain of the question that this event asks."""
    escalation = services.escalation
    if escalation is None:
        return None
    asked = _asked(run, key, asker, event)
    body = escalation.opened(asked)
    if body is None:
        return None
    agent, name = escalation.agent, chain.key_of(run, asked.question)
    limits = None if agent.limits is None else list(agent.limits)
    start = accept.start(agent=agent.name, key=name, input_digest=digest(body), limits=limits, body=body)
    return Post(chain_id(services.journal, run, asked.question, services.tenant), f"start {asked.question}", start)


def closed(services: Services, run: str, question: str) -> Post:
    """What tells the chain of this question that it is over; refused by the store when there is no such chain."""
    told = accept.signal(chain.NEWS, by=f"run {run}", body=encode({"what": "closed"}))
    return Post(chain_id(services.journal, run, question, services.tenant), f"closed {question}", told)


def take(journal: Journal, run: str, question: str, by: str, message_id: str, tenant: str = "default") -> None:
    """This person takes care of the question: nobody is called for a while. It decides nothing, and whoever else
    answers is not kept from it. `MessageRefused` when it is not open, or nobody is told of it by a chain."""
    head = journal.head(run)
    if head is None or question not in {each.id for each in head.questions}:
        became = "" if head is None else questions.became(journal.events(run), question)
        raise MessageRefused(became or f"There is no question {question} in run {run}. Look with `holdfast inbox`.")
    teller = chain_id(journal, run, question, tenant)
    if journal.head(teller) is None:
        raise MessageRefused(
            f"No chain tells people of question {question}, so there is nobody to hold back. Nothing was changed. "
            f"Answer it: `holdfast answer {run}`."
        )
    told = accept.signal(chain.NEWS, by=by, body=encode({"what": chain.ACKNOWLEDGED, "by": by}))
    posted = journal.post(teller, message_id, told)
    if posted.refused:
        raise MessageRefused(posted.refused)


def seen(journal: Journal, run: str, question: str, by: str, tenant: str = "default") -> None:
    """This person, who is signed in, has opened the question: kept, once, by the run that tells people of it. Nothing
    follows from it; where nobody is told, or it is over, nothing is kept."""
    teller = chain_id(journal, run, question, tenant)
    if journal.head(teller) is not None:
        told = accept.signal(chain.NEWS, by=by, body=encode({"what": chain.SEEN, "by": by}))
        journal.post(teller, f"seen {by}", told)


def reached_nobody(services: Services, run: str, question: str) -> bool:
    """Whether a chain was there to tell people of this question, and no channel has ever taken a notice of it."""
    if services.escalation is None:
        return False
    teller = chain_id(services.journal, run, question, services.tenant)
    try:
        events = services.journal.events(teller) if services.journal.head(teller) is not None else None
    except JournalCorrupt:  # what is wrong with the chain's record must not keep this run from its default
        return False
    return events is not None and not any(
        event.kind is Kind.STEP_SUCCEEDED and event.address is not None and event.address.name in chain.TELLS
        for event in events
    )


def chains_of(services: Services, run: str, state: State) -> list[str]:
    """The ids of the runs that tell people of what this one asks; where nobody is told there is no such run."""
    if services.escalation is None:
        return []
    return [chain_id(services.journal, run, question, services.tenant) for question in state.questions]


def chain_id(journal: Journal, run: str, question: str, tenant: str = "default") -> str:
    """The id of the run that tells people of this question."""
    return run_id(journal.hash_key, tenant, chain.key_of(run, question))


def catch_up(services: Services) -> int:
    """Begin the chains of questions that were asked while nobody was to be told of them: before there was an inbox, or
    by a process without one. How many."""
    began = 0
    for status in (Status.SUSPENDED, Status.READY, Status.RUNNING):
        for head in services.journal.heads(status=status, limit=HEADS_MAX):
            if head.questions and not head.agent.startswith("@"):
                began += sum(_begin(services, head, each.id) for each in head.questions)
    return began


def _begin(services: Services, head: Head, question: str) -> bool:
    journal, run = services.journal, head.run_id
    if journal.head(chain_id(journal, run, question, services.tenant)) is not None:
        return False
    asked = [each for each in journal.events(run) if each.kind is Kind.QUESTION_ASKED and each.facts["id"] == question]
    post = opened(services, run, head.key, head.agent, asked[-1]) if asked else None
    return post is not None and journal.post(post.run_id, post.message_id, post.message).is_stored


def _alike(agent: str, event: Event) -> str:
    """By what is asked, of whom, and what would be done; of the words nothing can be read off it."""
    facts, of = event.facts, event.address
    step = None if of is None else [of.name, of.digest]
    what = [agent, facts["about"], facts["text"], facts.get("to"), facts.get("options"), step]
    shown = "" if event.body is None else digest(event.body)
    return digest(encode([*what, shown]))[:20]


def _asked(run: str, key: str, agent: str, event: Event) -> Asked:
    facts = event.facts
    about = facts["about"]
    is_of_tool = event.address is not None and about != "ask"
    return Asked(
        run=run,
        key=key,
        agent=agent,
        question=facts["id"],
        about=about,
        tool=event.address.name if event.address is not None and is_of_tool else "",
        to=facts.get("to") or "",
        asked_at=event.at,
        expires_at=facts.get("expires_at"),
        default=facts.get("default") or "" if about != "ask" else "",
        is_urgent=bool(facts.get("urgent")),
        alike=_alike(agent, event),
    )
