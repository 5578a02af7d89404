"""Forms as an agent declares them: a JSON schema, or a class whose fields are the fields of the form.

A class is asked for its schema by pydantic, which is loaded only then; what pydantic writes of simple fields is put
into the flat words that `core.form` knows, and whatever is not simple is refused there. A value that was recorded is
made an instance anew each time it is read: the first time, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.core.form import checked, wrong
from holdfast.errors import UsageError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class Declared(NamedTuple):
    """A form, and what its values become."""

    schema: dict[str, Any]
    adapter: TypeAdapter[Any] | None = None
    """None: the agent gets the values as they are."""

    def value(self, values: Any) -> Any:
        """What the agent gets of these values; raises `ValueError` when its class does not take them."""
        return values if self.adapter is None else self.adapter.validate_python(values)

    def plain(self, default: Any) -> Any:
        """What is recorded of a default: the fields and their values. `UsageError` when it is no answer itself."""
        try:
            plain = self._dumped(default)
            unfit = wrong(self.schema, plain)
        except ValueError as error:
            plain, unfit = default, str(error)
        if unfit:
            raise UsageError(f"The default of this form is no answer to it. {unfit} Nothing was asked.")
        return plain

    def _dumped(self, default: Any) -> Any:
        if self.adapter is None:
            return default
        found = self.adapter.dump_python(self.value(default), mode="json", by_alias=True)
        return {name: value for name, value in found.items() if value is not None}


def declared(form: Any) -> Declared:
    """The form that this JSON schema or class declares; `UsageError` says why it is none."""
    if isinstance(form, Mapping):
        return Declared(checked(form))
    if not isinstance(form, type):
        raise UsageError(
            f"form={form!r} is no form. Nothing was asked. "
            "Give a JSON schema, or a dataclass, TypedDict or pydantic model."
        )
    adapter = _adapter(form)
    return Declared(checked(_flat(adapter.json_schema(by_alias=True))), adapter)


def _adapter(form: type) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # lazy: `import holdfast` must not load it
    from pydantic.errors import PydanticUserError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(form)
        adapter.json_schema()
    except PydanticUserError as error:
        raise UsageError(f"form={form.__name__} has no schema: {error.message} Nothing was asked.") from error
    return adapter


def _flat(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What pydantic says of a class, without references, and of its fields without what a form need not say."""
    named = schema.get("$defs", {})
    fields = schema.get("properties", {})
    found = {key: value for key, value in schema.items() if key not in ("$defs", "properties", "additionalProperties")}
    return found | {"properties": {name: _field(field, named) for name, field in fields.items()}}


def _field(field: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    ways = [way for way in field.get("anyOf", ()) if way.get("type") != "null"]
    inner = ways[0] if len(ways) == 1 else field.get("allOf", [{}])[0]
    found = {key: value for key, value in field.items() if not (key == "anyOf" and len(ways) == 1)}
    found |= {key: value for key, value in inner.items() if key not in found}
    reference = found.pop("$ref", "").removeprefix("#/$defs/")
    found |= {key: value for key, value in named.get(reference, {}).items() if key not in found}
    if "const" in found:
        found["enum"] = [found.pop("const")]
    return {key: value for key, value in found.items() if value is not None}
