"""What is read off requests and responses of the Messages API, and what is not believed."""

import json
from typing import Any

import pytest

from holdfast.core.events import Effect
from holdfast.core.usage import Usage
from holdfast.models import anthropic
from holdfast.models.anthropic import TOOL_PROMPT_TOKENS, answered, asked, ends, is_call, streamed, weigh, with_model
from holdfast.models.bounds import CLAUDE_IMAGE_TOKENS, CONTEXT_MAX, ROUNDS
from holdfast.models.call import Asked, Provider, Sse

VERSION = {"anthropic-version": "2023-06-01"}
PATH = "/v1/messages"
SEARCH = {"type": "web_search_20260318", "name": "web_search"}


def request(**head: Any) -> Asked:
    """A request with this head, read."""
    return asked(head, PATH, len(json.dumps(head)))


def usage(**counts: Any) -> Usage | None:
    """The usage of a message with these counts."""
    return answered(200, json.dumps({"usage": counts}).encode()).usage


def sse(*events: tuple[str, dict[str, Any]]) -> bytes:
    """These events as they come over the wire."""
    return b"".join(f"event: {name}\ndata: {json.dumps({'type': name} | body)}\n\n".encode() for name, body in events)


START = ("message_start", {"message": {"model": "m-1", "usage": {"input_tokens": 10, "output_tokens": 1}}})
TEXT = ("content_block_delta", {"delta": {"type": "text_delta", "text": "hello"}})
DELTA = ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}})
STOP = ("message_stop", {})


def test_it_is_a_provider() -> None:
    """The next provider is written against the protocol."""
    provider: Provider = anthropic
    assert (provider.NAME, provider.STEP, provider.HISTORY) == ("anthropic", "messages", "messages")


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("POST", "/v1/messages", VERSION, True),
        ("POST", "/gateway/team/v1/messages", VERSION, True),
        ("POST", "/v1/messages", {}, False),
        ("GET", "/v1/messages", VERSION, False),
        ("POST", "/v1/messages/count_tokens", VERSION, False),
        ("POST", "/v1/messages/batches", VERSION, False),
        ("POST", "/model/us.anthropic.claude-sonnet-5-v1:0/invoke", {}, True),
        ("POST", "/model/arn:aws:bedrock:eu-west-1:1:application-inference-profile/x/invoke", VERSION, True),
        ("POST", "/model/amazon.titan/invoke", {}, False),
        ("POST", "/model/anthropic.claude-sonnet-5/invoke-with-response-stream", VERSION, False),
        ("POST", "/v1/projects/p/locations/eu/publishers/anthropic/models/claude-x:rawPredict", {}, True),
        ("POST", "/v1/projects/p/locations/eu/publishers/anthropic/models/claude-x:streamRawPredict", {}, True),
        ("POST", "/v1/projects/p/locations/eu/publishers/anthropic/models/count-tokens:rawPredict", VERSION, False),
    ],
)
def test_a_model_call_is_known_by_its_path(method: str, path: str, headers: Any, expected: bool) -> None:
    """Any host counts, so that gateways and test servers do; a request of somebody else's does not."""
    assert is_call(method, path, headers) is expected


@pytest.mark.parametrize(
    ("path", "model", "other"),
    [
        (
            "/model/eu.anthropic.claude-x-v1:0/invoke",
            "eu.anthropic.claude-x-v1:0",
            "/model/anthropic.claude-y:0/invoke",
        ),
        (
            "/v1/p/publishers/anthropic/models/claude-x@1:rawPredict",
            "claude-x@1",
            "/v1/p/publishers/anthropic/models/anthropic.claude-y:0:rawPredict",
        ),
    ],
)
def test_bedrock_and_vertex_name_the_model_in_the_path(path: str, model: str, other: str) -> None:
    """Without it there is no price, and no way to ask another model."""
    assert asked({}, path, 2).model == model
    assert with_model({}, path, "anthropic.claude-y:0") == ({}, other)


def test_another_model_is_asked_in_the_body() -> None:
    """A fallback model answers the same conversation."""
    assert with_model({"model": "a"}, PATH, "b") == ({"model": "b"}, PATH)


def test_a_request_costs_at_most_a_token_a_byte_and_its_max_tokens() -> None:
    """P7: what is reserved has to cover what can be billed."""
    read = asked({"model": "m", "max_tokens": 100}, PATH, 1_234)
    assert (read.model, read.head_max, read.output_max, read.rounds) == ("m", 1_234, 100, 1)
    assert weigh({"role": "user", "content": "é" * 50}, 140) == 140


def test_a_providers_own_prompts_for_tools_are_covered() -> None:
    """A tool of the provider's is named in 40 bytes and described to the model in hundreds of tokens."""
    given: list[dict[str, Any]] = [
        {"model": "m"},
        {"model": "m", "tools": [{"name": "a", "input_schema": {}}]},
        {"model": "m", "tools": [{"type": "computer_20250124", "name": "computer"}]},
    ]
    extra = [request(**head).head_max - len(json.dumps(head)) for head in given]
    assert extra == [0, TOOL_PROMPT_TOKENS, 2 * TOOL_PROMPT_TOKENS]


@pytest.mark.parametrize(
    ("block", "bound"),
    [
        ({"type": "text", "text": "x"}, 1_000),
        ({"type": "image", "source": {"type": "base64", "data": "x" * 900}}, 100 + CLAUDE_IMAGE_TOKENS),
        ({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}, 1_000 + CLAUDE_IMAGE_TOKENS),
        ({"type": "document", "source": {"type": "base64", "data": "x" * 900}}, 100 + CONTEXT_MAX),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, 1_000 + CONTEXT_MAX),
        ({"type": "document", "source": {"type": "text", "data": "x" * 900}}, 1_000),
        ({"type": "tool_result", "content": [{"type": "image", "source": {"data": "x"}}]}, 999 + CLAUDE_IMAGE_TOKENS),
        ({"type": "tool_use", "input": {"type": "image", "source": {"type": "base64", "data": "x" * 900}}}, 1_000),
    ],
)
def test_pictures_and_documents_weigh_by_table(block: Any, bound: int) -> None:
    """A tiny file can be a large picture, and a large one costs no more than the documented most. What only looks like
    a picture, in the arguments of a tool, is text."""
    assert weigh({"role": "user", "content": [block]}, 1_000) == bound


@pytest.mark.parametrize("value", [None, "16", -1, True, 1.5, 10**12])
def test_a_max_tokens_that_makes_no_sense_bounds_nothing(value: Any) -> None:
    """The model's own maximum is reserved; the API answers 400, we are not the one to refuse."""
    assert request(model="m", max_tokens=value).output_max is None


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b'"x"', b"[" * 100_000, b"<html>"])
def test_what_is_no_json_object_is_no_answer(raw: bytes) -> None:
    """Reading must never raise inside somebody's HTTP client."""
    assert answered(200, raw).is_object is False


def test_an_hours_cache_is_seen() -> None:
    """It costs more; but not where somebody only writes of it."""
    long = {"type": "ephemeral", "ttl": "1h"}
    assert request(system=[{"cache_control": long}]).keeps_long
    assert request(tools=[{"name": "a", "cache_control": long}]).keeps_long
    assert request(cache_control=long).keeps_long
    assert not request(system='he said "1h"', cache_control={"type": "ephemeral"}).keeps_long


def test_speed_and_region_are_seen() -> None:
    """Both cost more."""
    assert [request(**head).tier for head in ({}, {"speed": "fast"}, {"speed": "fast", "inference_geo": "us"})] == [
        "",
        "fast",
        "fast us",
    ]
    assert usage(input_tokens=1, output_tokens=1, inference_geo="us") == Usage(1, 1, tier="us")
    assert usage(input_tokens=1, output_tokens=1, inference_geo="not_available", speed="standard") == Usage(1, 1)


def test_a_stream_is_seen() -> None:
    """It is passed on while it comes."""
    assert request(stream=True).is_stream
    assert not request(stream=False).is_stream
    assert asked({}, "/publishers/anthropic/models/m:streamRawPredict", 2).is_stream


@pytest.mark.parametrize(
    ("head", "because"),
    [
        ({"tools": [{"name": "mine", "input_schema": {}}, SEARCH]}, ""),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, ""),
        ({"tools": [{"type": "code_execution_20260120", "name": "c"}]}, "the tool code_execution_20260120"),
        ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "s"}]}, "the tool mcp_toolset"),
        ({"tools": [{"type": "new_thing_2030", "name": "n"}]}, "the tool new_thing_2030"),
        ({"mcp_servers": [{"url": "https://x"}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
    ],
)
def test_tools_that_the_provider_runs_may_have_effects(head: Any, because: str) -> None:
    """A call that is repeated would do again what they did; a tool that we do not know may be such a one."""
    read = request(**head)
    assert because in read.because
    assert (read.effect is Effect.ONCE) is bool(because)


def test_the_callers_own_tools_are_named() -> None:
    """Those without a declared effect are named once; the provider's own are none of the caller's business."""
    bash = {"type": "bash_20250124", "name": "bash"}
    assert request(tools=[{"name": "a"}, {"type": "custom", "name": "b"}, bash, SEARCH, 7]).tools == ("a", "b", "bash")


def test_searches_are_bounded_by_what_the_request_says() -> None:
    """They are billed one by one, and their results are read as input."""
    assert (request().searches_max, request().rounds) == (0, 1)
    assert (request(tools=[SEARCH]).searches_max, request(tools=[SEARCH]).rounds) == (None, ROUNDS)
    bounded = request(tools=[SEARCH | {"max_uses": 3}])
    assert (bounded.searches_max, bounded.rounds) == (3, 4)


def test_a_message_is_read() -> None:
    """Who answered, why it stopped and what it used are what `show` and `cost` tell."""
    body = {"model": "m-1", "stop_reason": "max_tokens", "usage": {"input_tokens": 1, "output_tokens": 2}}
    read = answered(200, json.dumps(body).encode())
    assert (read.served, read.stop_reason, read.usage) == ("m-1", "max_tokens", Usage(1, 2))


def test_cached_tokens_are_counted_each_in_its_part() -> None:
    """R26: each part has its own price."""
    read = usage(
        input_tokens=1,
        output_tokens=2,
        cache_read_input_tokens=30,
        cache_creation_input_tokens=400,
        cache_creation={"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 300},
        output_tokens_details={"thinking_tokens": 1},
        server_tool_use={"web_search_requests": 5},
    )
    assert read == Usage(1, 2, 30, 400, 300, 1, 5)
    assert read.tokens == 433
    assert usage(input_tokens=1, output_tokens=2, cache_read_input_tokens=None) == Usage(1, 2)


def test_tokens_of_a_compaction_are_added() -> None:
    """They are billed, and not in the sum that the API gives."""
    counts = {"input_tokens": 10, "output_tokens": 2, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    assert usage(**counts, iterations=[counts | {"type": "message"}, counts | {"type": "compaction"}]) == Usage(20, 4)


@pytest.mark.parametrize("wrong", [-1, "5", 1.5, True, 10**9])
@pytest.mark.parametrize("part", ["input_tokens", "output_tokens", "cache_read_input_tokens"])
def test_counts_that_make_no_sense_are_no_usage(part: str, wrong: Any) -> None:
    """A negative count would give budget back; the reservation is charged instead."""
    counts = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3}
    assert usage(**counts | {part: wrong}) is None


def test_more_cached_for_an_hour_than_cached_at_all_is_not_believed() -> None:
    """Otherwise the rest, at the ordinary price, would be negative."""
    assert usage(input_tokens=1, output_tokens=1, cache_creation={"ephemeral_1h_input_tokens": 9}) == Usage(1, 1)


# --- streams -----------------------------------------------------------------------------------------------------


def test_a_stream_is_folded_to_the_answer_that_it_is() -> None:
    """The counts of a `message_delta` are sums so far: added up they would be too many; without them, too few."""
    read = streamed(200, sse(START, TEXT, DELTA, DELTA, STOP))
    assert (read.is_complete, read.served, read.stop_reason, read.usage) == (True, "m-1", "end_turn", Usage(10, 7))


@pytest.mark.parametrize(
    "cut", [sse(START), sse(START, TEXT), sse(START, TEXT, DELTA), b"event: mess", b": ok\n\n", b""]
)
def test_a_stream_that_broke_off_is_not_complete_and_has_no_usage(cut: bytes) -> None:
    """The one output token of its start is not what it cost; its reservation is charged."""
    read = streamed(200, cut)
    assert (read.is_object, read.is_complete, read.usage) == (True, False, None)


def test_an_error_within_a_stream_has_the_status_of_its_type() -> None:
    """After HTTP 200 nothing else says that the provider is overloaded."""
    read = streamed(200, sse(START, TEXT, ("error", {"error": {"type": "overloaded_error", "message": "busy"}})))
    assert (read.status, read.error, read.message, read.usage) == (529, "overloaded_error", "busy", None)


@pytest.mark.parametrize("raw", [b"<html>hello</html>", b"data: {}\n\n", sse(("response.created", {}))])
def test_another_thing_with_status_200_is_no_stream_of_this_api(raw: bytes) -> None:
    """A proxy's page must not be recorded as an empty answer."""
    assert streamed(200, raw).is_object is False


def test_an_answer_in_one_piece_to_a_request_for_a_stream_is_read() -> None:
    """Errors come so, and some gateways do not stream."""
    body = json.dumps({"error": {"type": "rate_limit_error"}}).encode()
    assert streamed(429, body).code == "rate_limit_error"
    assert streamed(200, json.dumps({"usage": {"input_tokens": 1, "output_tokens": 1}}).encode()).usage == Usage(1, 1)


@pytest.mark.parametrize(
    ("event", "is_end"),
    [
        (Sse("message_stop", b'{"type":"message_stop"}'), True),
        (Sse("", b'{"type":"message_stop"}'), True),
        (Sse("error", b'{"type":"error"}'), True),
        (Sse("message_delta", b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}'), False),
        (Sse("ping", b""), False),
    ],
)
def test_the_last_event_is_known(event: Sse, is_end: bool) -> None:
    """It is held back until the answer is recorded; earlier ones are passed on at once."""
    assert ends(event) is is_end


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"type": "rate_limit_error"}, "rate_limit_error"),
        ({"type": "billing_error"}, "billing_error"),
        (
            {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}},
            "enforced_spend_limit_reached",
        ),
        ({"type": "x", "code": "insufficient_quota"}, "insufficient_quota"),
        ({"type": "x", "details": {"error_code": 7}}, "x"),
        ({}, ""),
    ],
)
def test_the_most_telling_code_is_found(error: Any, code: str) -> None:
    """The status alone does not say that the money ran out."""
    read = answered(429, json.dumps({"type": "error", "error": error}).encode())
    assert (read.status, read.code, bool(read.error)) == (429, code, True)


@pytest.mark.parametrize(("kind", "status"), [("overloaded_error", 529), ("billing_error", 402), ("new_error", 500)])
def test_an_error_in_a_200_has_the_status_that_it_stands_for(kind: str, status: int) -> None:
    """Else it would be classified as a success."""
    assert answered(200, json.dumps({"error": {"type": kind}}).encode()).status == status
