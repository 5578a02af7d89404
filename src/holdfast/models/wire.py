"""Durable at the wire: a model call inside a run is a step of it.

`door` decides which requests come here; this module answers one of them, on the run's loop: from the record, or by
asking the provider under the client's one policy.

Invariants
1. The caller gets what the record says, the first time too; nothing of a credential is in the record.
2. Our policy alone retries. When it gives up, the SDK is told not to try again (`x-should-retry: false`), and where
   it, or a retry loop around it, does so all the same, the same failure is told once more without a request and
   without a step. So the requests on the wire are the attempts of the policy.
3. A call whose worst case is not known, or does not fit, is not sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary, ref

from holdfast.core.command import Call
from holdfast.core.events import Address, Charge, Effect, Event, StepKind
from holdfast.core.failure import Failure
from holdfast.core.state import State
from holdfast.errors import UsageError
from holdfast.models.answer import Broken, Reply, broke_off, misfit, rebuilt, recorded_part
from holdfast.models.bounds import input_max, output_max, window_of
from holdfast.models.call import Provider
from holdfast.models.channel import Channel
from holdfast.models.conversation import Conversations, Turn
from holdfast.models.elsewhere import account_elsewhere, account_of, url_of, variant_of
from holdfast.models.exchange import Exchange
from holdfast.models.options import Fallback, Options
from holdfast.models.package import surfaced
from holdfast.models.ratelimit import limits_of
from holdfast.models.repeats import Caller, Repeats
from holdfast.models.sender import Send
from holdfast.models.undeclared import undeclared, warn
from holdfast.runtime.current import Place
from holdfast.runtime.facts import safe
from holdfast.runtime.pricing import ModelPrice, Prices
from holdfast.runtime.steps import Attempts
from holdfast.runtime.tool import declared_names
from holdfast.runtime.way import Attempted, Way

if TYPE_CHECKING:
    from holdfast.core.slot import Slot
    from holdfast.runtime.driver import Driver

NO_REQUEST = (
    "A request to a model {0}, so it cannot be recorded or charged. Nothing was sent. Mend the request, or call within "
    "`with holdfast.detached():` what belongs to no run."
)
UNREADABLE = "is broken JSON, too deeply nested, or names its conversation twice"
NO_PRICE = (
    "The price of model {0} is not known, so a budget in USD cannot be kept. Nothing was sent. "
    'Add [prices."{0}"] to holdfast.toml, or install holdfast[prices], then resume.'
)

_log = logging.getLogger("holdfast")


@dataclass(slots=True, eq=False)
class Memory:
    """What the wire remembers of one run, in this process; all of it can be lost."""

    conversations: Conversations
    prices: Prices
    repeats: Repeats = field(default_factory=Repeats)
    live: set[asyncio.Task[Event]] = field(default_factory=set)
    warned: set[frozenset[str]] = field(default_factory=set)
    """Tools that are not known, of which was told."""
    hosts: set[str] = field(default_factory=set)
    """Hosts that were asked for a model."""


_memories: WeakKeyDictionary[Driver, Memory] = WeakKeyDictionary()


def memory_of(driver: Driver) -> Memory:
    """What is remembered of this run."""
    found = _memories.get(driver)
    if found is None:
        seen = ref(driver)  # what is remembered of a run does not keep it in memory

        def state() -> State:
            there = seen()
            assert there is not None
            return there.state

        conversations = Conversations(state)
        found = _memories[driver] = Memory(conversations, Prices(driver.services.prices))
    return found


class Asking(NamedTuple):
    """A request that asks a model, whichever package's."""

    provider: Provider
    url: str
    headers: Mapping[str, str]
    body: bytes
    caller: Caller


async def serve(asking: Asking, where: Place, options: Options, send: Send) -> Reply | Broken | Channel | None:
    """Answer a model call of a run, on its loop; None for a body that is none of this API's requests.

    Raises `UsageError` for what the client was told wrong; a bug of ours ends the run.
    """
    try:
        return await _served(asking, where, options, send)
    except UsageError as wrong:
        raise surfaced(wrong) from wrong.__cause__
    except Exception as bug:  # an SDK would call it a connection error, and try again
        await where.driver.lost_by(bug)


async def _served(asking: Asking, where: Place, options: Options, send: Send) -> Reply | Broken | Channel | None:
    memory = memory_of(where.driver)
    turn = memory.conversations.read(asking.body, asking.provider, urlsplit(asking.url).path)
    if turn is None or not turn.asked.model:
        if asking.body.lstrip()[:1] == b"{":  # a server might answer it, and nobody would know what it cost
            raise surfaced(UsageError(NO_REQUEST.format("names no model" if turn is not None else UNREADABLE)))
        return None
    memory.hosts.add(urlsplit(asking.url).netloc)
    return await _Serving(asking, where, options, send, memory, turn).answer()


class _Serving:
    """One model call."""

    def __init__(self, asking: Asking, where: Place, options: Options, send: Send, memory: Memory, turn: Turn) -> None:
        self.asking = asking
        self.driver = where.driver
        self.options = options
        self.send = send
        self.memory = memory
        self.turn = turn
        asked = turn.asked
        self.effect = options.effect or asked.effect
        count = len(turn.body.ends)
        shown = f"{asked.model}, {count} message{'' if count == 1 else 's'}"
        self.call = Call(
            where.scope, asking.provider.STEP, turn.digest, StepKind.MODEL, self.effect, safe(shown, 200).encode()
        )

    async def answer(self) -> Reply | Broken | Channel:
        tried = 0
        repeats, caller = self.memory.repeats, self.asking.caller
        failed = repeats.before(self.call, caller, self.driver)
        if failed is not None:
            tried = self._tried(failed)
            if not tried:
                repeats.told(self.call, caller, self.driver, failed)
                return self._told(failed)
        outcome = self.driver.replayed(self.call)
        if outcome is None:
            self._name_unknown_tools()
            self.call = self.call._replace(tail=self._tail(), history=self.turn.body.history)
        if outcome is None and self.turn.asked.is_stream and not self.options.is_whole and self.effect is Effect.READ:
            return await self._live(tried)
        return self._concluded(outcome or await self.driver.step(self._plan(None, tried)))

    def _tail(self) -> str:
        """A stream is no answer to a call that wants none."""
        tail = self.turn.body.tail()
        return f"{tail}s" if tail and self.turn.asked.is_stream else tail

    def _name_unknown_tools(self) -> None:
        if not (offered := self.turn.asked.tools):
            return
        unknown = undeclared(offered, declared_names(), (address.name for address in self.driver.state.slots))
        if unknown and unknown not in self.memory.warned:
            self.memory.warned.add(unknown)
            warn(self.driver.lease.run_id, unknown)

    def _tried(self, outcome: Event) -> int:
        """Attempts already made, when the policy allows more: an answer broke off, and only its reader knew."""
        failure = Failure.from_facts(outcome.facts)
        is_left = outcome.body is not None and failure.kind.is_retryable and outcome.facts.get("is_told", False)
        return outcome.attempt if is_left and outcome.attempt < self.options.retry.attempts else 0

    def _concluded(self, outcome: Event) -> Reply | Broken | Channel:
        self._remember(outcome)
        return self._told(outcome)

    def _told(self, outcome: Event) -> Reply | Broken | Channel:
        told = rebuilt(outcome)
        return self._replayed(told, outcome) if self.turn.asked.is_stream else told

    def _remember(self, outcome: Event) -> None:
        if outcome.address is not None:
            self.memory.conversations.keep(self.turn, outcome.address, outcome)
        self.memory.repeats.ended(self.call, self.asking.caller, outcome, self.driver.machine.asked)

    # --- streams -----------------------------------------------------------------------------------------------

    def _replayed(self, told: Reply | Broken, outcome: Event) -> Reply | Broken | Channel:
        """A recorded stream that did not come to its end is read up to there."""
        ended_by = outcome.facts.get("closed", "") if '"closed"' in outcome.meta else ""
        if isinstance(told, Broken):
            begun = told.reply if '"is_told"' in outcome.meta else None
        else:
            begun = told if ended_by else None
        if begun is None:
            return told
        channel = Channel(self.driver)
        channel.on_break = partial(self._remember, outcome)
        channel.status, channel.headers = begun.status, begun.headers
        channel.finish(begun.body, told if isinstance(told, Broken) else None, ended_by)
        return channel

    async def _live(self, tried: int) -> Reply | Broken | Channel:
        """Ask for the step in a task of its own, and come back as soon as there is something to read."""
        channel = Channel(self.driver)
        task = self.driver.loop.create_task(self._received(channel, tried))
        self.memory.live.add(task)
        task.add_done_callback(self.memory.live.discard)
        try:
            either: set[asyncio.Future[Any]] = {task, channel.opened}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            channel.drop()
            task.cancel()
            await asyncio.wait({task})  # that it was given up is noted before the caller goes on
            raise
        if not channel.opened.done():
            return self._concluded(task.result())
        return channel

    async def _received(self, channel: Channel, tried: int) -> Event:
        """The step, and when it is recorded, the rest for its reader."""
        outcome = await self.driver.step(self._plan(channel, tried))
        try:
            if channel.opened.done():
                self._ended(channel, outcome)
        except Exception as bug:  # nobody else waits for this task
            await self.driver.lost_by(bug)
        return outcome

    def _ended(self, channel: Channel, outcome: Event) -> None:
        self._remember(outcome)
        channel.on_break = partial(self._remember, outcome)
        told = rebuilt(outcome)
        if isinstance(told, Broken):
            channel.finish(told.reply.body if told.reply is not None else b"", told)
        else:
            channel.finish(told.body)

    # --- the plan ----------------------------------------------------------------------------------------------

    def _plan(self, channel: Channel | None, tried: int) -> Attempts:
        ways = [self._way(fallback, channel) for fallback in (None, *self.options.fallback)]
        return Attempts(
            call=self.call,
            args=self.call.shown,
            retry=self.options.retry,
            ways=tuple(way for way in ways if way is not None),
            needs_key=False,
            intent=self._intent,
            tried=tried,
            cut_off=_cut_off,
            misfit=partial(misfit, provider=self.asking.provider, is_stream=self.turn.asked.is_stream),
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
            effect=self.effect,
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
        asked, limits = self.turn.asked, self.driver.state.limits
        window = window_of(model, self.driver.services.prices)
        input, output = input_max(asked, messages, window), output_max(asked, window)
        charge = Charge(model_calls=1, tokens=input + output)
        if price is None:
            return charge, NO_PRICE.format(safe(model, 200)) if limits.usd_nano is not None else ""
        if asked.searches_max is None and limits.usd_nano is not None:
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
