"""Whatever a provider, a proxy or an agent sends: readers give a typed result, never raise, never count below zero.

An exception here would end an agent inside its HTTP client; a negative count would give budget back.
"""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.events import Effect
from holdfast.journal.codec import encode
from holdfast.models import anthropic, bounds, gemini, openai_chat, openai_embeddings, openai_responses
from holdfast.models.call import Answered, Asked, Provider
from holdfast.models.sse import Splitter
from holdfast.runtime.pricing import Prices

PROVIDERS: dict[str, Provider] = {
    "anthropic": anthropic,
    "gemini": gemini,
    "openai_chat": openai_chat,
    "openai_embeddings": openai_embeddings,
    "openai_responses": openai_responses,
}
CORPUS = [json.loads(path.read_text("utf-8")) for path in sorted((Path(__file__).parent / "corpus").glob("*.json"))]
PATHS = {
    "anthropic": ["/v1/messages", "/model/anthropic.claude-x/invoke", "/publishers/anthropic/models/m:rawPredict", "/"],
    "gemini": ["/v1beta/models/gemini-2.5-pro:generateContent", "/v1beta/models/m:streamGenerateContent", "/"],
    "openai_chat": ["/v1/chat/completions", "/openai/deployments/d/chat/completions", "/"],
    "openai_embeddings": ["/v1/embeddings", "/"],
    "openai_responses": ["/v1/responses", "/"],
}
REQUESTS: dict[str, dict[str, Any]] = {
    "anthropic": {
        "model": "claude-sonnet-5",
        "max_tokens": 100,
        "stream": True,
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "tools": [
            {"name": "a", "input_schema": {}},
            {"type": "web_search_20260318", "name": "web_search", "max_uses": 2},
            {"type": "code_execution_20260120", "name": "c"},
        ],
        "mcp_servers": [{"url": "https://x"}],
        "messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "xx"}}]}],
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "x"}]},
        "generationConfig": {"maxOutputTokens": 5, "candidateCount": 2},
        "tools": [{"functionDeclarations": [{"name": "a"}]}, {"googleSearch": {}}, {"codeExecution": {}}],
        "contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "xx"}}]}],
    },
    "openai_chat": {
        "model": "gpt-4o",
        "max_completion_tokens": 5,
        "n": 2,
        "tools": [{"type": "function", "function": {"name": "a"}}, {"type": "mcp"}],
        "functions": [{"name": "b"}],
        "service_tier": "priority",
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:xx"}}]}],
    },
    "openai_embeddings": {"model": "text-embedding-3-small", "input": ["a", "b"]},
    "openai_responses": {
        "model": "gpt-5",
        "max_output_tokens": 5,
        "max_tool_calls": 2,
        "tools": [{"type": "namespace", "name": "n", "tools": [{"name": "a"}]}, {"type": "shell", "environment": {}}],
        "conversation": {"id": "c"},
        "prompt_cache_options": {"ttl": "12h"},
        "input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:xx"}]}],
    },
}
ODD: list[Any] = [
    None, True, False, -1, 0, 1, 10**30, -(10**30), 1.5, float("inf"), "", "x", "\ud800", "\x00", "x" * 100_000,
    [], {}, [None], [[]], [{}], {"type": None}, {"type": ["x"]}, {"type": {}}, ["a", 1, {}], {"content": [{}]},
    {"cached_tokens": -5, "audio_tokens": 10**9, "reasoning_tokens": True, "thinking_tokens": -1},
]  # fmt: skip


def bent(value: Any, chance: random.Random, times: int) -> Any:
    """A copy of this JSON, in which some nodes are something else."""
    value = copy.deepcopy(value)
    for _ in range(times):
        spots: list[tuple[Any, Any]] = []
        open_: list[Any] = [value]
        while open_:
            node = open_.pop()
            inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
            for key, child in list(inner):
                spots.append((node, key))
                open_.append(child)
        if spots:
            holder, key = chance.choice(spots)
            if isinstance(holder, dict) and chance.random() < 0.2:
                del holder[key]
            else:
                holder[key] = copy.deepcopy(chance.choice(ODD))
    return value


def check_answered(answered: Answered) -> None:
    """What the wire may rely on."""
    assert isinstance(answered, Answered)
    texts = (answered.served, answered.stop_reason, answered.error, answered.code, answered.message)
    encode([*texts])  # can be recorded
    assert all(len(text) < 50_000 for text in texts)
    if answered.usage is not None:
        numbers = answered.usage._replace(tier="")[:-1]
        assert all(type(number) is int and number >= 0 for number in numbers), answered.usage
        assert answered.usage.cache_write_long <= answered.usage.cache_write
        assert answered.is_complete and not answered.error
        price = Prices({}).find("openai", "gpt-4o")
        assert price is not None and price.cost_nano(answered.usage) >= 0


def check_asked(asked: Asked) -> None:
    """The same for a request."""
    assert isinstance(asked, Asked)
    encode([asked.model, asked.because, asked.tier, *asked.tools])
    assert asked.head_max >= 0 and asked.rounds >= 1
    assert asked.output_max is None or asked.output_max >= 0
    assert asked.searches_max is None or asked.searches_max >= 0
    assert (asked.effect is Effect.ONCE) is bool(asked.because)
    window = bounds.window_of(asked.model)
    assert bounds.input_max(asked, 10, window) >= 0 and bounds.output_max(asked, window) >= 0


@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_a_bent_answer_is_read_or_not_believed(chance: random.Random, times: int) -> None:
    """Of every payload of the corpus, streamed and not, with some of it replaced, dropped, cut off or sent twice."""
    case = chance.choice(CORPUS)
    provider = PROVIDERS[case["provider"]]
    if "stream" in case:
        events = []
        for name, whole in case["stream"]:
            data = bent([whole], chance, times)[0] if chance.random() < 0.5 else whole
            text = data if isinstance(data, str) else json.dumps(data)
            events.append((f"event: {name}\n" if name else "") + f"data: {text}\n\n")
            events += events[-1:] * (chance.random() < 0.1)
        raw = "".join(events).encode("utf-8", "surrogatepass")
        for _, event in Splitter().feed(raw):
            assert provider.ends(event) in (True, False)
    else:
        raw = json.dumps(bent(case["response"], chance, times)).encode()
    raw = raw[: chance.randrange(len(raw) + 1)] if chance.random() < 0.3 else raw
    for status in (200, 429, 500):
        check_answered(provider.streamed(status, raw))
        check_answered(provider.answered(status, raw))


@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_a_bent_request_is_read(chance: random.Random, times: int) -> None:
    """The API will refuse it; until then it is bounded like any other."""
    name = chance.choice(sorted(REQUESTS))
    provider, body = PROVIDERS[name], bent(REQUESTS[name], chance, times)
    history = body.pop(provider.HISTORY, [])
    path = chance.choice(PATHS[name])
    check_asked(provider.asked(body, path, 100))
    for message in history if isinstance(history, list) else [history]:
        assert provider.weigh(message, 100) >= 0
    changed = provider.with_model(body, path, "other-model")
    assert changed is None or isinstance(changed[1], str)


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
@given(raw=st.binary(max_size=200), status=st.sampled_from([200, 204, 302, 400, 429, 500]), method=st.text(max_size=5))
def test_any_bytes_are_an_answer(provider: Provider, raw: bytes, status: int, method: str) -> None:
    """From a proxy, a portal or a broken wire."""
    check_answered(provider.answered(status, raw))
    check_answered(provider.streamed(status, raw))
    assert provider.is_call(method, raw.decode("latin-1"), {}) in (True, False)


BOMBS = {
    "brackets": b"[" * 300_000,
    "braces": b'{"a":' * 300_000,
    "whole brackets": b"[" * 100_000 + b"]" * 100_000,
    "a long number": b'{"usage":{"input_tokens":' + b"9" * 100_000 + b"}}",
    "not a number": b'{"usage":{"input_tokens":NaN,"output_tokens":-Infinity,"prompt_tokens":1e999}}',
    "a page": b"<!DOCTYPE html><html><body>502</body></html>",
    "UTF-16": '{"usage":{}}'.encode("utf-16"),
    "deep in a stream": b'data: {"error":' + b"[" * 300_000 + b"\n\n",
    "ten megabytes": json.dumps({"error": {"type": "x" * 3_000_000, "message": "y" * 7_000_000}}).encode(),
    "lone surrogates": b'{"model":"\\ud800","error":{"message":"\\udfff","type":"\\ud800","code":"\\u0000"}}',
    "many choices": json.dumps({"choices": [{"index": i} for i in range(50_000)], "output": [{}] * 50_000}).encode(),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_bombs_are_read_as_what_they_are(provider: Provider, bomb: str) -> None:
    """Depth, length and odd numbers are somebody's attempt, or somebody's mistake."""
    for status in (200, 500):
        for raw in (BOMBS[bomb], b"data: " + BOMBS[bomb] + b"\n\n"):
            check_answered(provider.answered(status, raw))
            check_answered(provider.streamed(status, raw))
            for _, event in Splitter().feed(raw):
                assert provider.ends(event) in (True, False)


@pytest.mark.parametrize("name", PROVIDERS)
def test_ten_megabytes_of_arguments_are_weighed(name: str) -> None:
    """As text, whatever they look like inside."""
    arguments = json.dumps({"content": [{"type": "image", "source": {"data": "x" * 10_000_000}}]})
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    message = {"role": "assistant", "tool_calls": [call], "content": None, "arguments": arguments}
    assert PROVIDERS[name].weigh(message, 20_000_000) == 20_000_000
