"""How a model call is made: which models are asked, in what order, what each can cost at most, and what is written.

A call whose worst case is not known, or does not fit, is not sent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from holdfast.core.command import Call
from holdfast.core.events import Address, Charge, Effect
from holdfast.core.rung import Escalation
from holdfast.models.answer import broke_off, misfit, recorded_part, said
from holdfast.models.bounds import input_max, output_max, window_of
from holdfast.models.call import Provider
from holdfast.models.channel import Channel
from holdfast.models.conversation import Turn
from holdfast.models.elsewhere import account_elsewhere, account_of, url_of, variant_of
from holdfast.models.exchange import Exchange
from holdfast.models.memory import Memory
from holdfast.models.options import Fallback, Options
from holdfast.models.ratelimit import limits_of
from holdfast.models.repeats import Caller
from holdfast.models.sender import Send
from holdfast.runtime.attempts import Attempts
from holdfast.runtime.facts import safe
from holdfast.runtime.pricing import ModelPrice
from holdfast.runtime.way import Attempted, Way

if TYPE_CHECKING:
    from holdfast.core.slot import Slot
    from holdfast.runtime.driver import Driver

NO_PRICE = (
    "The price of model {0} is not known, so a budget in USD cannot be kept. Nothing was sent. "
    'Add [prices."{0}"] to holdfast.toml, or install holdfast[prices], then resume.'
)

_log = logging.getLogger("holdfast")


class Asking(NamedTuple):
    """A request that asks a model, whichever package's."""

    provider: Provider
    url: str
    headers: Mapping[str, str]
    body: bytes
    caller: Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One model call, before it is made."""

    asking: Asking
    driver: Driver
    options: Options
    send: Send
    memory: Memory
    turn: Turn
    call: Call
    inside: Effect | None
    """Effect of the step in whose body it is made; None for a call of the agent's."""

    def attempts(self, channel: Channel | None, tried: int) -> Attempts:
        """How the step is performed. channel: where a stream is passed on. tried: attempts made before."""
        ways = [self._way(fallback, channel) for fallback in (None, *self.options.fallback)]
        escalate = self.driver.agent.escalate
        return Attempts(
            call=self.call,
            args=self.call.shown,
            policy=self.options.policy,
            ways=(*(way for way in ways if way is not None), *([Escalation(escalate)] if escalate else [])),
            needs_key=False,
            inside=self.inside,
            intent=self._intent,
            tried=tried,
            cut_off=_cut_off,
            is_stream=channel is not None,
            essence=said,
            unfit=partial(misfit, provider=self.asking.provider, is_stream=self.turn.asked.is_stream),
        )

    def _intent(self, address: Address) -> tuple[bytes | None, dict[str, Any]]:
        self.turn.address = address
        body, facts = self.memory.conversations.stored(self.turn)
        asked = {"model": safe(self.turn.asked.model, 200)} | ({"stream": True} if self.turn.asked.is_stream else {})
        if not self.options.keeps_requests:
            return None, {"sha": facts["sha"], **asked}
        return body, facts | asked

    def _way(self, fallback: Fallback | None, channel: Channel | None) -> Way | None:
        """How this model is asked; None for one that cannot be asked so."""
        asked, provider, body = self.turn.asked, self.asking.provider, self.turn.body
        model = asked.model if fallback is None else fallback.model
        url = self.asking.url if fallback is None else url_of(fallback, provider, body, self.asking.url)
        if url is None:
            _log.warning("%s cannot be asked in place of %s by %s", model, asked.model, provider.NAME)
            return None
        host = urlsplit(url).netloc
        price = self.memory.prices.find(provider.NAME, model, host, at=self.driver.record.now())
        messages = self.memory.conversations.messages_max(self.turn) if fallback is None else self.turn.weight
        worst, refusal = self._worst(model, price, messages)
        headers, gate = self.asking.headers, self.driver.services.gate
        account = account_of(host, headers) if fallback is None else account_elsewhere(fallback, url, headers)

        def told(answered: Mapping[str, str], retry_after_s: float | None) -> None:
            gate.told(account, limits_of(answered, self.driver.record.now()), retry_after_s)

        exchange = Exchange(
            provider=provider,
            asked=asked,
            effect=self.call.effect,
            model=model,
            price=price,
            worst=worst,
            timeout_s=self.options.timeout_s,
            url=self.asking.url,
            headers=headers,
            send=self.send,
            variant=None if fallback is None else variant_of(fallback, provider, body, url),
            channel=channel,
            told=told,
        )
        return Way(
            attempt=exchange.attempt,
            reservation=worst,
            refusal=refusal,
            name=safe(model, 200),
            account=account,
            turn=lambda: gate.turn(account),
        )

    def _worst(self, model: str, price: ModelPrice | None, messages: int) -> tuple[Charge, str]:
        """The most that one attempt can cost, and why it may not be sent."""
        asked, must_know = self.turn.asked, self.driver.is_priced
        window = window_of(model, self.driver.services.prices)
        input, output = input_max(asked, messages, window), output_max(asked, window)
        charge = Charge(model_calls=1, tokens=input + output)
        if price is None:
            return charge, NO_PRICE.format(safe(model, 200)) if must_know else ""
        if asked.searches_max is None and must_know:
            return charge, (
                f"{safe(model, 200)} may make any number of web searches in this call, so a budget in USD cannot be "
                "kept. Nothing was sent. Set the tool's max_uses, or a budget without usd, then resume."
            )
        nano = price.worst_nano(
            input=input,
            output=output,
            keeps_long=asked.keeps_long or self.turn.long_at >= 0,
            searches=asked.searches_max or 0,
            tier=asked.tier,
        )
        return charge._replace(usd_nano=nano), ""


def _cut_off(slot: Slot) -> Attempted:
    """The process ended while its agent was reading: what it had is all that there is."""
    failure = broke_off("ReadError", "the process ended in the middle of this answer")
    body = recorded_part(200, {"content-type": "text/event-stream"}, b"".join(slot.streamed))
    return Attempted(body, slot.reservation, failure, is_told=True)
