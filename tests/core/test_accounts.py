"""Accounts as pure arithmetic, and what a run that finds no room in one is told."""

from __future__ import annotations

import pytest

from holdfast.core import accept
from holdfast.core.accounts import Account, AccountCharge, charged, excess_of, no_room
from holdfast.core.budget import Excess, Limits
from holdfast.core.charges import shared
from holdfast.core.events import Charge, Event, Kind, meta
from holdfast.core.state import fold
from holdfast.errors import BudgetRefused

FULL = Excess("usd_nano", 10**9, 9 * 10**8, 5 * 10**8)


def test_caps_on_time_are_no_caps_of_an_account() -> None:
    """Lost: an account in memory and one in a file that differ, or a cap that nobody can keep."""
    limits = Limits(1, 2, 3, 4, 5, 6)
    assert charged(dict[str, Account]().get, [AccountCharge("a", limits=limits)]) == {
        "a": Account(limits=Limits(1, 2, 3, 4))
    }


def test_several_charges_to_one_account_are_judged_together() -> None:
    """Lost: an append that asks twice for the same room."""
    once = AccountCharge("a", reserved=Charge(tokens=2), asks=Charge(tokens=2))
    accounts = {"a": Account(limits=Limits(tokens=3))}
    assert charged(accounts.get, [once])["a"].reserved == Charge(tokens=2)
    with pytest.raises(BudgetRefused) as refused:
        charged(accounts.get, [once, once])
    assert excess_of(refused.value) == Excess("tokens", 3, 2, 2)
    assert accounts["a"].reserved == Charge()


def test_what_is_part_of_a_part_is_charged_to_all_above() -> None:
    """Lost: the cap of a family, of which a grandchild knows its parent only."""
    told = accept.start(agent="a", key="k", input_digest="d", limits=[5], body=b"1", accounts=["run/r0"]).facts
    child = fold([Event(Kind.RUN_STARTED, 1.0, meta=meta(run="r1", seed="s", **told), body=b"1")])
    assert shared(child)["accounts"] == ["run/r0", "run/r1"]


@pytest.mark.parametrize(
    ("cap", "told"),
    [
        ("run/r1", "budget of this run and the runs that are part of it: usd: $0.9000 used and reserved, $0.5000 asked "
                   "for, cap $1.0000. Nothing was sent. Go on with `holdfast resume r1 --raise usd=+0.40`."),
        ("run/r0", "Go on with `holdfast resume r0 --raise usd=+0.40`, then `holdfast resume r1`."),
        ("day", "Wait for the next day, or give it more room with `holdfast budget day usd=…`; "
                "then go on with `holdfast resume r1`."),
        ("total", "budget of all runs: "),
    ],
)  # fmt: skip
def test_who_finds_no_room_is_told_whose_budget_it_is_and_how_to_go_on(cap: str, told: str) -> None:
    """Lost: somebody who raises the cap of a run whose parent has no room, and waits."""
    assert told in no_room(cap, "r1", FULL)
