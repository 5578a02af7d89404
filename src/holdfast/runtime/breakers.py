"""Breakers and shared retries in force: what `core.breaker` and `core.bucket` decide, on cells of the store.

A healthy tool costs one look at its cell in `FRESH_S` and no write: successes are kept here and told with the next
failure, and at most once in `TELL_S` while failures are about. Whatever is bad news is written at once.

Invariants
1. Nothing is taken from what was read when it has changed since: every write is a compare-and-set, tried a bounded
   number of times.
2. What cannot be read or written is no permission: the attempt does not begin, the retry is not made.
3. A success that could not be told yet is not lost, and not told twice.

Never: sleeps, keeps state that others must know of, decides by itself.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple

from holdfast.core import breaker, bucket
from holdfast.core.breaker import CLOSED, Breaker, Change, Circuit
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.health import Said, Seen, left_s, slice_of
from holdfast.errors import JournalError, StoreUnreachable
from holdfast.protocols import Clock, Journal

FRESH_S = 0.5
"""What was read of a healthy tool may be so old."""
TELL_S = 1.0
"""While failures are about, successes are told so often."""
TRIES = 16
"""So often a compare-and-set is tried; each time it is lost, another one has won."""
KNOWN_MAX = 4_096
"""Tools that are kept in mind; of the one that is forgotten, its untold successes are."""
BREAKERS, RETRIES = "breaker/", "retries/"
"""Cells are named so, with the name of the tool."""
OPEN = "breakers"
"""Cell that lists, for whoever asks, the tools whose breaker was opened and was not seen to close: a hint."""
LISTED_MAX = 200


class Told(NamedTuple):
    """What became of it, and what is to be recorded of that."""

    failure: Failure | None = None
    choice: str = ""
    because: str = ""


_NOTHING = Told()


class _Known:
    """What this process knows of one tool."""

    __slots__ = (
        *("calm_until", "circuit", "probe", "seen", "successes", "told_at"),
        *("well", "well_of", "well_slice", "well_until"),
    )

    def __init__(self) -> None:
        self.circuit = CLOSED
        self.calm_until = -inf
        """By the monotonic clock: until then nothing need be read, for it was found healthy."""
        self.seen = Seen()
        """Not told yet; without the latest successes, which are only counted."""
        self.well = self.well_slice = 0
        """So many successes since, all in this slice of time."""
        self.well_of: Breaker | None = None
        self.well_until = -inf
        """By the monotonic clock: until then one more success under this policy is in that slice, and no news."""
        self.successes = 0
        """Not yet counted for the shared retries."""
        self.told_at = 0.0
        self.probe: tuple[Hashable, str] = (None, "")
        """Which attempt of this process probes, and its ticket."""

    def see(self, said: Said, now: float, window_s: float) -> None:
        """One more observation. A success is as good as free: it is counted, and added up with the next one that is
        none, or of another slice."""
        if said is not Said.WELL:
            self.sum_up()
            self.seen = self.seen.and_then(said, now, window_s)
        elif (place := slice_of(now, window_s)) == self.well_slice:
            self.well += 1
        else:
            self.sum_up()
            self.well, self.well_slice = 1, place

    def sum_up(self) -> None:
        """Put the successes that are only counted into `seen`."""
        if self.well:
            self.seen = self.seen.and_well(self.well_slice, self.well)
            self.well = 0


class Breakers:
    """Those of one app, so of one tenant."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._monotonic = clock.monotonic
        self._known: dict[str, _Known] = {}

    # --- before an attempt ---------------------------------------------------------------------------------------

    def is_calm(self, name: str) -> bool:
        """Whether `entered` has nothing to say, whatever the policy is: it was found healthy a moment ago."""
        known = self._known.get(name)
        return known is not None and self._monotonic() < known.calm_until

    def entered(self, name: str, policy: Breaker, attempt: Hashable) -> Told:
        """Whether this attempt may begin. attempt: by which `observed` will name it."""
        if self.is_calm(name):
            return _NOTHING
        known = self._known_of(name)
        try:
            return self._entered(name, policy, attempt, known, self._clock.now())
        except StoreUnreachable:  # which is no word about the tool: nothing begins, and the run goes on when it is back
            raise
        except JournalError as error:
            return _refused(f"the breaker of {name} cannot be read ({error}). Nothing was sent.")

    def peeked(self, name: str, policy: Breaker) -> Told:
        """Whether an attempt would be refused now; takes nobody's turn to probe."""
        if self.is_calm(name):
            return _NOTHING
        known = self._known_of(name)
        now = self._clock.now()
        try:
            _, circuit = self._read(name, policy, known, now)
        except JournalError:  # `entered` will say so
            return _NOTHING
        if not circuit.is_open or breaker.entered(circuit, policy, now, "").write is not None:
            return _NOTHING
        return Told(breaker.refusal(name, circuit, now), "refused", circuit.because)

    def _entered(self, name: str, policy: Breaker, attempt: Hashable, known: _Known, now: float) -> Told:
        caller = ""
        for _ in range(TRIES):
            version, circuit = self._read(name, policy, known, now)
            if not circuit.is_open:
                return _NOTHING
            caller = caller or self._clock.fresh_id()
            entry = breaker.entered(circuit, policy, now, caller)
            if entry.write is None:
                return Told(breaker.refusal(name, circuit, now), "refused", circuit.because)
            if self._write(name, version, entry.write):
                if not entry.may_begin:
                    return Told(breaker.refusal(name, entry.write, now), "refused", circuit.because)
                known.probe = (attempt, caller)
                return Told(None, "probe", f"its wait is over; opened because {circuit.because}")
        return _refused(f"the breaker of {name} is open, and others were faster to probe. Nothing was sent.")

    # --- after an attempt ----------------------------------------------------------------------------------------

    def went_well(self, name: str, policy: Breaker | None) -> bool:
        """Count a success, where that is all that `observed` would do: of a tool that is healthy, and not probed."""
        known = self._known.get(name)
        if known is None or known.probe[1]:
            return False
        if policy is not None:
            if policy is known.well_of and self._monotonic() < known.well_until:
                known.well += 1
            elif not self._count_well(known, policy):
                return False
        known.successes += 1
        return True

    def _count_well(self, known: _Known, policy: Breaker) -> bool:
        now = self._clock.now()
        if known.circuit is not CLOSED and not known.circuit.is_healthy(now):
            return False
        known.see(Said.WELL, now, policy.window_s)
        known.well_of = policy
        known.well_until = self._monotonic() + min(FRESH_S, left_s(now, policy.window_s))
        return True

    def observed(self, name: str, policy: Breaker | None, attempt: Hashable, said: Said, text: str) -> Told:
        """An attempt is over. text: its failure, for the reason."""
        known = self._known_of(name)
        known.successes += said is Said.WELL
        if policy is None:
            return _NOTHING
        now = self._clock.now()
        ticket = known.probe[1] if known.probe[0] == attempt else ""
        if ticket:
            known.probe = (None, "")
        else:
            known.see(said, now, policy.window_s)
        if not ticket and not self._is_news(said, known, now):
            return _NOTHING
        try:
            change = self._tell(name, policy, known, now, said, ticket)
        except JournalError:  # it is told with the next one
            return _NOTHING
        because = f"{change.because}; the last one: {text}" if text and change.because else change.because
        return Told(None, change.choice, because)

    def _is_news(self, said: Said, known: _Known, now: float) -> bool:
        if said is not Said.WELL:
            return said is not Said.NOTHING
        circuit = known.circuit
        if circuit.is_open or circuit.is_healthy(now):
            return False
        return circuit.late > 0 or not known.told_at <= now < known.told_at + TELL_S

    def _tell(self, name: str, policy: Breaker, known: _Known, now: float, said: Said, ticket: str) -> Change:
        known.sum_up()
        for _ in range(TRIES):
            version, circuit = self._read(name, policy, known, now)
            if ticket:
                change = breaker.after_probe(circuit, policy, now, ticket, said)
            else:
                change = breaker.after(circuit, policy, now, known.seen)
            if change.circuit == circuit or self._write(name, version, change.circuit):
                known.circuit, known.calm_until = change.circuit, -inf
                known.told_at = now
                if not ticket:
                    known.seen = Seen()
                if change.choice in ("opened", "closed"):
                    self._list(name, is_open=change.choice == "opened")
                return change
        return Change(known.circuit)

    def _list(self, name: str, *, is_open: bool) -> None:
        with suppress(JournalError):  # it is a hint; the change itself is written
            for _ in range(TRIES):
                version, value = self._journal.cell(OPEN) or (0, "")
                others = [listed for listed in _listed(value) if listed != name]
                names = [*others, name][-LISTED_MAX:] if is_open else others
                if self._journal.swap(OPEN, version, json.dumps(names)):
                    return

    # --- retries -------------------------------------------------------------------------------------------------

    def take_retry(self, name: str, capacity: int) -> str:
        """Take one of the retries that all share; why there is none, or nothing when there was."""
        known = self._known_of(name)
        now = self._clock.now()
        try:
            for _ in range(TRIES):
                version, value = self._journal.cell(RETRIES + name) or (0, "")
                taken = bucket.take(_bucket(value, now), capacity, now, known.successes)
                text = bucket.to_text(taken.bucket)
                is_known = value == text and not taken.is_granted
                if not is_known and not self._journal.swap(RETRIES + name, version, text):
                    continue
                if taken.is_granted:
                    known.successes = 0
                return taken.because
        except StoreUnreachable:  # no word about the retries; the failed attempt is written before the next one begins
            return ""
        except JournalError as error:
            return f"the shared retries cannot be counted ({error})"
        return "the shared retries are in too great demand at this moment"

    # --- what is known, and cells --------------------------------------------------------------------------------

    def _known_of(self, name: str) -> _Known:
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= KNOWN_MAX:  # names that a program makes anew for each step
                del self._known[next(iter(self._known))]
            known = self._known[name] = _Known()
        return known

    def _read(self, name: str, policy: Breaker, known: _Known, now: float) -> tuple[int, Circuit]:
        cell = self._journal.cell(BREAKERS + name)
        if cell is None:
            version, circuit = 0, CLOSED
        else:
            version = cell.version
            try:
                circuit = breaker.from_text(cell.value)
            except ValueError:
                circuit = breaker.unreadable(policy, now)
                if self._write(name, version, circuit):
                    version += 1
        known.circuit, known.well_until = circuit, -inf
        known.calm_until = self._monotonic() + FRESH_S if circuit.is_healthy(now) else -inf
        return version, circuit

    def _write(self, name: str, version: int, circuit: Circuit) -> bool:
        return self._journal.swap(BREAKERS + name, version, breaker.to_text(circuit))


def _bucket(value: str, now: float) -> bucket.Bucket | None:
    """What a cell holds; one that cannot be read holds nothing, and time refills it."""
    try:
        return bucket.from_text(value)
    except ValueError:
        return bucket.Bucket(0, now)


def open_breakers(journal: Journal) -> list[dict[str, Any]]:
    """Those that are open or half open: the tool, since and until when (seconds since the epoch, UTC), and why."""
    found = []
    for name in _listed((journal.cell(OPEN) or (0, ""))[1]):
        cell = journal.cell(BREAKERS + name)
        try:
            circuit = breaker.from_text(cell.value) if cell is not None else CLOSED
        except ValueError as wrong:
            circuit = CLOSED._replace(opened_at=journal.now(), because=f"its record could not be read: {wrong}")
        if circuit.is_open:
            since, until, because = circuit.opened_at, circuit.until, circuit.because
            found.append({"tool": name, "since": since, "until": until, "because": because})
    return found


def _listed(value: str) -> list[str]:
    try:
        names = json.loads(value) if value else []
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _refused(text: str) -> Told:
    failure = Failure(FailureKind.REFUSED, "BreakerOpen", text, text, because=text)
    return Told(failure, "refused", text)
