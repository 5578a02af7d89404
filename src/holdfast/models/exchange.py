"""One attempt of a model call: a request is sent, and what came of it becomes data.

Invariants
1. An attempt never raises, but for a cancellation: what became of it is a fact for the record.
2. Every attempt is charged: by its usage, nothing but the call where it certainly did no work, else its reservation.
3. Once a reader has had part of an answer it is not asked for again by itself: a break is told as what it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from holdfast.core.events import Charge, Effect
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.usage import Usage
from holdfast.errors import Unencodable
from holdfast.journal.tags import SIZE_MAX
from holdfast.models.answer import (
    ERRORS,
    broke_off,
    failure_of,
    failure_without,
    is_unsent,
    kept_of,
    recorded,
    recorded_part,
)
from holdfast.models.call import Answered, Asked, Provider
from holdfast.models.channel import Channel
from holdfast.models.ratelimit import request_id
from holdfast.models.secret import body_without, failure_without_secrets, secrets_of
from holdfast.models.sender import Opened, Send, Variant
from holdfast.models.sse import EventTooLarge, Splitter
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.deadline import TIMEOUT, Limit
from holdfast.runtime.facts import safe
from holdfast.runtime.pricing import ModelPrice
from holdfast.runtime.unseen import seen
from holdfast.runtime.way import Attempted, Begun

T = TypeVar("T")

_log = logging.getLogger("holdfast")

DRAIN_S = 0.25
"""How long the end of a stream is waited for after its last event, so that the connection can be used again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """How one model is asked."""

    provider: Provider
    asked: Asked
    effect: Effect
    model: str
    price: ModelPrice | None
    worst: Charge
    timeout_s: float
    url: str
    headers: Mapping[str, str]
    """Of the caller's request; only what they hold as credentials is looked at, and kept out of the record."""
    send: Send
    variant: Callable[[], Variant] | None
    """Makes the request to another model; None: the caller's is sent."""
    channel: Channel | None
    """Where a stream is passed on; None: read it whole."""
    told: Callable[[Mapping[str, str], float | None], None]
    """Is told the headers of each answer, and the wait that they ask for."""

    async def attempt(self, begun: Begun) -> Attempted:
        """See `Way`."""
        got = _Got()
        attempted = await self._attempted(begun, got)
        if attempted.failure is None:
            return attempted
        return attempted._replace(failure=failure_without_secrets(attempted.failure, self._secrets(got)))

    def _secrets(self, got: _Got) -> list[str]:
        """What was sent as a credential."""
        found = secrets_of(self.url, self.headers)
        return found if got.variant is None else [*secrets_of(got.variant.url, got.variant.headers), *found]

    async def _attempted(self, begun: Begun, got: _Got) -> Attempted:
        try:
            with (begun.limit or Limit(SystemClock())).bounded(self.timeout_s):
                return await self._exchange(begun, got)
        except asyncio.CancelledError:
            if not self._has_left():
                raise
            return self._left()
        except TimeoutError as late:
            is_own = begun.limit is None or begun.limit.cut_by == TIMEOUT
            text = f"no whole answer within {self.timeout_s:g} s" if is_own else f"no whole answer: {late}"
            return self._lost(Failure(FailureKind.TRANSIENT, "ReadTimeout", text, text, because=text), late)
        except (_TooLarge, EventTooLarge) as large:
            return self._unreadable(str(large))
        except _Failed as failed:
            return self._lost(failure_without(failed.error, self.effect), failed.error)
        finally:
            if self.channel is not None:
                self.channel.received()

    async def _exchange(self, begun: Begun, got: _Got) -> Attempted:
        if self.channel is not None:
            self.channel.receive(begun.address)
        opened = await _theirs(self._sent(got))
        try:
            if self.asked.is_stream and 200 <= opened.status < 300 and _is_events(opened):
                return await self._stream(opened, got)
            await got.all_of(opened)
            return self._concluded(self.provider.answered(opened.status, bytes(got.data)), opened, got)
        finally:
            await _closed(opened)

    async def _sent(self, got: _Got) -> Opened:
        if self.variant is not None:
            got.variant = self.variant()
        with seen():
            return await self.send(got.variant)

    async def _stream(self, opened: Opened, got: _Got) -> Attempted:
        channel, splitter, ends, is_held = self.channel, Splitter(), self.provider.ends, False
        parts, loop, drained_at = opened.chunks(), asyncio.get_running_loop(), None
        while (chunk := await _next(parts, drained_at)) is not None:
            got.add(chunk)
            passing = b""
            for raw, event in splitter.feed(chunk):
                is_held = is_held or ends(event)
                passing += b"" if is_held else raw
            if is_held and drained_at is None:
                drained_at = loop.time() + DRAIN_S
            if passing and channel is not None:
                if not channel.opened.done():
                    channel.open(opened.status, kept_of(opened.headers))
                channel.pass_on(passing)
        answered = self.provider.streamed(opened.status, bytes(got.data))
        if answered.is_object and not answered.is_complete and not answered.error:
            return self._lost(broke_off("RemoteProtocolError", "the stream ended before the answer did"), None)
        return self._concluded(answered, opened, got)

    # --- what it came to ---------------------------------------------------------------------------------------

    def _concluded(self, answered: Answered, opened: Opened, got: _Got) -> Attempted:
        failure = failure_of(answered, opened.headers, self.effect)
        self.told(opened.headers, None if failure is None else failure.retry_after_s)
        has_told = self._has_told()
        try:
            status = opened.status if has_told else answered.status
            is_plain = failure is None or has_told
            data = bytes(got.data) if is_plain else body_without(bytes(got.data), self._secrets(got))
            body = recorded(status, opened.headers, data)
        except Unencodable as large:
            return self._unreadable(large.what)
        if failure is None:
            return Attempted(body, self._charge(answered), facts=self._facts(answered, opened))
        did_no_work = opened.status >= 300 and _did_no_work(answered)
        charge = Charge(model_calls=1) if did_no_work else self.worst
        return Attempted(body, charge, failure, self._facts(answered, opened), is_told=has_told)

    def _lost(self, failure: Failure, error: Exception | None) -> Attempted:
        """It ended without a whole answer; what a reader has had of it is kept."""
        if self._has_told() and self.channel is not None:
            known = failure.error in ERRORS
            cut = broke_off(failure.error if known else "ReadError", failure.text)
            return Attempted(self._prefix(), self.worst, cut, error=error, is_told=True)
        charge = Charge(model_calls=1) if error is not None and is_unsent(error) else self.worst
        return Attempted(None, charge, failure, error=error)

    def _left(self) -> Attempted:
        """Its reader closed it: what that had of it is the outcome."""
        task, channel = asyncio.current_task(), self.channel
        assert task is not None and channel is not None
        task.uncancel()
        facts = {"model": safe(self.model, 200), "closed": channel.ended_by}
        return Attempted(self._prefix(), self.worst, facts=facts)

    def _prefix(self) -> bytes:
        assert self.channel is not None
        return recorded_part(self.channel.status, self.channel.headers, self.channel.data)

    def _unreadable(self, what: str) -> Attempted:
        text = f"the answer cannot be recorded: {what}"
        failure = Failure(FailureKind.INVALID, "DecodingError", text, text, because="the answer is too large")
        return self._lost(failure, None)

    def _has_told(self) -> bool:
        return self.channel is not None and self.channel.opened.done()

    def _has_left(self) -> bool:
        channel = self.channel
        return channel is not None and bool(channel.ended_by) and not channel.driver.is_closing

    def _charge(self, answered: Answered) -> Charge:
        """What a success cost; its reservation when it does not say."""
        usage = answered.usage
        if usage is None:
            return self.worst
        return Charge(
            model_calls=1,
            tokens=usage.tokens,
            usd_nano=0 if self.price is None else self.price.cost_nano(usage),
        )

    def _facts(self, answered: Answered, opened: Opened) -> dict[str, Any]:
        """For the outcome: who was asked, who answered, and at which prices, so that nobody prices it again."""
        usage, price = answered.usage, self.price
        told = {
            "model": self.model,
            "served": answered.served,
            "stop_reason": answered.stop_reason,
            "request_id": request_id(opened.headers),
        }
        return {name: safe(value, 200) for name, value in told.items() if value} | {
            "usage": None if usage is None else _counted(usage),
            "price": None if price is None else price.facts(usage),
        }


def _counted(usage: Usage) -> dict[str, Any]:
    """The usage without the parts that are nothing."""
    return {name: count for name, count in usage._asdict().items() if count or name in ("input", "output")}


class _Got:
    """What has come in of an answer."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.variant: Variant | None = None
        """What was sent in place of the caller's request."""

    def add(self, chunk: bytes) -> None:
        self.data += chunk
        if len(self.data) > SIZE_MAX:
            raise _TooLarge(f"more than {SIZE_MAX >> 20} MiB")

    async def all_of(self, opened: Opened) -> None:
        parts = opened.chunks()
        while (chunk := await _next(parts, None)) is not None:
            self.add(chunk)


class _TooLarge(Exception):
    """The answer is larger than a value may be."""


class _Failed(Exception):
    """The HTTP client raised this."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


async def _theirs(call: Awaitable[T]) -> T:
    """The step itself: whatever a client, a hook or a proxy raises is a fact about it. What we raise is not."""
    try:
        return await call
    except TimeoutError:  # our own time is up
        raise
    except Exception as error:  # the HTTP client's code
        raise _Failed(error) from error


async def _closed(opened: Opened) -> None:
    """Whatever becomes of the connection, what came over it is what came."""
    try:
        await opened.close()
    except Exception as error:  # the HTTP client's code
        _log.debug("closing an answer raised %r", error)


async def _next(parts: AsyncIterator[bytes], until: float | None) -> bytes | None:
    """The next part, None at the end, or when it has not come by this time of the loop."""
    if until is None:
        return await _part(parts)
    try:
        async with asyncio.timeout_at(until):
            return await _part(parts)
    except TimeoutError:
        return None


async def _part(parts: AsyncIterator[bytes]) -> bytes | None:
    """The next part, None at the end; as `_theirs`, without another coroutine for each."""
    try:
        return await anext(parts)
    except StopAsyncIteration:
        return None
    except TimeoutError:  # our own time is up
        raise
    except Exception as error:  # the HTTP client's code
        raise _Failed(error) from error


def _is_events(opened: Opened) -> bool:
    return opened.headers.get("content-type", "").lower().startswith("text/event-stream")


def _did_no_work(answered: Answered) -> bool:
    """Whether the provider itself refused. A 5xx without its error body may be a gateway that did not wait."""
    return bool(answered.error) or (400 <= answered.status < 500 and answered.status not in (408, 409, 425))
