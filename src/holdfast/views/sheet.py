"""One question as it is laid before a person: the same facts on the page and on the terminal, in the same order.

First what would be done, written by us from the recorded arguments; then why it is asked, and what happens if nobody
answers. What the agent says stands in a part of its own and reaches no other: no title, no button, no reason. All text
here is safe to show (`views.text`), and nothing is left out: what is long is marked, not cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.core.accept import WITH_FORM
from holdfast.core.approval import ABOUT as APPROVE
from holdfast.core.approval import STOP
from holdfast.views.asking import Item
from holdfast.views.text import ago, safe_lines, safe_text
from holdfast.views.values import Call, call, rows_of
from holdfast.views.values import Row as Row
from holdfast.views.verdict import moment

WORDS: Final = {
    "approve": "Approve",
    "decline": "Decline",
    "it_happened": "It happened",
    "it_did_not": "It did not happen",
    "tell_the_agent": "Tell the agent that nobody knows",
    "abort": "Abort the run",
    "try_again": "Try again",
    "take_this_result": "Take this result",
    "go_on": "Go on",
    "stop": "Stop the run",
    "raise": "Raise the cap",
    "resume": "Resume the run",
    "cancel": "Cancel the run",
}
"""Our own answers, as a person reads them."""
_AGAIN: Final = " It is asked again: "


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a person sees of a question."""

    title: str
    """Ours, of names that stand in code."""
    calls: tuple[Call, ...]
    why: str
    whose: str
    """Who may answer, where not everybody may; and who may not."""
    silence: str
    """What happens if nobody answers, and when; or what became of it."""
    says: str
    """The agent's words, unverified; empty: it says nothing."""
    shows: tuple[Row, ...]
    """What the agent shows beside them, unverified."""
    uninspectable: str
    """That nobody can say what it does, and why; empty where it can be read off the values."""
    compared: str
    """With what it is compared; empty: with nothing."""
    choices: tuple[tuple[str, str], ...]
    """Our own answers, and how they read. Empty: the agent's options, or any text."""
    filled: tuple[Row, ...] = ()
    """What was filled in, of a form that is answered."""
    with_form: str = ""
    """Of our own answers the one that carries the form."""

    @property
    def long_rows(self) -> int:
        """How many values have to be opened."""
        return sum(row.is_long for row in (*self.shows, *(row for call in self.calls for row in call.rows)))


def sheet(item: Item, now: float, last: Item | None = None) -> Sheet:
    """The question as it is shown at this time. last: the call of the same tool that was approved last."""
    is_agents = item.about == "ask"
    calls = () if is_agents else tuple(_calls(item, last))
    return Sheet(
        title=title(item),
        calls=calls,
        uninspectable=_uninspectable(calls),
        compared="" if last is None or is_agents else _compared(last),
        why=_why(item),
        whose=_whose(item),
        silence=_silence(item, now) if item.state == "open" else became(item),
        says=safe_lines("\n\n".join(words for words in (item.text if is_agents else "", item.why) if words)),
        shows=tuple(rows_of(item.arguments)) if is_agents and item.arguments is not None else (),
        choices=() if is_agents else tuple((each, WORDS.get(each, safe_text(each))) for each in item.options),
        filled=tuple(rows_of(item.filled)),
        with_form=WORDS.get(WITH_FORM.get(item.about, ""), ""),
    )


def title(item: Item) -> str:
    """The question in our words; of the list, where the tool is not at hand, without it."""
    agent = safe_text(item.agent, 60)
    tool = safe_text(item.tool, 60) or f"a step of {agent}"
    match item.about:
        case "ask":
            return f"{agent} asks"
        case "approve":
            return safe_text(item.text.partition(_AGAIN)[0], 120)
        case "in_doubt":
            return f"Did it happen? {tool}"
        case "failed":
            return f"What now? {tool} has failed"
        case "stuck":
            return f"{agent} seems to be stuck. Shall it go on?"
        case "budget":
            return f"{agent} has come to a cap of its budget. Shall it be raised?"
        case "mismatch":
            return f"The code of {agent} does not match its record. Resume the run, or cancel it?"
        case "crash_loop":
            return f"The processes of {agent} die one after the other. Shall it go on?"
        case "probe":
            return f"Does this reach you, {safe_text(item.to, 60)}?"
        case other:
            return f"{agent}: {safe_text(other, 60)}"


def became(item: Item) -> str:
    """What became of a question that nobody need answer any more."""
    at = "" if item.closed_at is None else f" at {moment(item.closed_at)}"
    by, via = safe_text(item.by, 80) or "somebody", f" ({safe_text(item.via, 20)})" if item.via else ""
    chosen = safe_text(item.choice, 120)
    match item.state:
        case "answered":
            return f"Answered by {by}{at}{via}" + (f": {chosen}." if chosen else ".")
        case "posted":
            return f"Answered by {by}{at}{via}" + (f": {chosen}" if chosen else "") + ". Its run has yet to take it up."
        case "expired" | "undeliverable" as outcome:
            silence = "Nobody answered in time" if outcome == "expired" else "No channel could tell anybody of it"
            return f"{silence}; it ended{at}." + (f" By default: {chosen}." if chosen else "")
        case "withdrawn":
            return f"Withdrawn{at}: its run has ended."
        case other:
            return f"It is {safe_text(other)}{at}."


# --- what would be done --------------------------------------------------------------------------------------------


def _uninspectable(calls: Sequence[Call]) -> str:
    found = dict.fromkeys(f"{row.name} is {row.opaque}" for each in calls for row in each.rows if row.opaque)
    if not found:
        return ""
    return f"Uninspectable: {', '.join(found)}. What it does cannot be read off it; nobody has worked that out for you."


def _compared(last: Item) -> str:
    at = "" if last.closed_at is None else f" at {moment(last.closed_at)}"
    return f"Compared with the call that {safe_text(last.by, 80) or 'somebody'} approved{at}, the last of this tool."


def _calls(item: Item, last: Item | None) -> Iterator[Call]:
    if item.about == APPROVE and isinstance(item.arguments, list):
        for each in item.arguments:
            yield call(str(each.get("tool", "")), each.get("arguments"))
    elif item.tool and item.about not in ("stuck", "probe"):
        yield call(item.tool, item.arguments, None if last is None else last.arguments)


# --- why, and what then --------------------------------------------------------------------------------------------


def _why(item: Item) -> str:
    text = safe_text(item.text, 2_000)
    match item.about:
        case "ask":
            return "The agent asks a person and waits for the answer."
        case "approve":
            whose = f"of {safe_text(item.to, 80)}" if item.to else "of a person"
            rule = f"This needs the approval {whose} before it begins."
            again = text.partition(_AGAIN)[2]
            return f"{rule} It is asked again: {again}" if again else rule
        case _:
            return text


def _whose(item: Item) -> str:
    people, barred = (tuple(safe_text(name, 60) for name in names) for names in (item.people, item.barred))
    left = [name for name in people if name not in barred]
    of = f" (of {', '.join(safe_text(name, 60) for name in item.approvers)})" if item.approvers != item.people else ""
    only = f"Only {' or '.join(left) or 'nobody'}{of}. " if item.approvers else ""
    never = f"Not {' or '.join(barred)}: they asked for the run, or have agreed already." if barred else ""
    return (only + never).strip()


def _silence(item: Item, now: float) -> str:
    if item.expires_at is None:
        return "It stays open: the run waits until somebody answers."
    left = item.expires_at - now
    at = (
        f"At {moment(item.expires_at)}, in {ago(left)}," if left > 0 else f"Since {moment(item.expires_at)} it is over:"
    )
    match item.about:
        case "approve" if item.default == STOP:
            return f"{at} the run is stopped, and nothing is done."
        case "approve":
            return f"{at} it is declined, nothing is done, and the agent is told that nobody answered."
        case "ask":
            return f"{at} the agent goes on with the default that it has declared."
        case "probe":
            return f"{at} it counts as not arrived. Nothing else follows from it, whatever you do."
        case _ if item.default:
            return f"{at} this is taken: {safe_text(WORDS.get(item.default, item.default), 120)}."
        case _:
            return f"{at} the agent goes on without an answer."


def earlier(items: Sequence[Item], item: Item) -> list[tuple[float, str, str]]:
    """What the run has asked before this: when, what, and what became of it."""
    before = []
    for each in items:
        if each.id == item.id:
            break
        before.append((each.asked_at, title(each), "Still open." if each.state == "open" else became(each)))
    return before
