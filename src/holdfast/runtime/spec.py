"""What is declared about a tool or a step, checked once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.core.events import Effect
from holdfast.core.failure import ONE_REQUEST
from holdfast.core.policy import Duration, Policy, Retry, seconds
from holdfast.errors import PolicyInvalid
from holdfast.runtime.signature import returns

EffectName = Literal["read", "idempotent", "once", "composite"]
Definite = tuple[type[BaseException], ...] | Literal["one_request"]

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
    settle: Duration | None = None,
    undo: Any = None,
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
    if kind is Effect.COMPOSITE and (policy.attempts > 1 or verify is not None or definite):
        raise PolicyInvalid(
            f"{shown} is a composite: it only makes steps, and retry, verify= and definite= are theirs to declare."
        )
    return Spec(
        name=shown,
        fn=fn,
        effect=kind,
        policy=Policy(retry=policy, timeout_s=None if timeout is None else seconds(timeout, "timeout")),
        verify=_plain(verify),
        raises=raises,
        definite=definite,
        window_s=seconds(window, "window"),
        is_async=inspect.iscoroutinefunction(fn),
        returns=returns(fn, shown),
        settle_s=None if settle is None else seconds(settle, "settle"),
        undo=undo,
    )


def _plain(verify: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """The function of a `verify` that is a tool itself: it is asked outside every run."""
    declared = getattr(verify, "spec", None)
    return declared.fn if isinstance(declared, Spec) else verify
