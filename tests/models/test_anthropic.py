"""What is read off requests and responses of the Messages API, and what is not believed."""

import json
from typing import Any

import pytest

from holdfast.models import anthropic
from holdfast.models.anthropic import TOOL_PROMPT_TOKENS, answered, asked, is_call
from holdfast.models.call import Asked, Provider, Usage

VERSION = {"anthropic-version": "2023-06-01"}


def request(**body: Any) -> Asked:
    """A request with these fields, read."""
    read = asked(json.dumps(body).encode())
    assert read is not None
    return read


def usage(**counts: Any) -> Usage | None:
    """The usage of a message with these counts."""
    return answered(200, json.dumps({"usage": counts}).encode()).usage


def test_it_is_a_provider() -> None:
    """The next provider is written against the protocol."""
    provider: Provider = anthropic
    assert (provider.NAME, provider.STEP) == ("anthropic messages", "messages")


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("POST", "/v1/messages", VERSION, True),
        ("POST", "/gateway/team/v1/messages", VERSION, True),
        ("POST", "/v1/messages", {}, False),
        ("GET", "/v1/messages", VERSION, False),
        ("POST", "/v1/messages/count_tokens", VERSION, False),
        ("POST", "/v1/messages/batches", VERSION, False),
    ],
)
def test_a_model_call_is_known_by_its_path_and_version(method: str, path: str, headers: Any, expected: bool) -> None:
    """Any host counts, so that gateways and test servers do; a request of somebody else's does not."""
    assert is_call(method, path, headers) is expected


def test_a_request_costs_at_most_a_token_a_byte_and_its_max_tokens() -> None:
    """P7: what is reserved has to cover what can be billed."""
    raw = json.dumps({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "é" * 50}]}).encode()
    read = asked(raw)
    assert read is not None
    assert (read.model, read.input_max, read.output_max, read.shown) == ("m", len(raw), 100, "m, 1 messages")


def test_a_providers_own_prompts_for_tools_are_covered() -> None:
    """A tool of the provider's is named in 40 bytes and described to the model in hundreds of tokens."""
    plain = request(model="m")
    mine = request(model="m", tools=[{"name": "a", "input_schema": {}}])
    theirs = request(model="m", tools=[{"type": "computer_20250124", "name": "computer"}])
    sizes = [len(json.dumps(read.body)) for read in (plain, mine, theirs)]
    extra = [read.input_max - size for read, size in zip((plain, mine, theirs), sizes, strict=True)]
    assert extra == [0, TOOL_PROMPT_TOKENS, 2 * TOOL_PROMPT_TOKENS]


@pytest.mark.parametrize("value", [None, "16", -1, True, 1.5, 10**12])
def test_a_max_tokens_that_makes_no_sense_reserves_nothing(value: Any) -> None:
    """The API answers 400 to it; we are not the one to refuse."""
    assert request(model="m", max_tokens=value).output_max == 0


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b'"x"', b"[" * 100_000])
def test_what_is_no_json_object_is_left_to_the_api(raw: bytes) -> None:
    """Reading must never raise inside somebody's HTTP client."""
    assert asked(raw) is None
    assert answered(200, raw).is_object is False


def test_a_stream_and_an_hours_cache_are_seen() -> None:
    """The first is refused, the second costs more."""
    assert request(stream=True).is_stream
    assert not request(stream=False).is_stream
    assert request(system=[{"cache_control": {"type": "ephemeral", "ttl": "1h"}}]).is_stream is False
    assert asked(b'{"ttl":"1h"}').keeps_long  # type: ignore[union-attr]
    assert not request(text='he said "1h"').keeps_long


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
    )
    assert read == Usage(1, 2, 30, 400, 300)
    assert read.tokens == 433
    assert usage(input_tokens=1, output_tokens=2, cache_read_input_tokens=None) == Usage(1, 2)


@pytest.mark.parametrize("wrong", [-1, "5", 1.5, True, 10**9])
@pytest.mark.parametrize("part", ["input_tokens", "output_tokens", "cache_read_input_tokens"])
def test_counts_that_make_no_sense_are_no_usage(part: str, wrong: Any) -> None:
    """A negative count would give budget back; the reservation is charged instead."""
    counts = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3}
    assert usage(**counts | {part: wrong}) is None


def test_more_cached_for_an_hour_than_cached_at_all_is_not_believed() -> None:
    """Otherwise the rest, at the ordinary price, would be negative."""
    assert usage(input_tokens=1, output_tokens=1, cache_creation={"ephemeral_1h_input_tokens": 9}) == Usage(1, 1)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"type": "rate_limit_error"}, "rate_limit_error"),
        ({"type": "billing_error"}, "billing_error"),
        ({"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}},) * 1
        + ("enforced_spend_limit_reached",),
        ({"type": "x", "code": "insufficient_quota"}, "insufficient_quota"),
        ({"type": "x", "details": {"error_code": 7}}, "x"),
        ({}, ""),
    ],
)
def test_the_most_telling_code_is_found(error: Any, code: str) -> None:
    """the status alone does not say that the money ran out."""
    read = answered(429, json.dumps({"type": "error", "error": error}).encode())
    assert (read.status, read.code, bool(read.error)) == (429, code, True)


@pytest.mark.parametrize(("kind", "status"), [("overloaded_error", 529), ("billing_error", 402), ("new_error", 500)])
def test_an_error_in_a_200_has_the_status_that_it_stands_for(kind: str, status: int) -> None:
    """Else it would be classified as a success."""
    assert answered(200, json.dumps({"error": {"type": kind}}).encode()).status == status
