"""A tool's signature: binding, validation and the JSON schema that a model sees.

Arguments come in three sorts: *visible* ones, which are recorded, addressed and validated; *hidden* ones
(`hidden=("ctx",)`), which pass through as they are; and the *injected* idempotency key. pydantic is loaded when
the first schema or validation needs it, never at import.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, NamedTuple

from holdfast.errors import ArgumentsInvalid, UsageError


class _Injected(str):
    """The mark that a parameter is filled in by holdfast."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "holdfast.INJECTED"


INJECTED: Final[str] = _Injected()
"""Default of a tool's `idempotency_key: str` parameter: holdfast fills it in."""

_LOOKS = ("__annotations__", "__code__", "__defaults__", "__kwdefaults__")
_PLAIN = (str, int, float, bool, type(None), dict, list, Any, inspect.Parameter.empty)


class Arguments(NamedTuple):
    """One call's arguments, sorted."""

    visible: dict[str, Any]
    hidden: dict[str, Any]


def injected(signature: inspect.Signature) -> tuple[str, ...]:
    """Names of the parameters that holdfast fills in."""
    return tuple(name for name, parameter in signature.parameters.items() if parameter.default is INJECTED)


def hints(fn: Callable[..., Any], name: str) -> dict[str, Any]:
    """The function's annotations, resolved."""
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except NameError as missing:
        raise UsageError(
            f"The annotations of {name} name {missing.name!r}, which is not defined where it stands. "
            "Nothing was run. Import it outside `if TYPE_CHECKING:`, or drop the annotation."
        ) from missing


def returns(fn: Callable[..., Any], name: str) -> Any:
    """The return annotation, None when there is none. Cheap where nothing has to be resolved."""
    annotation = getattr(fn, "__annotations__", {}).get("return")
    return hints(fn, name).get("return") if isinstance(annotation, str) else annotation


class Signature:
    """What one function takes and gives."""

    def __init__(self, fn: Callable[..., Any], *, hidden: tuple[str, ...] = (), name: str = "") -> None:
        self._fn = fn
        self._name = name or getattr(fn, "__name__", "step")
        self._signature = inspect.signature(fn)
        unknown = [item for item in hidden if item not in self._signature.parameters]
        if unknown:
            raise UsageError(f"{self._name} has no parameter {unknown[0]!r} to hide. Check hidden={hidden!r}.")
        self.injected = injected(self._signature)
        self._left_out = frozenset(hidden) | frozenset(self.injected)

    @property
    def visible(self) -> tuple[str, ...]:
        """Names of the parameters that are recorded."""
        return tuple(name for name in self._signature.parameters if name not in self._left_out)

    @property
    def public(self) -> inspect.Signature:
        """The signature for everybody else: without what holdfast fills in."""
        shown = [p for name, p in self._signature.parameters.items() if name not in self.injected]
        return self._signature.replace(parameters=shown)

    def difference(self, other: Signature, hidden: tuple[str, ...]) -> str:
        """Why `other`, of which `hidden` are hidden, cannot be called with these arguments; empty when it can."""
        ours, theirs = self._taken(), other._taken()
        if ours.keys() != theirs.keys():
            return f"it takes ({', '.join(ours)}), the other takes ({', '.join(theirs)})"
        for name, annotation in ours.items():
            if inspect.Parameter.empty not in (annotation, theirs[name]) and annotation != theirs[name]:
                return f"its {name!r} is {annotation}, the other's is {theirs[name]}"
        wanted = [name for name in hidden if other._signature.parameters[name].default is inspect.Parameter.empty]
        missing = [name for name in wanted if name not in self._left_out]
        return f"the other needs the hidden parameter {missing[0]!r}" if missing else ""

    def _taken(self) -> dict[str, Any]:
        """The visible parameters and their annotations."""
        parameters = self._signature.parameters.items()
        return {
            name: self._hints.get(name, parameter.annotation)
            for name, parameter in parameters
            if name not in self._left_out
        }

    @property
    def looks(self) -> dict[str, Any]:
        """What makes an object look like this function to whoever inspects functions, such as agent frameworks.

        They ask for annotations, for defaults, and by the flags of its code whether a call has to be awaited.
        """
        found = {name: getattr(self._fn, name) for name in _LOOKS if hasattr(self._fn, name)}
        for name in ("__annotations__", "__kwdefaults__"):
            if found.get(name):
                found[name] = {key: value for key, value in found[name].items() if key not in self.injected}
        return found

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return hints(self._fn, self._name)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Sort the arguments of one call; TypeError as Python would raise it."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        visible: dict[str, Any] = {}
        hidden: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if name in self.injected:
                continue
            (hidden if name in self._left_out else visible)[name] = value
        return Arguments(visible, hidden)

    def call(self, arguments: Arguments, key: str) -> Callable[[], Any]:
        """The function with these arguments and this idempotency key, ready to call."""
        given = {**arguments.visible, **arguments.hidden, **dict.fromkeys(self.injected, key)}
        bound = inspect.BoundArguments(self._signature, given)
        fn, args, kwargs = self._fn, bound.args, bound.kwargs
        return lambda: fn(*args, **kwargs)

    @cached_property
    def _adapters(self) -> dict[str, Any]:
        """Validators of the visible parameters whose annotation is more than plain JSON."""
        wanted = {
            name: self._hints.get(name, parameter.annotation)
            for name, parameter in self._signature.parameters.items()
            if name not in self._left_out and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }
        return {name: _adapter(annotation) for name, annotation in wanted.items() if not _is_plain(annotation)}

    def decoded(self, visible: dict[str, Any]) -> dict[str, Any]:
        """Recorded arguments, typed again by their annotations."""
        adapters = self._adapters
        if not adapters:
            return visible
        try:
            return {
                name: adapters[name].validate_python(value) if name in adapters else value
                for name, value in visible.items()
            }
        except ValueError as wrong:
            raise UsageError(
                f"The arguments of {self._name} do not fit its annotations: {wrong}. It was not begun."
            ) from wrong

    def validated(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """What a model or a file gave, checked by the schema; `ArgumentsInvalid` says what does not fit."""
        import pydantic  # heavy; only models' and files' arguments need it

        model = self._model
        try:
            checked = model.model_validate(arguments)
        except pydantic.ValidationError as wrong:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in wrong.errors())
            raise ArgumentsInvalid(
                f"The arguments of {self._name} do not fit its schema: {problems}. It was not begun."
            ) from wrong
        return {name: getattr(checked, name) for name in model.model_fields if name in checked.model_fields_set}

    @cached_property
    def _model(self) -> Any:
        import pydantic  # heavy; see above

        fields: dict[str, Any] = {}
        for name, parameter in self._signature.parameters.items():
            if name in self._left_out or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            annotation = self._hints.get(name, Any)
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (annotation, default)
        return pydantic.create_model(self._name, __config__=pydantic.ConfigDict(extra="forbid"), **fields)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the visible parameters."""
        schema: dict[str, Any] = self._model.model_json_schema()
        schema.pop("title", None)
        for part in schema.get("properties", {}).values():
            part.pop("title", None)
        return schema


def _is_plain(annotation: Any) -> bool:
    return any(annotation is plain for plain in _PLAIN)


def _adapter(annotation: Any) -> Any:
    import pydantic  # heavy; see above

    return pydantic.TypeAdapter(annotation)
