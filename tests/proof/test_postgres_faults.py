"""Postgres that fails: a sample of the cuts and restarts, and engines that guess, which they must find."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from proof import postgres_faults
from proof.part import Plan, Seen

from holdfast.journal.postgres.database import Database
from holdfast.journal.postgres.engine import PostgresJournal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.proxy import Cut

SOME = {"cuts": 4, "resolved as written": 2, "resolved as not written": 2, "restarts": 1, "runs through restarts": 1}


@pytest.fixture
def server(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    """The server of all tests, with the store that cuts are made in."""
    monkeypatch.setattr(postgres_faults, "PostgresServer", lambda: nullcontext(postgres))
    PostgresJournal(postgres.url("cuts"), clock=SystemClock().now).close()
    return postgres


def test_cuts_and_restarts_lose_and_repeat_nothing(
    tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: a payment that is made twice, or never, because a connection broke at the worst moment."""
    if not server.is_ours:
        pytest.skip("HOLDFAST_TEST_POSTGRES is somebody else's server, which is not restarted from here")
    monkeypatch.setattr(postgres_faults, "SILENCE_MS", 400)
    seen = postgres_faults.run(Plan(tmp_path, scale=0.02))
    assert seen.problems == []
    assert seen.lacks(SOME) == []


@pytest.mark.parametrize(("guess", "cut"), [(False, Cut.AFTER), (True, Cut.BEFORE)])
def test_an_engine_that_guesses_is_found(
    tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch, guess: bool, cut: Cut
) -> None:
    """Lost: the proof of the proof. One repeats what may have been written, one believes what was not."""
    monkeypatch.setattr(Database, "_is_standing", lambda *_: guess)
    seen, trials = Seen(), range(list(Cut).index(cut), 40, len(Cut))
    for trial in trials:
        seen.add(postgres_faults.cut_one(server, Plan(tmp_path, seed=100 + guess), trial))
        if seen.problems:
            return
    pytest.fail(f"{len(trials)} cuts did not see it: {seen.counts}")
