"""What is read off Chat Completions, at OpenAI and at the many servers that speak like it."""

import json
from typing import Any

import pytest

from holdfast.core.events import Effect
from holdfast.core.usage import Usage
from holdfast.models import openai_chat
from holdfast.models.bounds import CONTEXT_MAX, IMAGE_TOKENS
from holdfast.models.call import Asked, Provider, Sse
from holdfast.models.openai_chat import answered, asked, ends, is_call, streamed, weigh, with_model

PATH = "/v1/chat/completions"
AZURE = "/openai/deployments/my-gpt/chat/completions"


def request(**head: Any) -> Asked:
    """A request with this head, read."""
    return asked(head, PATH, 100)


def usage(**counts: Any) -> Usage | None:
    """The usage of a completion with these counts."""
    return answered(200, json.dumps({"choices": [], "usage": counts}).encode()).usage


def chunk(*choices: tuple[int, str | None], **more: Any) -> dict[str, Any]:
    """A chunk with these choices: index and finish reason."""
    given = [{"index": index, "delta": {}, "finish_reason": reason} for index, reason in choices]
    return {"object": "chat.completion.chunk", "model": "gpt-x-1", "choices": given} | more


def sse(*chunks: dict[str, Any] | str) -> bytes:
    """These chunks as they come over the wire."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in chunks]
    return b"".join(f"data: {text}\n\n".encode() for text in texts)


COUNTS = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def test_it_is_a_provider() -> None:
    """The wire asks nothing else of it."""
    provider: Provider = openai_chat
    assert (provider.NAME, provider.STEP, provider.HISTORY) == ("openai", "chat", "messages")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", PATH, True),
        ("POST", AZURE, True),
        ("POST", "/v1beta/openai/chat/completions", True),
        ("GET", PATH, False),
        ("POST", "/v1/completions", False),
        ("POST", "/v1/chat/completions/1", False),
    ],
)
def test_a_model_call_is_known_by_its_path(method: str, path: str, expected: bool) -> None:
    """Any host counts: Ollama, vLLM and gateways are hosts of the user's own."""
    assert is_call(method, path, {}) is expected


def test_azure_names_the_deployment_in_the_path() -> None:
    """It stands for the model where the body does not name one."""
    assert asked({}, AZURE, 2).model == "my-gpt"
    assert asked({"model": "m"}, AZURE, 2).model == "m"
    assert with_model({}, AZURE, "other") == ({"model": "other"}, "/openai/deployments/other/chat/completions")
    assert with_model({}, PATH, "other") == ({"model": "other"}, PATH)


@pytest.mark.parametrize(
    ("head", "bound"),
    [
        ({}, None),
        ({"max_tokens": 10}, 10),
        ({"max_completion_tokens": 20}, 20),
        ({"max_completion_tokens": 20, "n": 3}, 60),
        ({"max_tokens": 10, "n": True}, 10),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 10, "prediction": {"content": "x"}}, 110),
    ],
)
def test_all_its_answers_together_are_bounded(head: Any, bound: int | None) -> None:
    """P7: `n` answers cost `n` times as much."""
    assert request(**head).output_max == bound


@pytest.mark.parametrize(
    ("part", "bound"),
    [
        ({"type": "text", "text": "x"}, 1_000),
        ({"type": "image_url", "image_url": {"url": "data:" + "x" * 895}}, 100 + IMAGE_TOKENS),
        ({"type": "image_url", "image_url": {"url": "https://x/y.png"}}, 1_000 + IMAGE_TOKENS),
        ({"type": "file", "file": {"file_id": "f"}}, 1_000 + CONTEXT_MAX),
        ({"type": "file", "file": {"file_data": "x" * 900}}, 100 + CONTEXT_MAX),
    ],
)
def test_pictures_and_files_weigh_by_table(part: Any, bound: int) -> None:
    """Their bytes do not say what they cost."""
    assert weigh({"role": "user", "content": [part]}, 1_000) == bound
    assert weigh({"role": "assistant", "audio": {"id": "a"}}, 10) == 10 + CONTEXT_MAX
    assert weigh("hello", 7) == 7


def test_tools_of_the_caller_and_of_the_server() -> None:
    """Only the former are the caller's to declare; an unknown one of the latter may have effects."""
    mine = {"type": "function", "function": {"name": "a"}}, {"type": "custom", "custom": {"name": "b"}}
    read = request(tools=list(mine), functions=[{"name": "c"}])
    assert (read.tools, read.effect, read.rounds) == (("a", "b", "c"), Effect.READ, 1)
    assert request(tools=[{"type": "browser_search"}]).effect is Effect.READ
    theirs = request(tools=[*mine, {"type": "mcp", "server_url": "https://x"}])
    assert (theirs.effect, theirs.because) == (Effect.ONCE, "the server runs the tool mcp")


def test_a_model_that_searches_does_so_once_a_call() -> None:
    """It is billed by the call, and the usage does not say so."""
    assert request(model="gpt-4o-search-preview").searches_max == 1
    body = {"model": "gpt-4o-search-preview-2025-03-11", "choices": [], "usage": COUNTS}
    assert answered(200, json.dumps(body).encode()).usage == Usage(10, 5, searches=1)


def test_a_completion_is_read() -> None:
    """Cached tokens are within its input, reasoning within its output."""
    body = {
        "model": "gpt-x-1",
        "choices": [{"index": 0, "finish_reason": "length"}],
        "usage": COUNTS
        | {
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3, "audio_tokens": None},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }
    read = answered(200, json.dumps(body).encode())
    assert (read.served, read.stop_reason, read.usage) == ("gpt-x-1", "length", Usage(3, 5, 4, 3, 0, 2))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (COUNTS | {"prompt_tokens_details": None}, Usage(10, 5)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}, Usage(6, 5, 4)),
        (COUNTS | {"total_tokens": 40}, Usage(10, 30)),
        (COUNTS | {"prompt_tokens_details": {"cached_tokens": 11}}, None),
        (COUNTS | {"prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 9}}, Usage(0, 5, 4, 6)),
        (COUNTS | {"prompt_tokens": -1}, None),
        (COUNTS | {"completion_tokens": "5"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_what_other_servers_count(counts: Any, expected: Usage | None) -> None:
    """DeepSeek names its cached tokens otherwise; Google leaves its thoughts out of all but the total."""
    assert answered(200, json.dumps({"usage": counts}).encode()).usage == expected


# --- streams -----------------------------------------------------------------------------------------------------


def test_a_stream_is_folded_to_the_answer_that_it_is() -> None:
    """Its usage comes after its last choice."""
    raw = sse(chunk((0, None)), chunk((0, "stop")), chunk(usage=COUNTS), "[DONE]")
    read = streamed(200, raw)
    assert (read.is_complete, read.served, read.stop_reason, read.usage) == (True, "gpt-x-1", "stop", Usage(10, 5))


def test_a_stream_that_was_not_asked_for_its_usage_has_none() -> None:
    """Then its reservation is charged, not nothing."""
    read = streamed(200, sse(chunk((0, None)), chunk((0, "tool_calls")), "[DONE]"))
    assert (read.is_complete, read.stop_reason, read.usage) == (True, "tool_calls", None)


@pytest.mark.parametrize(
    ("raw", "is_complete"),
    [
        (sse(chunk((0, None))), False),
        (sse(chunk((0, "stop"))), True),
        (sse(chunk((0, "stop"), (1, None))), False),
        (sse(chunk((0, "stop"), (1, None)), chunk((1, "stop"))), True),
        (sse(chunk((0, None), usage=COUNTS)), False),
        (b"data: {", False),
        (b"", False),
    ],
)
def test_a_stream_that_broke_off_is_not_complete(raw: bytes, is_complete: bool) -> None:
    """Every answer has to be over; some servers send no `[DONE]`."""
    read = streamed(200, raw)
    assert (read.is_object, read.is_complete) == (True, is_complete)
    assert read.usage is None


def test_an_error_within_a_stream_is_one() -> None:
    """vLLM and gateways send it as a chunk, after HTTP 200."""
    read = streamed(200, sse(chunk((0, None)), {"error": {"message": "out", "code": "insufficient_quota"}}))
    assert (read.status, read.code) == (429, "insufficient_quota")
    assert streamed(200, b"<html></html>").is_object is False
    assert streamed(500, b"<html></html>").status == 500


@pytest.mark.parametrize(
    ("data", "is_end"),
    [
        (json.dumps(chunk((0, "stop"))).encode(), True),
        (json.dumps(chunk((0, "stop"), (1, None))).encode(), False),
        (json.dumps(chunk((0, None))).encode(), False),
        (json.dumps(chunk(usage=COUNTS)).encode(), False),
        (b"[DONE]", True),
        (b'{"error":{"message":"x"}}', True),
        (b"nonsense", False),
    ],
)
def test_the_end_is_known(data: bytes, is_end: bool) -> None:
    """From there on it is held back until the answer is recorded."""
    assert ends(Sse("", data)) is is_end
