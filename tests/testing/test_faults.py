"""Every fault that can be planned, seen at a real socket by the SDK or by a raw client.

If one of these fails, some test of ours or of a user stages a failure that does not happen, and passes.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse, IncompleteRead, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai
import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from holdfast.testing.model_server import ModelServer, Reply, Request, script, text, tool_use

HELLO: Any = [{"role": "user", "content": "Hello"}]
TEXT = "It comes on Monday, in the morning, as long as the roads are free of snow."
PATHS = {
    "messages": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "gemini": "/v1beta/models/m:streamGenerateContent?alt=sse",
}
APIS = list(PATHS)
HEADERS = {"authorization": "Bearer t", "anthropic-version": "2023-06-01"}


def body_of(api: str, *, stream: bool = True) -> dict[str, Any]:
    """The least request of an API."""
    if api == "gemini":
        return {"contents": [{"parts": [{"text": "Hello"}]}]}
    told: dict[str, Any] = {"model": "m", "stream": stream}
    if api == "messages":
        told["max_tokens"] = 9
    return told | ({"input": HELLO} if api == "responses" else {"messages": HELLO})


@contextmanager
def asked(server: ModelServer, api: str, *, stream: bool = True) -> Iterator[HTTPResponse]:
    """One raw request, answered up to its head."""
    path = PATHS[api] if stream else PATHS[api].replace(":streamGenerateContent?alt=sse", ":generateContent")
    with closing(HTTPConnection(urlsplit(server.url).netloc, timeout=20)) as connection:
        connection.request("POST", path, json.dumps(body_of(api, stream=stream)), HEADERS)
        yield connection.getresponse()


def events(data: bytes) -> list[bytes]:
    """The events of a stream, also one that has no end."""
    return [event for event in data.split(b"\n\n") if event]


def is_json(data: bytes) -> bool:
    """Whether it can be read."""
    try:
        json.loads(data)
        return True
    except ValueError:
        return False


def whole(api: str) -> list[bytes]:
    """The events of a stream without a fault."""
    with ModelServer(lambda request: text(TEXT)) as server, asked(server, api) as response:
        return events(response.read())


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(lambda request: text(TEXT)) as server:
        yield server


@contextmanager
def gpt(server: ModelServer) -> Iterator[OpenAI]:
    """The real SDK, without retries."""
    with OpenAI(base_url=f"{server.url}/v1", api_key="t", max_retries=0, timeout=20) as sdk:
        yield sdk


@contextmanager
def claude(server: ModelServer) -> Iterator[Anthropic]:
    """The real SDK, without retries."""
    with Anthropic(base_url=server.url, api_key="t", max_retries=0, timeout=20) as sdk:
        yield sdk


# --- instead of an answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 529])
def test_an_error_has_the_form_of_its_api(api: str, status: int, *, stream: bool, server: ModelServer) -> None:
    """Lost: that failures are told apart by what the provider really sends."""
    server.fault(on=1, status=status, message="No.", headers={"x-hint": "h"})
    with asked(server, api, stream=stream) as response:
        told = json.loads(response.read())
        assert (response.status, response.headers["x-hint"]) == (status, "h")
    assert told["error"]["message"] == "No."
    assert set(told["error"]) == {
        "messages": {"type", "message"},
        "gemini": {"code", "message", "status"},
    }.get(api, {"message", "type", "param", "code"})
    assert server.requests[0].status == status and server.count == 1


def test_openai_errors_are_what_the_sdk_knows(server: ModelServer) -> None:
    """Lost: that a client which catches the SDK's errors is tested with them."""
    raised = {401: openai.AuthenticationError, 429: openai.RateLimitError, 500: openai.InternalServerError}
    for number, (status, kind) in enumerate(raised.items(), 1):
        server.fault(on=number, status=status)
        with gpt(server) as sdk, pytest.raises(kind) as caught:
            sdk.chat.completions.create(model="m", messages=HELLO)
        assert str(caught.value.request_id).startswith("req_")
    server.fault(on=4, status=429, code="slow_down", type="tokens")
    with gpt(server) as sdk, pytest.raises(openai.RateLimitError) as limited:
        sdk.responses.create(model="m", input="Hello")
    assert (limited.value.code, limited.value.type) == ("slow_down", "tokens")


@pytest.mark.parametrize("api", APIS)
def test_retry_after_is_told_in_the_providers_way(api: str, server: ModelServer) -> None:
    """Lost: that a client waits as long as it is told to, and not when it is not told."""
    server.fault(on=1, status=429, retry_after_s=1.5)
    server.fault(on=2, status=429)
    with asked(server, api) as first:
        told = json.loads(first.read())["error"]
    with asked(server, api) as second:
        without = json.loads(second.read())["error"]
    assert second.headers["retry-after"] is None and "details" not in without
    if api == "gemini":
        (detail,) = told["details"]
        assert detail == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}
    else:
        assert first.headers["retry-after"] == "1.5"


def test_money_that_ran_out_is_told_in_the_providers_way(server: ModelServer) -> None:
    """Lost: that a 429 which never gets better is not retried."""
    server.fault(on=1, billing=True, times=4)
    with claude(server) as sdk, pytest.raises(anthropic.RateLimitError) as spent:
        sdk.messages.create(model="m", max_tokens=9, messages=HELLO)
    body: Any = spent.value.body
    assert body["error"]["details"] == {"error_code": "enforced_spend_limit_reached"}
    assert "retry-after" not in spent.value.response.headers
    with gpt(server) as sdk:
        with pytest.raises(openai.RateLimitError) as chat:
            sdk.chat.completions.create(model="m", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as responses:
            sdk.responses.create(model="m", input="Hello")
    for caught in (chat, responses):
        assert (caught.value.type, caught.value.code) == ("insufficient_quota", "credit_balance_exhausted")
    with asked(server, "gemini") as response:
        told = json.loads(response.read())["error"]
    assert told["status"] == "RESOURCE_EXHAUSTED" and "credits are depleted" in told["message"]


@pytest.mark.parametrize("api", APIS)
def test_a_dropped_connection_has_no_answer(api: str, server: ModelServer) -> None:
    """Lost: the ambiguous failure, asked but not answered."""
    server.fault(on=1, drop=True)
    with pytest.raises(RemoteDisconnected), asked(server, api):
        pass
    (record,) = server.requests
    assert (record.status, record.ended, record.hung_up) == (None, True, False)


# --- in how it is sent -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
def test_a_cut_stream_ends_after_so_many_events_without_an_end(api: str, server: ModelServer) -> None:
    """Lost: that half an answer is not taken for a whole one, and that its spend counts."""
    expected = whole(api)
    server.fault(on=1, cut_after=2)
    server.fault(on=2, cut_after=0)
    for count in (2, 0):
        with asked(server, api) as response:
            assert response.status == 200
            with pytest.raises(IncompleteRead) as broken:
                response.read()
        assert events(broken.value.partial) == expected[:count]
    server.wait_for(2, until="ended")
    assert [(each.ended, each.hung_up, each.stream) for each in server.requests] == [(True, False, True)] * 2
    assert server.repeated() == 0, "what never came whole was not paid for in vain"


def test_a_cut_stream_is_the_sdks_connection_error(server: ModelServer) -> None:
    """Lost: that a caller gets the error type of its SDK."""
    server.fault(on=1, cut_after=3, times=2)
    with claude(server) as sdk, pytest.raises(Exception, match="incomplete chunked read") as first:
        list(sdk.messages.create(model="m", max_tokens=9, messages=HELLO, stream=True))
    with gpt(server) as sdk, pytest.raises(openai.APIConnectionError):
        list(sdk.chat.completions.create(model="m", messages=HELLO, stream=True))
    assert "RemoteProtocolError" in type(first.value).__name__


@pytest.mark.parametrize("api", APIS)
def test_an_answer_that_is_no_stream_is_cut_in_its_middle(api: str, server: ModelServer) -> None:
    """Lost: the same failure for who does not stream."""
    server.fault(on=1, cut_after=1)
    with asked(server, api, stream=False) as response:
        length = int(response.headers["content-length"])
        with pytest.raises(IncompleteRead) as broken:
            response.read()
    assert len(broken.value.partial) == length // 2


@pytest.mark.parametrize("api", APIS)
def test_a_stalled_stream_stays_open_until_the_client_hangs_up(api: str, server: ModelServer) -> None:
    """Lost: the half-open connection, on which a client without a limit waits for ever."""
    expected = whole(api)
    server.fault(on=1, stall_after=2)
    with asked(server, api) as response:
        sent = b""
        while len(events(sent)) < 2 or not sent.endswith(b"\n\n"):
            sent += response.read1(1)
        assert events(sent) == expected[:2]
        response.fp.raw._sock.settimeout(0.05)  # type: ignore[attr-defined]
        with pytest.raises(TimeoutError):
            response.read1(1)
        assert not server.requests[0].ended
    server.wait_for(1, until="hung_up")
    assert server.requests[0].hung_up and server.repeated() == 0


def test_a_stall_ends_with_the_server() -> None:
    """Lost: tests that end, when a client waits for ever."""
    with ModelServer(lambda request: text(TEXT)) as server:
        server.fault(on=1, stall_after=1)
        with asked(server, "chat") as response:
            server.close()
            with pytest.raises((IncompleteRead, ConnectionError)):
                response.read()
    assert not server.requests[0].hung_up, "it was the server that went"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS)
def test_a_drip_comes_whole_but_slowly(api: str, *, stream: bool, server: ModelServer) -> None:
    """Lost: a limit on the time between bytes, or on the whole, that can be tested."""
    server.fault(on=1, every_s=0.001)
    with asked(server, api, stream=stream) as dripped:
        first = dripped.read()
    with asked(server, api, stream=stream) as usual:
        second = usual.read()
    assert len(events(first)) == len(events(second)) and first != b""
    server.fault(on=3, every_s=300)
    with asked(server, api, stream=stream) as never:
        assert never.read1(10)
    server.wait_for(1, until="hung_up")
    assert [each.hung_up for each in server.requests] == [False, False, True]


@pytest.mark.parametrize("api", APIS)
def test_the_first_byte_comes_late(api: str, server: ModelServer) -> None:
    """Lost: a slow provider, told from a dead one."""
    server.fault(on=1, delay_s=0.01)
    with asked(server, api) as response:
        assert response.status == 200 and events(response.read())
    server.fault(on=2, delay_s=300)
    with closing(socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=20)) as raw:
        body = json.dumps(body_of(api)).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        raw.sendall(f"POST {PATHS[api]} HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        server.wait_for(2)
        assert not server.requests[1].ended
    server.wait_for(1, until="hung_up")
    assert [(each.status, each.hung_up) for each in server.requests] == [(200, False), (None, True)]


@pytest.mark.parametrize("api", APIS)
def test_a_duplicated_event_comes_twice(api: str, server: ModelServer) -> None:
    """Lost: that a repeated chunk is not charged or shown twice."""
    expected = whole(api)
    server.fault(on=1, duplicate=2)
    with asked(server, api) as response:
        assert events(response.read()) == [*expected[:2], *expected[1:]]


@pytest.mark.parametrize("api", APIS)
def test_truncated_json_is_well_formed_http(api: str, server: ModelServer) -> None:
    """Lost: an answer that arrives whole and cannot be read."""
    expected = whole(api)
    server.fault(on=1, truncate=True, times=2)
    with asked(server, api) as response:
        told = events(response.read())
    broken = [event for event, good in zip(told, expected, strict=True) if event != good]
    assert len(broken) == 1
    assert not is_json(broken[0].partition(b"data: ")[2])
    with asked(server, api, stream=False) as response:
        assert not is_json(response.read())
    assert [each.status for each in server.requests] == [200, 200] and server.repeated() == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS)
def test_a_page_comes_in_place_of_the_answer(api: str, *, stream: bool, server: ModelServer) -> None:
    """Lost: the login page of a proxy, with status 200."""
    server.fault(on=1, html=True)
    with asked(server, api, stream=stream) as response:
        assert response.status == 200 and response.headers["content-type"].startswith("text/html")
        assert response.read().startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("api", APIS)
def test_an_error_event_ends_a_stream_that_has_begun(api: str, server: ModelServer) -> None:
    """Lost: that a failure after status 200 is a failure."""
    expected = whole(api)
    server.fault(on=1, error_after=2, message="No more.")
    with asked(server, api) as response:
        told = events(response.read())
        assert response.status == 200
    assert told[:2] == expected[:2] and len(told) == 3
    data = json.loads(told[2].partition(b"data: ")[2])
    assert (data["message"] if api == "responses" else data["error"]["message"]) == "No more."
    server.fault(on=2, error_after=2)
    with asked(server, api, stream=False) as response:
        response.read()
        assert response.status == 529, "without a stream the error itself is the answer"
    assert server.repeated() == 0


def test_an_error_event_is_what_the_sdk_knows(server: ModelServer) -> None:
    """Lost: that a caller gets the error type of its SDK."""
    server.fault(on=1, error_after=4)
    server.fault(on=2, error_after=4, status=429, billing=True)
    server.fault(on=3, error_after=4, status=500)
    with claude(server) as sdk, pytest.raises(anthropic.APIStatusError) as overloaded:
        list(sdk.messages.create(model="m", max_tokens=9, messages=HELLO, stream=True))
    body: Any = overloaded.value.body
    assert body["error"]["type"] == "overloaded_error"
    with gpt(server) as sdk:
        with pytest.raises(openai.APIError) as spent:
            list(sdk.chat.completions.create(model="m", messages=HELLO, stream=True))
        assert spent.value.code == "credit_balance_exhausted"
        *_, last = sdk.responses.create(model="m", input="Hello", stream=True)
        assert last.type == "error" and last.sequence_number == 4 and last.code == "server_error"


# --- in what the model says --------------------------------------------------------------------------------------


def called(api: str, told: Any) -> tuple[str, Any]:
    """Name and arguments of the call in an answer without a stream."""
    if api == "messages":
        return told["content"][0]["name"], told["content"][0]["input"]
    if api == "chat":
        function = told["choices"][0]["message"]["tool_calls"][0]["function"]
        return function["name"], function["arguments"]
    if api == "responses":
        return told["output"][0]["name"], told["output"][0]["arguments"]
    call = told["candidates"][0]["content"]["parts"][0]["functionCall"]
    return call["name"], call["args"]


@pytest.mark.parametrize("api", APIS)
def test_a_call_has_a_wrong_name_or_malformed_arguments(api: str) -> None:
    """Lost: that what a model makes up is refused, and never run."""
    with ModelServer(lambda request: tool_use("refund", {"order": 7})) as server:
        server.fault(on=1, tool_name="refund_all")
        server.fault(on=2, tool_arguments='{"order": 7')
        server.fault(on=3, tool_arguments='["no object"]')
        told = []
        for _ in range(3):
            with asked(server, api, stream=False) as response:
                told.append(called(api, json.loads(response.read())))
        is_text = api in ("chat", "responses")
        assert told == [
            ("refund_all", '{"order":7}' if is_text else {"order": 7}),
            ("refund", '{"order": 7'),
            ("refund", '["no object"]' if is_text else ["no object"]),
        ]
        server.fault(on=4, tool_arguments='{"order": 7')
        with asked(server, api) as response:
            stream = response.read().decode()
        assert "refund" in stream and 'order\\": 7' in stream and "7}" not in stream


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS)
def test_usage_is_missing_or_nonsense(api: str, *, stream: bool) -> None:
    """Lost: that an answer without tokens is no free answer, and that a negative number gives no money back."""
    more = {"usage": {"input_tokens": 3}}
    with ModelServer(script([text("a"), text("a", **more), text("a", usage="missing")])) as server:  # type: ignore[arg-type]
        server.fault(on=1, usage="missing")
        server.fault(on=2, usage={"output_tokens": -7, "odd": "much"})
        told = []
        for _ in range(3):
            with asked(server, api, stream=stream) as response:
                told.append(response.read().decode())
    key = "usageMetadata" if api == "gemini" else '"usage":{' if stream else '"usage": {'
    if api == "chat" and stream:
        return  # it was not asked for: `include_usage` is tested with the streams
    assert [key in each for each in told] == [False, True, False]
    assert "-7" in told[1] and '"much"' in told[1] and "-7" not in told[0]


@pytest.mark.parametrize("api", APIS)
def test_counts_that_are_no_numbers_are_passed_on(api: str, server: ModelServer) -> None:
    """Lost: garbage as such, when sums of it would fail in the server instead of in the client."""
    server.fault(on=1, usage={"input_tokens": "many", "output_tokens": None})
    with asked(server, api, stream=False) as response:
        assert '"many"' in response.read().decode() and response.status == 200


# --- planning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
def test_headers_can_be_planned_for_any_answer(api: str, server: ModelServer) -> None:
    """Lost: that a client slows down by what a provider says with a success."""
    server.fault(on=1, headers={"x-ratelimit-remaining-requests": "0"})
    with asked(server, api) as response:
        assert (response.status, response.headers["x-ratelimit-remaining-requests"]) == (200, "0")


def test_faults_can_be_put_together(server: ModelServer) -> None:
    """Lost: the failures of real life, which seldom come alone."""
    expected = whole("chat")
    server.fault(on=1, delay_s=0.01, every_s=0.001, duplicate=1, cut_after=3)
    with asked(server, "chat") as response, pytest.raises(IncompleteRead) as broken:
        response.read()
    assert events(broken.value.partial) == [expected[0], *expected[:2]]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"tool_name": "x"}, "no tool call that could be spoilt"),
        ({"duplicate": 1}, "only a stream has events"),
        ({"cut_after": 3}, "has only 2 events"),
    ],
)
def test_a_fault_that_this_answer_cannot_have_fails_the_check(fault: Any, words: str) -> None:
    """Lost: a test that passes since its fault never happened."""
    server = ModelServer(lambda request: text(TEXT))
    with pytest.raises(AssertionError, match=words), server:
        server.fault(on=1, **fault)
        with asked(server, "messages", stream=False) as response:
            response.read()
            assert response.status == 400


def test_plans_that_mean_nothing_are_refused(server: ModelServer) -> None:
    """Lost: a plan with a typing error that is taken for a fault."""
    for fault, words in (
        ({"cut_after": 1, "stall_after": 1}, "only one of"),
        ({"cut_after": -1}, "negative"),
        ({"delay_s": -1.0}, "negative"),
        ({"duplicate": 0}, "from 1"),
        ({"usage": "none"}, "missing"),
        ({"status": 200}, "no error"),
    ):
        with pytest.raises(ValueError, match=words):
            server.fault(on=1, **fault)  # type: ignore[arg-type]


# --- clients that hang up ----------------------------------------------------------------------------------------


async def test_cancelling_a_consumer_is_seen_as_hanging_up() -> None:
    """Lost: that a cancelled run stops paying for tokens that nobody reads."""
    with ModelServer(lambda request: text(TEXT)) as server:
        server.fault(on=1, stall_after=4, times=2)

        async def claude() -> None:
            async with AsyncAnthropic(base_url=server.url, api_key="t", max_retries=0) as sdk:
                stream = await sdk.messages.create(model="m", max_tokens=9, messages=HELLO, stream=True)
                async for _ in stream:
                    pass

        async def chat() -> None:
            async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="t", max_retries=0) as sdk:
                async for _ in await sdk.chat.completions.create(model="m", messages=HELLO, stream=True):
                    pass

        tasks = [asyncio.create_task(claude()), asyncio.create_task(chat())]
        await asyncio.to_thread(server.wait_for, 2)
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(server.wait_for, 2, until="hung_up")
        assert [each.hung_up for each in server.requests] == [True, True]
        assert [each.status for each in server.requests] == [200, 200]


def test_an_answer_nobody_waited_for_was_not_paid_in_vain() -> None:
    """Lost: that a run which died in the middle of a stream, and asks again, is not blamed for it."""
    going = threading.Event()

    def policy(request: Request) -> Reply:
        if request.n == 1:
            going.wait(20)
        return text(TEXT)

    with ModelServer(policy) as server:
        with closing(HTTPConnection(urlsplit(server.url).netloc, timeout=20)) as connection:
            connection.request("POST", PATHS["chat"], json.dumps(body_of("chat")), HEADERS)
            server.wait_for(1)
        going.set()
        server.wait_for(1, until="hung_up")
        for _ in range(2):
            with asked(server, "chat") as response:
                response.read()
        assert [each.repeated for each in server.requests] == [False, False, True]


def test_an_answer_that_was_read_is_no_hanging_up(server: ModelServer) -> None:
    """Lost: the difference between a client that left and one that had all it wanted."""
    with asked(server, "chat") as response:
        response.read()
    with asked(server, "messages", stream=False) as response:
        response.read()
    server.wait_for(2, until="ended")
    assert [each.hung_up for each in server.requests] == [False, False]
    with asked(server, "chat") as response:
        response.read()
    assert server.repeated() == 1
