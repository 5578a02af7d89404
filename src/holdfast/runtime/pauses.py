"""Steps that wait for something other than a function: a time, a person, or the next line of the record.

Each writes when it began and with what deadline, so that a crash neither shortens nor restarts the wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holdfast.core.address import question_id
from holdfast.core.approval import Refused
from holdfast.core.command import Call, Execute
from holdfast.core.events import Address, Kind, meta
from holdfast.core.heads import Why
from holdfast.core.rung import Ask
from holdfast.runtime.reaching import reached

if TYPE_CHECKING:
    from holdfast.runtime.calls import Calls


@dataclass(slots=True)
class Sleep:
    """A durable wait: the time it ends is written when it begins, and kept."""

    call: Call
    delay_s: float
    is_write = False

    async def perform(self, driver: Calls, command: Execute) -> None:
        """See `Performance`."""
        slot = command.recovered
        if slot is None or slot.intent is None:
            until = driver.record.now() + self.delay_s
            self._note(driver, Kind.STEP_INTENDED, command, meta(until=until))
            await driver.write()
        else:
            until = slot.intent.facts["until"]
        with driver.silence.waits(command.address, Why.SLEEP, until):
            await driver.waits.until(until)
        self._note(driver, Kind.STEP_SUCCEEDED, command)
        await driver.write()
        driver.conclude(command.address)

    def _note(self, driver: Calls, kind: Kind, command: Execute, facts: str = "") -> None:
        call = self.call
        driver.record.note_step(kind, command.address, call.step, call.effect, logical=1, attempt=1, meta=facts)


@dataclass(slots=True)
class Note:
    """A line in the record, written once."""

    call: Call
    text: str
    is_write = False

    async def perform(self, driver: Calls, command: Execute) -> None:
        """See `Performance`."""
        call, facts = self.call, meta(text=self.text)
        driver.record.note_step(Kind.NOTE_WRITTEN, command.address, call.step, call.effect, meta=facts)
        await driver.write()
        driver.conclude(command.address)


@dataclass(slots=True)
class Question:
    """A question to a person: asked once, answered by a message, closed at its time with its default."""

    call: Call
    text: str
    options: tuple[str, ...]
    to: str
    within_s: float | None
    default: bytes | None
    shows: bytes | None
    about: str = "ask"
    more: dict[str, Any] = field(default_factory=dict)
    """Further facts."""
    ask: Ask | None = None
    """Of an approval: it is asked for only while somebody can be reached, as is declared there."""
    lacking: str = ""
    """Of an approval: why there is nobody who could give it; then nobody is asked."""
    is_write = False

    async def perform(self, driver: Calls, command: Execute) -> None:
        """See `Performance`."""
        address, slot = command.address, command.recovered
        if slot is None or slot.intent is None:
            if not await self._can_be_asked(driver, address):
                driver.conclude(address)
                return
            now = driver.record.now()
            expires_at = None if self.within_s is None else now + self.within_s
            facts = meta(
                id=fresh_question_id(driver, address),
                about=self.about,
                text=self.text,
                options=list(self.options) or None,
                to=self.to or None,
                expires_at=expires_at,
                default=None if self.default is None else self.default.decode(),
                **self.more,
            )
            call = self.call
            driver.record.note_step(Kind.QUESTION_ASKED, address, call.step, call.effect, meta=facts, body=self.shows)
            await driver.write()
        intent = driver.state.slots[address].intent
        asked = intent.facts if intent is not None else {}
        expires_at = asked.get("expires_at")
        with driver.silence.waits(address, Why.QUESTION, expires_at):
            await driver.waits.answered(asked["id"], expires_at)
        driver.conclude(address)

    async def _can_be_asked(self, driver: Calls, address: Address) -> bool:
        """False: nobody could be reached in its time, and that is its outcome."""

        async def wait(why: Why, until: float) -> None:
            with driver.silence.waits(address, why, until):
                await driver.waits.until(until)

        nobody = Refused("undeliverable", "", self.lacking) if self.lacking else None
        if nobody is None and self.ask is not None:
            nobody = await reached(driver, address, self.ask, wait)
        if nobody is not None:
            facts = meta(outcome=nobody.outcome, because=nobody.because)
            driver.record.note_step(Kind.STEP_SUCCEEDED, address, self.call.step, self.call.effect, meta=facts)
            await driver.write()
        return nobody is None


@dataclass(slots=True)
class Decision:
    """A choice of the agent's own, with its reason: written once, and what replay gives back."""

    call: Call
    choice: bytes | None
    shown: str
    because: str
    more: dict[str, Any] = field(default_factory=dict)
    """Further facts."""
    is_write = False

    async def perform(self, driver: Calls, command: Execute) -> None:
        """See `Performance`."""
        call, facts = self.call, meta(what=self.call.name, choice=self.shown, because=self.because, **self.more)
        where = command.address
        driver.record.note_step(Kind.DECIDED, where, call.step, call.effect, meta=facts, body=self.choice)
        await driver.write()
        driver.conclude(command.address)


@dataclass(slots=True)
class Signal:
    """A wait for a message with this name; one that came before is taken at once. Each is taken once, in order."""

    call: Call
    within_s: float | None
    default: bytes | None
    is_write = False

    async def perform(self, driver: Calls, command: Execute) -> None:
        """See `Performance`."""
        address, slot, name = command.address, command.recovered, self.call.name
        until = None
        if slot is not None and slot.intent is not None:
            until = slot.intent.facts.get("until")
        elif not _is_there(driver, name):
            until = None if self.within_s is None else driver.record.now() + self.within_s
            self._note(driver, Kind.STEP_INTENDED, address, meta(until=until))
            await driver.write()
        with driver.silence.waits(address, Why.SIGNAL, until):
            while not _is_there(driver, name):
                if until is not None and driver.services.clock.now() >= until:
                    await driver.read_mail()  # one that arrived before counts
                    break
                await driver.waits.news(address, about_signal(name), until)
        self._conclude(driver, address, name)
        await driver.write()
        driver.conclude(address)

    def _conclude(self, driver: Calls, address: Address, name: str) -> None:
        found = next((signal for signal in driver.state.unheard if signal.facts["name"] == name), None)
        if found is None:
            self._note(driver, Kind.STEP_SUCCEEDED, address, meta(outcome="expired"), self.default)
        else:
            facts = meta(outcome="received", sender=found.facts.get("by"))
            self._note(driver, Kind.STEP_SUCCEEDED, address, facts)

    def _note(self, driver: Calls, kind: Kind, address: Address, facts: str, body: bytes | None = None) -> None:
        call = self.call
        driver.record.note_step(kind, address, call.step, call.effect, logical=1, attempt=1, meta=facts, body=body)


def about_signal(name: str) -> str:
    """What a message with this signal is about."""
    return f"signal {name}"


def _is_there(driver: Calls, name: str) -> bool:
    return any(signal.facts["name"] == name for signal in driver.state.unheard)


def fresh_question_id(driver: Calls, address: Address) -> str:
    run, asked = driver.lease.run_id, driver.state.question_slots
    return question_id(driver.services.journal.hash_key, run, address, len(asked))
