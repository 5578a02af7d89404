"""R5: there is one retry owner. For one logical call the requests on the wire are the attempts of our policy.

Through the SDKs' own loops with any number of retries, a retry loop around the call (as tenacity is), equal calls in
parallel; live, and on replay none at all. What the caller sees is the provider's own error.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import openai
import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.testing.model_server import ModelServer, text

ATTEMPTS = 3
QUICK = hf.Retry(attempts=ATTEMPTS, wait=0)

Call = Callable[[str, int], Awaitable[Any]]


def ours(*, sync: bool = False) -> Any:
    """The client under test."""
    return hf.http_client(sync=sync, retry=QUICK)


async def claude(url: str, retries: int, *, stream: bool = False) -> Any:
    """Anthropic, async."""
    sdk = anthropic.AsyncAnthropic(base_url=url, api_key="k", http_client=ours(), max_retries=retries)
    asked: Any = {"model": "claude-test", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    if not stream:
        return (await sdk.messages.create(**asked)).content[0].text
    async with sdk.messages.stream(**asked) as events:
        return await events.get_final_text()


def claude_sync(url: str, retries: int, *, stream: bool = False) -> Any:
    """Anthropic, sync."""
    sdk = anthropic.Anthropic(base_url=url, api_key="k", http_client=ours(sync=True), max_retries=retries)
    asked: Any = {"model": "claude-test", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    if not stream:
        return sdk.messages.create(**asked).content[0].text
    with sdk.messages.stream(**asked) as events:
        return events.get_final_text()


async def chat(url: str, retries: int, *, stream: bool = False) -> Any:
    """OpenAI Chat Completions, async."""
    sdk = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", http_client=ours(), max_retries=retries)
    asked: Any = {"model": "gpt-test", "messages": [{"role": "user", "content": "Hello"}]}
    if not stream:
        return (await sdk.chat.completions.create(**asked)).choices[0].message.content
    events = await sdk.chat.completions.create(**asked, stream=True)
    return "".join([event.choices[0].delta.content or "" async for event in events if event.choices])


def chat_sync(url: str, retries: int, *, stream: bool = False) -> Any:
    """OpenAI Chat Completions, sync."""
    sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="k", http_client=ours(sync=True), max_retries=retries)
    asked: Any = {"model": "gpt-test", "messages": [{"role": "user", "content": "Hello"}]}
    if not stream:
        return sdk.chat.completions.create(**asked).choices[0].message.content
    events = sdk.chat.completions.create(**asked, stream=True)
    return "".join([event.choices[0].delta.content or "" for event in events if event.choices])


async def responses(url: str, retries: int, *, stream: bool = False) -> Any:
    """OpenAI Responses, async; they are not stored at the provider, so they change nothing there."""
    sdk = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", http_client=ours(), max_retries=retries)
    asked: Any = {"model": "gpt-test", "input": "Hello", "store": False}
    if not stream:
        return (await sdk.responses.create(**asked)).output_text
    events = await sdk.responses.create(**asked, stream=True)
    return "".join([event.delta async for event in events if event.type == "response.output_text.delta"])


def responses_sync(url: str, retries: int, *, stream: bool = False) -> Any:
    """OpenAI Responses, sync."""
    sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="k", http_client=ours(sync=True), max_retries=retries)
    asked: Any = {"model": "gpt-test", "input": "Hello", "store": False}
    if not stream:
        return sdk.responses.create(**asked).output_text
    events = sdk.responses.create(**asked, stream=True)
    return "".join([event.delta for event in events if event.type == "response.output_text.delta"])


SDKS = [claude, claude_sync, chat, chat_sync, responses, responses_sync]
ANTHROPIC = (claude, claude_sync)


@pytest.fixture(params=SDKS, ids=lambda sdk: sdk.__name__)
def sdk(request: pytest.FixtureRequest) -> Any:
    """Each SDK, API and kind of client."""
    return request.param


WAYS = pytest.mark.parametrize(
    ("sdk", "stream"),
    [
        pytest.param(
            sdk,
            streams,
            id=f"{'streamed' if streams else 'whole'}-{sdk.__name__}",
            marks=() if ((at + 1) // 2 + streams) % 2 == 0 else pytest.mark.proof,
        )
        for at, sdk in enumerate(SDKS)
        for streams in (False, True)
    ],
)
"""In the default run each SDK in one way, and of the two of a provider one in each. `make proof` has all."""


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    """Whether the answer is asked for as a stream."""
    return bool(request.param)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs' own waits take no time."""

    async def instantly(delay: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr("anyio.sleep", instantly)
    monkeypatch.setattr("time.sleep", lambda delay: None)


def calling(sdk: Any, url: str, retries: int, stream: bool) -> Awaitable[Any]:
    """The call, as an agent makes it: a sync one in a thread."""
    if asyncio.iscoroutinefunction(sdk):
        return sdk(url, retries, stream=stream)  # type: ignore[no-any-return]
    return asyncio.to_thread(sdk, url, retries, stream=stream)


def error_class(sdk: Any, name: str) -> Any:
    """The SDK's own class of this name."""
    return getattr(anthropic if sdk in ANTHROPIC else openai, name)


async def caught(call: Awaitable[Any]) -> tuple[str, str]:
    """What the caller sees: the SDK's documented class of error, and the text."""
    try:
        return "", str(await call)
    except (anthropic.APIError, openai.APIError) as error:
        named = [cls.__name__ for cls in type(error).__mro__ if cls.__name__ in EXPECTED]
        return named[0], str(error)


EXPECTED = ("InternalServerError", "RateLimitError", "BadRequestError", "NotFoundError", "APIConnectionError")
FAULTS: dict[str, tuple[dict[str, Any], str, int]] = {
    "status 500": ({"status": 500}, "InternalServerError", ATTEMPTS),
    "429": ({"status": 429, "headers": {"retry-after-ms": "1"}}, "RateLimitError", ATTEMPTS),
    "billing 429": ({"billing": True}, "RateLimitError", 1),
    "status 400": ({"status": 400}, "BadRequestError", 1),
    "dropped": ({"drop": True}, "APIConnectionError", ATTEMPTS),
    "asks for no retry": ({"status": 503, "headers": {"x-should-retry": "false"}}, "InternalServerError", 1),
    "asks for a retry": ({"status": 404, "headers": {"x-should-retry": "true"}}, "NotFoundError", ATTEMPTS),
}


@WAYS
@pytest.mark.parametrize("what", FAULTS)
async def test_the_wire_sees_our_attempts_whatever_the_sdk_would_do(
    desk: Any, sdk: Any, stream: bool, what: str
) -> None:
    """Lost: N × SDK × queue requests (12, 36) for one call, each billed, and a provider that is down gets them all."""
    fault, expected, attempts = FAULTS[what]
    with ModelServer(lambda request: text("never")) as server:
        server.fault(on=1, times=attempts, **fault)
        live, replayed = await desk.twice(lambda run: caught(calling(sdk, server.url, 5, stream)))
        assert live == replayed
        assert live[0] == expected
        assert issubclass(error_class(sdk, expected), error_class(sdk, "APIError"))
        assert server.count == attempts


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("what", ["status 500", "dropped"])
@pytest.mark.parametrize("sdk", [claude, chat_sync], ids=lambda sdk: sdk.__name__)
async def test_the_number_of_the_sdks_retries_makes_no_difference(
    desk: Any, sdk: Any, stream: bool, what: str, retries: int
) -> None:
    """Lost: a default that a new version of an SDK changes would change the bill."""
    fault, expected, attempts = FAULTS[what]
    with ModelServer(lambda request: text("never")) as server:
        server.fault(on=1, times=attempts, **fault)
        live, _ = await desk.twice(lambda run: caught(calling(sdk, server.url, retries, stream)))
        assert (live[0], server.count) == (expected, attempts)


async def test_a_refused_connection_is_tried_as_often_as_we_say(desk: Any, sdk: Any, stream: bool) -> None:
    """No server counts these; the record does."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        live, replayed = await desk.twice(lambda run: caught(calling(sdk, url, 2, stream)))
    assert live == replayed
    assert live[0] == "APIConnectionError"
    intents = desk.model(Kind.STEP_INTENDED)
    assert len(intents) == ATTEMPTS
    assert {event.address for event in desk.model()} == {intents[0].address}, "one step"
    assert desk.state.spent.tokens == 0, "nothing left this machine, so nothing is charged but the call"


async def test_an_attempt_that_works_is_the_last(desk: Any, sdk: Any, stream: bool) -> None:
    """A failure that goes away is nobody's error."""
    with ModelServer(lambda request: text("done")) as server:
        server.fault(on=1, status=500)
        server.fault(on=2, drop=True)
        assert await desk.twice(lambda run: calling(sdk, server.url, 2, stream)) == ("done", "done")
        assert server.count == 3


async def persistent(call: Callable[[], Awaitable[Any]], times: int) -> Any:
    """A retry loop around the call, as tenacity makes one: `stop_after_attempt(times)`, `reraise=True`."""
    for left in reversed(range(times)):
        try:
            return await call()
        except (anthropic.APIError, openai.APIError):
            if not left:
                raise
            await asyncio.sleep(0)
    return None


@WAYS
@pytest.mark.parametrize("what", ["status 500", "429", "billing 429", "dropped"])
async def test_a_retry_loop_around_the_call_adds_no_request(desk: Any, sdk: Any, what: str, stream: bool) -> None:
    """tenacity, LangChain and smolagents all have one."""
    fault, expected, attempts = FAULTS[what]
    with ModelServer(lambda request: text("never")) as server:
        server.fault(on=1, times=attempts, **fault)

        async def body(run: hf.Run) -> Any:
            return await caught(persistent(lambda: calling(sdk, server.url, 2, stream), 4))

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert live[0] == expected
        assert server.count == attempts


async def test_after_something_else_was_recorded_an_equal_call_is_a_new_one(desk: Any, sdk: Any) -> None:
    """An agent that does something about it, and asks again, is no retry loop: it must get a new answer."""
    with ModelServer(lambda request: text("better")) as server:
        server.fault(on=1, times=ATTEMPTS, status=500)

        async def body(run: hf.Run) -> Any:
            first = await caught(calling(sdk, server.url, 2, False))
            await run.step("mend", lambda: "mended")
            return first[0], await calling(sdk, server.url, 2, False)

        assert await desk.twice(body) == (("InternalServerError", "better"),) * 2
        assert server.count == ATTEMPTS + 1


@WAYS
@pytest.mark.parametrize("what", ["status 500", "dropped", "billing 429"])
async def test_equal_calls_in_parallel_are_each_tried_as_often_as_we_say(
    desk: Any, sdk: Any, what: str, stream: bool
) -> None:
    """Two branches that ask the same are two calls; their retries must not be told apart wrongly, nor multiplied."""
    fault, expected, attempts = FAULTS[what]
    with ModelServer(lambda request: text("never")) as server:
        server.fault(on=1, times=3 * attempts, **fault)

        async def one() -> Any:
            return await caught(persistent(lambda: calling(sdk, server.url, 2, stream), 3))

        async def body(run: hf.Run) -> Any:
            return await asyncio.gather(one(), one(), one())

        live, replayed = await desk.twice(body)
        if asyncio.iscoroutinefunction(sdk):  # threads of a pool may be told each other's failure, which is equal
            assert live == replayed
        assert [error for error, _ in live] == [error for error, _ in replayed] == [expected] * 3
        assert server.count == 3 * attempts


async def test_resuming_the_run_that_failed_by_it_tries_again(desk: Any, sdk: Any, stream: bool) -> None:
    """R1: the step is retried, and only when a person says so: the next life has its own attempts."""
    with ModelServer(lambda request: text("done")) as server:
        server.fault(on=1, times=ATTEMPTS, status=500)

        async def body(run: hf.Run) -> Any:
            return await calling(sdk, server.url, 2, stream)

        with pytest.raises(hf.RunError):
            await desk.once(body)
        assert server.count == ATTEMPTS
        assert await desk.resumed(body) == "done"
        assert server.count == ATTEMPTS + 1
