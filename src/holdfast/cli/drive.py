"""Drives one run in the foreground: what `holdfast run` and `holdfast resume … FILE.py:AGENT` have in common.

While the user's code runs, what it prints goes to stderr: stdout holds the result and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from holdfast.cli import source
from holdfast.cli.answer import how_to_answer
from holdfast.cli.below import asked_below
from holdfast.cli.exit import Exit, code_of
from holdfast.cli.interrupt import Interrupt, to_its_end
from holdfast.cli.output import SCHEMA, data, document, report, say
from holdfast.cli.reach import inbox_of, people_told
from holdfast.core.books import run_key
from holdfast.core.budget import DEFAULT_LIMITS, Budget
from holdfast.core.heads import Status, Why
from holdfast.core.state import State, fold
from holdfast.errors import (
    BudgetExceeded,
    JournalError,
    RunBlocked,
    RunError,
    RunMismatch,
    RunStopped,
    RunWaiting,
    UsageError,
)
from holdfast.journal.codec import decode
from holdfast.protocols import Journal
from holdfast.runtime.agent import Agent
from holdfast.runtime.app import App
from holdfast.runtime.outcome import checked_key
from holdfast.views.show import plain, question, show
from holdfast.views.text import counted, safe_json
from holdfast.views.verdict import moment, steps_of, what_failed, withheld

_TELL_AFTER_S = 2.0
"""A question is told when the run stays parked with it; sooner, the command's end tells it."""
_LOOK_S = 1.0
_INPUT_SHOWN_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be driven, and how to go on with it in words."""

    agent: Agent[Any, Any]
    file: Path
    input: Any
    key: str
    store: str
    config: str | None
    budget: Budget | None
    wait: str | None
    again: str
    """The command that goes on with this run."""
    reopen: str
    """The command that reopens it after a failure or a limit."""
    is_json: bool
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What `--policy` says, by tool."""
    by: str = ""
    """Who asks for the run, where that was said."""
    tell: Callable[[dict[str, Any]], int] | None = None
    """Says what became of a run that has ended, and gives the exit code; None: as `holdfast run` does."""


@dataclass(frozen=True, slots=True)
class Driven:
    """What became of it."""

    picture: dict[str, Any]
    error: RunError | None
    now: float
    below: list[str]
    """What is asked in the runs that it waits for."""


def drive(order: Order) -> int:
    """Drive the run until it ends, waits for longer than we stay, or a signal comes; the exit code."""
    driven = to_its_end(lambda interrupt: _drive(order, interrupt))
    if isinstance(driven, Interrupt):
        say(f"Run {order.key!r} is resumable: {order.again}")
        return driven.exit_code
    if order.tell is not None and Status(driven.picture["run"]["status"]).is_end:
        return order.tell(driven.picture)
    return _succeeded(order, driven) if driven.error is None else _ended(order, driven, driven.error)


async def _drive(order: Order, interrupt: Interrupt) -> Driven:
    task = asyncio.current_task()
    assert task is not None
    agents = source.agents_of(order.file, order.agent)
    told = inbox_of(order.config)
    app = App(order.store, agents=agents, config=order.config, serves=False, policies=order.policies, inbox=told)
    key = checked_key(order.key)
    with interrupt.listening(task):
        async with app:
            before = app.journal.heads(key=key, limit=1)
            state = fold(app.journal.events(before[0].run_id)) if before else None
            run_id = await _start(order, app, state)
            _announce(order, app.journal, run_id, state)
            watcher = asyncio.create_task(_tell_questions(app.journal, run_id))
            error = None
            try:
                await app.run(order.agent, order.input, key=key, budget=order.budget, by=order.by, wait=order.wait)
            except RunError as ended:
                error = ended
            finally:
                watcher.cancel()
            interrupt.is_over = True
            [head] = app.journal.heads(key=key, limit=1)  # of its newest chapter
            if told is not None and head.questions:
                await people_told(app.journal, head)
            below = asked_below(app.journal, head.run_id) if head.why == Why.CHILD else []
            return Driven(show(head, app.journal.events(head.run_id)), error, app.journal.now(), below)


async def _start(order: Order, app: App, state: State | None) -> str:
    try:
        return await app.start(order.agent, order.input, key=order.key, budget=order.budget, by=order.by)
    except RunMismatch as mismatch:
        recorded = state.input if state is not None else None
        if recorded is None:
            raise
        shown = [safe_json(plain(value), indent=None)[:_INPUT_SHOWN_MAX] for value in (decode(recorded), order.input)]
        raise RunMismatch(f"{mismatch} Recorded input: {shown[0]} This input: {shown[1]}") from mismatch


def _announce(order: Order, journal: Journal, run_id: str, state: State | None) -> None:
    name = f"{run_id} ({order.key})"
    if state is None or not state.count:
        say(f"{name} begins." if state is None else f"{name} was accepted before and begins now.")
        if order.budget is None and order.agent.budget is None:
            caps = DEFAULT_LIMITS._asdict().items()
            say("No budget was stated; these caps hold: " + ", ".join(f"{part} {cap}" for part, cap in caps if cap))
        return
    if order.budget is not None:
        say("--budget counts at the start of a run only; its caps stay. Raise them: holdfast resume --raise …")
    steps = list(state.slots.values())
    head = journal.head(run_id)  # what was posted before may be read by now: the run goes on
    is_as_it_was = head is not None and head.status is state.status and not journal.mail(run_id)
    if state.status.is_end and is_as_it_was:
        say(f"{name} has ended already{'.' if state.is_forgotten else '; this is its record.'}")
    elif state.status is Status.SUSPENDED and is_as_it_was and (state.wake_at or inf) > journal.now():
        say(f"{name} is suspended after step {len(steps)}.")
    elif steps:
        say(f"{name} resumes after step {len(steps)} `{steps[-1].address.name}`; what is recorded is not done again.")
    else:
        say(f"{name} resumes before its first step.")


async def _tell_questions(journal: Journal, run_id: str) -> None:
    """While the run is parked with questions, tell how to answer them from elsewhere."""
    told: set[str] = set()
    await asyncio.sleep(_TELL_AFTER_S)
    while True:
        try:
            head = journal.head(run_id)
        except JournalError:
            return  # the run itself meets it too, and tells it better
        for asked in head.questions if head is not None else ():
            if asked.id not in told:
                told.add(asked.id)
                for line in how_to_answer(question(asked), run_id, journal.now()):
                    say(line)
        await asyncio.sleep(_LOOK_S)


# --- the end ---------------------------------------------------------------------------------------------------


def _succeeded(order: Order, driven: Driven) -> int:
    run = driven.picture["run"]
    usage = run["usage"]
    say(
        f"{run['id']} ({run['key']}) succeeded: {steps_of(driven.picture)}; "
        f"{counted(usage['tool_calls'], 'tool call')}, {counted(usage['model_calls'], 'model call')}, "
        f"${usage['usd']:.4f}."
    )
    if order.is_json:
        document({"schema": SCHEMA, "run": run, "result": run["result"]})
    else:
        result = run["result"]
        data(result if isinstance(result, str) else safe_json(result, indent=None))
    return Exit.DONE


def _ended(order: Order, driven: Driven, error: RunError) -> int:
    picture = driven.picture
    code = _code(error, picture["run"], driven.below)
    name = f"{picture['run']['id']} ({order.key})"
    lines = [f"Run {name} waits for a person. Nothing is lost."] if picture["questions"] else [str(error)]
    place = source.where(error.__cause__, order.file) if error.__cause__ is not None else ""
    if place:
        lines.append(f"raised at {place}")
    if code is Exit.FAILED:
        lines += what_failed(picture)
    lines += (picture["run"]["handover"] or "").splitlines()[1:]
    for asked in picture["questions"]:
        lines += how_to_answer(asked, picture["run"]["id"], driven.now)
    lines += [line for line in (withheld(picture),) if line] + driven.below
    until = (picture["suspended"] or {}).get("until")
    if until is not None:
        lines.append(f"It is due at {moment(until)}.")
    if isinstance(error, RunWaiting):
        is_shut = isinstance(error, RunBlocked) or picture["run"]["why"] == Why.PAUSED
        is_blocked = is_shut and not picture["questions"]
        lines.append(f"Go on with: {order.reopen if is_blocked else order.again}")
    elif code in (Exit.FAILED, Exit.BUDGET) and not picture["run"]["is_unwound"]:
        account = picture["run"]["account"]  # whose cap it was; more for this run is no more for all
        is_own = code is Exit.BUDGET and account in (None, run_key(picture["run"]["id"]))
        lines.append(f"Go on with: {order.reopen}{' --raise PART=+MORE' if is_own else ''}")
    report(lines, type(error).__name__, code, is_json=order.is_json, run=picture["run"])
    return code


def _code(error: RunError, run: dict[str, Any], below: list[str]) -> Exit:
    code = code_of(error)
    if code is Exit.LATER and (below or run["why"] in (Why.QUESTION, Why.PAUSED, Why.CRASH_LOOP, Why.BUDGET)):
        return Exit.PERSON
    if isinstance(error, RunStopped) and not isinstance(error, BudgetExceeded) and run["by"]:
        return Exit.CANCELLED  # somebody aborted it when they were asked
    return code


def budget_of(parts: tuple[str, ...]) -> Budget | None:
    """The caps that `--budget usd=1.5 --budget tokens=5000` state; None without any."""
    caps: dict[str, Any] = {}
    for part in parts:
        name, _, amount = part.partition("=")
        if name not in ("tool_calls", "model_calls", "tokens", "usd", "active", "wall") or name in caps:
            raise UsageError(
                f"--budget {part!r} is not understood. "
                "Write tool_calls, model_calls, tokens, usd, active or wall, once."
            )
        try:
            caps[name] = amount if name in ("active", "wall") else float(amount) if name == "usd" else int(amount)
        except ValueError:
            raise UsageError(f"--budget {part!r}: {amount!r} is no {'amount' if name == 'usd' else 'count'}.") from None
    return Budget(**caps) if caps else None
