"""Durable at the wire: a model call inside a run is a step of it.

`door` decides which requests come here; this module answers one of them, on the run's loop: from the record, or by
asking the provider under the client's one policy.

Invariants
1. The caller gets what the record says, the first time too; nothing of a credential is in the record.
2. Our policy alone retries. When it gives up, the SDK is told not to try again (`x-should-retry: false`), and where
   it, or a retry loop around it, does so all the same, the same failure is told once more without a request and
   without a step. So the requests on the wire are the attempts of the policy.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from holdfast.core.command import Call
from holdfast.core.events import Effect, Event, StepKind
from holdfast.core.failure import Failure
from holdfast.errors import UsageError
from holdfast.models.answer import Broken, Reply, rebuilt
from holdfast.models.channel import Channel
from holdfast.models.conversation import Turn
from holdfast.models.memory import Memory, memory_of
from holdfast.models.options import Options
from holdfast.models.package import surfaced
from holdfast.models.plan import Asking, Plan
from holdfast.models.sender import Send
from holdfast.models.undeclared import undeclared, warn
from holdfast.runtime.attempts import Attempts
from holdfast.runtime.current import Place
from holdfast.runtime.facts import is_stronger, safe
from holdfast.runtime.tool import declared_names

if TYPE_CHECKING:
    pass

NO_REQUEST = (
    "A request to a model {0}, so it cannot be recorded or charged. Nothing was sent. Mend the request, or call within "
    "`with holdfast.detached():` what belongs to no run."
)
STRONGER = (
    "{0} ({1}) asked {2}, whose provider may act on the world in this call ({3}): a stronger effect, inside its step. "
    "Nothing was sent. Ask it in the agent, or declare {0} effect='composite'."
)
UNREADABLE = "is broken JSON, too deeply nested, or names its conversation twice"


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
    serving = _Serving(asking, where, options, send, memory, turn)
    if where.inside is not None and is_stronger(serving.effect, where.inside):
        raise surfaced(UsageError(STRONGER.format(where.step_name, where.inside, turn.asked.model, serving.effect)))
    return await serving.answer()


class _Serving:
    """One model call."""

    def __init__(self, asking: Asking, where: Place, options: Options, send: Send, memory: Memory, turn: Turn) -> None:
        self.asking = asking
        self.driver = where.driver
        self.inside = where.inside
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

    def _plan(self, channel: Channel | None, tried: int) -> Attempts:
        plan = Plan(
            asking=self.asking,
            driver=self.driver,
            options=self.options,
            send=self.send,
            memory=self.memory,
            turn=self.turn,
            call=self.call,
            inside=self.inside,
        )
        return plan.attempts(channel, tried)

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
