"""`holdfast doctor --rebuild`: heads, accounts and cells are caches of the logs; here they are computed anew.

Invariants
1. What follows from the logs is computed by the core, never by a store. Each difference is told, mended or not.
2. A run that a living worker holds is left as it is; so are all accounts while a living worker holds any run, or when
   a log cannot be read: a sum without it would be too small.
3. A damaged cell that follows from no log is emptied, which its readers take for none: while it is damaged, no append
   that sets it could be written.
4. The search index is emptied: the next search reads all logs anew.

Never: changes an event. What a log has lost it cannot give back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from holdfast.core import board, desk
from holdfast.core.accept import MessageKind, accept
from holdfast.core.accounts import Account, countable
from holdfast.core.address import run_id as id_of
from holdfast.core.books import NONE, Sums, added
from holdfast.core.budget import Limits
from holdfast.core.charges import charged, charges
from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.core.state import State, fold
from holdfast.errors import JournalCorrupt
from holdfast.journal.collect import every_id
from holdfast.journal.open import index_of
from holdfast.protocols import Cell, Journal, Upkeep


class Difference(NamedTuple):
    """One thing that is not what the logs say."""

    what: str
    """Such as "head of run_…", "account day/2026-01-31", "cell switches"."""
    was: str
    now: str
    is_mended: bool


@dataclass(slots=True)
class Rebuilt:
    """What was found."""

    runs: int = 0
    differences: list[Difference] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What could not be judged or mended, and why, as sentences."""


def rebuild(journal: Journal, upkeep: Upkeep, tenant: str = "default", *, is_trial: bool = False) -> Rebuilt:
    """Compute anew what follows from the logs of one tenant. is_trial: tell the differences, change nothing."""
    return _Rebuilding(journal, upkeep, tenant, is_trial).run()


class _Rebuilding:
    """One pass over all logs."""

    def __init__(self, journal: Journal, upkeep: Upkeep, tenant: str, is_trial: bool) -> None:
        self.journal = journal
        self.upkeep = upkeep
        self.tenant = tenant
        self.is_trial = is_trial
        self.found = Rebuilt()
        self.sums: dict[str, Sums] = {}
        """By account, as far as the logs have been read."""
        self.caps: dict[str, Limits] = {}
        """Of accounts whose caps are in a log."""
        self.written: dict[str, str] = {}
        """By its cell, of each project: where its log has its board written down last."""
        self.unreadable = 0

    def run(self) -> Rebuilt:
        mark, accounts, cells = self.upkeep.mark(), self.upkeep.accounts(), self.upkeep.cells()
        for run_id in every_id(self.upkeep):
            self.found.runs += 1
            self._look_at(run_id)
        self._look_at_desk(cells)
        self._look_at_projects(cells)
        self._look_at_cells(cells)
        self._look_at_accounts(accounts, mark)
        if not self.is_trial:
            self._clear_index()
        return self.found

    def _clear_index(self) -> None:
        """The next search makes it anew of all logs."""
        if hasattr(self.journal, "index"):
            index = index_of(self.journal)
            try:
                index.clear()
            finally:
                index.close()

    def _differs(self, what: str, was: str, now: str, is_mended: bool) -> None:
        self.found.differences.append(Difference(what, was, now, is_mended))

    # --- runs ----------------------------------------------------------------------------------------------------

    def _look_at(self, run_id: str) -> None:
        try:
            events = self.journal.events(run_id)
            state = fold(events)
            head = state.head() if events else self._ready(run_id)
        except JournalCorrupt as error:
            self.unreadable += 1
            self.found.left.append(f"The record of run {run_id} is damaged itself, and nothing else tells it: {error}")
            return
        self._add(state)
        if state.agent == board.PROJECT:
            self._keep(events)
        if head is not None:
            self._compare(run_id, len(events), head)

    def _ready(self, run_id: str) -> Head | None:
        """The head of a run that nobody has begun: of the message that starts it."""
        start = next((mail for mail in self.journal.mail(run_id) if mail.message.kind is MessageKind.START), None)
        return None if start is None else accept(None, run_id, start.message, start.at).head

    def _compare(self, run_id: str, count: int, head: Head) -> None:
        stored = self._stored(run_id)
        if stored is not None:
            head = head._replace(wake_at=_wake_at(stored, head))
            if stored == head and self._is_sound(run_id):
                return
        is_mended = not self.is_trial and self.upkeep.mend(run_id, count, head)
        self._differs(f"head of {run_id}", _told(stored, head), _told(head, stored), is_mended)
        if not is_mended and not self.is_trial:
            self.found.left.append(
                f"Run {run_id} is held by a worker, or went on meanwhile; stop the workers, and rebuild again."
            )
        elif is_mended and not self._is_sound(run_id):
            self.found.left.append(f"The mail of run {run_id} is damaged, and nothing else tells it.")

    def _stored(self, run_id: str) -> Head | None:
        try:
            return self.journal.head(run_id)
        except JournalCorrupt:
            return None

    def _is_sound(self, run_id: str) -> bool:
        """Whether the run reads as a whole: also what is kept a second time to be searched."""
        try:
            return self.upkeep.record(run_id) is not None
        except JournalCorrupt:
            return False

    # --- what runs share -----------------------------------------------------------------------------------------

    def _add(self, state: State) -> None:
        for charge in charges(charged(State()), state, ()):
            self.sums[charge.key] = added(self.sums.get(charge.key, NONE), charge.spent, charge.reserved)
            if charge.limits is not None:
                self.caps[charge.key] = countable(charge.limits)

    def _look_at_desk(self, cells: dict[str, Cell | None]) -> None:
        """What operators have switched, and the caps that they have set, are a fold over the desk's log."""
        try:
            events = self.journal.events(id_of(self.journal.hash_key, self.tenant, desk.DESK))
        except JournalCorrupt:
            return  # told already: it is one of the runs
        if not events:
            return
        switches = desk.fold(events)
        self.caps |= {account: countable(limits) for account, limits in switches.caps.items()}
        was, text = cells.get(desk.CELL), switches.text()
        if was is None or was.value != text:
            self._put_cell(desk.CELL, was, text, "damaged" if desk.CELL in cells else "not there")
            cells[desk.CELL] = Cell(0, text)

    def _keep(self, events: Sequence[Event]) -> None:
        """What a project's log says: the caps of its sessions, and where its board is written down as it is."""
        known, written = board.Board(), 0
        for event in events:
            known = known.after(event)
            if event.facts.get("what") == board.BOARD and event.body == known.text().encode():
                written = known.count
        self.written[board.cell_of(known.name)] = str(written) if written else ""
        if known.caps != board.NO_CAPS:
            self.caps[board.cell_of(known.name)] = countable(known.caps)

    def _look_at_projects(self, cells: dict[str, Cell | None]) -> None:
        for name, text in sorted(self.written.items()):
            was = cells.get(name)
            if (was is None and text) or (was is not None and was.value != text):
                self._put_cell(name, was, text, "damaged" if name in cells else "not there")
                cells[name] = Cell(0, text)

    def _look_at_cells(self, cells: Mapping[str, Cell | None]) -> None:
        for name, cell in cells.items():
            if cell is None:
                self._put_cell(name, None, "", "damaged, and follows from no log")

    def _put_cell(self, name: str, was: Cell | None, text: str, missing: str) -> None:
        version = int(self.journal.now()) if was is None else was.version + 1  # higher than any before, if damaged
        is_mended = not self.is_trial and self.upkeep.put_cell(name, was, Cell(version, text))
        self._differs(f"cell {name}", missing if was is None else was.value, text or "empty", is_mended)

    def _look_at_accounts(self, accounts: Mapping[str, Account | None], mark: str) -> None:
        why = self._why_no_accounts(mark)
        if why:
            self.found.left.append(f"Accounts are left as they are: {why}")
            return
        for key in sorted({*accounts, *self.sums}):
            was = accounts.get(key)
            kept = was.limits if was is not None else Limits()
            now = Account(*self.sums.get(key, NONE), self.caps.get(key, kept))
            if was != now:
                missing = "damaged" if key in accounts else "not there"
                is_mended = not self.is_trial and self.upkeep.put_account(key, was, now, mark)
                self._differs(f"account {key}", missing if was is None else _sums(was), _sums(now), is_mended)

    def _why_no_accounts(self, mark: str) -> str:
        if self.unreadable:
            return f"{self.unreadable} of the logs cannot be read, and what they charged is in no other place."
        if self.upkeep.living():
            return "a living worker holds a run, and what it uses changes them. Stop the workers, and rebuild again."
        return "" if self.upkeep.mark() == mark else "a run went on meanwhile. Rebuild again."


def _wake_at(stored: Head, head: Head) -> float | None:
    """When it is due: whoever gave a run back may have said another time than its log. Only never is no time."""
    if stored.status is not head.status or head.status.is_end or stored.wake_at is None:
        return head.wake_at
    return stored.wake_at


def _told(head: Head | None, other: Head | None) -> str:
    """What of a head is another one than in `other`."""
    if head is None:
        return "damaged"
    facts = head.facts()
    if other is not None:
        theirs = other.facts()
        facts = {name: value for name, value in facts.items() if theirs.get(name) != value}
    else:
        facts = {name: facts[name] for name in ("status", "why", "wake_at")}
    return ", ".join(f"{name} {value}" for name, value in facts.items()) or "another one where it is searched"


def _sums(account: Account) -> str:
    return f"spent {list(account.spent)}, reserved {list(account.reserved)}, caps {list(account.limits[:4])}"
