"""The agent `@watch`: one run that lasts, and sees to it that it stays known whether anybody can be reached.

1. There is one of it in a store. Its worker may die: it is taken over like any run, and asks nobody twice for that.
2. Each way of each chain is asked about when `core.probing` says so; that it was decided is written, for all processes,
   in the append of the step that decided it.
3. Its agent is called by its code: a process of another version does not go on with a record that is not its own.
4. Nothing that fails ends it: what it cannot do it tries again at its next look.
"""

from __future__ import annotations

from typing import Any, Final

from holdfast.core.budget import Budget
from holdfast.core.policy import Retry
from holdfast.core.probing import due_at
from holdfast.core.reach import Fact
from holdfast.errors import ToolFailed
from holdfast.inbox import evidence, probe
from holdfast.inbox.directory import Directory
from holdfast.inbox.evidence import Learned
from holdfast.protocols import Journal
from holdfast.runtime.agent import Agent
from holdfast.runtime.run import Run
from holdfast.runtime.tool import Tool, tool

AGENT: Final = "@watch"
LOOK_S: Final = 300.0
"""How often it looks at what has become of each way."""
LOOKS: Final = 200
"""Then a new chapter begins: its record stays short."""
PROBES_MAX: Final = 100
"""So many are begun at one look; the others at the next."""


class Watching:
    """The agent, its steps, and what they need of this process."""

    def __init__(self, directory: Directory, probing: probe.Probing) -> None:
        self._directory = directory
        self._probing = probing
        self.journal: Journal | None = None
        self.look: Tool[Any, Any] = tool(
            effect="read", name="look", polls=True, breaker=None, retry=Retry(attempts=3, wait="1s", wait_max="10s")
        )(self._look)
        code = Agent(self._watch, name=AGENT).code[:6]
        self.agent: Agent[dict[str, Any], None] = Agent(
            self._watch, name=f"{AGENT}.{code}", budget=Budget(tool_calls=100_000), stuck=None
        )

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to watch."""
        return self._directory.probes.every_s is not None and bool(self._directory.all_ways())

    async def _watch(self, run: Run, given: dict[str, Any]) -> None:
        """Look, begin what is due, and wait; for ever."""
        for _ in range(LOOKS):
            try:
                due = await self.look()
            except ToolFailed:
                due = []
            for person, channel in due:
                way = {"person": person, "channel": channel, "within_s": self._directory.probes.within_s}
                await run.spawn(self._probing.agent, way, name="probe", detached=True, budget=probe.BUDGET)
            await run.sleep(LOOK_S, "until the next look")
        await run.continue_as(given)

    async def _look(self) -> list[list[str]]:
        """Ways that people are to be asked about now."""
        journal, every_s = self.journal, self._directory.probes.every_s
        assert journal is not None
        now = journal.now()
        due = [way for way in self._directory.all_ways() if every_s is not None and self._is_due(*way, every_s, now)]
        evidence.write(*(Learned(Fact.PROBED, person, channel, now) for person, channel in due[:PROBES_MAX]))
        return [[person, channel] for person, channel in due[:PROBES_MAX]]

    def _is_due(self, person: str, channel: str, every_s: float, now: float) -> bool:
        someone = self._directory.people[person]
        known = evidence.read(self.journal, person, channel)
        return due_at(known, every_s, now, someone.zone, someone.quiet) <= now
