"""What each API refuses: a transcript that passes here and fails in production is the bug that this kit is for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from holdfast.testing.model_server import ModelServer, Request, text

HEADERS = {"authorization": "Bearer t", "anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def willing() -> Iterator[ModelServer]:
    """A server that says yes to whatever is valid."""
    with ModelServer(lambda request: text("yes")) as server:
        yield server


def post(
    server: ModelServer, path: str, body: Any, *, headers: dict[str, str] = HEADERS, method: str = "POST"
) -> tuple[int, Any]:
    """One raw request: status and parsed body."""
    with closing(HTTPConnection(urlsplit(server.url).netloc, timeout=20)) as connection:
        connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


# --- Messages: what is beside the transcript ---------------------------------------------------------------------

TOOL = {"name": "look", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tools": "look"}, "tools: Input should be a valid list"),
        ({"tools": [{"name": "look"}]}, "tools.0.input_schema: Field required"),
        ({"tools": [{**TOOL, "name": "a b"}]}, "tools.0.name: String should match"),
        ({"tools": [TOOL, TOOL]}, "Tool names must be unique; repeated: look"),
        ({"tool_choice": {"type": "auto"}}, "only be specified while providing tools"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice: Input should have a `type`"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice: Input should have a `type`"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "'x' not found in provided tools"),
    ],
)
def test_messages_refuse_tools_that_make_no_sense(willing: ModelServer, change: Any, words: str) -> None:
    """Lost: a request that no provider takes, found before production."""
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **change}
    status, told = post(willing, "/v1/messages", body)
    assert status == 400 and words in told["error"]["message"]


@pytest.mark.parametrize("choice", [{"type": kind, "name": "look"} for kind in ("auto", "any", "none", "tool")])
def test_messages_take_every_choice_of_tools(willing: ModelServer, choice: Any) -> None:
    """Lost: the ordinary cases, to rules that are too strict."""
    server_tool = {"type": "web_search_20250305", "name": "web_search"}
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    assert post(willing, "/v1/messages", {**body, "tools": [TOOL, server_tool], "tool_choice": choice})[0] == 200


# --- Chat --------------------------------------------------------------------------------------------------------


def user(content: Any) -> dict[str, Any]:
    """A user message of any API of OpenAI."""
    return {"role": "user", "content": content}


def asks(*ids: str) -> dict[str, Any]:
    """An assistant message that calls a tool once for each id."""
    calls = [{"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def gives(id: str) -> dict[str, Any]:
    """The answer of a tool."""
    return {"role": "tool", "tool_call_id": id, "content": "ok"}


FUNCTION = {"type": "function", "function": {"name": "look"}}
CHAT_WRONG: list[tuple[Any, str, str | None]] = [
    ({"model": None}, "must provide a model", "model"),
    ({"model": " "}, "must provide a model", "model"),
    ({"messages": None}, "Missing required parameter: 'messages'", "messages"),
    ({"messages": []}, "at least one message", "messages"),
    ({"messages": "Hi"}, "at least one message", "messages"),
    ({"messages": ["Hi"]}, "Invalid value: None", "messages[0].role"),
    ({"messages": [{"role": "model", "content": "Hi"}]}, "Invalid value: 'model'", "messages[0].role"),
    ({"messages": [user(None)]}, "'content': expected a string", "messages[0].content"),
    ({"messages": [user([])]}, "an array of content parts", "messages[0].content"),
    ({"messages": [user([{"type": "input_text", "text": "Hi"}])]}, "'input_text'", "messages[0].content[0].type"),
    ({"messages": [user([{"type": "text"}])]}, "content[0].text'", "messages[0].content[0].text"),
    (
        {"messages": [{"role": "system", "content": [{"type": "image_url"}]}]},
        "'image_url' does not belong in a message of role system",
        "messages[0].content[0].type",
    ),
    ({"messages": [{"role": "assistant", "content": None}]}, "'content'", "messages[0].content"),
    (
        {"messages": [user("Hi"), {**asks("a"), "role": "user", "content": "x"}]},
        "only allowed",
        "messages[1].tool_calls",
    ),
    ({"messages": [user("Hi"), asks()]}, "'content'", "messages[1].content"),
    ({"messages": [user("Hi"), {**asks(), "content": "x"}]}, "at least one call", "messages[1].tool_calls"),
    (
        {"messages": [user("Hi"), {"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]}]},
        "lacks id, type, name or arguments",
        "messages[1].tool_calls[0]",
    ),
    ({"messages": [user("Hi"), asks("a", "a"), gives("a")]}, "Duplicate", "messages[1].tool_calls"),
    ({"messages": [user("Hi"), asks("a", "b")]}, "had no response: a, b", "messages[1].tool_calls"),
    ({"messages": [user("Hi"), asks("a", "b"), gives("b")]}, "had no response: a", "messages[1].tool_calls"),
    ({"messages": [user("Hi"), asks("a"), user("?"), gives("a")]}, "had no response: a", "messages[1].tool_calls"),
    ({"messages": [gives("a")]}, "must be a response to a preceding message", "messages[0].role"),
    ({"messages": [user("Hi"), asks("a"), gives("a"), gives("a")]}, "must be a response", "messages[3].role"),
    ({"messages": [user("Hi"), asks("a"), gives("b")]}, "must be a response", "messages[2].role"),
    ({"messages": [user("Hi"), {"role": "tool", "content": "ok"}]}, "tool_call_id", "messages[1]"),
    ({"max_tokens": 0}, "'max_tokens'", "max_tokens"),
    ({"max_completion_tokens": "9"}, "'max_completion_tokens'", "max_completion_tokens"),
    ({"max_tokens": 9, "max_completion_tokens": 9}, "only one of", "max_tokens"),
    ({"n": 2}, "one choice", "n"),
    ({"temperature": 3}, "between 0 and 2", "temperature"),
    ({"top_p": "1"}, "between 0 and 1", "top_p"),
    ({"stream": "yes"}, "'stream'", "stream"),
    ({"stream_options": {"include_usage": True}}, "only allowed when 'stream'", "stream_options"),
    ({"stream": True, "stream_options": True}, "expected an object", "stream_options"),
    ({"tools": []}, "at least one tool", "tools"),
    ({"tools": [{"type": "web_search"}]}, "'web_search'", "tools[0].type"),
    ({"tools": [{"type": "function", "name": "look"}]}, "Missing required parameter", "tools[0].function"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "'a b'", "tools[0].function.name"),
    ({"tools": [FUNCTION, FUNCTION]}, "unique; repeated: look", "tools"),
    ({"parallel_tool_calls": False}, "only allowed when 'tools'", "parallel_tool_calls"),
    ({"tool_choice": "auto"}, "only allowed when 'tools'", "tool_choice"),
    ({"tools": [FUNCTION], "tool_choice": "any"}, "'any'", "tool_choice"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "tool"}}, "its type is one of", "tool_choice.type"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "function"}}, "'' not found", "tool_choice"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "'x' not", "tool_choice"),
]


@pytest.mark.parametrize(("change", "words", "param"), CHAT_WRONG)
def test_chat_refuses_what_openai_refuses(willing: ModelServer, change: Any, words: str, param: str | None) -> None:
    """Lost: the transcript after a crash in the middle of a tool call, found before production."""
    status, told = post(willing, "/v1/chat/completions", {"model": "m", "messages": [user("Hi")], **change})
    assert (status, told["error"]["type"], told["error"]["param"]) == (400, "invalid_request_error", param)
    assert words in told["error"]["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [user("Hi"), asks("a", "b"), gives("b"), gives("a"), user("And?")]},
        {"messages": [user("Hi"), asks("a"), gives("a"), asks("a"), gives("a")]},
        {"messages": [{"role": "developer", "content": "Be kind."}, user([{"type": "text", "text": "Hi"}])]},
        {"messages": [user([{"type": "image_url", "image_url": {"url": "data:"}}])]},
        {"messages": [user("Hi"), {"role": "assistant", "content": None, "refusal": "No."}]},
        {"messages": [user("Hi"), {"role": "assistant", "content": "", "tool_calls": None}]},
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "look"}}},
        {"tools": [FUNCTION], "tool_choice": "required", "parallel_tool_calls": False},
        {"max_completion_tokens": 1, "temperature": 0, "stream": None, "n": 1},
    ],
)
def test_chat_takes_what_openai_takes(willing: ModelServer, change: Any) -> None:
    """Lost: agents that are bent to rules which the real API does not have."""
    status, told = post(willing, "/v1/chat/completions", {"model": "m", "messages": [user("Hi")], **change})
    assert status == 200, told


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
def test_openai_needs_a_key_a_method_and_an_object(willing: ModelServer, path: str) -> None:
    """Lost: a client that forgot its key works in tests only."""
    assert post(willing, path, {}, headers={})[1]["error"]["code"] == "invalid_api_key"
    assert post(willing, path, {}, headers={"authorization": "Bearer "})[0] == 401
    assert post(willing, path, {}, method="GET")[0] == 405
    for body in (b"", b"{", b"[]", b'{"n": NaN}', b"\xff"):
        status, told = post(willing, path, body)
        assert (status, told["error"]["type"]) == (400, "invalid_request_error")
    status, told = post(willing, "/v1/models", {})
    assert (status, told["error"]["type"]) == (404, "not_found_error"), "in the form of whose header it has"
    status, told = post(willing, "/v1/models", {}, headers={"authorization": "Bearer t"})
    assert (status, told["error"]["type"]) == (404, "invalid_request_error")


# --- Responses ---------------------------------------------------------------------------------------------------


def call(id: str) -> dict[str, Any]:
    """The item of a call."""
    return {"type": "function_call", "call_id": id, "name": "look", "arguments": "{}"}


def output(id: str) -> dict[str, Any]:
    """The item that answers a call."""
    return {"type": "function_call_output", "call_id": id, "output": "ok"}


FLAT = {"type": "function", "name": "look", "parameters": {}}
RESPONSES_WRONG: list[tuple[Any, str, str | None]] = [
    ({"model": ""}, "must provide a model", "model"),
    ({"input": None}, "Missing required parameter: 'input'", "input"),
    ({"input": ""}, "at least one item", "input"),
    ({"input": []}, "at least one item", "input"),
    ({"input": {}}, "at least one item", "input"),
    ({"input": ["Hi"]}, "expected an item", "input[0]"),
    ({"input": [{"role": "tool", "content": "Hi"}]}, "'tool'", "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content", "input[0].content"),
    (
        {"input": [user([{"type": "text", "text": "Hi"}])]},
        "'text' in a message of role user",
        "input[0].content[0].type",
    ),
    ({"input": [user([{"type": "output_text", "text": "Hi"}])]}, "'output_text'", "input[0].content[0].type"),
    ({"input": [user([{"type": "input_text"}])]}, "content[0].text", "input[0].content[0].text"),
    ({"input": [user("Hi"), call("a")]}, "No tool output found for function call a", "input"),
    ({"input": [user("Hi"), call("a"), call("b"), output("b")]}, "No tool output found for function call a", "input"),
    ({"input": [output("a")]}, "No tool call found for function call output with call_id a", "input"),
    ({"input": [user("Hi"), output("a"), call("a")]}, "No tool call found", "input"),
    ({"input": [call("a"), output("a"), output("a")]}, "Duplicate call_id in 'input': a", "input"),
    ({"input": [call("a"), call("a"), output("a")]}, "Duplicate call_id in 'input': a", "input"),
    ({"input": [{**call("a"), "arguments": {}}, output("a")]}, "input[0].arguments", "input[0].arguments"),
    ({"input": [call("a"), {**output("a"), "output": None}]}, "input[1].output", "input[1].output"),
    ({"input": [{"type": "item_reference"}]}, "input[0].id", "input[0].id"),
    ({"previous_response_id": "resp_1", "input": [call("a")]}, "No tool output found", "input"),
    ({"previous_response_id": "resp_1", "conversation": "conv_1"}, "only one of", "previous_response_id"),
    ({"max_output_tokens": 15}, "at least 16", "max_output_tokens"),
    ({"instructions": []}, "'instructions'", "instructions"),
    ({"tools": {}}, "expected an array", "tools"),
    ({"tools": [{}]}, "tools[0].type", "tools[0].type"),
    ({"tools": [FUNCTION]}, "Invalid 'tools[0].name'", "tools[0].name"),
    ({"tools": [FLAT, FLAT]}, "unique; repeated: look", "tools"),
    ({"tool_choice": "required"}, "only allowed when 'tools'", "tool_choice"),
    ({"tools": [FLAT], "tool_choice": "any"}, "'any'", "tool_choice"),
    ({"tools": [FLAT], "tool_choice": {"type": "function", "name": "x"}}, "'x' not found", "tool_choice"),
    ({"tools": [FLAT], "tool_choice": {"type": "web_search"}}, "its type is one of", "tool_choice.type"),
    ({"stream_options": {}}, "only allowed when 'stream'", "stream_options"),
]


@pytest.mark.parametrize(("change", "words", "param"), RESPONSES_WRONG)
def test_responses_refuse_what_openai_refuses(willing: ModelServer, change: Any, words: str, param: str) -> None:
    """Lost: the transcript after a crash in the middle of a tool call, found before production."""
    status, told = post(willing, "/v1/responses", {"model": "m", "input": "Hi", **change})
    assert (status, told["error"]["type"], told["error"]["param"]) == (400, "invalid_request_error", param)
    assert words in told["error"]["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"input": [user("Hi"), call("a"), call("b"), output("b"), output("a")]},
        {"input": [user("Hi"), call("a"), {**output("a"), "output": [{"type": "input_text", "text": "ok"}]}]},
        {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}, {"type": "message", **user("Hi")}]},
        {"input": [output("a")], "previous_response_id": "resp_1"},
        {"input": [output("a")], "conversation": "conv_1"},
        {"tools": [FLAT, {"type": "web_search"}], "tool_choice": {"type": "web_search"}},
        {"tools": [FLAT], "tool_choice": {"type": "function", "name": "look"}},
        {"max_output_tokens": 16, "instructions": "Be kind.", "temperature": None, "store": False},
    ],
)
def test_responses_take_what_openai_takes(willing: ModelServer, change: Any) -> None:
    """Lost: agents that are bent to rules which the real API does not have."""
    status, told = post(willing, "/v1/responses", {"model": "m", "input": "Hi", **change})
    assert status == 200, told


# --- Embeddings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [["a"]]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
    ],
)
def test_embeddings_refuse_what_openai_refuses(willing: ModelServer, change: Any, param: str) -> None:
    """Lost: an empty text that a memory wants to find again, found before production."""
    status, told = post(willing, "/v1/embeddings", {"model": "m", "input": "a", **change})
    assert (status, told["error"]["param"]) == (400, param)


@pytest.mark.parametrize(("given", "count"), [("a", 1), (["a", "b"], 2), ([1, 2], 1), ([[1, 2], [3]], 2)])
def test_embeddings_take_texts_and_tokens(willing: ModelServer, given: Any, count: int) -> None:
    """Lost: one of the four forms of an input."""
    status, told = post(willing, "/v1/embeddings", {"model": "m", "input": given, "dimensions": 3})
    assert status == 200 and [len(each["embedding"]) for each in told["data"]] == [3] * count


# --- Gemini ------------------------------------------------------------------------------------------------------

GEMINI = "/v1beta/models/m:generateContent"
HI: Any = {"role": "user", "parts": [{"text": "Hi"}]}


def wants(*names: str) -> dict[str, Any]:
    """Content of the model that calls tools."""
    return {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}}} for name in names]}


def answers(*names: str) -> dict[str, Any]:
    """Content that answers calls."""
    return {"role": "user", "parts": [{"functionResponse": {"name": name, "response": {}}} for name in names]}


DECLARED = {"tools": [{"functionDeclarations": [{"name": "look"}]}]}


def config(**options: Any) -> dict[str, Any]:
    """How functions may be called."""
    return {"toolConfig": {"functionCallingConfig": options}}


GEMINI_WRONG: list[tuple[Any, str]] = [
    ({"contents": None}, "contents is not specified"),
    ({"contents": []}, "contents is not specified"),
    ({"contents": "Hi"}, "expected a list"),
    ({"messages": []}, 'Unknown name "messages"'),
    ({"contents": ["Hi"]}, "valid role"),
    ({"contents": [{"role": "assistant", "parts": [{"text": "Hi"}]}]}, "valid role"),
    ({"contents": [{"role": "user"}]}, "parts: must not be empty"),
    ({"contents": [{"role": "user", "parts": []}]}, "parts: must not be empty"),
    ({"contents": [{"parts": ["Hi"]}]}, "must have one initialized field"),
    ({"contents": [{"parts": [{}]}]}, "must have one initialized field"),
    ({"contents": [{"parts": [{"text": "a", "inlineData": {}}]}]}, "must have one initialized field"),
    ({"contents": [{"parts": [{"text": 1}]}]}, "text: is malformed"),
    ({"contents": [{"parts": wants("look")["parts"]}]}, "function_call: is malformed, or does not belong"),
    ({"contents": [HI, wants("look"), {"role": "model", "parts": answers("look")["parts"]}]}, "does not belong"),
    ({"contents": [HI, wants("look")]}, "last content has the role user"),
    ({"contents": [HI, wants("look"), HI]}, "number of function response parts must be equal"),
    ({"contents": [HI, wants("look", "look"), answers("look")]}, "1 for 2"),
    ({"contents": [HI, wants("look"), answers("look", "look")]}, "2 for 1"),
    ({"contents": [HI, wants("look", "mail"), answers("look", "look")]}, "must be those of the calls: look, mail"),
    ({"contents": [answers("look")]}, "right after a function call turn"),
    ({"contents": [HI, wants("look"), answers("look"), answers("look")]}, "right after a function call turn"),
    ({"contents": [wants("look"), answers("look")]}, "right after a user"),
    ({"contents": [HI, {"role": "model", "parts": [{"text": "a"}]}, wants("look"), answers("look")]}, "after a user"),
    ({"systemInstruction": "Be kind."}, "system_instruction"),
    ({"tools": "look"}, "expected a list of tools"),
    ({"tools": [{"functionDeclarations": [{"name": "1a"}]}]}, "must begin with a letter"),
    ({"tools": [{"functionDeclarations": [{"name": "a"}, {"name": "a"}]}]}, "Duplicate function declaration found: a"),
    ({**DECLARED, **config(mode="REQUIRED")}, "'REQUIRED'"),
    (config(mode="ANY"), "needs function declarations"),
    ({**DECLARED, **config(allowedFunctionNames=["look"])}, "only be set when"),
    ({**DECLARED, **config(mode="ANY", allowedFunctionNames=["x"])}, "not declared: x"),
]


@pytest.mark.parametrize(("change", "words"), GEMINI_WRONG)
def test_gemini_refuses_what_google_refuses(willing: ModelServer, change: Any, words: str) -> None:
    """Lost: the transcript after a crash in the middle of a tool call, found before production."""
    status, told = post(willing, f"{GEMINI}?key=k", {"contents": [HI], **change})
    assert (status, told["error"]["code"], told["error"]["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in told["error"]["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"contents": HI},
        {"contents": [HI, wants("look", "mail"), answers("mail", "look")]},
        {"contents": [HI, wants("look"), {**answers("look"), "role": "function"}, HI]},
        {"contents": [HI, {"role": "model", "parts": [{"text": "", "thoughtSignature": "x"}]}, HI]},
        {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}]},
        {"system_instruction": {"parts": [{"text": "Be kind."}]}, "generation_config": {"max_output_tokens": 9}},
        {**DECLARED, **config(mode="ANY", allowedFunctionNames=["look"])},
        {"tools": [{"googleSearch": {}}]},
    ],
)
def test_gemini_takes_what_google_takes(willing: ModelServer, change: Any) -> None:
    """Lost: agents that are bent to rules which the real API does not have."""
    status, told = post(willing, f"{GEMINI}?key=k", {"contents": [HI], **change})
    assert status == 200, told


def test_gemini_needs_a_key_and_an_object(willing: ModelServer) -> None:
    """Lost: a client that forgot its key works in tests only."""
    assert post(willing, GEMINI, {"contents": [HI]}, headers={})[1]["error"]["status"] == "PERMISSION_DENIED"
    for headers in ({"x-goog-api-key": "k"}, {"authorization": "Bearer t"}):
        assert post(willing, GEMINI, {"contents": [HI]}, headers=headers)[0] == 200
    vertex = "/v1/projects/p/locations/l/publishers/google/models/m:generateContent"
    assert post(willing, vertex, {"contents": [HI]})[0] == 200
    assert post(willing, GEMINI, {}, method="GET")[0] == 404
    for body in (b"", b"[]"):
        assert post(willing, f"{GEMINI}?key=k", body)[0] == 400


# --- the view that all APIs share --------------------------------------------------------------------------------


def test_every_api_shows_a_policy_the_same_transcript() -> None:
    """Lost: that one policy is enough for all providers."""
    seen: list[Request] = []

    def policy(request: Request) -> Any:
        seen.append(request)
        return text("ok")

    arguments = {"order": 7}
    as_text = json.dumps(arguments)
    said = "I look."
    with ModelServer(policy) as server:
        claude_call = {"type": "tool_use", "id": "a", "name": "look", "input": arguments}
        claude_result = {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "ok"}]}
        messages = [
            user("Hi"),
            {"role": "assistant", "content": [{"type": "text", "text": said}, claude_call]},
            user([claude_result]),
        ]
        body: Any = {"model": "m", "max_tokens": 99, "system": "s", "tools": [TOOL]}
        assert post(server, "/v1/messages", {**body, "messages": messages})[0] == 200
        chat_call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": as_text}}
        messages = [
            {"role": "system", "content": "s"},
            user([{"type": "text", "text": "Hi"}]),
            {"role": "assistant", "content": said, "tool_calls": [chat_call]},
            gives("a"),
        ]
        body = {"model": "m", "max_completion_tokens": 99, "tools": [FUNCTION]}
        assert post(server, "/v1/chat/completions", {**body, "messages": messages})[0] == 200
        items = [
            user([{"type": "input_text", "text": "Hi"}]),
            {"role": "assistant", "content": [{"type": "output_text", "text": said}]},
            {**call("a"), "arguments": as_text},
            output("a"),
        ]
        body = {"model": "m", "max_output_tokens": 99, "tools": [FLAT], "instructions": "s"}
        assert post(server, "/v1/responses", {**body, "input": items})[0] == 200
        response = {"functionResponse": {"id": "a", "name": "look", "response": {"output": "ok"}}}
        contents = [
            HI,
            {
                "role": "model",
                "parts": [{"text": said}, {"functionCall": {"id": "a", "name": "look", "args": arguments}}],
            },
            {"role": "user", "parts": [response]},
        ]
        body = {
            "systemInstruction": {"parts": [{"text": "s"}]},
            "generationConfig": {"maxOutputTokens": 99},
            **DECLARED,
        }
        assert post(server, f"{GEMINI}?key=k", {**body, "contents": contents})[0] == 200
    assert [request.api for request in seen] == ["messages", "chat", "responses", "gemini"]
    first = seen[0]
    for request in seen:
        assert (request.model, request.system, request.max_tokens, request.stream) == ("m", "s", 99, False)
        assert request.parts == first.parts and request.tool_names == ("look",) and request.last_text == "Hi"
        assert [(each.name, each.arguments) for each in request.tool_calls] == [("look", arguments)]
        assert [(each.name, each.text, each.is_error) for each in request.tool_results] == [("look", "ok", False)]


def test_tool_errors_are_seen_where_the_api_has_them() -> None:
    """Lost: a policy that answers a failed tool otherwise than a tool that worked."""
    seen: list[bool] = []

    def policy(request: Request) -> Any:
        seen.append(request.tool_results[-1].is_error)
        return text("ok")

    with ModelServer(policy) as server:
        failed = {"type": "tool_result", "tool_use_id": "a", "content": "no", "is_error": True}
        messages = [
            user("Hi"),
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "look", "input": {}}]},
            user([failed]),
        ]
        post(server, "/v1/messages", {"model": "m", "max_tokens": 9, "messages": messages})
        response = {"functionResponse": {"name": "look", "response": {"error": "no"}}}
        contents = [HI, wants("look"), {"role": "user", "parts": [response]}]
        post(server, f"{GEMINI}?key=k", {"contents": contents})
    assert seen == [True, True]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": [user("Hi")], "stream": True}),
        ("/v1/chat/completions", {"model": "m", "messages": [user("Hi")], "stream": True}),
        ("/v1/responses", {"model": "m", "input": "Hi", "stream": True}),
        ("/v1/embeddings", {"model": "m", "input": "Hi"}),
        ("/v1beta/models/m:streamGenerateContent?alt=sse", {"contents": [HI]}),
    ],
)
def test_the_same_requests_get_the_same_bytes(path: str, body: Any) -> None:
    """Lost: a run that can be compared with itself after a crash."""

    def conversation() -> list[bytes]:
        told = []
        with ModelServer(lambda request: text("The same.")) as server:
            for _ in range(2):
                with closing(HTTPConnection(urlsplit(server.url).netloc, timeout=20)) as connection:
                    connection.request("POST", path, json.dumps(body), HEADERS)
                    told.append(connection.getresponse().read())
            assert server.repeated() == 1
        return told

    once = conversation()
    assert once == conversation()
    assert once[0] != once[1] or "embeddings" in path, "each answer has an id of its own"
