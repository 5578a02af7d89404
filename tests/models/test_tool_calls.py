"""The shapes of the providers: declarations and replies. Each test says what would be lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import holdfast as hf
from holdfast.models.tool_calls import ToolCall, asked_in


@hf.tool(effect="once", hidden=("trace",))
async def refund(order: str, cents: int = 0, trace: Any = None, *, idempotency_key: str = hf.INJECTED) -> str:
    """Refund an order.

    Only once.
    """
    return f"{order} {cents}"


SCHEMA = {
    "type": "object",
    "properties": {"order": {"type": "string"}, "cents": {"type": "integer", "default": 0}},
    "required": ["order"],
    "additionalProperties": False,
}
TEXT = "Refund an order.\n\nOnly once."


def test_a_tool_is_declared_as_each_provider_wants_it() -> None:
    """Lost: a model that does not know the tool, or that is asked for the idempotency key."""
    tools = hf.Toolset(refund)
    function = {"name": "refund", "description": TEXT, "parameters": SCHEMA}
    assert tools.schemas("anthropic") == [{"name": "refund", "description": TEXT, "input_schema": SCHEMA}]
    assert tools.schemas("openai") == [{"type": "function", "function": function}]
    assert tools.schemas("openai-responses") == [{"type": "function", "strict": False, **function}]
    assert tools.schemas("gemini") == [
        {"function_declarations": [{"name": "refund", "description": TEXT, "parameters_json_schema": SCHEMA}]}
    ]
    assert hf.Toolset().schemas("gemini") == []
    with pytest.raises(hf.UsageError, match="openai-responses"):
        tools.schemas("bard")  # type: ignore[arg-type]


def test_a_declaration_belongs_to_who_asked_for_it() -> None:
    """Lost: an SDK that adds a mark to the list (a cache breakpoint) would change every later request."""
    tools = hf.Toolset(refund)
    tools.schemas("anthropic")[0]["input_schema"]["properties"].clear()
    assert tools.schemas("anthropic")[0]["input_schema"] == SCHEMA == refund.schema


def objects(value: Any) -> Any:
    """The same as an SDK gives it."""
    if isinstance(value, dict):
        return SimpleNamespace(
            **{key: item if key in ("input", "args") else objects(item) for key, item in value.items()}
        )
    return [objects(item) for item in value] if isinstance(value, list) else value


def anthropic(stop: str = "tool_use") -> dict[str, Any]:
    """A message."""
    return {
        "role": "assistant",
        "stop_reason": stop,
        "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "find", "input": {"a": 1}},
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
            {"type": "tool_use", "id": "t2", "name": "find", "input": {}},
        ],
    }


def chat(finish: str = "tool_calls") -> dict[str, Any]:
    """A completion."""
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"a": 1}'}}
    cut = {"id": "c2", "type": "function", "function": {"name": "find", "arguments": '{"a"'}}
    return {"choices": [{"finish_reason": finish, "message": {"tool_calls": [call, cut]}}]}


RESPONSE = {
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "find", "arguments": '{"a": 1}', "status": "completed"},
        {"type": "function_call", "call_id": "c2", "name": "find", "arguments": '{"a"', "status": "incomplete"},
    ]
}
PARTS = [{"text": "hm", "function_call": None}, {"function_call": {"name": "find", "args": {"a": 1}}}]
GEMINI = {"candidates": [{"content": {"parts": PARTS}}]}


@pytest.mark.parametrize("form", [lambda reply: reply, objects], ids=["dicts", "objects"])
def test_the_calls_of_a_reply_are_found_in_every_shape(form: Any) -> None:
    """Lost: a tool call that nobody makes, and a provider that refuses the next request for it."""
    assert asked_in(form(anthropic())) == [
        ToolCall("anthropic", "t1", "find", {"a": 1}),
        ToolCall("anthropic", "t2", "find", {}),
    ]
    assert asked_in(form(chat()))[0] == ToolCall("openai", "c1", "find", '{"a": 1}')
    assert asked_in(form(RESPONSE)) == [
        ToolCall("openai-responses", "c1", "find", '{"a": 1}'),
        ToolCall("openai-responses", "c2", "find", '{"a"', is_cut=True),
    ]
    assert asked_in(form(GEMINI)) == [ToolCall("gemini", "", "find", {"a": 1})]


def test_the_last_call_of_a_reply_that_hit_its_limit_is_cut() -> None:
    """Lost: a refund with the arguments that were complete by then, instead of those that the model meant."""
    assert [call.is_cut for call in asked_in(anthropic("max_tokens"))] == [False, True]
    assert [call.is_cut for call in asked_in(chat("length"))] == [False, True]
    ended = anthropic("max_tokens") | {"content": [*anthropic()["content"], {"type": "text", "text": "and"}]}
    assert [call.is_cut for call in asked_in(ended)] == [False, False]


@pytest.mark.parametrize(
    "reply",
    [
        {"role": "assistant", "content": []},
        {"choices": []},
        {"choices": [{"message": {"content": "done", "tool_calls": None}}]},
        {"output": []},
        {"candidates": []},
        {"candidates": [{"content": None}]},
    ],
)
def test_a_reply_without_calls_asks_for_nothing(reply: Any) -> None:
    """Lost: an agent that fails at its last turn."""
    assert asked_in(reply) == []


@pytest.mark.parametrize("reply", [None, "text", {}, 17, {"content": "text"}])
def test_what_is_no_reply_is_refused(reply: Any) -> None:
    """Lost: an agent that ends in silence, since no call was found in something else."""
    with pytest.raises(hf.UsageError, match=r"tools\.use"):
        asked_in(reply)
