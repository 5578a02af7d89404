"""Bugs planted in the source, each of which must make a named test fail; and checks that plant their own.

`tests/planted/mutations.toml` changes lines in a copy of the source. The test runs against that copy; what of it has
failed runs then against the copy as it was: a test that fails anyway catches nothing. The files of `LISTS` plant theirs
while they run, and run each check with the bug and without it.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from proof.origin import Origin, origin
from proof.part import Plan, Seen, in_memory
from proof.suite import LIMIT_S as ALL_LIMIT_S
from proof.suite import ROOT, TESTS, Outcome, ran

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
COST = 210
SHARDS = 3
"""Each loads, copies and compiles once what its bugs share."""
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
        bench.judge({bug: failed for bug in planted if (failed := bench.plant(bug))})
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


@contextmanager
def changed(file: Path, text: str) -> Iterator[None]:
    """The file with this text for a while. What is compiled of a file is known by its time: another text has another
    time, and its own text its own again."""
    was, stands = file.read_bytes(), file.stat()
    file.write_text(text, "utf-8")
    os.utime(file, (stands.st_atime, stands.st_mtime + 60))
    try:
        yield
    finally:
        file.write_bytes(was)
        os.utime(file, ns=(stands.st_atime_ns, stands.st_mtime_ns))


class _Bench(NamedTuple):
    """Where bugs are planted."""

    source: Path
    directory: Path
    origin: Origin | None
    seen: Seen

    def plant(self, bug: Bug) -> str:
        """One in the copy, for the time of its test; what has failed of that."""
        file = self.source / "holdfast" / bug.file
        text = file.read_text("utf-8")
        if text.count(bug.old) != 1:
            self.seen.problems.append(f"{bug.name}: its line is not there, or not once, in {bug.file}")
            return ""
        with changed(file, text.replace(bug.old, bug.new)):
            after = self._ran([bug.test], "-x", is_broken=True)
        if after.code == 1 and after.failed:
            return after.failed[0]
        said = f"{bug.test} ends with {after.code}: {after.said}"
        self.seen.problems.append(f"{bug.name}: {bug.breaks}, and {said}")
        return ""

    def judge(self, failed: Mapping[Bug, str]) -> None:
        """Those are caught whose tests, which have failed, pass without any bug."""
        without = self._ran(sorted(set(failed.values()))) if failed else Outcome(0, "")
        for bug, test in failed.items():
            if test in without.passed:
                self.seen.count("caught")
            else:
                said = f"({without.code}): {without.said}"
                self.seen.problems.append(f"{bug.name}: {test} does not pass without any bug {said}")

    def _ran(self, tests: Sequence[str], *more: str, is_broken: bool = False) -> Outcome:
        return ran(
            tests,
            self.directory,
            *more,
            source=self.source,
            is_broken=is_broken,
            limit_s=LIMIT_S if is_broken else ALL_LIMIT_S,
            origin=self.origin,
        )

    def own(self, file: str) -> None:
        """A file that plants its own."""
        outcome = ran([file], self.directory, origin=self.origin)
        if outcome.code:
            self.seen.problems.append(f"{file} ends with {outcome.code}: {outcome.said}")
        self.seen.count("caught", sum("[" in name for name in outcome.passed))
