"""Bugs planted in the source, each of which must make a named test fail; and checks that plant their own.

`tests/planted/mutations.toml` changes lines in a copy of the source. The test runs against that copy, and against the
copy as it was: a test that fails anyway catches nothing. The files of `LISTS` plant theirs while they run, and run each
check with the bug and without it.
"""

from __future__ import annotations

import compileall
import py_compile
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from proof.part import Plan, Seen
from proof.suite import ROOT, TESTS, ran

FILE = TESTS / "planted" / "mutations.toml"
LISTS = {
    "crash/test_planted.py": 15,
    "crash/test_planted_drift.py": 8,
    "models/test_planted_wire.py": 11,
    "crash/test_support_sweep.py::test_a_planted_bug_is_caught_here_too": 2,
}
"""Tests with bugs of their own, and how many at least."""
LIMIT_S = 300


class Bug(NamedTuple):
    """In `file` (below src/holdfast) the text `old`, which stands there once, becomes `new`, and `test` must fail."""

    name: str
    breaks: str
    file: str
    old: str
    new: str
    test: str


def bugs(file: Path = FILE) -> list[Bug]:
    """All that are planted in copies."""
    return [Bug(**bug) for bug in tomllib.loads(file.read_text("utf-8"))["bug"]]


BUGS = bugs()
WANTED = {"caught": len(BUGS) + sum(LISTS.values())}
COST = 170


def run(plan: Plan) -> Seen:
    """Plant each."""
    seen = Seen()
    numbers = list(_within(plan, len(BUGS) + len(LISTS)))
    chosen = [BUGS[number] for number in numbers if number < len(BUGS)]
    source = plan.directory / "src"
    _copy(source, has_many=len(chosen) > 5)
    if chosen and _passes_without(chosen, source, plan, seen):
        for bug in chosen:
            _plant(bug, source, plan, seen)
    for number in numbers:
        if number >= len(BUGS):
            _own(list(LISTS)[number - len(BUGS)], plan, seen)
    return seen


def _within(plan: Plan, count: int) -> Iterator[int]:
    """The list is as long as it is: more hours plant no more bugs."""
    return (number for number in plan.trials(count) if number < count)


def _copy(source: Path, *, has_many: bool) -> None:
    """The source, with what is compiled of it: that is of the time of its file, which is older than any bug. What is
    not compiled yet is, for many bugs, in a way that is checked by its content."""
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("*.pyc.*"))  # those are being written
    if has_many:
        compileall.compile_dir(source, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def _passes_without(chosen: list[Bug], source: Path, plan: Plan, seen: Seen) -> bool:
    before = ran(sorted({bug.test for bug in chosen}), plan.directory, source=source)
    if before.code:
        seen.problems.append(f"the tests fail without any bug ({before.code}): {before.said}")
    return not before.code


def _plant(bug: Bug, source: Path, plan: Plan, seen: Seen) -> None:
    file = source / "holdfast" / bug.file
    text = file.read_text("utf-8")
    if text.count(bug.old) != 1:
        seen.problems.append(f"{bug.name}: its line is not there, or not once, in {bug.file}")
        return
    file.write_text(text.replace(bug.old, bug.new), "utf-8")
    after = ran([bug.test], plan.directory, "-x", source=source, limit_s=LIMIT_S)
    file.write_text(text, "utf-8")
    if after.code == 1 and after.failed:
        seen.count("caught")
    else:
        seen.problems.append(f"{bug.name}: {bug.breaks}, and {bug.test} ends with {after.code}: {after.said}")


def _own(file: str, plan: Plan, seen: Seen) -> None:
    """A file that plants its own."""
    outcome = ran([file], plan.directory)
    if outcome.code:
        seen.problems.append(f"{file} ends with {outcome.code}: {outcome.said}")
    seen.count("caught", sum("[" in name for name in outcome.passed))
