"""What people are told of a question: in our words, and by names that operators and developers have given.

Neither arguments nor a model's words are in it: they are shown where they can be shown as what they are. Names are
made harmless: on one line, and without characters that change how the rest is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from holdfast.core.chain import Notify
from holdfast.core.drawn import safe_text
from holdfast.protocols import Asked, Notice

NAME_MAX: Final = 120
_ABOUT: Final = {
    "approve": "Approval wanted",
    "ask": "A question",
    "in_doubt": "Did it happen?",
    "failed": "It has failed for good",
    "stuck": "It goes round in circles",
    "crash_loop": "It kills its processes",
    "budget": "More budget is wanted",
    "mismatch": "Its code no longer fits its record",
    "probe": "Please confirm that this reaches you",
}


def notice(asked: Asked, move: Notify, *, key: str, link: str, to: str, earlier: str = "") -> Notice:
    """What this person is told; key: the same each time it is sent. earlier: what the channel calls the first one."""
    return Notice(
        id=key,
        thread=f"{asked.run}/{asked.question}",
        kind="reminded" if move.round else "escalated" if move.level else "created",
        person=move.person,
        to=to,
        title=title(asked),
        lines=tuple(_lines(asked, link)),
        link=link,
        is_urgent=asked.is_urgent,
        facts=_facts(asked),
        earlier=earlier,
    )


def closing(asked: Asked, became: Mapping[str, Any], sent: Mapping[str, str], *, link: str) -> Notice:
    """What stands in place of a notice whose question is closed."""
    by, at = plain(became["by"]), _moment(became["at"])
    line = {
        "answered": f"Answered by {by or 'somebody'} at {at}.",
        "expired": f"Nobody answered in time: it was over at {at}.",
        "undeliverable": f"Nobody could be told in time: it was over at {at}.",
    }.get(became["outcome"], f"Withdrawn at {at}: nothing is to be answered any more.")
    return Notice(
        id=f"closed {asked.question}",
        thread=f"{asked.run}/{asked.question}",
        kind="closed",
        person=sent["person"],
        to="",
        title=f"Closed: {title(asked)}",
        lines=(line,),
        link=link,
        is_urgent=False,
        facts=_facts(asked),
        earlier=sent["reference"],
    )


def _facts(asked: Asked) -> dict[str, Any]:
    return {
        "run": asked.run,
        "question": asked.question,
        "agent": plain(asked.agent),
        "tool": plain(asked.tool),
        "about": plain(asked.about),
        "expires_at": asked.expires_at,
    }


class Waiting(NamedTuple):
    """What waits for somebody."""

    questions: int
    urgent: int
    oldest_at: float | None
    next_end_at: float | None
    """When the first of them can no longer be answered."""


def digest(person: str, waiting: Waiting, *, key: str, to: str, link: str) -> Notice:
    """One notice for many questions."""
    lines = [f"{_questions(waiting.questions)} for you. They are more than can be read one by one."]
    if waiting.oldest_at is not None:
        lines.append(f"The oldest was asked at {_moment(waiting.oldest_at)}.")
    if waiting.next_end_at is not None:
        lines.append(f"The first of them can be answered until {_moment(waiting.next_end_at)}.")
    if waiting.urgent:
        are = "is" if waiting.urgent == 1 else "are"
        lines.append(f"{waiting.urgent} of them {are} urgent; you were told of each by itself.")
    lines += ["All of them, the urgent first, are there:", link] if link else ["See all of them with: holdfast inbox"]
    return Notice(
        id=key,
        thread=f"digest/{person}",
        kind="digest",
        person=person,
        to=to,
        title=_questions(waiting.questions),
        lines=tuple(lines),
        link=link,
        is_urgent=False,
        facts={"about": "digest", **waiting._asdict()},
    )


def _questions(count: int) -> str:
    return f"{count} question{' waits' if count == 1 else 's wait'}"


def title(asked: Asked) -> str:
    """One line: what is wanted, for which tool, agent and run."""
    what = _ABOUT.get(asked.about, "A question")
    names = (asked.tool, asked.agent, asked.key)
    return f"{what}: {' · '.join(plain(name) for name in names if name)}"


def _lines(asked: Asked, link: str) -> list[str]:
    asked_at = f"Asked at {_moment(asked.asked_at)}."
    if asked.expires_at is None:
        until = "It waits until somebody answers."
    else:
        default = f"then: {plain(asked.default)}" if asked.default else "then it goes on without an answer"
        until = f"It can be answered until {_moment(asked.expires_at)}; {default}."
    where = "Look at it, and answer, there:" if link else f"Answer it with: holdfast answer {asked.run}"
    return [asked_at, until, where, *([link] if link else [])]


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC).isoformat(' ', 'minutes')[:16]} UTC"


def plain(text: str) -> str:
    """On one line, short, and harmless."""
    return safe_text(text, NAME_MAX)
