"""With which earlier call a new one is compared. If these fail, “last time” is somebody else's, or was a no."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import holdfast as hf
from holdfast.journal.memory import MemoryJournal
from holdfast.runtime.clock import SystemClock
from holdfast.views import asking
from holdfast.views.precedent import precedent


def agent_of(name: str = "payer", tool: str = "pay") -> Any:
    """An agent that pays."""

    @hf.tool(effect="once", name=tool, approve=hf.Ask("finance"))
    async def pay(what: str) -> str:
        return f"paid {what}"

    @hf.agent(name=name)
    async def payer(run: hf.Run, what: str) -> str:
        try:
            return await pay(what)
        except hf.NotApproved as no:
            return no.outcome

    return payer


class Office:
    """One store, and people who answer."""

    def __init__(self) -> None:
        self.journal = MemoryJournal(clock=SystemClock().now)

    def ask(self, what: str, agent: Any = None) -> asking.Item:
        """A run asks; its question."""
        agent = agent or agent_of()
        app = hf.App(self.journal, settings=hf.Settings(quiet_s=0.01))
        with suppress(hf.errors.RunWaiting):
            app.run_sync(agent, what, key=f"{agent.name} {what}", wait=0)
        open_ = [one for one in asking.items(self.journal) if one.state == "open"]
        return next(one for one in open_ if one.key == f"{agent.name} {what}")

    def say(self, asked: asking.Item, choice: str, agent: Any = None) -> None:
        """Somebody answers, and the run takes it up."""
        app = hf.App(self.journal, settings=hf.Settings(quiet_s=0.01))

        async def main() -> None:
            async with app:
                await app.answer(asked.run, asked.id, choice, by="ann", digest=asked.digest)
                await app.run(agent or agent_of(), asked.key.split()[-1], key=asked.key, wait=5)

        asyncio.run(main())

    def full(self, asked: asking.Item) -> asking.Item:
        found = asking.item(self.journal, asked.run, asked.id)
        assert found is not None
        return found


def test_the_last_that_was_approved_of_the_same_tool_and_agent_counts() -> None:
    """Lost: the comparison, or one with what somebody has declined, or another agent does."""
    office = Office()
    for what, choice in (("A", "approve"), ("B", "approve"), ("C", "decline")):
        office.say(office.ask(what), choice)
    other, refund = agent_of(name="other"), agent_of(name="payer", tool="refund")
    office.say(office.ask("D", other), "approve", other)
    office.say(office.ask("E", refund), "approve", refund)
    asked = office.full(office.ask("F"))
    last = precedent(office.journal, asked)
    assert last is not None and (last.arguments, last.by) == ({"what": "B"}, "ann")
    office.say(office.ask("G"), "approve")
    assert precedent(office.journal, asked) == last, "what came later is none"


def test_where_there_is_none_nothing_is_compared() -> None:
    """Lost: the page of the first question, or one with itself."""
    office = Office()
    asked = office.full(office.ask("A"))
    assert precedent(office.journal, asked) is None
    office.say(asked, "approve")
    assert precedent(office.journal, office.full(asked)) is None
