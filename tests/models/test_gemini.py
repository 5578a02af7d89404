"""What is read off Google's generateContent, streamed and not."""

import json
from typing import Any

import pytest

from holdfast.core.events import Effect
from holdfast.core.usage import Usage
from holdfast.models import gemini
from holdfast.models.bounds import CONTEXT_MAX, GEMINI_IMAGE_TOKENS, ROUNDS
from holdfast.models.call import Asked, Provider, Sse
from holdfast.models.gemini import answered, asked, ends, is_call, streamed, weigh, with_model

PATH = "/v1beta/models/gemini-2.5-pro:generateContent"
STREAM = "/v1beta/models/gemini-2.5-pro:streamGenerateContent"
VERTEX = "/v1/projects/p/locations/eu/publishers/google/models/gemini-2.5-pro:generateContent"
COUNTS = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 60,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 30,
    "toolUsePromptTokenCount": 5,
    "totalTokenCount": 155,
}


def request(**head: Any) -> Asked:
    """A request with this head, read."""
    return asked(head, PATH, 100)


def content(finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    """A response, or a chunk of one."""
    candidate = {"index": 0, "content": {"parts": [{"text": "x"}]}} | ({"finishReason": finish} if finish else {})
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-pro-001"} | more


def sse(*chunks: dict[str, Any]) -> bytes:
    """These chunks as they come over the wire."""
    return b"".join(f"data: {json.dumps(chunk)}\r\n\r\n".encode() for chunk in chunks)


def usage(**counts: Any) -> Usage | None:
    """The usage of a response with these counts."""
    return answered(200, json.dumps({"usageMetadata": counts}).encode()).usage


def test_it_is_a_provider() -> None:
    """The wire asks nothing else of it."""
    provider: Provider = gemini
    assert (provider.NAME, provider.STEP, provider.HISTORY) == ("google", "generate", "contents")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", PATH, True),
        ("POST", STREAM, True),
        ("POST", VERTEX, True),
        ("POST", "/v1/projects/p/locations/eu/endpoints/123:generateContent", True),
        ("GET", PATH, False),
        ("POST", "/v1beta/models/gemini-2.5-pro:countTokens", False),
        ("POST", "/v1beta/models/gemini-2.5-pro:batchGenerateContent", False),
        ("POST", "/v1beta/models/gemini-embedding-001:embedContent", False),
    ],
)
def test_a_model_call_is_known_by_its_path(method: str, path: str, expected: bool) -> None:
    """With an API key and on Vertex."""
    assert is_call(method, path, {}) is expected


def test_the_model_is_in_the_path() -> None:
    """So another one is asked at another path; a cache belongs to one model."""
    assert asked({}, VERTEX, 2).model == "gemini-2.5-pro"
    assert asked({}, STREAM, 2).is_stream and not asked({}, PATH, 2).is_stream
    assert with_model({}, PATH, "gemini-x") == ({}, "/v1beta/models/gemini-x:generateContent")
    assert with_model({"cachedContent": "c"}, PATH, "gemini-x") is None
    assert with_model({}, "/elsewhere", "gemini-x") is None


@pytest.mark.parametrize(
    ("head", "bound"),
    [
        ({}, None),
        ({"generationConfig": {"maxOutputTokens": 10}}, 10),
        ({"generation_config": {"max_output_tokens": 10, "candidate_count": 3}}, 30),
        ({"generationConfig": {"maxOutputTokens": "10"}}, None),
    ],
)
def test_all_its_answers_together_are_bounded(head: Any, bound: int | None) -> None:
    """In either way of writing."""
    assert request(**head).output_max == bound


def test_what_google_holds_may_fill_the_context() -> None:
    """A cache is named in 50 bytes."""
    assert request(cachedContent="cachedContents/x").head_max == 100 + CONTEXT_MAX
    assert request(cached_content="cachedContents/x").head_max == 100 + CONTEXT_MAX


@pytest.mark.parametrize(
    ("part", "bound"),
    [
        ({"text": "x"}, 1_000),
        ({"inlineData": {"mimeType": "image/png", "data": "x" * 900}}, 100 + GEMINI_IMAGE_TOKENS),
        ({"inline_data": {"mime_type": "image/png", "data": "x" * 900}}, 100 + GEMINI_IMAGE_TOKENS),
        ({"inlineData": {"mimeType": "audio/flac", "data": "x" * 900}}, 100 + CONTEXT_MAX),
        ({"fileData": {"mimeType": "image/png", "fileUri": "gs://x"}}, 1_000 + GEMINI_IMAGE_TOKENS),
        ({"fileData": {"fileUri": "https://youtu.be/x"}}, 1_000 + CONTEXT_MAX),
        ({"functionCall": {"args": {"inlineData": {"mimeType": "image/png", "data": "x" * 900}}}}, 1_000),
    ],
)
def test_media_weigh_by_table(part: Any, bound: int) -> None:
    """An hour of silence is a small file and 115,000 tokens."""
    assert weigh({"role": "user", "parts": [part]}, 1_000) == bound


def test_tools_of_the_caller_and_of_google() -> None:
    """Only the former are the caller's to declare; an unknown one of the latter may have effects."""
    mine = {"functionDeclarations": [{"name": "a"}, {"name": "b"}]}
    read = request(tools=[mine, {"function_declarations": [{"name": "c"}]}])
    assert (read.tools, read.effect, read.rounds) == (("a", "b", "c"), Effect.READ, 1)
    search = request(tools=[{"googleSearch": {}}, {"url_context": {}}])
    assert (search.effect, search.rounds, search.searches_max) == (Effect.READ, ROUNDS, 1)
    assert (
        asked({"tools": [{"googleSearch": {}}]}, "/models/gemini-3-pro-preview:generateContent", 2).searches_max is None
    )
    code = request(tools=[mine, {"code_execution": {}}])
    assert (code.effect, code.because) == (Effect.ONCE, "the provider runs the tool codeExecution")
    assert request(tools=[{"newThing": {}}]).effect is Effect.ONCE


def test_an_answer_is_read() -> None:
    """Cached tokens are within the prompt; thoughts and what tools read are apart."""
    read = answered(200, json.dumps(content(usageMetadata=COUNTS)).encode())
    assert (read.served, read.stop_reason) == ("gemini-2.5-pro-001", "STOP")
    assert read.usage == Usage(45, 50, 60, reasoning=30)
    assert read.usage.tokens == 155


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"promptTokenCount": 5}, Usage(5, 0)),
        ({"promptTokenCount": 5, "totalTokenCount": 9}, Usage(5, 4)),
        ({"promptTokenCount": 5, "cachedContentTokenCount": 6}, None),
        ({"promptTokenCount": -1}, None),
        ({"promptTokenCount": 5, "thoughtsTokenCount": "7"}, None),
        ({}, None),
        (
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 8,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 7}, {"modality": "TEXT", "tokenCount": 3}],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 6}],
            },
            Usage(10, 8, sound_input=7, picture_output=6),
        ),
    ],
)
def test_counts_are_read_or_not_believed(counts: Any, expected: Usage | None) -> None:
    """What the total says and no part explains is an answer that is billed."""
    assert usage(**counts) == expected


def test_searches_are_counted_as_they_are_billed() -> None:
    """By the prompt with Gemini 2, by the query with Gemini 3."""
    candidate = {"finishReason": "STOP", "groundingMetadata": {"webSearchQueries": ["a", "b", "a", 7]}}
    for served, searches in (("gemini-2.5-flash", 1), ("gemini-3-pro-preview", 2)):
        body = {"candidates": [candidate], "modelVersion": served, "usageMetadata": {"promptTokenCount": 1}}
        assert answered(200, json.dumps(body).encode()).usage == Usage(1, 0, searches=searches)


def test_an_error_says_how_long_to_wait() -> None:
    """In the body; there is no header."""
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38.5s"}
    error = {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED", "details": [{"reason": "x"}, retry]}
    for body in ({"error": error}, [{"error": error}]):
        read = answered(429, json.dumps(body).encode())
        assert (read.status, read.code, read.error, read.message) == (
            429,
            "RESOURCE_EXHAUSTED",
            "RESOURCE_EXHAUSTED",
            "slow",
        )
        assert read.retry_after_s == 38.5


# --- streams -----------------------------------------------------------------------------------------------------


def test_a_stream_is_folded_to_the_answer_that_it_is() -> None:
    """The last counts hold; earlier ones are of what was made so far."""
    first = content(None, usageMetadata={"promptTokenCount": 100, "totalTokenCount": 100})
    chunks = [first, content(None), content(usageMetadata=COUNTS)]
    for raw in (sse(*chunks), json.dumps(chunks).encode()):
        read = streamed(200, raw)
        assert (read.is_complete, read.served, read.stop_reason) == (True, "gemini-2.5-pro-001", "STOP")
        assert read.usage == Usage(45, 50, 60, reasoning=30)


def test_a_refused_prompt_is_an_answer() -> None:
    """It has no candidate, and nothing follows."""
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}}
    read = streamed(200, sse(body))
    assert (read.is_complete, read.stop_reason, read.usage) == (True, "SAFETY", Usage(9, 0))


@pytest.mark.parametrize(
    "raw",
    [
        sse(content(None)),
        sse(content(None, usageMetadata=COUNTS)),
        json.dumps([content()]).encode()[:-5],
        b"[",
        b"data",
    ],
)
def test_a_stream_that_broke_off_is_not_complete(raw: bytes) -> None:
    """Its reservation is charged."""
    read = streamed(200, raw)
    assert (read.is_object, read.is_complete, read.usage) == (True, False, None)


def test_another_thing_with_status_200_is_no_stream_of_this_api() -> None:
    """A proxy's page must not be recorded as an empty answer."""
    assert streamed(200, b"<html></html>").is_object is False
    assert streamed(200, b'data: {"choices":[]}\n\n').is_object is False
    assert answered(200, b"[1, 2]").is_object is False


@pytest.mark.parametrize(
    ("chunk", "is_end"),
    [
        (content(), True),
        (content(None), False),
        ({"promptFeedback": {"blockReason": "OTHER"}}, True),
        ({"error": {"code": 503, "status": "UNAVAILABLE"}}, True),
        ({"usageMetadata": COUNTS}, False),
    ],
)
def test_the_last_chunk_is_known(chunk: Any, is_end: bool) -> None:
    """It is held back until the answer is recorded."""
    assert ends(Sse("", json.dumps(chunk).encode())) is is_end
    assert not ends(Sse("", b""))
