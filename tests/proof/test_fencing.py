"""The part that stops processes past their lease: a sample, and bugs that it must see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from proof import fencing
from proof.fencing import How
from proof.part import Plan, Seen
from proof.world import POSTGRES, SQLITE

from holdfast.journal import refusal
from holdfast.journal.leases import Search
from holdfast.runtime.worker import Worker

SAMPLE = 16 / fencing.TRIALS


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("served")
def test_a_sample(tmp_path: Path) -> None:
    """Lost: R13. A process that wakes up would write into a run that somebody else has taken over."""
    seen = fencing.run(Plan(tmp_path, scale=SAMPLE))
    assert seen.problems == []
    assert seen.lacks(fencing.WANTED, SAMPLE) == []


def one(directory: Path, patch: pytest.MonkeyPatch, engine: str, how: How, window: str) -> Seen:
    """A single trial of this sort."""
    patch.setattr(fencing, "ENGINES", (engine,))
    patch.setattr(fencing, "TURN", (how,))
    patch.setattr(fencing, "WINDOWS", {window: fencing.WINDOWS[window]})
    return fencing.run(Plan(directory, scale=1 / fencing.TRIALS))


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """The store lets a stale epoch write, as far as nothing else refuses it."""
    real = refusal.refuse_append
    patch.setattr(refusal, "refuse_append", lambda a, worker, epoch, *rest: real(a, *a.lease[1:], *rest))


def impatient(patch: pytest.MonkeyPatch) -> None:
    """A process that cannot be reached counts as dead."""
    real = Search._lost
    patch.setattr(Search, "_lost", lambda self, db: real(replace(self, is_dead=lambda worker: True), db))


def no_self_fence(patch: pytest.MonkeyPatch) -> None:
    """A worker does not know when its own lease has run out."""
    patch.setattr(Worker, "_is_fenced", lambda self, lease: False)


def renews_for_ever(patch: pytest.MonkeyPatch) -> None:
    """The lease is renewed although the loop hangs."""
    patch.setattr(Worker, "_keep_alive", lambda self: self._renew())
    patch.setattr(fencing.shop, "LIFE_S_MAX", 4.0)
    patch.setattr(fencing, "TRIES", 1)


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("plant", "engine", "how", "window", "told"),
    [
        (no_fence, SQLITE, How.STOPPED, "outcome_in_hand", "not LeaseLost"),
        (no_fence, POSTGRES, How.STOPPED, "outcome_in_hand", "not LeaseLost"),
        (impatient, SQLITE, How.STOPPED, "under_way", "before the lease ended"),
        (no_self_fence, POSTGRES, How.STOPPED, "intent_written", "begun after its lease had run out"),
        (renews_for_ever, SQLITE, How.HANGS, "under_way", "the second process ended with"),
    ],
)
def test_a_planted_bug_is_seen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    engine: str,
    how: How,
    window: str,
    told: str,
) -> None:
    """Lost: the right to say that this part would notice."""
    plant(monkeypatch)
    seen = one(tmp_path, monkeypatch, engine, how, window)
    assert any(told in problem for problem in seen.problems), seen
