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
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from proof.origin import Origin, origin
from proof.part import Plan, Seen, in_memory
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
COST = 320
WAITS = True


class Batch(NamedTuple):
    """One trial: the bugs of one file of tests, so that its tests are run without a bug once and not again in each
    shard; or a file that plants its own."""

    file: str
    bugs: tuple[Bug, ...] = ()

    @property
    def size(self) -> int:
        """How many are caught."""
        return len(self.bugs) or LISTS[self.file]


def batches() -> list[Batch]:
    """The largest first: then a sample, which takes some of them, plants as great a part of the bugs at least."""
    files: dict[str, list[Bug]] = defaultdict(list)
    for bug in BUGS:
        files[bug.test.partition("::")[0]].append(bug)
    found = [Batch(file, tuple(planted)) for file, planted in files.items()]
    return sorted([*found, *map(Batch, LISTS)], key=lambda batch: -batch.size)


def run(plan: Plan) -> Seen:
    """Plant each."""
    seen, found = Seen(), batches()
    chosen = [found[number] for number in plan.trials(len(found)) if number < len(found)]
    planted = [bug for batch in chosen for bug in batch.bugs]
    with in_memory(plan.directory) as place, origin(ROOT) as forked:
        _copy(place / "src", has_many=len(planted) > 5)
        bench = _Bench(place / "src", place, forked, seen)
        if planted and bench.passes_without(planted):
            for bug in planted:
                bench.plant(bug)
        for batch in chosen:
            if not batch.bugs:
                bench.own(batch.file)
    return seen


def _copy(source: Path, *, has_many: bool) -> None:
    """The source, with what is compiled of it: that is of the time of its file, which is older than any bug. What is
    not compiled yet is, for many bugs, in a way that is checked by its content."""
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("*.pyc.*"))  # those are being written
    if has_many:
        compileall.compile_dir(source, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


class _Bench(NamedTuple):
    """Where bugs are planted."""

    source: Path
    directory: Path
    origin: Origin | None
    seen: Seen

    def passes_without(self, chosen: list[Bug]) -> bool:
        """Whether their tests are of any use."""
        tests = sorted({bug.test for bug in chosen})
        before = ran(tests, self.directory, source=self.source, origin=self.origin)
        if before.code:
            self.seen.problems.append(f"the tests fail without any bug ({before.code}): {before.failed} {before.said}")
        return not before.code

    def plant(self, bug: Bug) -> None:
        """One in the copy, for the time of its test."""
        file = self.source / "holdfast" / bug.file
        text = file.read_text("utf-8")
        if text.count(bug.old) != 1:
            self.seen.problems.append(f"{bug.name}: its line is not there, or not once, in {bug.file}")
            return
        file.write_text(text.replace(bug.old, bug.new), "utf-8")
        after = ran(
            [bug.test],
            self.directory,
            "-x",
            source=self.source,
            is_broken=True,
            limit_s=LIMIT_S,
            origin=self.origin,
        )
        file.write_text(text, "utf-8")
        if after.code == 1 and after.failed:
            self.seen.count("caught")
        else:
            said = f"{bug.test} ends with {after.code}: {after.said}"
            self.seen.problems.append(f"{bug.name}: {bug.breaks}, and {said}")

    def own(self, file: str) -> None:
        """A file that plants its own."""
        outcome = ran([file], self.directory, origin=self.origin)
        if outcome.code:
            self.seen.problems.append(f"{file} ends with {outcome.code}: {outcome.said}")
        self.seen.count("caught", sum("[" in name for name in outcome.passed))
