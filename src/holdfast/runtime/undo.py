"""What undoes a step: the function or tool that stands in a tool's `undo=`, checked when it is declared.

It is called with the step's result and then its visible arguments by name; an `idempotency_key` that it declares is
filled in. A plain function is an `idempotent` step, a tool is what it says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from holdfast.core.events import Effect
from holdfast.errors import PolicyInvalid, Unencodable
from holdfast.journal.codec import decode, encode
from holdfast.runtime.isolate import call as isolated_call
from holdfast.runtime.signature import Arguments, Signature
from holdfast.runtime.spec import Calling, Spec, make_spec

PREFIX = "undo "
"""Of the name of a step that undoes another: `undo book`."""


class Prepared(NamedTuple):
    """A call, ready to be made as a step."""

    args: bytes
    calling: Calling
    asked: Callable[[str], Any] | None
    """Asks the tool's `verify`."""
    needs_key: bool


class Undo:
    """How the steps of one tool are undone."""

    def __init__(self, of: Spec, signature: Signature) -> None:
        self.of = of
        self.name = undo_name(of)
        """Of the declared function or tool."""
        self.spec = _spec(of)
        """Of the steps that undo."""
        self._undone = signature
        self._signature = Signature(self.spec.fn, hidden=getattr(of.undo, "hidden", ()), name=self.spec.name)
        self._check()

    def _check(self) -> None:
        of, shown = self.of, self._undone.public.parameters
        named = [shown[name] for name in self._undone.visible]
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in named):
            raise PolicyInvalid(f"{of.name} takes *args or **kwargs, so undo= cannot be called with named arguments.")
        try:
            self._signature.bind((None,), {p.name: None for p in named})
        except TypeError as unfit:
            names = ", ".join(p.name for p in named)
            raise PolicyInvalid(
                f"undo={self.name} of {of.name} cannot be called with (result{', ' * bool(names)}{names}): {unfit}. "
                f"Let it take the result first, and then every argument of {of.name} by its name."
            ) from unfit

    def prepared(self, result: bytes | None, args: bytes | None) -> Prepared:
        """The call that undoes a step with this recorded result and these recorded arguments."""
        given = self._undone.decoded(decode(args)) if args is not None else {}
        bound = self._signature.bind((_decoded(result, self.of.returns),), given)
        recorded = encode(bound.visible)
        copied = Arguments(self._signature.decoded(decode(recorded)), bound.hidden)
        asked = _asking(self.spec, copied.visible)
        return Prepared(recorded, self._calling(copied), asked, bool(self._signature.injected))

    def _calling(self, arguments: Arguments) -> Calling:
        if self.spec.isolated is not None:
            return lambda key: partial(isolated_call, self.spec, arguments.visible, key)
        return lambda key: self._signature.call(arguments, key)

    def undone(self, args: bytes | None) -> Prepared:
        """The step itself again, only to find out whether it happened."""
        visible = self._undone.decoded(decode(args)) if args is not None else {}
        calling = lambda key: self._undone.call(Arguments(visible, {}), key)  # noqa: E731 - never called
        return Prepared(args or b"", calling, _asking(self.of, visible), bool(self._undone.injected))


def _asking(spec: Spec, visible: dict[str, Any]) -> Callable[[str], Any] | None:
    verify = spec.verify
    return None if verify is None else lambda key: verify(key, **visible)


def _decoded(result: bytes | None, returns: Any) -> Any:
    if result is None:
        return None
    try:
        return decode(result, returns)
    except (Unencodable, ValueError):  # ValueError: pydantic's word for "not of the declared type"
        return decode(result)


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


def undo_name(of: Spec) -> str:
    """What undoes the steps of this tool, by the name of its function or tool; empty: nothing does."""
    if of.undo is None:
        return ""
    return str(getattr(of.undo, "name", None) or getattr(of.undo, "__name__", of.undo))
