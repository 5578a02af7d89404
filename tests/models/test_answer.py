"""Retries and errors of model calls: one owner, the same error on replay, and the truth about what was charged."""

import asyncio
import socket
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import APIConnectionError, APIStatusError, APITimeoutError

import holdfast as hf
from holdfast.core.events import Address, Charge, Kind
from holdfast.core.failure import Failure, FailureKind
from holdfast.models.answer import ERRORS, KEPT, failure_of
from holdfast.models.anthropic import answered
from holdfast.testing.model_server import ModelServer, script, text

ONE_CALL = Charge(model_calls=1)


async def error_of(call: Any) -> Any:
    """What the awaitable raises."""
    with pytest.raises(Exception) as caught:
        await call
    return caught.value


def told(error: Any) -> Any:
    """What an agent can tell of an SDK error."""
    cause = error.__cause__
    response = getattr(error, "response", None)
    seen = None if response is None else (response.status_code, dict(response.headers), response.content)
    return type(error), str(error), error.request.url, type(cause), str(cause), seen


# --- one retry owner -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sdk", [{}, {"max_retries": 0}, {"max_retries": 5}], ids=str)
@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (408, anthropic.APIStatusError),
        (409, anthropic.ConflictError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.OverloadedError),
    ],
)
async def test_requests_on_the_wire_are_our_attempts(
    desk: Any, client: Any, hello: Any, status: int, cls: type, sdk: Any
) -> None:
    """R5: retries of an SDK times retries of ours is how 12 and 36 requests come about."""
    with ModelServer(script([])) as server:
        server.fault(on=1, times=3, status=status, message="busy")
        live, replayed = await desk.twice(lambda run: error_of(client(server, **sdk).messages.create(**hello)))
        assert server.count == 3
        assert isinstance(live, cls)
        assert told(live) == told(replayed)
        assert "busy" in str(live)
        kinds = [event.kind for event in desk.model()]
        assert kinds == [Kind.STEP_INTENDED, Kind.ATTEMPT_FAILED] * 2 + [Kind.STEP_INTENDED, Kind.STEP_FAILED]
        assert desk.state.spent == Charge(model_calls=3)  # the provider said that it did no work


@pytest.mark.usefixtures("no_sdk_waits")
@pytest.mark.parametrize("sdk", [{}, {"max_retries": 0}, {"max_retries": 5}], ids=str)
async def test_requests_on_the_wire_are_our_attempts_also_without_an_answer(
    desk: Any, client: Any, hello: Any, sdk: Any
) -> None:
    """R5: there is no response to tell the SDK with, so it comes back and must be given the same error."""
    with ModelServer(script([])) as server:
        server.fault(on=1, times=3, drop=True)
        live, replayed = await desk.twice(lambda run: error_of(client(server, **sdk).messages.create(**hello)))
        assert server.count == 3
        assert type(live) is APIConnectionError
        assert type(live.__cause__) is httpx2.RemoteProtocolError
        assert told(live) == told(replayed)
        assert isinstance(live.__cause__.__cause__, httpx2.RemoteProtocolError)  # the live original
        assert replayed.__cause__.__cause__ is None
        intents = [event.charge for event in desk.model(Kind.STEP_INTENDED)]
        assert len(intents) == 3
        assert desk.state.spent == intents[0].plus(intents[1]).plus(intents[2])  # it may have been billed


@pytest.mark.usefixtures("no_sdk_waits")
async def test_a_timeout_is_the_sdks_timeout_live_and_on_replay(desk: Any, client: Any, hello: Any) -> None:
    """The SDK's own limits stay in force, and an agent that catches its class must catch it on replay too."""
    with ModelServer(script([])) as server:
        server.fault(on=1, times=2, delay_s=30.0, drop=True)
        asking = client(server, retry=hf.Retry(attempts=2, wait=0), timeout=0.05)
        live, replayed = await desk.twice(lambda run: error_of(asking.messages.create(**hello)))
        assert server.count == 2
        assert type(live) is APITimeoutError
        assert type(live.__cause__) is httpx2.ReadTimeout
        assert told(live) == told(replayed)


@pytest.mark.usefixtures("no_sdk_waits")
async def test_a_refused_connection_costs_no_tokens(desk: Any, client: Any, hello: Any) -> None:
    """An outage must not eat the budget: not a byte was sent."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = type("Nobody", (), {"url": f"http://127.0.0.1:{free.getsockname()[1]}"})
        live, replayed = await desk.twice(lambda run: error_of(client(nobody).messages.create(**hello)))
    assert type(live.__cause__) is httpx2.ConnectError
    assert told(live) == told(replayed)
    assert desk.state.spent == Charge(model_calls=3)


@pytest.mark.usefixtures("no_sdk_waits")
async def test_a_wrong_address_is_not_tried_again(desk: Any, client: Any, hello: Any) -> None:
    """Else a typing error in a base URL costs minutes of waiting."""
    nowhere = type("Nowhere", (), {"url": "htp://127.0.0.1:1"})
    live, replayed = await desk.twice(lambda run: error_of(client(nowhere).messages.create(**hello)))
    assert type(live.__cause__) is httpx2.UnsupportedProtocol
    assert told(live) == told(replayed)
    assert desk.state.spent == ONE_CALL


async def test_a_transient_failure_is_tried_again_and_both_are_charged(desk: Any, client: Any, hello: Any) -> None:
    """P6: every attempt is charged, and the agent sees one answer."""
    with ModelServer(script([text("hi", usage={"input_tokens": 5, "output_tokens": 2})])) as server:
        server.fault(on=1, status=529)
        live, replayed = await desk.twice(lambda run: client(server).messages.create(**hello))
        assert live == replayed
        assert server.count == 2
        assert desk.state.spent == Charge(model_calls=2, tokens=7)


# --- who decides -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413])
async def test_what_waiting_does_not_help_is_tried_once(desk: Any, client: Any, hello: Any, status: int) -> None:
    """R3: a bad request or key stays bad."""
    with ModelServer(script([])) as server:
        server.fault(on=1, status=status)
        live, replayed = await desk.twice(lambda run: error_of(client(server).messages.create(**hello)))
        assert server.count == 1
        assert isinstance(live, APIStatusError)
        assert told(live) == told(replayed)


async def test_no_money_is_tried_once_whatever_else_is_said(desk: Any, client: Any, hello: Any) -> None:
    """R3: a 429 for a spend limit comes back until the first of next month."""
    with ModelServer(script([])) as server:
        details = {"error_code": "enforced_spend_limit_reached"}
        server.fault(on=1, status=429, details=details, headers={"x-should-retry": "true"})
        live, replayed = await desk.twice(lambda run: error_of(client(server).messages.create(**hello)))
        assert server.count == 1
        assert isinstance(live, anthropic.RateLimitError)
        assert told(live) == told(replayed)
        failure = Failure.from_facts(desk.model(Kind.STEP_FAILED)[0].facts)
        assert failure.kind is FailureKind.UNAUTHORISED


@pytest.mark.parametrize(("status", "says", "count"), [(529, "false", 1), (400, "true", 3), (400, "false", 1)])
async def test_the_provider_may_say_whether_to_try_again(
    desk: Any, client: Any, hello: Any, status: int, says: str, count: int
) -> None:
    """`x-should-retry` wins over the status, as in the SDK."""
    with ModelServer(script([])) as server:
        server.fault(on=1, times=count, status=status, headers={"x-should-retry": says})
        live, replayed = await desk.twice(lambda run: error_of(client(server).messages.create(**hello)))
        assert server.count == count
        assert told(live) == told(replayed)


async def test_retry_after_is_a_floor(desk: Any, client: Any, hello: Any) -> None:
    """R4: a provider that says when to come back is not asked before."""
    with ModelServer(script([text("hi")])) as server:
        server.fault(on=1, status=429, headers={"retry-after": "0.03"})
        server.fault(on=2, status=429, headers={"retry-after-ms": "20"})
        await desk.twice(lambda run: client(server).messages.create(**hello))
        first, second = desk.model(Kind.ATTEMPT_FAILED)
        assert first.facts["retry_after_s"] == 0.03
        assert second.facts["retry_after_s"] == 0.02
        intents = desk.model(Kind.STEP_INTENDED)
        assert intents[1].at >= first.facts["retry_at"] >= first.at + 0.0299
        assert intents[2].at >= second.facts["retry_at"]


async def test_a_retry_after_beyond_the_policy_gives_up_at_once(desk: Any, client: Any, hello: Any) -> None:
    """the SDK by itself would sleep whatever it is told, up to 136 years."""
    with ModelServer(script([])) as server:
        server.fault(on=1, status=429, headers={"retry-after": "86400"})
        live, replayed = await desk.twice(lambda run: error_of(client(server).messages.create(**hello)))
        assert server.count == 1
        assert live.response.headers["retry-after"] == "86400"
        assert told(live) == told(replayed)


# --- answers that are none -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_sdk_waits")
@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"", b"[]", b'{"type": "mess', b"\xff\x00"])
async def test_a_200_that_is_no_json_object_is_a_failure(
    desk: Any, client: Any, hello: Any, canned: Any, http: Any, body: bytes
) -> None:
    """R3: without this the SDK gives the agent a string where it expects a message."""
    server = await canned(http(200, body, content_type="text/html"))
    live, replayed = await desk.twice(lambda run: error_of(client(server).messages.create(**hello)))
    assert server.count == 1
    assert type(live) is APIConnectionError
    assert type(live.__cause__) is httpx2.DecodingError
    assert "none of this API: HTTP 200, text/html" in str(live.__cause__)
    assert told(live) == told(replayed)
    intent, outcome = desk.model()
    assert outcome.facts["kind"] == "invalid"
    assert outcome.charge == intent.charge  # whoever answered, the model may have been asked


async def test_an_error_that_comes_with_200_is_an_error(
    desk: Any, client: Any, hello: Any, canned: Any, http: Any
) -> None:
    """R3: some gateways pass an error on with status 200; the SDK would make an empty message of it."""
    said = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    server = await canned(http(200, said))
    live, replayed = await desk.twice(lambda run: error_of(client(server).messages.create(**hello)))
    assert server.count == 3
    assert isinstance(live, anthropic.OverloadedError)
    assert told(live) == told(replayed)


@pytest.mark.parametrize(("status", "is_free"), [(502, False), (403, True), (408, False)])
async def test_a_gateways_error_page_is_not_the_providers_word(
    desk: Any, client: Any, hello: Any, canned: Any, http: Any, status: int, is_free: bool
) -> None:
    """A gateway that did not wait knows nothing about what the provider did and billed."""
    server = await canned(http(status, "<h1>Zeit\xfcberschreitung</h1>".encode("latin-1"), content_type="text/html"))
    once = client(server, retry=hf.Retry(attempts=1))
    live, replayed = await desk.twice(lambda run: error_of(once.messages.create(**hello)))
    assert b"\xfc" in live.response.content  # bit for bit, though it is no UTF-8
    assert told(live) == told(replayed)
    intent, outcome = desk.model()
    assert outcome.charge == (ONE_CALL if is_free else intent.charge)


# --- what a failed run does next -------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_sdk_waits")
@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}], ids=str)
async def test_a_caught_error_lets_the_agent_go_on(desk: Any, client: Any, hello: Any, fault: Any) -> None:
    """A failure is an answer like any other: replay gives it again, and an equal call later on is a new step."""
    with ModelServer(script([text("hi")])) as server:
        server.fault(on=1, times=3, **fault)

        async def body(run: hf.Run) -> Any:
            sdk = client(server)
            with pytest.raises(anthropic.APIError):
                await sdk.messages.create(**hello)
            await run.note("once more")
            return await sdk.messages.create(**hello)

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert server.count == 4
        assert [event.address.n for event in desk.model(Kind.STEP_FAILED, Kind.STEP_SUCCEEDED)] == [0, 1]


@pytest.mark.usefixtures("no_sdk_waits")
@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}], ids=str)
async def test_a_run_that_failed_by_a_call_makes_that_call_again(
    desk: Any, client: Any, hello: Any, fault: Any
) -> None:
    """`holdfast resume` after an outage must ask the model again, and nothing else again."""
    with ModelServer(script([text("before"), text("hi")])) as server:
        server.fault(on=2, times=3, **fault)
        other = hello | {"max_tokens": 17}

        async def body(run: hf.Run) -> str:
            await client(server).messages.create(**other)
            return (await client(server).messages.create(**hello)).content[0].text  # type: ignore[no-any-return]

        with pytest.raises(hf.RunError):
            await desk.once(body)
        (failed,) = desk.model(Kind.STEP_FAILED)
        assert [Address(*parts) for parts in desk.state.end.facts["cause"]] == [failed.address]
        assert await desk.resumed(body) == "hi"
        assert server.count == 5
        again = desk.model(Kind.STEP_SUCCEEDED)[-1]
        assert (again.address, again.logical, again.attempt) == (failed.address, 2, 1)


@pytest.mark.usefixtures("no_sdk_waits")
async def test_equal_calls_in_parallel_fail_each_for_itself(desk: Any, client: Any, hello: Any) -> None:
    """The SDK's second try of one branch must not be given the error of another, or a request of its own."""
    with ModelServer(script([])) as server:
        server.fault(on=1, times=6, drop=True)

        async def body(run: hf.Run) -> Any:
            asking = client(server)
            errors = await asyncio.gather(*(error_of(asking.messages.create(**hello)) for _ in range(2)))
            return [error.__cause__.__dict__["holdfast_address"].n for error in errors]

        live, replayed = await desk.twice(body)
        assert live == replayed == [0, 1]
        assert server.count == 6


# --- pure ------------------------------------------------------------------------------------------------------


def test_every_error_without_an_answer_has_a_class_to_come_back_as() -> None:
    """A class that is not in the table would come back on replay as another, and not be caught."""
    known = [cls for cls in vars(httpx2).values() if isinstance(cls, type) and issubclass(cls, httpx2.RequestError)]
    assert {cls.__name__ for cls in known} - {"RequestError", "SSEError"} == set(ERRORS)
    assert len(ERRORS) == 18


def test_no_header_that_is_kept_can_hold_a_credential() -> None:
    """Whoever adds a header here has to think of it."""
    ids = {"request-id", "x-request-id", "apim-request-id"}
    assert set(KEPT) == ids | {"content-type", "retry-after", "retry-after-ms", "x-should-retry"}


def test_402_is_no_money_also_without_a_code() -> None:
    """`x-should-retry: true` must not make an agent knock at an empty account."""
    failure = failure_of(answered(402, b"{}"), httpx2.Headers({"x-should-retry": "true"}))
    assert failure is not None
    assert not failure.kind.is_retryable
