"""The agent `@watch`: one run that lasts, and sees to it that it stays known whether anybody can be reached.

1. There is one of it in a store. Its worker may die: it is taken over like any run, and asks nobody twice for that.
2. Each way of each chain is asked about when `core.probing` says so; that it was decided is written, for all processes,
   in the append of the step that decided it.
3. Its agent is called by its code: a process of another version does not go on with a record that is not its own.
4. Nothing that fails ends it: what it cannot do it tries again at its next look.
5. Somebody outside is told that all is well only after a look at ourselves whose outcome is in the store; while
   anything is wrong, they are told that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from holdfast.core import checkup
from holdfast.core.budget import Budget
from holdfast.core.policy import Retry
from holdfast.core.probing import due_at
from holdfast.core.reach import Fact
from holdfast.errors import ToolFailed
from holdfast.inbox import evidence, heartbeat, probe, selfcheck
from holdfast.inbox.directory import Directory
from holdfast.inbox.evidence import Learned
from holdfast.inbox.heartbeat import Pulse
from holdfast.inbox.wording import plain
from holdfast.protocols import Channel, Journal, Undelivered
from holdfast.runtime.agent import Agent
from holdfast.runtime.run import Run
from holdfast.runtime.thread import in_thread
from holdfast.runtime.tool import Tool, tool

AGENT: Final = "@watch"
LOOK_S: Final = 300.0
"""How often it looks at what has become of each way."""
LOOKS: Final = 200
"""Then a new chapter begins: its record stays short."""
SLACK_S: Final = 5.0
"""A look that comes a moment early is the one that was meant."""
BEAT_S: Final = 20.0
PROBES_MAX: Final = 100
"""So many are begun at one look; the others at the next."""


class Watching:
    """The agent, its steps, and what they need of this process."""

    def __init__(
        self, directory: Directory, channels: Mapping[str, Channel], probing: probe.Probing, pulse: Pulse | None
    ) -> None:
        self._directory = directory
        self._channels = channels
        self._probing = probing
        self._pulse = pulse
        self.journal: Journal | None = None
        self.look: Tool[Any, Any] = tool(
            effect="read", name="look", polls=True, breaker=None, retry=Retry(attempts=3, wait="1s", wait_max="10s")
        )(self._look)
        self.beat: Tool[Any, Any] = tool(
            effect="read", name="beat", polls=True, breaker=None, retry=Retry(attempts=3, wait="2s", wait_max="10s")
        )(self._beat)
        code = Agent(self._watch, name=AGENT).code[:6]
        self.agent: Agent[dict[str, Any], None] = Agent(
            self._watch, name=f"{AGENT}.{code}", budget=Budget(tool_calls=100_000), stuck=None
        )

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to watch."""
        is_probed = self._directory.probes.every_s is not None and bool(self._directory.all_ways())
        return is_probed or self._pulse is not None

    async def _watch(self, run: Run, given: dict[str, Any]) -> None:
        """Look, begin what is due, tell that all is well or what is not, and wait; for ever."""
        for _ in range(LOOKS):
            try:
                seen = await self.look()
            except ToolFailed:
                seen = {"due": [], "wrong": ["a look at itself has failed"], "wait_s": LOOK_S}
            for way in seen["due"]:
                await run.spawn(self._probing.agent, way, name="probe", detached=True, budget=probe.BUDGET)
            if seen["wrong"] is not None:
                await self._told(seen["wrong"])
            await run.sleep(seen["wait_s"], "until the next look")
        await run.continue_as(given)

    async def _told(self, wrong: list[str]) -> None:
        try:
            await self.beat(wrong)
        except ToolFailed:
            pass  # whoever was to be told is not there: that is kept, shown, and tried again

    # --- steps -----------------------------------------------------------------------------------------------

    async def _look(self) -> dict[str, Any]:
        """Whom to ask now, and what is wrong, if it is time to tell that."""
        journal, pulse, probes = self.journal, self._pulse, self._directory.probes
        assert journal is not None
        now = journal.now()
        due = [way for way in self._directory.all_ways() if self._is_due(*way, now)][:PROBES_MAX]
        wrong = None
        if pulse is not None and now >= (heartbeat.told(journal).tried_at or 0.0) + pulse.every_s - SLACK_S:
            found = await in_thread("look", partial(selfcheck.found, self._directory, journal, now))
            wrong = checkup.wrong(found)
        evidence.write(*(Learned(Fact.PROBED, person, channel, now) for person, channel in due))
        return {
            "due": [{"person": person, "channel": channel, "within_s": probes.within_s} for person, channel in due],
            "wrong": wrong,
            "wait_s": LOOK_S if pulse is None else min(LOOK_S, pulse.every_s),
        }

    def _is_due(self, person: str, channel: str, now: float) -> bool:
        every_s, someone = self._directory.probes.every_s, self._directory.people[person]
        mark = getattr(self._channels.get(channel), "mark", "")
        if every_s is None or self.journal is None or evidence.is_shut(self.journal, channel, now, mark):
            return False
        known = evidence.read(self.journal, person, channel)
        return due_at(known, every_s, now, someone.zone, someone.quiet) <= now

    async def _beat(self, wrong: list[str]) -> None:
        """Tell whoever alarms when nobody does."""
        journal, pulse = self.journal, self._pulse
        if journal is None or pulse is None:  # taken out of the file meanwhile
            return
        now, before = journal.now(), heartbeat.told(journal)
        try:
            async with asyncio.timeout(BEAT_S):
                await in_thread("heartbeat", partial(pulse.tell, wrong))
        except (Undelivered, TimeoutError) as refused:
            why = plain(str(refused)) or f"no answer within {BEAT_S:g} s"
            evidence.keep(heartbeat.CELL, heartbeat.Told(before.told_at, now, why, tuple(wrong)).text())
            raise
        told_at = before.told_at if wrong else now
        evidence.keep(heartbeat.CELL, heartbeat.Told(told_at, now, "", tuple(wrong)).text())
