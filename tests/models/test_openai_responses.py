"""What is read off the Responses API."""

import json
from typing import Any

import pytest

from holdfast.core.events import Effect
from holdfast.core.usage import Usage
from holdfast.models import openai_responses
from holdfast.models.bounds import CONTEXT_MAX, IMAGE_TOKENS, ROUNDS
from holdfast.models.call import Asked, Provider, Sse
from holdfast.models.openai_responses import answered, asked, ends, is_call, streamed, weigh, with_model

PATH = "/v1/responses"
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 30},
    "total_tokens": 150,
}


def request(**head: Any) -> Asked:
    """A request with this head, read."""
    return asked(head, PATH, 100)


def response(**members: Any) -> dict[str, Any]:
    """A response with these members."""
    return {"object": "response", "model": "gpt-x-1", "status": "completed", "error": None, "usage": USAGE} | members


def sse(*events: tuple[str, dict[str, Any]]) -> bytes:
    """These events as they come over the wire."""
    return b"".join(f"event: {name}\ndata: {json.dumps({'type': name} | body)}\n\n".encode() for name, body in events)


CREATED = ("response.created", {"response": response(status="in_progress", usage=None)})
TEXT = ("response.output_text.delta", {"delta": "hello"})


def test_it_is_a_provider() -> None:
    """The wire asks nothing else of it."""
    provider: Provider = openai_responses
    assert (provider.NAME, provider.STEP, provider.HISTORY) == ("openai", "responses", "input")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", PATH, True),
        ("POST", "/openai/v1/responses", True),
        ("POST", "/openai/deployments/d/responses", True),
        ("POST", "/gateway/openai/responses", True),
        ("POST", "/responses", True),
        ("POST", "/api/surveys/7/responses", False),
        ("GET", PATH, False),
        ("POST", "/v1/responses/resp_1/cancel", False),
        ("POST", "/v1/responses/input_tokens", False),
    ],
)
def test_a_model_call_is_known_by_its_path(method: str, path: str, expected: bool) -> None:
    """To fetch or to cancel one is no model call."""
    assert is_call(method, path, {}) is expected


def test_a_request_is_read() -> None:
    """Its bound, and where another model is named."""
    read = request(model="m", max_output_tokens=7, stream=True)
    assert (read.model, read.head_max, read.output_max, read.is_stream) == ("m", 100, 7, True)
    assert with_model({}, PATH, "b") == ({"model": "b"}, PATH)
    assert asked({}, "/openai/deployments/d/responses", 2).model == "d"


@pytest.mark.parametrize("name", ["conversation", "previous_response_id", "prompt"])
def test_what_the_provider_holds_may_fill_the_context(name: str) -> None:
    """A request of 100 bytes can go on with a conversation of a million tokens."""
    assert request(**{name: "x"}).head_max == 100 + CONTEXT_MAX


@pytest.mark.parametrize(
    ("head", "because"),
    [
        ({"tools": [{"type": "function", "name": "f"}]}, ""),
        ({"tools": [{"type": "web_search"}, {"type": "file_search"}, {"type": "image_generation"}]}, ""),
        ({"tools": [{"type": "local_shell"}, {"type": "apply_patch"}, {"type": "computer"}]}, ""),
        ({"tools": [{"type": "shell", "environment": {"type": "local"}}]}, ""),
        ({"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}, "the tool shell"),
        ({"tools": [{"type": "shell"}]}, "the tool shell"),
        ({"tools": [{"type": "mcp", "server_url": "https://x"}]}, "the tool mcp"),
        ({"tools": [{"type": "code_interpreter"}]}, "the tool code_interpreter"),
        ({"tools": [{"type": "new_thing"}]}, "the tool new_thing"),
        ({"tools": [{}]}, "without a type"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True}, "background"),
        ({"background": False}, ""),
    ],
)
def test_what_may_change_the_world_is_done_once(head: Any, because: str) -> None:
    """A repeated call would do it again; what only reads may be repeated."""
    read = request(**head)
    assert because in read.because
    assert (read.effect is Effect.ONCE) is bool(because)


def test_the_callers_own_tools_are_named() -> None:
    """Also those of a group; a tool that the provider describes has its type for a name."""
    group = {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "b"}]}
    tools = [{"type": "function", "name": "a"}, group, {"type": "local_shell"}, {"type": "web_search"}]
    assert request(tools=tools).tools == ("a", "b", "local_shell")


def test_searches_are_bounded_by_what_the_request_says() -> None:
    """They are billed one by one, and their results are read as input."""
    search = [{"type": "web_search"}]
    assert (request().searches_max, request().rounds) == (0, 1)
    assert (request(tools=search).searches_max, request(tools=search).rounds) == (None, ROUNDS)
    bounded = request(tools=search, max_tool_calls=2)
    assert (bounded.searches_max, bounded.rounds) == (2, 3)


@pytest.mark.parametrize(
    ("item", "bound"),
    [
        ("hello", 1_000),
        ({"role": "user", "content": "hello"}, 1_000),
        ({"content": [{"type": "input_image", "image_url": "data:" + "x" * 895}]}, 100 + IMAGE_TOKENS),
        ({"content": [{"type": "input_image", "file_id": "f"}]}, 1_000 + IMAGE_TOKENS),
        ({"content": [{"type": "input_file", "file_url": "https://x"}]}, 1_000 + CONTEXT_MAX),
        ({"type": "item_reference", "id": "i"}, 1_000 + CONTEXT_MAX),
        ({"type": "computer_call_output", "output": {"type": "computer_screenshot"}}, 1_000 + IMAGE_TOKENS),
    ],
)
def test_pictures_and_files_weigh_by_table(item: Any, bound: int) -> None:
    """Their bytes do not say what they cost."""
    assert weigh(item, 1_000) == bound


def test_a_response_is_read() -> None:
    """Cached tokens are within its input, reasoning within its output; a search is billed, an opened page is not."""
    searches = [{"type": "web_search_call", "action": {"type": kind}} for kind in ("search", "search", "open_page")]
    read = answered(200, json.dumps(response(output=[*searches, {"type": "message"}])).encode())
    assert (read.served, read.stop_reason) == ("gpt-x-1", "completed")
    assert read.usage == Usage(30, 50, 60, 10, 0, 30, 2)


def test_a_response_that_failed_or_stopped_early_says_so() -> None:
    """With HTTP 200; only its status tells."""
    failed = response(status="failed", error={"code": "rate_limit_exceeded", "message": "slow"}, usage=None)
    read = answered(200, json.dumps(failed).encode())
    assert (read.status, read.code, read.message) == (429, "rate_limit_exceeded", "slow")
    early = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert answered(200, json.dumps(early).encode()).stop_reason == "max_output_tokens"


# --- streams -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["response.completed", "response.incomplete"])
def test_a_stream_ends_with_the_whole_response(end: str) -> None:
    """All that is read is in its last event."""
    read = streamed(200, sse(CREATED, TEXT, (end, {"response": response()})))
    assert (read.is_complete, read.served, read.usage) == (True, "gpt-x-1", Usage(30, 50, 60, 10, 0, 30))


@pytest.mark.parametrize("raw", [sse(CREATED), sse(CREATED, TEXT), b"event: resp", b""])
def test_a_stream_that_broke_off_is_not_complete(raw: bytes) -> None:
    """Its reservation is charged."""
    read = streamed(200, raw)
    assert (read.is_object, read.is_complete, read.usage) == (True, False, None)


@pytest.mark.parametrize(
    "event",
    [
        ("error", {"code": "server_is_overloaded", "message": "busy"}),
        ("error", {"error": {"code": "server_is_overloaded", "message": "busy"}}),
        ("response.failed", {"response": {"error": {"code": "server_is_overloaded", "message": "busy"}}}),
    ],
)
def test_an_error_within_a_stream_has_the_status_of_its_code(event: Any) -> None:
    """It comes in three forms, each after HTTP 200."""
    read = streamed(200, sse(CREATED, event))
    assert (read.status, read.code, read.message, read.is_complete) == (503, "server_is_overloaded", "busy", True)


def test_another_thing_with_status_200_is_no_stream_of_this_api() -> None:
    """A proxy's page must not be recorded as an empty answer."""
    assert streamed(200, b"<html></html>").is_object is False
    assert streamed(200, b'data: {"choices":[]}\n\n').is_object is False


@pytest.mark.parametrize(
    ("name", "is_end"),
    [
        ("response.completed", True),
        ("response.failed", True),
        ("response.incomplete", True),
        ("error", True),
        ("response.output_item.done", False),
        ("response.output_text.done", False),
    ],
)
def test_the_last_event_is_known(name: str, is_end: bool) -> None:
    """With and without its `event:` line."""
    assert ends(Sse(name, b"{}")) is is_end
    assert ends(Sse("", json.dumps({"type": name}).encode())) is is_end
    assert not ends(Sse("", b""))
