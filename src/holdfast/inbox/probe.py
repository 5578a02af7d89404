"""The agent `@probe`: a run of it asks one person by one channel to confirm that this way reaches them.

1. Nothing waits for the answer, and nothing follows from it but that the way is known to work.
2. Only the person who was asked proves anything by confirming.
3. What the channel did is learned in the append of the step that sent it, as a chain's is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from holdfast.core.address import question_id
from holdfast.core.budget import Budget
from holdfast.core.reach import Fact
from holdfast.errors import ToolFailed
from holdfast.inbox import evidence
from holdfast.inbox.chain import SEND_S, handed_over, sending
from holdfast.inbox.directory import Directory
from holdfast.inbox.evidence import Learned
from holdfast.inbox.probing import probe
from holdfast.inbox.wording import plain
from holdfast.protocols import Channel, Gone, Journal, Undeliverable, Undelivered
from holdfast.runtime import asking
from holdfast.runtime.agent import Agent
from holdfast.runtime.run import Run
from holdfast.runtime.signature import INJECTED
from holdfast.runtime.tool import Tool, tool

AGENT: Final = "@probe"
BUDGET: Final = Budget(tool_calls=100)


class Probing:
    """The agent, its steps, and what they need of this process."""

    def __init__(
        self, directory: Directory, channels: Mapping[str, Channel], link_of: Callable[[str, str], str]
    ) -> None:
        self._directory = directory
        self._channels = channels
        self._link_of = link_of
        self.journal: Journal | None = None
        self.send = sending("send", self._send, window="30d", timeout=SEND_S + 15)
        self.proved: Tool[Any, Any] = tool(effect="read", name="proved", breaker=None)(self._proved)
        self.agent: Agent[dict[str, Any], dict[str, Any]] = Agent(self._ask, name=AGENT, budget=BUDGET, stuck=None)

    async def _ask(self, run: Run, way: dict[str, Any]) -> dict[str, Any]:
        """Ask them, and tell what became of it."""
        person, channel = way["person"], way["channel"]
        try:
            await self.send(run.id, person, channel)
        except ToolFailed as refused:
            return {"outcome": "refused", "because": plain(str(refused)), "by": ""}
        answer = await asking.confirm(person, channel, within_s=way["within_s"])
        if answer.outcome == "answered" and answer.by == person:
            await self.proved(person, channel)
            return {"outcome": "confirmed", "because": "", "by": person}
        return {"outcome": answer.outcome, "because": "", "by": plain(answer.by)}

    # --- steps -----------------------------------------------------------------------------------------------

    async def _send(self, run: str, person: str, channel: str, *, idempotency_key: str = INJECTED) -> dict[str, Any]:
        """Hand the notice to the channel."""
        assert self.journal is not None
        way = self._channels.get(channel)
        is_known = way is not None and person in self._directory.people
        to = self._directory.address(person, channel) if is_known else ""
        if way is None or not to:
            raise Undeliverable(f"{person} cannot be told by {channel}: the file no longer says how")
        question = question_id(self.journal.hash_key, run, asking.confirmed_at(), 0)
        link = self._link_of(run, question)
        message = probe(person, to, idempotency_key, self.journal.now(), run=run, question=question, link=link)
        try:
            receipt = await handed_over(way, message)
        except Undelivered as refused:
            self._found(Fact.REFUSED, person, channel, str(refused), isinstance(refused, Undeliverable))
            if isinstance(refused, Gone):
                evidence.shut(channel, None, refused.mark)
            raise
        self._found(Fact.ACCEPTED, person, channel)
        return {"state": receipt.state, "reference": plain(receipt.reference)}

    async def _proved(self, person: str, channel: str) -> None:
        self._found(Fact.TAKEN, person, channel)

    def _found(self, fact: Fact, person: str, channel: str, why: str = "", is_final: bool = False) -> None:
        assert self.journal is not None
        evidence.write(Learned(fact, person, channel, self.journal.now(), plain(why), is_final))
