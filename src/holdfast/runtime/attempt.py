"""One attempt of a tool: the user's function is run, and whatever it does is turned into data.

The only place where the user's code is called for a step, so the only one that catches whatever it raises. With a
run the data goes into the record; without one (`alone`) the same policy decides and nothing is written.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from holdfast.core.deadline import in_time, step_left_s
from holdfast.core.doubt import SAID_DONE, SAID_NOT_DONE, SAID_UNKNOWN
from holdfast.core.events import ONE_TOOL_CALL, Effect
from holdfast.core.failure import Failure
from holdfast.core.ladder import next_rung
from holdfast.core.policy import Again, GiveUp, InDoubt, after_failure
from holdfast.core.rung import Other, Stop
from holdfast.errors import NotDone, ToolFailed, Unencodable
from holdfast.journal.codec import encode, opaque
from holdfast.runtime import current
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.deadline import Limit
from holdfast.runtime.facts import safe
from holdfast.runtime.judge import failure_of, judged, unfit_alone, weighed
from holdfast.runtime.senders import Sender
from holdfast.runtime.spec import Calling, Done, Spec, Unknown
from holdfast.runtime.thread import Unwind, forget, in_thread, on_loop
from holdfast.runtime.way import Attempted, Begun, Verdict

_clock = SystemClock()


async def attempted(
    spec: Spec, call: Callable[[], Any], inside: current.Place | None, begun: Begun | None = None
) -> Attempted:
    """Run the user's function once and say what it came to. Raises nothing but cancellation from outside."""
    sender = begun.sender if begun is not None else None
    if begun is not None and sender is not None and (spec.is_async or spec.isolated is not None):
        sender.is_seen = spec.isolated is not None
        return await sender.on_loop(attempted(spec, call, inside, begun._replace(sender=None)))
    limit = begun.limit if begun is not None else None
    try:
        with current.entered(inside):
            try:
                result = await _called(spec, call, limit or Limit(_clock), sender)
            except Unwind:
                raise
            except BaseException as error:  # the user's step: whatever it raises is a fact about it
                if _is_not_its_own(spec, error):
                    raise
                return _failed(spec, error)
            return weighed(spec, result) if spec.check is None else await judged(spec, result)
    except Unwind:
        raise asyncio.CancelledError("the run is closing") from None


async def attempted_on(
    home: asyncio.AbstractEventLoop,
    spec: Spec,
    call: Callable[[], Any],
    inside: current.Place,
    begun: Begun | None = None,
) -> Attempted:
    """The same on its caller's own loop, which other things of the body may belong to. Closed first: unknown."""
    try:
        return await on_loop(home, attempted(spec, call, inside, begun))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return _failed(spec, ConnectionAbortedError("the event loop of its caller was closed before it had ended"))


def _is_not_its_own(spec: Spec, error: BaseException) -> bool:
    """Whether it was sent to the step from outside: our cancelling, or a signal to the whole process."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    if isinstance(error, (SystemExit, GeneratorExit)):
        return spec.is_async  # in a thread of its own a tool may well call `sys.exit`
    return isinstance(error, KeyboardInterrupt)


def _came(spec: Spec, result: Any, error: BaseException | None) -> Attempted | None:
    """What the thread of an effect came to, when nobody waited for it any more; None: nobody can know."""
    if isinstance(error, Unwind) or inspect.isawaitable(result):
        return None
    return weighed(spec, result) if error is None else _failed(spec, error)


async def _called(spec: Spec, call: Callable[[], Any], limit: Limit, sender: Sender | None = None) -> Any:
    """The call, until its time is up. A thread cannot be stopped: it is left behind, and whoever settles the doubt
    about an effect has to wait for it."""
    is_unending = spec.effect is Effect.COMPOSITE and not spec.is_async  # its steps have times of their own
    times = (None, None) if is_unending else (spec.policy.timeout_s, spec.policy.heartbeat_s)
    with limit.bounded(*times, beats=True):
        if spec.is_async or spec.isolated is not None:
            return await call()
        result = await (in_thread(spec.name, call) if sender is None else _watched(spec, call, sender))
        return await result if inspect.isawaitable(result) else result


async def _watched(spec: Spec, call: Callable[[], Any], sender: Sender) -> Any:
    """The effect in its thread, which may outlive whoever waits for it here."""
    sender.is_whole = spec.check is None
    body = sender.in_thread(call, partial(_came, spec))
    return await in_thread(spec.name, body, not_begun=sender.not_begun)


def _failed(spec: Spec, error: BaseException) -> Attempted:
    failure = failure_of(spec, error)
    body = None
    if failure.raised is not None:
        try:
            body = encode(list(error.args))
        except Unencodable:
            body = None
    return Attempted(body, ONE_TOOL_CALL, failure, error=error)


async def verified(spec: Spec, ask: Callable[[], Any], limit_s: float) -> Verdict:
    """Ask the tool's `verify` once, in its time box, also when it swallows its cancellation."""
    asking = asyncio.create_task(_asked(spec, ask), name=f"verify {spec.name}")
    try:
        await asyncio.wait({asking}, timeout=limit_s)
    finally:
        asking.cancel()
    if not asking.done():
        await asyncio.wait({asking}, timeout=min(1.0, limit_s))
    if asking.done() and not asking.cancelled():
        return asking.result()
    if not asking.done():
        forget(asking)
    return Verdict(SAID_UNKNOWN, text=f"TimeoutError: no answer within {limit_s:g} s")


async def _asked(spec: Spec, ask: Callable[[], Any]) -> Verdict:
    """What it says. What it raises counts as "cannot tell"."""
    try:
        with current.detached():
            if inspect.iscoroutinefunction(spec.verify):
                said = await ask()
            else:
                said = await in_thread(f"verify {spec.name}", ask)
            said = await said if inspect.isawaitable(said) else said
    except NotDone as no:
        return Verdict(SAID_NOT_DONE, text=safe(str(no)))
    except BaseException as error:  # the user's step: a verify that fails cannot tell
        if _is_not_its_own(spec, error):
            raise
        return Verdict(SAID_UNKNOWN, text=safe(f"{type(error).__name__}: {error}"))
    return _verdict(spec, said)


def _verdict(spec: Spec, said: Any) -> Verdict:
    if isinstance(said, Done):
        try:
            return Verdict(SAID_DONE, encode(said.result, spec.returns))
        except (Unencodable, ValueError):
            return Verdict(SAID_DONE, encode(opaque(said.result)))
    if isinstance(said, NotDone) or said is NotDone:
        return Verdict(SAID_NOT_DONE, text=safe(str(said)) if isinstance(said, NotDone) else "")
    if isinstance(said, Unknown) or said is Unknown:
        return Verdict(SAID_UNKNOWN, text=said.reason if isinstance(said, Unknown) else "")
    return Verdict(SAID_UNKNOWN, text=f"verify returned {type(said).__name__}, not Done, NotDone or Unknown")


# --- without a run ---------------------------------------------------------------------------------------------


async def alone(spec: Spec, calling: Calling, others: Callable[[Other], tuple[Spec, Calling]]) -> Any:
    """The policy, without a journal: the same decisions, forgotten with the process.

    others: what another tool of the ladder is called with. Nobody is asked, and no earlier result is known.
    """
    await asyncio.sleep(0)  # a coroutine that swallows its own collection is ended here: it may not wait then
    tried = await _attempts_alone(spec, calling)
    here, rest = Other(spec.name), list(spec.policy.fallback)
    passed: tuple[tuple[str, str], ...] = ()
    while isinstance(tried, _Raised):
        climb = next_rung(tried.failure, tried.decision, here, rest, passed)
        if climb is None or not climb.further or isinstance(rest[climb.further - 1], Stop):
            raise _told(tried, passed if climb is None else climb.passed)
        rung, rest, passed = rest[climb.further - 1], rest[climb.further :], climb.passed
        if isinstance(rung, Other):
            here = rung
            tried = await _attempts_alone(*others(rung))
        else:
            passed += ((rung.name, "it needs a store, and no App is open"),)
    return tried


def _told(tried: _Raised, passed: tuple[tuple[str, str], ...]) -> BaseException:
    for name, why in passed:
        tried.error.add_note(f"holdfast: {name} was not taken: {why}.")
    return tried.error


async def _attempts_alone(spec: Spec, calling: Calling) -> Any:
    key, started = "local_" + _clock.fresh_id(), _clock.monotonic()
    attempt = 0
    while True:
        attempt += 1
        within_s = spec.policy.within_s
        limit = Limit(_clock, within_s=within_s, left_s=step_left_s(within_s, started, _clock.monotonic()))
        tried = await _attempt_alone(spec, calling(key), limit)
        if not isinstance(tried, _Raised):
            return tried
        decision = after_failure(
            spec.effect,
            tried.failure,
            spec.policy.retry,
            attempt=attempt,
            elapsed_s=_clock.monotonic() - started,
            window_s=spec.window_s,
            draw=_clock.draw(),
        )
        decision = in_time(decision, tried.failure, within_s, step_left_s(within_s, started, _clock.monotonic()))
        if not isinstance(decision, Again):
            return replace(tried, decision=decision)
        await asyncio.sleep(decision.wait_s)


_UNDECIDED = GiveUp("")


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException
    failure: Failure
    decision: GiveUp | InDoubt = _UNDECIDED


async def _attempt_alone(spec: Spec, call: Callable[[], Any], limit: Limit) -> Any:
    try:
        result = await _called(spec, call, limit)
    except Exception as error:  # the user's step
        return _Raised(error, failure_of(spec, error))
    failure = await unfit_alone(spec, result)
    if failure is None:
        return result
    return _Raised(ToolFailed(f"{spec.name} failed: {failure.error}: {failure.text}"), failure)
