"""One attempt, by itself: whatever the HTTP client does is a fact, and what came is what counts."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.core.events import Address, Charge, Effect
from holdfast.models import anthropic
from holdfast.models.exchange import Exchange
from holdfast.models.sender import Variant
from holdfast.runtime.way import Begun

BODY = b'{"id": "m", "model": "claude-test", "content": [], "usage": {"input_tokens": 3, "output_tokens": 2}}'
WORST = Charge(model_calls=1, tokens=1000)


class Answer:
    """A response whose connection breaks when it is closed."""

    status = 200

    def __init__(self, *parts: bytes | Exception) -> None:
        self.headers = {"content-type": "application/json"}
        self.parts = parts

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body."""
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            yield part

    async def close(self) -> None:
        """It raises."""
        raise OSError("the socket is gone")


def exchange(*parts: bytes | Exception, **more: Any) -> Exchange:
    """One that is answered so."""

    async def send(variant: Variant | None) -> Answer:
        return Answer(*parts)

    given: dict[str, Any] = {
        "provider": anthropic,
        "asked": anthropic.asked({"model": "claude-test", "max_tokens": 10}, "/v1/messages", 40),
        "effect": Effect.READ,
        "model": "claude-test",
        "price": None,
        "worst": WORST,
        "timeout_s": 5.0,
        "url": "http://localhost/v1/messages",
        "headers": {},
        "send": send,
        "variant": None,
        "channel": None,
        "told": lambda headers, retry_after_s: None,
    }
    return Exchange(**(given | more))


BEGUN = Begun(Address("", "messages", "d", 0), "", 1)


async def test_an_answer_is_kept_whatever_its_connection_does_afterwards() -> None:
    """Paid for and received: a close that fails must not have it asked for again."""
    attempted = await exchange(BODY[:20], BODY[20:]).attempt(BEGUN)
    assert attempted.failure is None
    assert attempted.charge == Charge(model_calls=1, tokens=5)


@pytest.mark.parametrize("error", [OSError("reset"), ValueError("a hook of the user's"), RuntimeError("closed")])
async def test_whatever_the_client_raises_is_a_fact_and_charged(error: Exception) -> None:
    """An attempt that raises would end the run, and one that costs nothing would be repeated for free."""
    attempted = await exchange(BODY[:20], error).attempt(BEGUN)
    assert attempted.failure is not None and attempted.failure.error == type(error).__name__
    assert attempted.error is error
    assert attempted.charge == WORST


async def test_a_bug_of_ours_is_no_fact_about_the_provider() -> None:
    """Else it would be retried, charged, and told to the agent as a connection error."""

    def told(headers: Any, retry_after_s: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await exchange(BODY, told=told).attempt(BEGUN)
