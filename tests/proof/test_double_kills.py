"""The part that kills twice: a sample, and bugs that it must see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from proof import double_kills
from proof.part import Plan
from proof.world import SQLITE

from holdfast.core.doubt import Repeat
from holdfast.core.events import Kind
from holdfast.runtime import settle
from holdfast.runtime.record import Record

SAMPLE = 0.006
TRIES = 4
"""A life has more points on a slow machine, so the same seed may kill at others."""


@pytest.mark.usefixtures("served")
@pytest.mark.timeout(120)
def test_a_sample(tmp_path: Path) -> None:
    """Lost: R9, R10. A process that dies while it recovers from a death would lose or repeat an effect."""
    seen = double_kills.run(Plan(tmp_path, scale=SAMPLE))
    assert seen.problems == []
    assert seen.lacks(double_kills.WANTED, SAMPLE) == []


def repeats_in_doubt(patch: pytest.MonkeyPatch) -> None:
    """A `once` step that was interrupted is simply begun again."""
    patch.setattr(settle.doubt, "decide", lambda *given, **more: Repeat("nobody was asked"))


def early_intent(patch: pytest.MonkeyPatch) -> None:
    """An intent counts as written before it is."""
    real = Record.write

    async def write(self: Record) -> bool:
        append = self.take()
        only_intents = append is not None and {event.kind for event in append.events} == {Kind.STEP_INTENDED}
        return only_intents or await real(self)

    patch.setattr(Record, "write", write)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("plant", [repeats_in_doubt, early_intent])
def test_a_planted_bug_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Lost: the right to say that this part would notice."""
    plant(monkeypatch)
    monkeypatch.setattr(double_kills, "TURN", (SQLITE,))
    monkeypatch.setattr(double_kills, "ENGINES", (SQLITE,))
    for seed in range(TRIES):
        seen = double_kills.run(Plan(tmp_path, seed=seed, scale=0.0025))
        if any("repeated" in problem for problem in seen.problems):
            return
    pytest.fail(f"{TRIES} times five kills did not see it, such as: {seen}")
