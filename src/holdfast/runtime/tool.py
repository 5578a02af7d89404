"""Tools: plain functions that say what they do to the world.

A decorated function stays callable as before. Inside a run each call is a step; inside another step it is a plain
call of that attempt; without an open `App` its policy applies and nothing is written.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import update_wrapper
from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

from holdfast.core.doubt import SAID_DONE, SAID_NOT_DONE, SAID_UNKNOWN
from holdfast.core.events import ONE_TOOL_CALL, Effect, Kind, StepKind
from holdfast.core.failure import ONE_REQUEST, Failure, FailureKind, classify
from holdfast.core.machine import Call
from holdfast.core.policy import Again, Duration, Retry, after_failure, seconds
from holdfast.errors import NotDone, PolicyInvalid, Unencodable, UsageError
from holdfast.journal.codec import decode, digest, encode, opaque
from holdfast.runtime import current
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.facts import facts_of, is_stronger, rebuilt, safe
from holdfast.runtime.signature import Arguments, Signature, returns
from holdfast.runtime.steps import Attempted, Attempts, Verdict
from holdfast.runtime.thread import Unwind, in_thread, run_blocking

P = ParamSpec("P")
R = TypeVar("R")
EffectName = Literal["read", "idempotent", "once"]
Definite = tuple[type[BaseException], ...] | Literal["one_request"]

_DEFAULT_RETRY = {Effect.READ: Retry(), Effect.IDEMPOTENT: Retry(), Effect.ONCE: Retry(attempts=1)}
_EFFECTS: dict[str, Effect] = {member.value: member for member in Effect}
_clock = SystemClock()

Calling = Callable[[str], Callable[[], Any]]
"""From an idempotency key to the call that is ready to be made."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a `verify` returns when the effect happened: with the result that the tool would have given."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """What a `verify` returns when it cannot tell."""

    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Everything that was declared about one tool."""

    name: str
    fn: Callable[..., Any]
    effect: Effect
    retry: Retry
    timeout_s: float | None
    verify: Callable[..., Any] | None
    raises: tuple[type[BaseException], ...]
    definite: Definite
    window_s: float
    is_async: bool
    returns: Any
    """Return annotation: the type of the result, live and on replay."""


def make_spec(
    fn: Callable[..., Any],
    *,
    name: str | None = None,
    effect: EffectName | Effect = "once",
    retry: Retry | None = None,
    timeout: Duration | None = None,
    verify: Callable[..., Any] | None = None,
    raises: tuple[type[BaseException], ...] = (),
    definite: Definite = (),
    window: Duration = "24h",
) -> Spec:
    """Check what was declared."""
    kind = _EFFECTS.get(effect)
    if kind is None:
        raise PolicyInvalid(f"effect={effect!r} is unknown. Say one of: {', '.join(_EFFECTS)}.")
    policy = retry or _DEFAULT_RETRY[kind]
    if not isinstance(policy, Retry):
        raise PolicyInvalid(f"retry={policy!r} is no Retry. Write retry=holdfast.Retry(attempts=4).")
    if definite != ONE_REQUEST and not isinstance(definite, tuple):
        raise PolicyInvalid("definite= takes a tuple of exception classes, or holdfast.ONE_REQUEST.")
    shown = str(name or getattr(fn, "__name__", "step"))
    return Spec(
        name=shown,
        fn=fn,
        effect=kind,
        retry=policy,
        timeout_s=None if timeout is None else seconds(timeout, "timeout"),
        verify=verify.spec.fn if isinstance(verify, Tool) else verify,
        raises=raises,
        definite=definite,
        window_s=seconds(window, "window"),
        is_async=inspect.iscoroutinefunction(fn),
        returns=returns(fn, shown),
    )


class Tool(Generic[P, R]):
    """A function with its declaration; call it as before."""

    def __init__(self, spec: Spec, hidden: tuple[str, ...] = ()) -> None:
        self.spec = spec
        self.name = spec.name
        self._hidden = hidden
        self._signature = Signature(spec.fn, hidden=hidden, name=spec.name)
        update_wrapper(self, spec.fn)

    def __repr__(self) -> str:
        return f"<tool {self.name} ({self.spec.effect})>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(self._signature.bind(args, kwargs))  # type: ignore[no-any-return]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        return Tool(replace(self.spec, fn=self.spec.fn.__get__(instance, owner)), self._hidden)

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the visible parameters, for a model's tool list."""
        return self._signature.schema

    def call(self, arguments: dict[str, Any], **hidden: Any) -> R:
        """Call with what a model gave: validated by the schema first, so a bad call is never begun."""
        checked = self._signature.validated(arguments)
        return self._run(self._signature.bind((), {**checked, **hidden}))  # type: ignore[no-any-return]

    def _run(self, arguments: Arguments) -> Any:
        """One call: a step, a plain call inside a step, or a call without a run."""
        spec = self.spec
        where = current.place_for(spec.name, spec.effect)
        if where is None:
            alone = _without_run(spec, self._calling(arguments))
            return alone if spec.is_async else run_blocking(alone)
        if where.inside is not None:
            _check_inner(spec, where)
            return self._signature.call(arguments, "")()
        if spec.is_async:
            return self._step(arguments, where)
        if where.driver.bridge.is_own_thread:
            raise UsageError(
                f"{spec.name} is a sync tool and was called on the event loop's own thread, which it would block. "
                f"It was not begun. Write `await asyncio.to_thread({spec.name}, …)`, or make it `async def`."
            )
        return where.driver.bridge.wait(self._step(arguments, where))

    def _calling(self, arguments: Arguments) -> Calling:
        return lambda key: self._signature.call(arguments, key)

    async def _step(self, arguments: Arguments, where: current.Place) -> Any:
        """Ask the run for the step, with decoded copies of the arguments, and give what its outcome says."""
        args = encode(arguments.visible)
        copied = Arguments(self._signature.decoded(decode(args)), arguments.hidden)
        verify = self.spec.verify
        asked = None if verify is None else lambda key: verify(key, **copied.visible)
        return await take_step(
            self.spec, where, args, self._calling(copied), asked, needs_key=bool(self._signature.injected)
        )


@overload
def tool(fn: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    effect: EffectName = "once",
    name: str | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    verify: Callable[..., Any] | None = None,
    raises: tuple[type[BaseException], ...] = (),
    definite: Definite = (),
    hidden: tuple[str, ...] = (),
    window: Duration = "24h",
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(fn: Callable[P, R] | None = None, /, **declared: Any) -> Any:
    """Declare a tool.

    effect: `read` (may run again), `idempotent` (may run again under the same key), `once` (never silently again;
    the default). retry, timeout: one policy, see `Retry`; a duration is seconds or "20s". verify: asked with
    (key, **arguments) whether an effect in doubt has happened; returns `Done`, `NotDone` or `Unknown`. raises:
    classes that the caller gets back as they are. definite: classes that mean "it did not happen", or
    `ONE_REQUEST`. hidden: parameters that are neither recorded nor shown to a model. window: how long the receiver
    of an idempotent effect remembers its key.
    """
    if fn is not None:
        return Tool(make_spec(fn))
    hidden = declared.pop("hidden", ())
    return lambda function: Tool(make_spec(function, **declared), hidden)


def _check_inner(spec: Spec, where: current.Place) -> None:
    """Inside a step only plain calls of its own strength or less are made (DESIGN §4 rule 5)."""
    if where.inside is not None and is_stronger(spec.effect, where.inside):
        raise UsageError(
            f"{where.step_name} ({where.inside}) called {spec.name} ({spec.effect}), a stronger effect, inside its "
            f"step. {spec.name} was not begun. Call it from the agent, or declare {where.step_name} stronger."
        )


async def take_step(
    spec: Spec,
    where: current.Place,
    args: bytes,
    calling: Calling,
    asked: Callable[[str], Any] | None,
    *,
    needs_key: bool = True,
) -> Any:
    """Ask the run for the step: its result, typed by the return annotation, or the recorded failure raised."""
    driver = where.driver
    call = Call(where.scope, spec.name, digest(args), StepKind.TOOL, spec.effect, args)
    outcome = driver.replayed(call)
    if outcome is None:
        outcome = await driver.step(_plan(spec, where, call, calling, asked, needs_key))
    if outcome.kind is Kind.STEP_SUCCEEDED:
        try:
            return decode(outcome.body, spec.returns) if outcome.body is not None else None
        except (Unencodable, ValueError) as unfit:  # ValueError: pydantic's word for "not of the declared type"
            await driver.unfit(f"{spec.name} -> {spec.returns}", f"{spec.name}: a result of another shape", unfit)
    error = rebuilt(outcome, spec.name, spec.raises)
    raise error from (driver.live_errors.get(outcome.address) if outcome.address is not None else None)


def _plan(
    spec: Spec,
    where: current.Place,
    call: Call,
    calling: Calling,
    asked: Callable[[str], Any] | None,
    needs_key: bool,
) -> Attempts:
    """How the step is performed when the record does not answer it."""
    inside = current.Place(where.driver, where.scope, spec.effect, spec.name)

    async def attempt(key: str, number: int) -> Attempted:
        return await attempted(spec, calling(key), inside)

    async def verify(key: str) -> Verdict:
        limit_s = where.driver.services.settings.verify_s
        return await verified(spec, lambda: asked(key) if asked else None, limit_s)

    return Attempts(
        call=call,
        args=call.shown,
        retry=spec.retry,
        attempt=attempt,
        needs_key=needs_key,
        window_s=spec.window_s,
        verify=verify if asked is not None else None,
    )


async def attempted(spec: Spec, call: Callable[[], Any], inside: current.Place | None) -> Attempted:
    """Run the user's function once and say what it came to. Raises nothing but cancellation from outside."""
    try:
        with current.entered(inside):
            result = await _called(spec, call)
    except Unwind:
        raise asyncio.CancelledError("the run is closing") from None
    except BaseException as error:  # the user's step: whatever it raises is a fact about it
        if _is_not_its_own(spec, error):
            raise
        return _failed(spec, error)
    try:
        return Attempted(encode(result, spec.returns), ONE_TOOL_CALL)
    except (Unencodable, ValueError) as error:  # ValueError: pydantic's word for "not of the declared type"
        return _lost(spec, result, error)


def _is_not_its_own(spec: Spec, error: BaseException) -> bool:
    """Whether it was sent to the step from outside: our cancelling, or a signal to the whole process."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    if isinstance(error, (SystemExit, GeneratorExit)):
        return spec.is_async  # in a thread of its own a tool may well call `sys.exit`
    return isinstance(error, KeyboardInterrupt)


async def _called(spec: Spec, call: Callable[[], Any]) -> Any:
    if spec.is_async:
        if spec.timeout_s is None:
            return await call()
        async with asyncio.timeout(spec.timeout_s):
            return await call()
    running = in_thread(spec.name, call)
    if spec.timeout_s is None or spec.effect.is_write:  # a thread cannot be stopped: its late result is the outcome
        result = await running
    else:
        result = await asyncio.wait_for(running, spec.timeout_s)
    return await result if inspect.isawaitable(result) else result


def _failed(spec: Spec, error: BaseException) -> Attempted:
    classes = spec.definite if isinstance(spec.definite, tuple) else ()
    facts = facts_of(error, raises=spec.raises, definite=classes)
    failure = classify(facts, spec.effect, is_one_request=spec.definite == ONE_REQUEST)
    body = None
    if failure.raised is not None:
        try:
            body = encode(list(error.args))
        except Unencodable:
            body = None
    return Attempted(body, ONE_TOOL_CALL, failure, error=error)


def _lost(spec: Spec, result: Any, error: Exception) -> Attempted:
    """A result that cannot be written: after an effect it is kept as opaque, and the effect is not repeated."""
    if spec.effect.is_write:
        return Attempted(encode(opaque(result)), ONE_TOOL_CALL, facts={"lost": safe(str(error))})
    text = safe(f"its result cannot be recorded: {error}")
    failure = Failure(FailureKind.PERMANENT, type(error).__name__, text, text, because="a result must be plain data")
    return Attempted(None, ONE_TOOL_CALL, failure, error=error)


async def verified(spec: Spec, ask: Callable[[], Any], limit_s: float) -> Verdict:
    """Ask the tool's `verify` once, in its time box. What it raises counts as "cannot tell"."""
    try:
        with current.detached():
            async with asyncio.timeout(limit_s):
                if inspect.iscoroutinefunction(spec.verify):
                    said = await ask()
                else:
                    said = await in_thread(f"verify {spec.name}", ask)
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


async def _without_run(spec: Spec, calling: Calling) -> Any:
    """The policy, without a journal: the same decisions, forgotten with the process."""
    key, started = "local_" + _clock.fresh_id(), _clock.monotonic()
    attempt = 0
    while True:
        attempt += 1
        tried = await _attempt_alone(spec, calling(key))
        if not isinstance(tried, _Raised):
            return tried
        decision = after_failure(
            spec.effect,
            tried.failure,
            spec.retry,
            attempt=attempt,
            elapsed_s=_clock.monotonic() - started,
            window_s=spec.window_s,
            draw=_clock.draw(),
        )
        if not isinstance(decision, Again):
            raise tried.error
        await asyncio.sleep(decision.wait_s)


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException
    failure: Failure


async def _attempt_alone(spec: Spec, call: Callable[[], Any]) -> Any:
    classes = spec.definite if isinstance(spec.definite, tuple) else ()
    try:
        return await _called(spec, call)
    except Exception as error:  # the user's step
        facts = facts_of(error, definite=classes)
        return _Raised(error, classify(facts, spec.effect, is_one_request=spec.definite == ONE_REQUEST))
