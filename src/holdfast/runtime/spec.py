"""What is declared about a tool or a step, checked once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.core import approval
from holdfast.core.breaker import BREAKER, Breaker
from holdfast.core.events import Effect
from holdfast.core.failure import ONE_REQUEST
from holdfast.core.ladder import checked_rungs, checked_table
from holdfast.core.policy import Duration, Policy, Retry, seconds
from holdfast.core.rung import STOP, Ask, Cached, Other, Rung, Stop
from holdfast.errors import PolicyInvalid
from holdfast.runtime.location import Location, locate
from holdfast.runtime.signature import returns

EffectName = Literal["read", "idempotent", "once", "composite"]
Definite = tuple[type[BaseException], ...] | Literal["one_request"]
Classify = Mapping[Any, str] | Callable[[Any], str | None]
"""A table from statuses, error classes and provider codes to kinds of failure; or a predicate that is asked."""

_NO_RETRY = Retry(attempts=1)
_DEFAULT_RETRY = {
    Effect.READ: Retry(),
    Effect.IDEMPOTENT: Retry(),
    Effect.ONCE: _NO_RETRY,
    Effect.COMPOSITE: _NO_RETRY,
}
_EFFECTS: dict[str, Effect] = {member.value: member for member in Effect}
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
    policy: Policy
    """As declared. What is in force now: `Policies.of`."""
    shared: str
    """Under which name its breaker and its retries are shared."""
    verify: Callable[..., Any] | None
    raises: tuple[type[BaseException], ...]
    definite: Definite
    window_s: float
    is_async: bool
    returns: Any
    """Return annotation: the type of the result, live and on replay."""
    settle_s: float | None = None
    """Time between two answers "not done" of its `verify`; None: the app's."""
    undo: Any = None
    """A function or tool that undoes it; checked by `undo.Undo`."""
    isolated: Location | None = None
    """Where a new process finds its body, when it runs in one."""
    is_tool: bool = True
    """False: a step made of a function and its arguments, which may hold what none of them tells."""
    hidden: tuple[str, ...] = ()
    """Parameters that are neither recorded nor addressed."""
    check: Callable[[Any], Any] | None = None
    """Says whether a result is good; see `runtime.judge`."""
    classify: Callable[[Any], Any] | None = None
    """The tool's own predicate: what kind of failure an exception or a result is."""
    polls: bool = False
    """Asking again and again is what it is for."""


def make_spec(
    fn: Callable[..., Any],
    *,
    name: str | None = None,
    effect: EffectName | Effect = "once",
    retry: Retry | None = None,
    breaker: Breaker | None = BREAKER,
    shared: str = "",
    timeout: Duration | None = None,
    verify: Callable[..., Any] | None = None,
    raises: tuple[type[BaseException], ...] = (),
    definite: Definite = (),
    window: Duration = "24h",
    settle: Duration | None = None,
    undo: Any = None,
    check: Callable[[Any], Any] | None = None,
    classify: Classify | None = None,
    fallback: Sequence[Any] = (),
    within: Duration | None = None,
    heartbeat: Duration | None = None,
    isolate: bool = False,
    polls: bool = False,
    approve: Ask | None = None,
) -> Spec:
    """Check what was declared."""
    kind = _EFFECTS.get(effect)
    if kind is None:
        raise PolicyInvalid(f"effect={effect!r} is unknown. Say one of: {', '.join(_EFFECTS)}.")
    policy = retry or _DEFAULT_RETRY[kind]
    if not isinstance(policy, Retry):
        raise PolicyInvalid(f"retry={policy!r} is no Retry. Write retry=holdfast.Retry(attempts=4).")
    if breaker is not None and not isinstance(breaker, Breaker):
        raise PolicyInvalid(f"breaker={breaker!r} is no Breaker. Write breaker=holdfast.Breaker(timeouts=3), or None.")
    if not _are_errors(raises):
        raise PolicyInvalid(f"raises={raises!r} is no tuple of exception classes. Write raises=(KeyError,).")
    if definite != ONE_REQUEST and not _are_errors(definite):
        raise PolicyInvalid("definite= takes a tuple of exception classes, or holdfast.ONE_REQUEST.")
    if classify is not None and not callable(classify) and not isinstance(classify, Mapping):
        raise PolicyInvalid(f"classify={classify!r} is neither a table nor a function. Write {{503: 'transient'}}.")
    if check is not None and not callable(check):
        raise PolicyInvalid(
            f"check={check!r} is no function. Give one that takes the result and says whether it is good."
        )
    shown = str(name or getattr(fn, "__name__", "step"))
    if kind is Effect.COMPOSITE and (policy.attempts > 1 or verify is not None or definite or fallback or approve):
        raise PolicyInvalid(
            f"{shown} is a composite: it only makes steps, and retry, verify=, definite=, approve= and fallback= are "
            "theirs to declare."
        )
    return Spec(
        name=shown,
        fn=fn,
        effect=kind,
        policy=Policy(
            retry=policy,
            breaker=breaker,
            timeout_s=_span("timeout", timeout),
            within_s=_span("within", within),
            heartbeat_s=_span("heartbeat", heartbeat),
            approve=None if approve is None else approval.checked(shown, approve),
            fallback=_rungs(shown, fallback),
            classify=checked_table(classify) if isinstance(classify, Mapping) else {},
        ),
        shared=shared or shown,
        verify=_plain(verify),
        raises=raises,
        definite=definite,
        window_s=seconds(window, "window"),
        is_async=inspect.iscoroutinefunction(fn),
        returns=returns(fn, shown),
        settle_s=_span("settle", settle),
        isolated=locate(fn, kind, shown) if isolate else None,
        undo=undo,
        check=check,
        classify=classify if callable(classify) else None,
        polls=polls,
    )


def check_cached(spec: Spec, fallback: Sequence[Rung]) -> None:
    """Refuse an old result where it would be a lie, or somebody else's."""
    if not any(isinstance(rung, Cached) for rung in fallback):
        return
    if spec.effect is not Effect.READ:
        raise PolicyInvalid(
            f"{spec.name} is {spec.effect}: an earlier result would say that an effect has happened which has not. "
            "Cached belongs to effect='read'."
        )
    if spec.hidden or not spec.is_tool or hasattr(spec.fn, "__self__"):
        what = "it is no tool" if not spec.is_tool else "it is a method of an object"
        what = f"{spec.hidden[0]!r} is hidden" if spec.hidden else what
        raise PolicyInvalid(
            f"{spec.name}: {what}, so the record cannot tell whose result it was, and Cached could serve somebody "
            "else's. Make what the result depends on a visible argument."
        )


def _rungs(name: str, fallback: Any) -> tuple[Rung, ...]:
    """The ladder as it was declared, with tools and "stop" as rungs."""
    if not isinstance(fallback, list | tuple):
        raise PolicyInvalid(f'{name}: fallback={fallback!r} is no list. Write fallback=[Cached(max_age="1h"), "stop"].')
    return checked_rungs(name, [_rung(item) for item in fallback])


def _rung(item: Any) -> Any:
    if item == STOP:
        return Stop()
    declared = getattr(item, "spec", None)
    return Other(declared.name, item) if isinstance(declared, Spec) else item


def _are_errors(classes: Any) -> bool:
    """Whether it is what `isinstance` takes; found out when a body raises, it would make the outcome unknown."""
    return isinstance(classes, tuple) and all(isinstance(c, type) and issubclass(c, BaseException) for c in classes)


def _span(name: str, duration: Duration | None) -> float | None:
    return None if duration is None else seconds(duration, name)


def _plain(verify: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """The function of a `verify` that is a tool itself: it is asked outside every run."""
    declared = getattr(verify, "spec", None)
    return declared.fn if isinstance(declared, Spec) else verify
