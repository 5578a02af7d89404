"""Row `brief`: `holdfast project brief` as a whole process, after one session and after 1,000.

A project of 50 features is made in a repository of its own, and sessions are told to its record: each begins, claims a
feature, notes something, has evidence and ends, every tenth one with its feature passing. The last stays open. The new
process has the directory and nothing else. A Python that does nothing is measured beside it.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from bench.measure import Place, Row, Target, in_turns, median, seconds_of
from holdfast.core.feature import Feature, digest, features
from holdfast.core.verdict import Result, judged
from holdfast.journal.open import open_journal
from holdfast.memory.place import place_of, write_name
from holdfast.memory.record import ProjectRecord
from holdfast.runtime.clock import SystemClock

SESSIONS = 1_000
FEATURES = 50
LIMIT_MS = 200
_GIT = ("git", "-c", "user.name=bench", "-c", "user.email=bench@localhost")


def measure(place: Place) -> Row:
    """Milliseconds a process, and how much of it the sessions before cost."""
    row = Row()
    with place.scratch() as directory:
        many, few = directory / "many", directory / "few"
        make(many, place.count(SESSIONS, 12))
        make(few, 1)
        works = {
            "pass": partial(_process_s, "-c", "pass"),
            "brief": partial(_process_s, "-m", "holdfast.cli", "project", "brief", "-C", str(many)),
            "brief_of_one": partial(_process_s, "-m", "holdfast.cli", "project", "brief", "-C", str(few)),
        }
        in_turns(1, **works)  # byte code and the page cache
        found = in_turns(place.count(15, 1), **works)
    row.numbers = {f"{name}_ms": median(times) * 1e3 for name, times in found.items()}
    row.ratios = {
        "brief_vs_pass": median(found["brief"]) / median(found["pass"]),
        "brief_many_vs_few": median(found["brief"]) / median(found["brief_of_one"]),
    }
    row.targets = {"brief_ms": Target(row.numbers["brief_ms"], LIMIT_MS)}
    return row


def make(directory: Path, sessions: int) -> None:
    """A repository with a project that has had so many sessions."""
    directory.mkdir()
    for words in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "start")):
        subprocess.run([*_GIT, *words], cwd=directory, check=True)
    place, clock = place_of(directory), SystemClock()
    (place.common / "holdfast").mkdir(mode=0o700)
    store = f"sqlite:///{place.common / 'holdfast' / 'holdfast.db'}"
    write_name(place, "bench", store)
    journal = open_journal(store, clock=clock.now)
    try:
        record = ProjectRecord(journal, "bench", clock=clock)
        listed = features(
            [{"id": f"f{n}", "description": f"does {n}", "check": "command:true"} for n in range(FEATURES)]
        )
        record.freeze(listed, by="bench", digest=digest(listed))
        for number in range(1, sessions + 1):
            _work(record, place.id, listed[number % FEATURES], number, is_last=number == sessions)
    finally:
        journal.close()


def _work(record: ProjectRecord, place: str, feature: Feature, number: int, *, is_last: bool) -> None:
    """One session."""
    run = record.begin(place, message_id=f"begin {number}", by="bench").run
    record.claim(run, feature.id, message_id=f"claim {number}")
    record.note(run, f"what session {number} found", message_id=f"note {number}")
    if is_last:
        return
    passed = number % 10 == 0
    results = [Result(True, passed, "" if passed else "ended with code 1", int(not passed))]
    told = {"verdict": judged(results), "results": results, "commit": "c" * 40, "tree": "t" * 40}
    record.evidence(run, feature.id, **told, message_id=f"evidence {number}")  # type: ignore[arg-type]
    kept = {"decided": [["way", f"way {number}", "it is short"]], "failed": [["build", "ended with code 2"]]}
    record.ended(
        run,
        outcome="passed" if passed else "partial",
        commit="c" * 40,
        branch="" if passed else f"holdfast/wip-{number}",
        digest=kept,
        revision=0,
        message_id=f"end {number}",
    )


def _process_s(*words: str) -> float:
    return seconds_of(lambda: subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL))
