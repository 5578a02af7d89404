"""Runs that left memory while one of their effects was still under way: kept until its body has ended.

Their lease stays with this process, so nobody else verifies or repeats what a thread of ours may still do. When the
last body has ended, what it came to is written, and the run is given back. A closed App goes on keeping them in a
daemon thread, which ends with the process: then their owner is proven dead, or its lease runs out, and the step is in
doubt for whoever claims the run.

Invariants
1. A kept run is written to only with the lease that it had; when somebody else has taken it over, nothing is written.
2. Only what succeeded is written as an outcome; what failed late, has yet to pass a check of its tool, or cannot be
   known leaves the step in doubt.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from holdfast.core.events import Event, Kind, StepKind, meta
from holdfast.core.state import State, fold
from holdfast.errors import JournalError, LeaseLost, MailWaiting, UsageError
from holdfast.protocols import Lease, Worker
from holdfast.runtime.record import Record
from holdfast.runtime.senders import Sender
from holdfast.runtime.settings import Services


@dataclass(frozen=True, slots=True)
class Kept:
    """One run, and who may still act for it."""

    lease: Lease
    senders: tuple[Sender, ...]

    @property
    def is_over(self) -> bool:
        """Whether every body has ended."""
        return not any(sender.is_alive for sender in self.senders)

    @property
    def is_seen(self) -> bool:
        """Whether the end of every body can be seen: an async one may have left a thread behind."""
        return all(sender.is_seen for sender in self.senders)


def give_back(services: Services, kept: Kept) -> None:
    """Write what came late, and give the run back, due at once. `JournalError`: the store failed; try again."""
    state = fold(services.journal.events(kept.lease.run_id))
    record = Record(services, kept.lease, state)
    for sender in kept.senders:
        if (event := _late(sender, state, record.now())) is not None:
            record.add(event)
    record.is_last = True
    append = record.take()
    if append is None:
        services.journal.release(kept.lease, None if state.status.is_end else record.now())
        return
    [error] = services.journal.append([append])
    if isinstance(error, MailWaiting):  # it has ended, and somebody has resumed it: whoever goes on settles the doubt
        services.journal.release(kept.lease, record.now())
    elif error is not None and not isinstance(error, LeaseLost):
        raise error


def _late(sender: Sender, state: State, now: float) -> Event | None:
    slot = state.slots.get(sender.place.address)
    if slot is None or not slot.is_in_flight or (sender.logical, sender.number) != (slot.logical, slot.attempt):
        return None
    came = sender.take(slot.logical, slot.attempt) if sender.is_whole else None
    if came is None or came.failure is not None:
        return None
    outcome = Event(Kind.STEP_SUCCEEDED, now, slot.address, StepKind.TOOL, slot.effect, slot.logical, slot.attempt)
    facts = meta(**(came.facts or {}), late=True)
    return outcome._replace(charge=slot.reservation, meta=facts, body=came.body)


class Keeper:
    """Keeps what a closed App has left under way, in a daemon thread of its own."""

    def __init__(self, services: Services, worker: Worker, kept: Iterable[Kept], then: Callable[[], None]) -> None:
        """then: called when nothing is left to keep."""
        self._services = services
        self._worker = worker
        self._kept = list(kept)
        self._then = then
        self._news = threading.Event()

    def start(self) -> None:
        """Begin to keep."""
        for kept in self._kept:
            for sender in kept.senders:
                sender.when_over(self._news.set)
        threading.Thread(target=self._keep, name="holdfast keeper", daemon=True).start()

    def _keep(self) -> None:
        lease_s = self._services.settings.lease_s
        while self._kept:
            self._news.wait(lease_s / 3)
            self._news.clear()
            try:
                self._services.journal.register(self._worker, lease_s)
                self._look()
            except JournalError:
                continue  # asked again in a moment; if the lease runs out meanwhile, the step is in doubt elsewhere
            except UsageError:
                return  # the store was closed by whoever opened it: the lease runs out by itself
        with suppress(JournalError, UsageError):  # the same: what is not retired runs out
            self._then()

    def _look(self) -> None:
        for kept in [kept for kept in self._kept if kept.is_over]:
            give_back(self._services, kept)
            self._kept.remove(kept)
