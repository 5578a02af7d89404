"""Accounts: what several runs use together, and how much they may.

An account is a running sum with caps. A run charges it with what its own record says, in the append that says it; the
store refuses an append that asks for what does not fit (`charged`), in the transaction that would write it.

Invariants
1. Only what is asked for anew can be refused. What was spent is charged, over the cap or not.
2. An account never falls, except by the unused part of a reservation at its settlement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from holdfast.core.budget import Excess, Limits
from holdfast.core.events import NOTHING, Charge
from holdfast.errors import BudgetRefused


class Account(NamedTuple):
    """What was charged, and the caps; all of them None: nobody has set any."""

    spent: Charge = NOTHING
    reserved: Charge = NOTHING
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class AccountCharge:
    """What one append changes in one account."""

    key: str
    spent: Charge = NOTHING
    """To be added."""
    reserved: Charge = NOTHING
    """To be added; negative where a reservation is settled."""
    asks: Charge = NOTHING
    """What of it is asked for anew: the reservations of this append. Refused when the account has no room for it."""
    cap: str = ""
    """The account whose caps hold; empty: its own."""
    limits: Limits | None = None
    """Caps to be set, before anything is judged; those on time are left out."""


def charged(find: Callable[[str], Account | None], charges: Sequence[AccountCharge]) -> dict[str, Account]:
    """The accounts, as `find` tells them, after these charges; raises `BudgetRefused` when one asks for too much."""
    changed: dict[str, Account] = {}

    def now(key: str) -> Account:
        return changed.get(key) or find(key) or Account()

    for charge in charges:
        if charge.limits is not None:
            changed[charge.key] = now(charge.key)._replace(limits=countable(charge.limits))
    for charge in charges:
        account = changed[charge.key] = _added(now(charge.key), charge)
        cap = charge.cap or charge.key
        excess = _excess(now(cap).limits, account, charge.asks)
        if excess is not None:
            raise BudgetRefused(charge.key, cap, excess)
    return changed


def _added(account: Account, charge: AccountCharge) -> Account:
    spent, reserved, limits = account
    return Account(spent.plus(charge.spent), reserved.plus(charge.reserved), limits)


def _excess(limits: Limits, account: Account, asks: Charge) -> Excess | None:
    """Why what was asked for, which `account` holds already, does not fit."""
    if asks == NOTHING:
        return None
    for name, cap, have, more in zip(Charge._fields, limits, account.spent.plus(account.reserved), asks, strict=False):
        if cap is not None and more > 0 and have > cap:
            return Excess(name, cap, have - more, more)
    return None


def countable(limits: Limits) -> Limits:
    """The caps that an account can keep: it has no time."""
    return Limits(*limits[: len(Charge._fields)])


def excess_of(refused: BudgetRefused) -> Excess:
    """What did not fit."""
    assert isinstance(refused.excess, Excess)
    return refused.excess


def no_room(cap: str, run_id: str, excess: Excess) -> str:
    """Why a run is stopped for which this account has no room, and how it can go on."""
    resume = f"holdfast resume {run_id}"
    parent, part = cap.removeprefix("run/"), excess.name.removesuffix("_nano")
    more = f"holdfast budget {cap} {part}=…"
    if parent == run_id:
        whose, how = "this run and the runs that are part of it", f"Go on with `{resume} --raise {excess.raise_flag}`."
    elif parent != cap:
        raised = f"holdfast resume {parent} --raise {excess.raise_flag}"
        whose, how = f"run {parent} and the runs that are part of it", f"Go on with `{raised}`, then `{resume}`."
    elif cap == "day":
        whose = "the day (UTC), of all runs"
        how = f"Wait for the next day, or give it more room with `{more}`; then go on with `{resume}`."
    else:
        whose, how = "all runs", f"Give it more room with `{more}`, then go on with `{resume}`."
    return f"budget of {whose}: {excess}. Nothing was sent. {how}"
