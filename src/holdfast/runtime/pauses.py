"""Steps that wait for something other than a function: a time, a person, or the next line of the record.

Each writes when it began and with what deadline, so that a crash neither shortens nor restarts the wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.core.address import question_id
from holdfast.core.command import Call, Execute
from holdfast.core.events import Address, Kind, meta
from holdfast.core.heads import Why

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
            await driver.until(until)
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
    is_write = False

    async def perform(self, driver: Calls, command: Execute) -> None:
        """See `Performance`."""
        address, slot = command.address, command.recovered
        if slot is None or slot.intent is None:
            now = driver.record.now()
            expires_at = None if self.within_s is None else now + self.within_s
            facts = meta(
                id=fresh_question_id(driver, address),
                about="ask",
                text=self.text,
                options=list(self.options) or None,
                to=self.to or None,
                expires_at=expires_at,
                default=None if self.default is None else self.default.decode(),
            )
            call = self.call
            driver.record.note_step(Kind.QUESTION_ASKED, address, call.step, call.effect, meta=facts, body=self.shows)
            await driver.write()
        intent = driver.state.slots[address].intent
        asked = intent.facts if intent is not None else {}
        expires_at = asked.get("expires_at")
        with driver.silence.waits(address, Why.QUESTION, expires_at):
            await driver.answered(asked["id"], expires_at)
        driver.conclude(address)


def fresh_question_id(driver: Calls, address: Address) -> str:
    run, asked = driver.lease.run_id, driver.state.question_slots
    return question_id(driver.services.journal.hash_key, run, address, len(asked))
