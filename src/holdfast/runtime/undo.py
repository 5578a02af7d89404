"""What undoes a step: the function or tool that stands in a tool's `undo=`, checked when it is declared.

It is called with the step's result and then its visible arguments by name; an `idempotency_key` that it declares is
filled in. A plain function is an `idempotent` step, a tool is what it says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from holdfast.core.events import Effect
from holdfast.errors import PolicyInvalid
from holdfast.runtime.signature import Arguments, Signature
from holdfast.runtime.spec import Spec, make_spec

PREFIX = "undo "
"""Of the name of a step that undoes another: `undo book`."""


class Undo:
    """How the steps of one tool are undone."""

    name: str
    """Of the declared function or tool."""

    def __init__(self, of: Spec, signature: Signature) -> None:
        self.spec = _spec(of)
        self.name = _shown(of.undo)
        self._signature = Signature(self.spec.fn, hidden=getattr(of.undo, "hidden", ()), name=self.spec.name)
        self._check(of, signature)

    def _check(self, of: Spec, signature: Signature) -> None:
        shown = signature.public.parameters
        named = [shown[name] for name in signature.visible]
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in named):
            raise PolicyInvalid(f"{of.name} takes *args or **kwargs, so undo= cannot be called with named arguments.")
        try:
            self.arguments(None, {p.name: None for p in named})
        except TypeError as unfit:
            names = ", ".join(p.name for p in named)
            raise PolicyInvalid(
                f"undo={_shown(of.undo)} of {of.name} cannot be called with (result{', ' * bool(names)}{names}): "
                f"{unfit}. Let it take the result first, and then every argument of {of.name} by its name."
            ) from unfit

    def arguments(self, result: Any, arguments: dict[str, Any]) -> Arguments:
        """What it is called with."""
        return self._signature.bind((result,), arguments)

    def decoded(self, visible: dict[str, Any]) -> dict[str, Any]:
        """Its recorded arguments, typed again."""
        return self._signature.decoded(visible)

    def call(self, arguments: Arguments, key: str) -> Callable[[], Any]:
        """The call, ready to be made."""
        return self._signature.call(arguments, key)

    @property
    def needs_key(self) -> bool:
        """Whether it declares an `idempotency_key`."""
        return bool(self._signature.injected)


def _spec(of: Spec) -> Spec:
    if not of.effect.is_write:
        raise PolicyInvalid(f"{of.name} is a {of.effect}: it has no effect of its own that undo= could undo.")
    declared = getattr(of.undo, "spec", None)
    if isinstance(declared, Spec):
        if not declared.effect.is_write:
            raise PolicyInvalid(f"undo={declared.name} of {of.name} is a {declared.effect}, and undoes nothing.")
        return replace(declared, name=PREFIX + of.name, undo=None)
    if not callable(of.undo):
        raise PolicyInvalid(f"undo={of.undo!r} of {of.name} is neither a function nor a tool.")
    return make_spec(of.undo, name=PREFIX + of.name, effect=Effect.IDEMPOTENT)


def _shown(undo: Any) -> str:
    return str(getattr(undo, "__name__", None) or getattr(undo, "name", undo))
