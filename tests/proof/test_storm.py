"""The part that kills workers: a sample, and bugs that it must see."""

from __future__ import annotations

from pathlib import Path

import pytest
from proof import storm
from proof.part import Plan, Seen
from proof.world import POSTGRES, SQLITE

from holdfast.core.doubt import Repeat
from holdfast.runtime import settle

KILLS = 6
STORMS_MAX = 4
"""In which window a kill falls is for the machine to say; of so many storms some have met each."""


def few(directory: Path, patch: pytest.MonkeyPatch, *engines: str, seed: int = 0) -> Seen:
    """A small storm on a store of each of these engines."""
    patch.setattr(storm, "TURN", engines)
    patch.setattr(storm, "KILLS", KILLS)
    patch.setattr(storm, "OPEN_MAX", 3)
    patch.setattr(storm, "KILLED", 0.15)
    patch.setattr(storm, "TOLD_TO_END", 0.1)
    return storm.run(Plan(directory, seed=seed, scale=len(engines) / storm.STORES))


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("served")
def test_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: R9 on real processes. A fleet that loses workers all day would lose runs, or pay twice."""
    seen, lacks = Seen(), [""]
    for seed in range(STORMS_MAX):
        seen.add(few(tmp_path, monkeypatch, SQLITE, POSTGRES, seed=seed))
        assert seen.problems == []
        assert seen.counts["process_kills"] >= 2 * KILLS * (seed + 1)
        lacks = seen.lacks(storm.WANTED, 2 * KILLS / storm.WANTED["process_kills"] / 2)
        if not lacks:
            break
    assert lacks == []


def repeats_in_doubt(patch: pytest.MonkeyPatch) -> None:
    """A `once` step that was interrupted is simply begun again."""
    patch.setattr(settle.doubt, "decide", lambda *given, **more: Repeat("nobody was asked"))


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("served")
def test_a_planted_bug_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: the right to say that this part would notice."""
    repeats_in_doubt(monkeypatch)
    for seed in range(STORMS_MAX):
        seen = few(tmp_path, monkeypatch, SQLITE, seed=seed)
        if any("repeated" in problem for problem in seen.problems):
            return
    pytest.fail(f"{STORMS_MAX} storms did not see it, such as: {seen}")
