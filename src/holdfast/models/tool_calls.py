"""Tool calls in the shapes of the providers: how tools are declared, and what a reply asks for.

Replies are read as they are: objects of any SDK, or plain dicts. Nothing here calls a tool.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from holdfast.errors import UsageError
from holdfast.models.for_model import ForModel
from holdfast.runtime.tool import Tool

Shape = Literal["anthropic", "openai", "openai-responses", "gemini"]
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""Names that every provider accepts."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that a model asks for."""

    shape: Shape
    id: str
    name: str
    arguments: Any
    """A dict, or the JSON text of one, as the provider gave it."""
    is_cut: bool = False
    """The reply ended before it, so nobody knows what the model meant."""

    def told(self, said: ForModel) -> dict[str, Any]:
        """What to send back."""
        match self.shape:
            case "anthropic":
                return said.anthropic(self.id)
            case "openai":
                return said.openai(self.id)
            case "openai-responses":
                return said.openai_responses(self.id)
            case "gemini":
                return said.gemini(self.name, self.id or None)


def schemas(tools: Mapping[str, Tool[..., Any]], shape: Shape) -> list[dict[str, Any]]:
    """The tools as a provider wants them declared: a list of its own, for the request's `tools`."""
    if shape not in get_args(Shape):
        raise UsageError(f"There is no shape {shape!r}. Say one of: {', '.join(get_args(Shape))}.")
    listed = [_schema(name, tool, shape) for name, tool in tools.items()]
    return [{"function_declarations": listed}] if shape == "gemini" and listed else listed


def _schema(name: str, tool: Tool[..., Any], shape: Shape) -> dict[str, Any]:
    described = {"name": name, "description": inspect.getdoc(tool.spec.fn) or ""}
    schema = copy.deepcopy(tool.schema)
    match shape:
        case "anthropic":
            return described | {"input_schema": schema}
        case "openai":
            return {"type": "function", "function": described | {"parameters": schema}}
        case "openai-responses":  # without `strict` the API would make optional parameters required
            return {"type": "function", "strict": False} | described | {"parameters": schema}
        case "gemini":
            return described | {"parameters_json_schema": schema}


def asked_in(reply: Any) -> list[ToolCall]:
    """The calls that this reply of a provider asks for, in its order; of several choices the first counts."""
    for read in (_anthropic, _openai, _openai_responses, _gemini):
        found = read(reply)
        if found is not None:
            return list(found)
    raise UsageError(
        f"{type(reply).__name__} is no reply of a model that is known: an Anthropic message, an OpenAI chat completion "
        "or response, a Gemini response. No tool was called. Use `await tools.use(name, arguments)` for each call."
    )


def _anthropic(reply: Any) -> Iterator[ToolCall] | None:
    content, role = _of(reply, "content"), _of(reply, "role")
    if not isinstance(content, (list, tuple)) or role != "assistant":
        return None
    last = content[-1] if _of(reply, "stop_reason") == "max_tokens" and content else None
    return (
        ToolCall("anthropic", _of(block, "id"), _of(block, "name"), _of(block, "input"), block is last)
        for block in content
        if _of(block, "type") == "tool_use"
    )


def _openai(reply: Any) -> Iterator[ToolCall] | None:
    choices = _of(reply, "choices")
    if not isinstance(choices, (list, tuple)):
        return None
    choice = choices[0] if choices else {}
    calls = _of(_of(choice, "message"), "tool_calls") or []
    is_cut = _of(choice, "finish_reason") == "length"
    return (_function(call, is_cut=is_cut and call is calls[-1]) for call in calls)


def _function(call: Any, *, is_cut: bool) -> ToolCall:
    function = _of(call, "function")
    if function is None:  # a custom tool, whose input is free text
        function = _of(call, "custom")
    arguments = _of(function, "arguments")
    return ToolCall("openai", _of(call, "id"), _of(function, "name"), arguments, is_cut)


def _openai_responses(reply: Any) -> Iterator[ToolCall] | None:
    output = _of(reply, "output")
    if not isinstance(output, (list, tuple)):
        return None
    return (
        ToolCall(
            "openai-responses",
            _of(item, "call_id"),
            _of(item, "name"),
            _of(item, "arguments"),
            _of(item, "status") == "incomplete",
        )
        for item in output
        if _of(item, "type") == "function_call"
    )


def _gemini(reply: Any) -> Iterator[ToolCall] | None:
    candidates = _of(reply, "candidates")
    if not isinstance(candidates, (list, tuple)):
        return None
    parts = _of(_of(candidates[0] if candidates else {}, "content"), "parts") or []
    calls = (_of(part, "function_call") or _of(part, "functionCall") for part in parts)
    return (
        ToolCall("gemini", _of(call, "id") or "", _of(call, "name"), _of(call, "args") or {}) for call in calls if call
    )


def _of(holder: Any, name: str) -> Any:
    """A member of an SDK's object or of a dict; None without one."""
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
