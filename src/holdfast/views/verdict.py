"""One line that says where a run is, in words, before any table.

It is made of the picture (`views.show`) and the time alone, and holds text of strangers: show it through `text`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from holdfast.core.board import PROJECT
from holdfast.core.duration import span
from holdfast.core.heads import BLOCKED, PAUSING, Status, Why, said
from holdfast.core.state import PAUSE
from holdfast.core.withheld import WHAT as WITHHELD
from holdfast.errors import HistoryGrew
from holdfast.views.text import ago, counted

HELD = (
    "Its prompt is not the recorded one, and which recorded call it is cannot be told for certain. Nothing was sent. "
    "Take what changes out of the prompt (for a time use run.now), then `holdfast resume`; or declare "
    "on_drift='fresh', which asks again what was answered."
)
STALLED = (
    frozenset({Status.FAILED, Status.STOPPED, Status.CANCELLED})
    | BLOCKED
    | {Why.PAUSED, Why.COMMAND, Why.CRASH_LOOP, Why.BUDGET}
)
"""Statuses, and reasons to wait, after which people ask why."""
_UNHEARD = ("signal", "waiting")
_HANGING = ("running", "retrying", "in_doubt", "waiting")


def verdict(picture: dict[str, Any], now: float, *, is_driven: bool = True) -> str:
    """Where the run is. `is_driven`: whether a live process holds it, which the log cannot tell."""
    told = _verdict(picture, now, is_driven=is_driven)
    left = [named(picture, number) for number, step in enumerate(picture["steps"], 1) if step["under_way"]]
    if not left or not is_driven:
        return told
    return f"{told} The body of {', '.join(left)} has not ended in its process; until then it is left alone."


def _verdict(picture: dict[str, Any], now: float, *, is_driven: bool) -> str:
    run = picture["run"]
    if run["forgotten_at"] is not None:
        how = f"{said(Status(run['status']))}, at {moment(run['updated_at'])}"
        return f"It {how}; its record was removed by retention. It is not run again."
    match Status(run["status"]):
        case Status.READY:
            return "Accepted; no worker has begun it."
        case Status.RUNNING:
            return _running(picture, is_driven=is_driven)
        case Status.SUSPENDED:
            return _suspended(picture, now)
        case Status.SUCCEEDED:
            goes_on = f" It goes on as run {run['continued']}." if run["continued"] else ""
            return f"Done: {steps_of(picture)}.{goes_on}"
        case Status.FAILED:
            return f"Failed {_where_failed(picture)}: {run['why']}{_unwound(run)}"
        case Status.STOPPED:
            return f"Stopped {_after_last(picture)}: {run['why']}{_unwound(run)}"
        case Status.CANCELLED:
            return f"{run['why'][:1].upper()}{run['why'][1:] or 'Cancelled'}.{_unwound(run)}"


def _unwound(run: dict[str, Any]) -> str:
    """That it is over for good, whatever its end says of going on."""
    if not run["is_unwound"]:
        return ""
    left = ", ".join(run["not_undone"])
    told = f" Not undone: {left}; `holdfast unwind` tries it again." if left else ""
    stop = "" if run["status"] == Status.CANCELLED or run["why"].endswith(".") else "."
    return f"{stop} It was unwound, so it cannot be resumed.{told}"


def moment(at: float) -> str:
    """A time as text, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def named(picture: dict[str, Any], number: int) -> str:
    """A step as people call it: its place from 1, and its name."""
    return f"step {number} `{picture['steps'][number - 1]['name']}`"


def steps_of(picture: dict[str, Any]) -> str:
    """How many steps there are, and those of them that failed or were given by something else: never silent."""
    steps = picture["steps"]
    old = [step["degraded"]["age_s"] for step in steps if "age_s" in (step["degraded"] or {})]
    told = (
        (sum(1 for step in steps if step["status"] == "failed"), "failed"),
        (len(old), f"an old result ({span(max(old, default=0.0))})"),
        (sum(1 for step in steps if step["degraded"]) - len(old), "by another tool or a person"),
        (sum(1 for step in steps if (step["model"] or {}).get("fallback")), "by a fallback model"),
    )
    return ", ".join([counted(len(steps), "step"), *(f"{count} of them {what}" for count, what in told if count)])


def what_failed(picture: dict[str, Any]) -> list[str]:
    """Of each step whose failure ended the run, a line on what is recorded: an SDK may only say "Connection error"."""
    causes = (picture["run"]["failure"] or {}).get("steps", ())
    failed = [(number, step) for number, step in enumerate(picture["steps"], 1) if step["address"] in causes]
    return [
        f"{named(picture, number)}: {step['failures'][-1]['error']}: {step['failures'][-1]['text']}"
        for number, step in failed
        if step["failures"] and step["failures"][-1]["text"] not in picture["run"]["why"]
    ]


def _running(picture: dict[str, Any], *, is_driven: bool) -> str:
    hanging = [number for number, step in enumerate(picture["steps"], 1) if step["status"] in _HANGING]
    where = ", ".join(named(picture, number) for number in hanging[:3]) or _after_last(picture)
    if is_driven and picture["run"]["why"] == PAUSING:
        return f"Pausing: {where} finishes first; nothing more begins."
    if is_driven:
        return f"Running: {where}."
    return f"Interrupted: {where}. The process that drove it is gone; nothing recorded is lost."


def _suspended(picture: dict[str, Any], now: float) -> str:
    suspended = picture["suspended"]
    since, until = f"since {ago(now - suspended['at'])}", suspended["until"]
    due = "" if until is None else f" until {moment(until)} ({_relative(until - now)})"
    asked = "; ".join(question["text"] for question in picture["questions"])
    match suspended["why"]:
        case Why.QUESTION:
            return f"Waiting for a person {since}: {asked}"
        case Why.IN_DOUBT:
            return f"In doubt {since}: {asked or 'the tool is asked whether its effect happened'}"
        case Why.DRIFT | Why.HOLD:
            difference = suspended["difference"] or {}
            recorded = ", ".join(difference.get("recorded", ())) or "nothing of that sort"
            both = f"the code asks for {difference.get('asked', '?')}; the record has {recorded}."
            return f"Blocked {since}: {both}{f' {HELD}' if suspended['why'] == Why.HOLD else ''}"
        case Why.HISTORY_GREW:
            asked = (suspended["difference"] or {}).get("asked", "?")
            return f"Blocked {since} at {asked}: its history grew. {HistoryGrew.advice}"
        case Why.CRASH_LOOP | Why.BUDGET:
            return f"Set aside {since}: {asked}"
        case Why.UNREACHABLE:
            return f"{withheld(picture)} It is looked again{due.replace('until', 'at')}."
        case Why.SLEEP:
            return f"Sleeping{due}."
        case Why.SIGNAL:
            waiting = [step["name"] for step in picture["steps"] if (step["kind"], step["status"]) == _UNHEARD]
            return f"Waiting for a signal {since}: {', '.join(waiting)}.{f' Until {moment(until)}.' if until else ''}"
        case Why.CHILD:
            open_ones = [step["child"] for step in picture["steps"] if step["child"] and step["status"] == "waiting"]
            more = f" and {len(open_ones) - 3} more" if len(open_ones) > 3 else ""
            return f"Waiting {since} for {counted(len(open_ones), 'run')} of its own: {', '.join(open_ones[:3])}{more}."
        case Why.RETRY:
            return f"Waiting to try again{due}."
        case Why.PAUSED:
            by, because = _who_paused(picture)
            return f"Paused {since} by {by}: {because}. `holdfast resume` lets it go on."
        case Why.COMMAND:
            if picture["run"]["agent"] == PROJECT:
                return "A project: what it was told, and what became of it. `holdfast project status` shows its board."
            return "The operator's desk: who switched what, and why."
        case Why.SHUTDOWN:
            return f"Interrupted by a shutdown {since}; goes on with the next worker or `holdfast run`."
        case other:
            return f"Suspended {since}: {other}."


def withheld(picture: dict[str, Any]) -> str:
    """Why nobody is asked for an approval that is needed; empty when the run waits for something else."""
    if picture["run"]["why"] != Why.UNREACHABLE:
        return ""
    whys = [line["because"] for line in picture["decisions"] if line["what"] == WITHHELD]
    return f"Nobody is asked for the approval that it needs, since nobody can be reached: {'; '.join(whys[-1:])}."


def _who_paused(picture: dict[str, Any]) -> tuple[str, str]:
    pauses = [line for line in picture["decisions"] if line["what"] == PAUSE and line["step"] is None]
    return (pauses[-1]["by"] or "somebody", pauses[-1]["because"]) if pauses else ("somebody", "not said")


def _where_failed(picture: dict[str, Any]) -> str:
    causes = (picture["run"]["failure"] or {}).get("steps", ())
    places = [number for number, step in enumerate(picture["steps"], 1) if step["address"] in causes]
    return "at " + ", ".join(named(picture, number) for number in places) if places else "in the agent's own code"


def _after_last(picture: dict[str, Any]) -> str:
    count = len(picture["steps"])
    return f"after {named(picture, count)}" if count else "before its first step"


def _relative(seconds: float) -> str:
    return f"in {ago(seconds)}" if seconds >= 0 else f"due since {ago(-seconds)}"
