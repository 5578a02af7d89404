"""Durable at the wire: an HTTP client for an unmodified SDK, in which a model call inside a run is a step.

It overrides `send`, the one door of an httpx2 client. A transport below would do as well, but then the client logs
a request for each answer out of the record, and cannot tell those that were sent.

Invariants
1. What is no model call, or not inside a run, passes untouched.
2. The caller gets what the record says, the first time too; nothing of a credential is in the record.
3. Our policy alone retries. When it gives up, the SDK is told not to try again (`x-should-retry: false`), and where
   it does so all the same, because there was no response to tell it with, the same error is raised once more
   without a request and without a step. So the requests on the wire are the attempts of the policy.
4. An attempt never raises, but for a cancellation: what became of it is a fact for the record.
5. Every attempt is charged: by its usage, nothing but the call where it certainly did no work, else its reservation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import httpx2
from anthropic import DEFAULT_TIMEOUT, AnthropicError

from holdfast.core.budget import Price
from holdfast.core.command import Call
from holdfast.core.events import Charge, Effect, Event, StepKind
from holdfast.core.policy import Retry
from holdfast.errors import RunContextLost, Unencodable, UsageError
from holdfast.journal.codec import digest, encode
from holdfast.models import anthropic
from holdfast.models.answer import failure_of, failure_without, is_unsent, rebuilt, recorded
from holdfast.models.call import Answered, Asked, Provider
from holdfast.models.pool import ordinary
from holdfast.models.pricing import cost_nano, price_of, worst_nano
from holdfast.runtime import current
from holdfast.runtime.driver import Driver
from holdfast.runtime.facts import safe
from holdfast.runtime.steps import Attempted, Attempts

PROVIDERS: tuple[Provider, ...] = (anthropic,)
RETRIES = "x-stainless-retry-count"
"""How often the SDK has tried this call again by itself."""
NO_STREAM = (
    "stream=True was asked for inside a run. Nothing was sent: streaming is not recorded in this version. "
    "Use messages.create without stream."
)
NO_PRICE = (
    "The price of model {0} is not known, so a budget in USD cannot be kept. Nothing was sent. "
    'Add [prices."{0}"] to holdfast.toml, then resume.'
)


class Client(httpx2.AsyncClient):
    """See `holdfast.http_client`. It owns no connection; `pool` does."""

    def __init__(self, retry: Retry) -> None:
        super().__init__(transport=_PassThrough(), timeout=DEFAULT_TIMEOUT, follow_redirects=True)
        self._retry = retry
        self._given_up: WeakKeyDictionary[asyncio.Task[Any], tuple[Driver, str, Event]] = WeakKeyDictionary()
        """By task, since the SDK tries again in the task of its caller: the error that it was given last."""

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Send the request, or answer it from the record."""
        if self.is_closed:
            return await super().send(request)  # raises, in httpx2's own words

        async def straight(stream: bool) -> httpx2.Response:
            return await (await ordinary()).send(request, stream=stream, **options)

        is_call = (request.method, request.url.path, request.headers)
        provider = next((known for known in PROVIDERS if known.is_call(*is_call)), None)
        if provider is None:
            return await straight(stream)
        where = _place(provider)
        # Inside another step's body the call belongs to that step, and the SDK may try again as it does elsewhere.
        # It will be charged under that attempt when there are composites (rule 5).
        asked = None if where is None or where.inside is not None else provider.asked(await request.aread())
        if where is None or asked is None:
            return await straight(stream)
        if asked.is_stream:
            raise _surfaced(UsageError(NO_STREAM))
        return await self._step(request, where, provider, asked, lambda: straight(False))

    async def _step(
        self,
        request: httpx2.Request,
        where: current.Place,
        provider: Provider,
        asked: Asked,
        send: Callable[[], Awaitable[httpx2.Response]],
    ) -> httpx2.Response:
        driver, args, task = where.driver, _arguments(asked), asyncio.current_task()
        call = Call(
            where.scope, provider.STEP, digest(args), StepKind.MODEL, Effect.READ, safe(asked.shown, 200).encode()
        )
        before = self._given_up.pop(task, None) if task is not None else None
        if before is not None and before[:2] == (driver, call.digest) and _is_sdk_retry(request):
            outcome = before[2]
        else:
            outcome = await _outcome(driver, self._plan(driver, call, args, provider, asked, send))
        answer = rebuilt(outcome, request)
        if isinstance(answer, httpx2.Response):
            return answer
        if task is not None:
            self._given_up[task] = (driver, call.digest, outcome)
        raise answer from (driver.live_errors.get(outcome.address) if outcome.address is not None else None)

    def _plan(
        self,
        driver: Driver,
        call: Call,
        args: bytes,
        provider: Provider,
        asked: Asked,
        send: Callable[[], Awaitable[httpx2.Response]],
    ) -> Attempts:
        price = price_of(asked.model, driver.services.prices)
        worst = Charge(
            model_calls=1,
            tokens=asked.input_max + asked.output_max,
            usd_nano=0 if price is None else worst_nano(price, asked),
        )
        is_refused = price is None and driver.state.limits.usd_nano is not None
        return Attempts(
            call=call,
            args=args,
            retry=self._retry,
            attempt=_Trying(provider, asked, price, worst, send).attempt,
            reservation=worst,
            refusal=NO_PRICE.format(safe(asked.model, 200)) if is_refused else "",
        )


class _PassThrough(httpx2.AsyncBaseTransport):
    """For what goes around `send`; it owns nothing, so closing it closes nothing that others use."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await (await ordinary()).send(request, stream=True, follow_redirects=False)


# --- one attempt -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Trying:
    """Sends one request, and says what it came to."""

    provider: Provider
    asked: Asked
    price: Price | None
    worst: Charge
    send: Callable[[], Awaitable[httpx2.Response]]

    async def attempt(self, key: str, number: int) -> Attempted:
        """See `Attempts`; a model call has no use for the key."""
        try:
            response = await self.send()
        except Exception as error:  # the step itself: whatever it raises, also from a hook or a proxy, is a fact
            charge = Charge(model_calls=1) if is_unsent(error) else self.worst
            return Attempted(None, charge, failure_without(error), error=error)
        answered = self.provider.answered(response.status_code, response.content)
        failure = failure_of(answered, response.headers)
        try:
            body = recorded(response, answered.status)
        except Unencodable as large:
            return self._unreadable(large)
        if failure is None:
            return Attempted(body, self._charge(answered), facts=self._facts(answered, response))
        did_no_work = response.status_code >= 300 and _did_no_work(answered)
        return Attempted(body, Charge(model_calls=1) if did_no_work else self.worst, failure)

    def _unreadable(self, error: Unencodable) -> Attempted:
        lost = httpx2.DecodingError(f"the answer cannot be recorded: {error.what}")
        return Attempted(None, self.worst, failure_without(lost), error=lost)

    def _charge(self, answered: Answered) -> Charge:
        """What a success cost; its reservation when it does not say."""
        usage = answered.usage
        if usage is None:
            return self.worst
        return Charge(
            model_calls=1,
            tokens=usage.tokens,
            usd_nano=0 if self.price is None else cost_nano(self.price, usage),
        )

    def _facts(self, answered: Answered, response: httpx2.Response) -> dict[str, Any]:
        """For the outcome: who was asked, who answered, and at which prices, so that nobody prices it again."""
        usage, price = answered.usage, self.price
        told = {
            "model": self.asked.model,
            "served": answered.served,
            "stop_reason": answered.stop_reason,
            "request_id": response.headers.get("request-id", ""),
        }
        return {name: safe(value, 200) for name, value in told.items() if value} | {
            "usage": None if usage is None else usage._asdict(),
            "price": None if price is None else {name: str(usd) for name, usd in price._asdict().items()},
        }


def _did_no_work(answered: Answered) -> bool:
    """Whether the provider itself refused. A 5xx without its error body may be a gateway that did not wait."""
    return bool(answered.error) or (400 <= answered.status < 500 and answered.status not in (408, 409, 425))


# --- helpers ---------------------------------------------------------------------------------------------------


def _place(provider: Provider) -> current.Place | None:
    try:
        return current.place_for(provider.NAME, Effect.ONCE)  # lost like a write: an unrecorded call costs money
    except RunContextLost as lost:
        raise _surfaced(lost) from None


def _surfaced(error: UsageError) -> UsageError:
    """The same error, such that the SDK lets it pass: all but its own it calls "Connection error." and tries again."""
    cls = type(error)
    passing: type[UsageError] = type(cls.__name__, (cls, AnthropicError), {"__module__": cls.__module__})
    return passing(*error.args)


def _arguments(asked: Asked) -> bytes:
    """The canonical request, whatever the order of its keys."""
    try:
        return encode(asked.body)
    except Unencodable:  # NUL or a lone surrogate in somebody's text, or too deep: as JSON text it can be written
        text = json.dumps(asked.body, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    try:
        return encode(text)
    except Unencodable as large:
        raise _surfaced(UsageError(str(large))) from None


def _is_sdk_retry(request: httpx2.Request) -> bool:
    count = request.headers.get(RETRIES, "0")
    return count.isdecimal() and int(count) > 0


async def _outcome(driver: Driver, plan: Attempts) -> Event:
    """Ask the run, on its own loop: the agent may have carried itself to a loop in another thread."""
    if asyncio.get_running_loop() is driver.loop:
        return await driver.step(plan)
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(driver.step(plan), driver.loop))
