"""`holdfast migrate`: the runs of one store go on in another, whatever the engines.

    OPEN → LEAVING     the store that is left takes no more writes; from here on nothing changes in it
    OPEN → FILLING     the other one takes none but these
    copy, read back    every run whole, its accounts, cells, and the identity from which keys derive
    LEAVING → LEFT     for good
    FILLING → OPEN     the other one goes on

Invariants
1. At no moment do two stores take writes of the same runs (`core.standing`).
2. Each line can be cut short anywhere and done again: what is there is not written twice, and what was copied is read
   back as a whole before the store that is left is closed for good.
3. Nothing of the store that is left is changed but where it stands.

Never: moves a run that a living worker holds, repairs what is damaged, merges two stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from holdfast.core.standing import OPEN, Passage, Standing
from holdfast.errors import JournalCorrupt, JournalError, StoreBusy, UsageError
from holdfast.journal import refusal
from holdfast.journal.collect import every_id
from holdfast.journal.open import upkeep_of
from holdfast.protocols import Journal, Upkeep

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """One of the two stores."""

    url: str
    """As it is shown and kept: without a password."""
    open: Callable[[str], Journal]
    """Its journal, by tenant."""

    @contextmanager
    def kept(self, tenant: str = "default") -> Iterator[Upkeep]:
        """The store, for whoever keeps it."""
        journal = self.open(tenant)
        try:
            yield upkeep_of(journal)
        finally:
            journal.close()


class Moved(NamedTuple):
    """What went along."""

    runs: int
    events: int
    cells: int
    accounts: int


Tell = Callable[[str], None]
"""Is told what is done now."""


def migrate(source: Place, target: Place, attempt: str, tell: Tell = lambda line: None) -> Moved | None:
    """Move everything; None when that was done before. attempt: a name that no other attempt has.

    Raises StoreBusy while a living worker holds a run, UsageError for a target that holds anything, StoreMoved for
    stores of another migration, JournalCorrupt for what cannot be read. After those of the last kind the source is
    still closed: run it again, or `give_up`.
    """
    if source.url == target.url:
        raise UsageError(f"{source.url} is to be moved to itself. Nothing was done. Name another store.")
    with source.kept() as left, target.kept() as filled:
        before = _begin(left, filled, source, target, attempt)
        if before.passage is Passage.LEFT:
            _finish(left, filled, before, source, target)
            return None
        if not filled.take_identity(left.identity()) and filled.identity() != left.identity():
            raise _other_store(target)
        tenants = left.tenants()
    moved = Moved(0, 0, 0, 0)
    for tenant in tenants:
        with source.kept(tenant) as left, target.kept(tenant) as filled:
            tell(f"copying {tenant}")
            _copy(left, filled)
            tell(f"reading back {tenant}")
            part = _checked(left, filled, source, target)
            moved = Moved(*(a + b for a, b in zip(moved, part, strict=True)))
    with source.kept() as left, target.kept() as filled:
        over = before._replace(passage=Passage.LEFT)
        if filled.tenants() != tenants or not (left.pass_on(before, over) or left.standing() == over):
            raise _other_store(target)
        _finish(left, filled, before, source, target)
    return moved


def give_up(source: Place, target: Place) -> None:
    """Open the source again; what was copied to the target stays closed for ever. UsageError when it is too late."""
    with source.kept() as left:
        now = left.standing()
        if now.passage is not Passage.LEAVING or now.url != target.url or not left.pass_on(now, OPEN):
            raise UsageError(
                f"{source.url} is not on its way to {target.url}, so there is nothing to give up"
                + (f": its runs go on in {now.url}." if now.passage is Passage.LEFT else ".")
            )


# --- where the stores stand -----------------------------------------------------------------------------------------


def _begin(left: Upkeep, filled: Upkeep, source: Place, target: Place, attempt: str) -> Standing:
    """Close both stores to everybody else; where the source stands then."""
    now = left.standing()
    if now.is_open:
        _check_empty(filled, source, target)
        leaving = Standing(Passage.LEAVING, attempt, target.url)
        if not left.pass_on(OPEN, leaving):
            raise _busy(left, source)
        now = leaving
    if now.passage is Passage.FILLING or now.url != target.url:
        raise refusal.moved(now, source.url)
    if now.passage is Passage.LEAVING:
        filling = Standing(Passage.FILLING, now.attempt, source.url)
        if filled.standing() != filling and not filled.pass_on(OPEN, filling):
            raise _other_store(target)
    return now


def _check_empty(filled: Upkeep, source: Place, target: Place) -> None:
    now = filled.standing()
    if now.passage is Passage.FILLING:
        raise UsageError(
            f"{target.url} holds what was copied from {now.url} before that was given up. Nothing was done. Name a "
            f"store that is not there yet, or remove this one."
        )
    if not now.is_open:
        raise refusal.moved(now, target.url)
    if filled.tenants():
        raise UsageError(
            f"{target.url} is not empty, and stores are not merged. Nothing was done. Name a store that is not "
            f"there yet."
        )


def _busy(left: Upkeep, source: Place) -> StoreBusy:
    who = ", ".join(f"pid {worker.pid} on {worker.host or 'this host'}" for worker in left.living())
    return StoreBusy(
        f"Runs of {source.url} are being worked on ({who or 'somebody was faster'}). Nothing was done. Stop its "
        f"workers (SIGTERM lets what is under way finish), or wait for them with --wait."
    )


def _other_store(target: Place) -> JournalError:
    return JournalError(
        f"{target.url} is not the store that was being filled, or is not any more: somebody else was at work. Nothing "
        f"more was done. See `holdfast doctor` for both stores."
    )


def _finish(left: Upkeep, filled: Upkeep, before: Standing, source: Place, target: Place) -> None:
    """The source is left for good: open the target, unless that is done."""
    if filled.identity() != left.identity():
        raise _other_store(target)
    filling = Standing(Passage.FILLING, before.attempt, source.url)
    if not filled.pass_on(filling, OPEN) and filled.standing().passage is Passage.FILLING:
        raise _other_store(target)


# --- what goes along ------------------------------------------------------------------------------------------------


def _copy(left: Upkeep, filled: Upkeep) -> None:
    """Everything of one tenant; what is there already stays."""
    known = set(every_id(filled))
    for run_id in every_id(left):
        if run_id not in known and (record := left.record(run_id)) is not None:
            filled.install(record)
    for key, account in left.accounts().items():
        filled.put_account(key, None, _sound(account, f"account {key}"))
    for name, cell in left.cells().items():
        filled.put_cell(name, None, _sound(cell, f"cell {name}"))


def _sound(found: T | None, what: str) -> T:
    if found is None:
        raise JournalCorrupt(
            f"The {what} is damaged. Nothing more was copied. Stay with --give-up, then `holdfast doctor --rebuild`."
        )
    return found


def _checked(left: Upkeep, filled: Upkeep, source: Place, target: Place) -> Moved:
    """What is in both stores, read back; JournalCorrupt when they are not the same."""
    runs = events = 0
    ids = list(every_id(left))
    wrong = [] if list(every_id(filled)) == ids else ["the runs, or their order"]
    for run_id in ids:
        record = left.record(run_id)
        wrong += [] if record == filled.record(run_id) else [f"run {run_id}"]
        runs, events = runs + 1, events + len(record.events if record is not None else ())
    accounts, cells = left.accounts(), left.cells()
    wrong += [] if accounts == filled.accounts() else ["the accounts"]
    wrong += [] if cells == filled.cells() else ["the cells"]
    if wrong:
        raise JournalCorrupt(
            f"{target.url} does not read as {source.url} does: {', '.join(wrong[:9])}. Nothing was opened. Stay with "
            f"--give-up, remove {target.url}, and see `holdfast doctor`."
        )
    return Moved(runs, events, len(cells), len(accounts))
