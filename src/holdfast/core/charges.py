"""The charges of an append: the difference that its events make to the books of its run.

Nobody computes a charge by itself. What the accounts hold is what the records of the runs say, added up: `rebuilt`
gives it from a log, and a test that the two are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from holdfast.core.accounts import AccountCharge
from holdfast.core.books import DAY, NONE, TOTAL, Sums, added, day_key, day_of, metered, run_key
from holdfast.core.budget import Limits
from holdfast.core.events import NOTHING, Charge, Event, Kind
from holdfast.core.state import State, fold


class Charged(NamedTuple):
    """What of a run is in the accounts: its state as of its last append."""

    total: Sums
    days: dict[int, Sums]
    spent: Charge
    reserved: Charge
    own: Limits | None
    """The caps of its own account, None while it has none."""


def charged(state: State) -> Charged:
    """What is in the accounts when all events of `state` are written."""
    books = state.books
    own = state.limits if books.is_shared else None
    return Charged(books.total, dict(books.days), state.spent, state.reserved, own)


def charges(before: Charged, state: State, unwritten: Sequence[Event]) -> tuple[AccountCharge, ...]:
    """What the append of `unwritten`, which `state` holds already, charges to which accounts."""
    books = state.books
    if books.total is before.total and not books.are_joint:
        return ()
    asked = [event for event in unwritten if is_asking(state, event)]
    return (*_of_runs(before, state, asked), *_of_tenant(before, state, asked))


def is_asking(state: State, event: Event) -> bool:
    """Whether this event, which is not yet written, reserves something that was not begun."""
    if event.kind is not Kind.STEP_INTENDED or event.address is None or event.charge == NOTHING:
        return False
    if '"is_open":true' in event.meta:
        return False
    slot = state.slots[event.address]
    return slot.intent is event and slot.reservation is not NOTHING


def _of_runs(before: Charged, state: State, asked: list[Event]) -> list[AccountCharge]:
    """For the accounts of the runs that this one is part of, and for its own, which begins with all that it used."""
    asks = _sum(event.charge for event in asked)
    changed = _difference((before.spent, before.reserved), (state.spent, state.reserved))
    found = [AccountCharge(key, *changed, asks) for key in state.books.above if changed != NONE]
    if state.books.is_shared:
        limits = state.limits if state.limits != before.own else None
        if before.own is None:
            changed = (state.spent, state.reserved)
        if changed != NONE or limits is not None:
            found.append(AccountCharge(run_key(state.run_id), *changed, asks, limits=limits))
    return found


def _of_tenant(before: Charged, state: State, asked: list[Event]) -> list[AccountCharge]:
    books, found = state.books, []
    if books.total is before.total:
        return []
    for day, sums in books.days.items():
        changed = _difference(before.days.get(day, NONE), sums)
        asks = _sum(metered(event.charge) for event in asked if day_of(event.at) == day)
        if changed != NONE or asks != NOTHING:
            found.append(AccountCharge(day_key(day), *changed, asks, cap=DAY))
    asks = _sum(metered(event.charge) for event in asked)
    return [*found, AccountCharge(TOTAL, *_difference(before.total, books.total), asks)]


def _difference(before: Sums, after: Sums) -> Sums:
    return after[0].minus(before[0]), after[1].minus(before[1])


def _sum(charges: Iterable[Charge]) -> Charge:
    total = NOTHING
    for charge in charges:
        total = total.plus(charge)
    return total


def shared(state: State) -> dict[str, Any]:
    """For the start of a run that is to be part of this one: the accounts that it charges, and whether it must know
    what its calls cost. Asked for when the step that begins it is in `state`."""
    books = state.books
    is_priced = books.is_priced or state.limits.usd_nano is not None
    return {"accounts": [*books.above, run_key(state.run_id)], "is_priced": is_priced or None}


def rebuilt(logs: Iterable[Iterable[Event]]) -> dict[str, Sums]:
    """What the accounts must hold by the records of all runs."""
    accounts: dict[str, Sums] = {}
    for log in logs:
        state = fold(log)
        for charge in charges(charged(State()), state, ()):
            accounts[charge.key] = added(accounts.get(charge.key, NONE), charge.spent, charge.reserved)
    return accounts
