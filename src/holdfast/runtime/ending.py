"""The end of a run's budget as it is carried out: what `core.landing` decides is asked and written here.

Invariants
1. What is decided is written with the append that it belongs to: a warning and a landing with the outcome after which
   they are due, a refusal as the outcome of the call.
2. Nothing here begins anything. A call that does not fit is told or stops the run; it is never sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from holdfast.core import landing
from holdfast.core.accounts import no_room
from holdfast.core.budget import Excess, overshoot
from holdfast.core.events import NOTHING, Address, Event, Kind, StepKind, meta
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.handover import answer_of, handover
from holdfast.core.heads import Status
from holdfast.core.loops import REFUSED_CODE as STUCK_CODE
from holdfast.core.state import State
from holdfast.errors import BudgetRefused
from holdfast.runtime.way import Attempted

if TYPE_CHECKING:
    from holdfast.runtime.attempts import Attempts
    from holdfast.runtime.calls import Calls

_FINAL_CODES = frozenset({landing.REFUSED_CODE, STUCK_CODE})


def is_final(failure: Failure) -> bool:
    """Whether it is told as it is: no retry and no fallback may answer it."""
    return failure.kind is FailureKind.REFUSED and failure.code in _FINAL_CODES


# --- before a call ---------------------------------------------------------------------------------------------


def unfit(
    driver: Calls, plan: Attempts, address: Address, excess: Excess, refused: BudgetRefused | None = None
) -> Attempted | None:
    """A call does not fit: the failure that is told to the model; or the run is stopped, and there is none.

    refused: by an account that the run shares with others; otherwise it is the run's own budget."""
    slot, state = driver.state.slots.get(address), driver.state
    is_open = slot is not None and slot.is_in_flight  # it may have happened: then nobody can be told that it has not
    if plan.call.step is not StepKind.TOOL or is_open or _choice(state) == "stop":
        _warn(driver, address, None, is_measured=False)
        why, facts = _because(driver, plan, excess, refused)
        driver.stop(Status.STOPPED, why, facts)
        return None
    text = landing.refusal(excess, "this run" if refused is None else "this and other runs")
    if not state.conduct.landing_no:
        decided = meta(what="landing", choice="last turn", because=str(excess))
        driver.record.add(Event(Kind.DECIDED, driver.record.now(), meta=decided))
    because, facts = _because(driver, plan, excess, refused) if refused else (f"budget: {excess}", _facts(excess))
    failure = Failure(FailureKind.REFUSED, "BudgetExceeded", text, text, because=because, code=landing.REFUSED_CODE)
    return Attempted(None, NOTHING, failure, failure.facts() | facts)


def _choice(state: State) -> str:
    conduct = state.conduct
    is_heard = bool(conduct.refused) and any(slot.heard_no > conduct.refused_no for slot in conduct.models)
    turn = landing.turn_of(conduct.models)
    return landing.unfit_tool(state.limits, state.used, turn, refused=conduct.refused, is_heard=is_heard)


def _facts(excess: Excess) -> dict[str, Any]:
    return {"limit": excess.name, "raise": excess.raise_flag, "needs": excess.needs or None}


def _because(
    driver: Calls, plan: Attempts, excess: Excess, refused: BudgetRefused | None
) -> tuple[str, dict[str, Any]]:
    """Why the run is stopped, and the facts of that."""
    if refused is not None:
        facts = {"limit": excess.name, "account": refused.account}
        return no_room(refused.cap, driver.lease.run_id, excess), facts
    is_worst = plan.call.step is StepKind.MODEL and excess.name in ("tokens", "usd_nano")
    most = " That is the most that this call of a model can use." if is_worst else ""
    how = _how(driver.lease.run_id, excess.raise_flag)
    return f"budget: {excess}.{most} Nothing was sent. Go on with `{how}`.", _facts(excess)


class Pace:
    """Lets model calls of one run begin: at once, and when its budget comes to an end, one at a time and apart."""

    def __init__(self, driver: Calls) -> None:
        self._driver = driver
        self._lock = asyncio.Lock()
        self._ended_at = 0.0

    @asynccontextmanager
    async def turn(self, *, is_stream: bool) -> AsyncIterator[None]:
        """Within the block the call is under way. Of a stream only the beginning waits: its reader may ask for more
        before it has come to its end."""
        if not landing.slows(self._driver.state.limits, self._driver.state.conduct.warned):
            yield
            return
        async with self._lock:
            with self._driver.silence.moves():
                await self._driver.waits.until(self._ended_at + self._driver.services.settings.throttle_s)
            self._note()
            if not is_stream:
                try:
                    yield
                finally:
                    self._ended_at = self._driver.services.clock.now()
                return
        self._ended_at = self._driver.services.clock.now()
        yield

    def _note(self) -> None:
        state, record = self._driver.state, self._driver.record
        if not state.conduct.is_slowed:
            name = landing.slows(state.limits, state.conduct.warned)
            pause_s = self._driver.services.settings.throttle_s
            because = f"{landing.WARN_PERCENT} % of {name.removesuffix('_nano')} are used"
            facts = meta(what="throttle", choice=f"one model call at a time, {pause_s:g} s apart", because=because)
            record.add(Event(Kind.DECIDED, record.now(), meta=facts))


# --- after a call ----------------------------------------------------------------------------------------------


def note(driver: Calls, address: Address, step: StepKind, *, is_measured: bool) -> None:
    """An outcome was added: warn of what is nearly used up, or more than that, and tell the model of its last turn."""
    record = driver.record
    state, conduct = record.state, record.state.conduct
    if not is_measured and not conduct.models and not landing.due_warnings(state.limits, driver.used, conduct.warned):
        return  # as nearly always: nothing is nearly used up, and there is no model that could land
    mark = StepKind.TOOL if step is StepKind.TOOL else None  # with its outcome the model can be told
    _warn(driver, address, mark, is_measured=is_measured)
    if step is StepKind.TOOL and conduct.models and not conduct.landing_no:
        because = landing.last_turn(state.limits, driver.used, landing.turn_of(conduct.models))
        if because:
            decided = meta(what="landing", choice="last turn", because=because)
            record.add(Event(Kind.DECIDED, record.now(), address, step, meta=decided))


def _warn(driver: Calls, address: Address, mark: StepKind | None, *, is_measured: bool) -> None:
    state, record, conduct = driver.state, driver.record, driver.state.conduct
    due = {each.name: each for each in landing.due_warnings(state.limits, driver.used, conduct.warned)}
    over = overshoot(state.limits, state.spent) if is_measured else None
    over = None if over is not None and conduct.over.get(over.name) == over.used else over  # that is known
    for excess in [*due.values(), *([over] if over is not None and over.name not in due else [])]:
        facts = {"name": excess.name, "limit": excess.limit, "spent": excess.used}
        facts |= {"share": landing.WARN_PERCENT} if excess.name in due else {}
        facts |= {"overshoot": over.used - over.limit} if over is not None and over.name == excess.name else {}
        record.add(Event(Kind.BUDGET_WARNED, record.now(), address, mark, meta=meta(**facts)))


# --- the end ---------------------------------------------------------------------------------------------------


def stopped(state: State, why: str, facts: dict[str, Any]) -> str:
    """The facts of the end of a run that is stopped: with its hand-over."""
    known = {name: fact for name, fact in facts.items() if name not in ("raise", "needs")}
    how = _how(state.run_id, facts.get("raise", ""))
    last = answer_of(state)
    landed = None if last is None else list(last.address)
    return meta(outcome=Status.STOPPED, why=why, handover=handover(state, why, how), landed=landed, **known)


def stop_by(state: State, causes: list[Address]) -> tuple[str, dict[str, Any]] | None:
    """The agent raised what it was told here, instead of telling its model: then the run was stopped, not failed."""
    for address in causes:
        outcome = state.slots[address].outcome if address in state.slots else None
        facts = outcome.facts if outcome is not None and outcome.kind is Kind.STEP_FAILED else {}
        if facts.get("code") in _FINAL_CODES:
            known = {name: facts[name] for name in ("limit", "raise", "needs", "account", "stuck") if name in facts}
            return str(facts["because"]), known | {"cause": [list(each) for each in causes]}
    return None


def _how(run_id: str, flag: str) -> str:
    return f"holdfast resume {run_id}" + (f" --raise {flag}" if flag else "")
