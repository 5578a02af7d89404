"""I/O errors: the disk fails at a chosen call, once or until it is mended, while the real engine works on it.

Each trial makes the same calls on a store in memory, which cannot fail, and on one whose disk does. After each fault:

1. A call that returned has done all, and given back what the other store gave back.
2. A call that failed said so by a `JournalError`, and has done all or nothing. An error of the disk is not damage.
3. While the disk fails, whatever can be read is one of the two.
4. When it is mended the store goes on: the call is made again, and both stores say the same; so they do after the store
   was closed and opened, without a problem that `facts` finds.

Opening is a call like the others: of a new store, of one with a log, of one of an old schema.
"""

from __future__ import annotations

import gzip
import random
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from holdfast.errors import JournalError, StoreUnreachable
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Journal
from holdfast.testing.disk import CALLS, Disk, Failing, Hit
from proof.deeds import NAME, Deed, Deeds, Said, World, attempt, mounts_that_stay, small_bounds
from proof.part import Plan, Seen, in_memory

WANTED = {
    "faults": 20_000,
    "on_write": 4_000,
    "on_sync": 1_500,
    "on_read": 3_000,
    "on_open": 1_000,
    "on_truncate": 20,
    "on_delete": 200,
    "on_size": 1_000,
    "in_the_file_itself": 300,
    "io": 5_000,
    "full": 2_000,
    "short": 2_000,
    "once": 4_000,
    "lasting": 4_000,
    "calls_that_failed": 2_000,
    "calls_that_returned_over_a_fault": 4_000,
    "openings_that_failed": 1_500,
    "read_while_it_failed": 100,
}
TRIALS = 1_300
COST = 65
DEEDS = 25
OLD = Path(__file__).parent.parent / "tests" / "journals"
GROUPS = (CALLS, {"write"}, {"sync"}, {"write", "sync"}, {"read"}, {"open", "size", "delete", "truncate"})


def run(plan: Plan) -> Seen:
    """Make trials, each a store of its own."""
    seen = Seen()
    with small_bounds(), mounts_that_stay(), in_memory(plan.directory) as place:
        for trial in plan.trials(TRIALS):
            directory = place / str(trial)
            directory.mkdir()
            pair = Pair(directory, plan.random(trial), seen, f"trial {trial}")
            pair.work(is_old=trial % 5 == 0)
            for path in directory.iterdir():
                path.unlink()
    return seen


@dataclass(slots=True)
class Pair:
    """A store whose disk fails, and one in memory that is told the same."""

    directory: Path
    chance: random.Random
    seen: Seen
    name: str
    world: World = field(default_factory=World)
    twin: Journal = field(init=False)
    said: Said = field(init=False)
    """What the other store said after the last call."""
    planned: str = ""
    failing: Failing = Failing.IO

    def work(self, *, is_old: bool) -> None:
        """One trial."""
        with Disk(self.directory) as disk:
            if is_old:
                self._upgrade(disk)
            else:
                self._live(disk)
            for hit in disk.hits:
                self._count(hit)

    def _count(self, hit: Hit) -> None:
        for what in ("faults", f"on_{hit.call}", str(hit.failing), "lasting" if hit.lasts else "once"):
            self.seen.count(what)
        if hit.name == NAME and hit.call == "write":
            self.seen.count("in_the_file_itself")

    def _upgrade(self, disk: Disk) -> None:
        """Open a store of an old schema."""
        path = self.directory / NAME
        data = gzip.decompress((OLD / f"schema-{self.chance.choice((1, 2))}.db.gz").read_bytes())
        path.write_bytes(data)
        path.chmod(0o600)
        copy = self.directory / "copy.db"
        copy.write_bytes(data)
        journal = self.world.open(copy)
        self.said = self.world.state(journal)
        journal.close()
        for _ in range(self.chance.randint(1, 8)):
            self._fail(disk)
            self._reopen(disk, self._open(disk)).close()
            for name in self.directory.glob(f"{NAME}-*"):
                name.unlink()
            path.write_bytes(data)
        self._check_end(self._open(disk))

    def _live(self, disk: Disk) -> None:
        """Open a new store and do this and that."""
        self.twin = MemoryJournal(clock=lambda: self.world.time, is_dead=lambda worker: worker.id in self.world.dead)
        self.said = self.world.state(self.twin)
        deeds = Deeds(self.twin, self.world, self.chance)
        self._fail(disk)
        journal = self._open(disk)
        for _ in range(DEEDS):
            self._fail(disk)
            if self.chance.random() < 0.12:
                journal = self._reopen(disk, journal)
            else:
                self._do(disk, journal, deeds.next())
        disk.heal()
        self._check_end(journal)

    def _fail(self, disk: Disk) -> None:
        self.failing = self.chance.choice((Failing.IO, Failing.IO, Failing.FULL, Failing.SHORT))
        calls = self.chance.choice(GROUPS)
        at = self.chance.choice((1, 1, 2, 3, self.chance.randint(1, 30)))
        lasts = self.chance.random() < 0.3
        disk.fail(at, self.failing, calls, lasts=lasts)
        self.planned = f"{self.failing} at {at} of {sorted(calls)}{', for good' if lasts else ''}"

    def _wrong(self, what: str) -> None:
        self.seen.problems.append(f"{self.name}, {self.planned}: {what}")

    def _open(self, disk: Disk) -> SqliteJournal:
        """Open the store, when need be after the disk was mended."""
        try:
            journal = self.world.open(self.directory / NAME)
        except JournalError as error:
            self._told("opening", error)
            self._let_go("opening")
            self.seen.count("openings_that_failed")
            disk.heal()
            journal = self.world.open(self.directory / NAME)
        return journal

    def _let_go(self, what: str) -> None:
        """Nobody has the store open any more: who then replaces its files would work on those that are gone."""
        kept = [one for one in apsw.connections() if Path(one.filename).parent == self.directory]
        if kept:
            self._wrong(f"{what} failed and keeps {kept}")

    def _reopen(self, disk: Disk, journal: SqliteJournal) -> SqliteJournal:
        error = attempt(journal.close)
        if error is not None:
            self._told("closing", error)
            self.seen.count("closings_that_failed")
        self._let_go("closing")
        journal = self._open(disk)
        self._compare(disk, journal, "opening", [self.said])
        return journal

    def _do(self, disk: Disk, journal: SqliteJournal, deed: Deed) -> None:
        """Do it on both."""
        before, hits = self.said, len(disk.hits)
        expected = _plain(deed.do(self.twin))
        self.said = self.world.state(self.twin)
        got: list[object] = []
        error = attempt(lambda: got.append(deed.do(journal)))
        if error is None:
            self._returned(deed.what, _plain(got[0]), expected, was_hit=len(disk.hits) > hits)
            self._compare(disk, journal, deed.what, [self.said])
            return
        self._told(deed.what, error)
        self.seen.count("calls_that_failed")
        stands = self._compare(disk, journal, deed.what, [before, self.said]) == self.said
        if stands and before != self.said:
            self.seen.count("calls_that_stood_although_they_failed")
        else:  # nothing was done, or nothing that can be seen, which may be done twice
            self._again(disk, journal, deed, expected)

    def _returned(self, what: str, got: object, expected: object, *, was_hit: bool) -> None:
        if got != expected:
            self._wrong(f"{what} gave {got!r}, not {expected!r}")
        if was_hit:
            self.seen.count("calls_that_returned_over_a_fault")

    def _again(self, disk: Disk, journal: SqliteJournal, deed: Deed, expected: object) -> None:
        """The disk has been mended."""
        got: list[object] = []
        error = attempt(lambda: got.append(deed.do(journal)))
        if error is not None or _plain(got[0]) != expected:
            self._wrong(f"{deed.what}, made again, gave {error or got[0]!r}, not {expected!r}")
        self._compare(disk, journal, f"{deed.what}, made again", [self.said])

    def _told(self, what: str, error: JournalError) -> None:
        if not isinstance(error, StoreUnreachable):
            self._wrong(f"{what}: an error of the disk was told as {type(error).__name__}: {error}")

    def _compare(self, disk: Disk, journal: SqliteJournal, what: str, allowed: list[Said]) -> Said | None:
        """What the store says, with the disk as it is and then mended."""
        hits = len(disk.hits)
        said: list[Said] = []
        error = attempt(lambda: said.append(self.world.state(journal)))
        if error is None and said[0] not in allowed:
            self._wrong(f"{what}: it says {said[0]}, not one of {allowed}")
        elif len(disk.hits) > hits:
            self.seen.count("read_while_it_failed" if error is None else "reading_failed")
        disk.heal()
        now = self.world.state(journal)
        if now not in allowed:
            self._wrong(f"{what}, mended: it says {now}, not one of {allowed}")
            return None
        return now

    def _check_end(self, journal: SqliteJournal) -> None:
        """Close and open it, and look."""
        journal.close()
        journal = self.world.open(self.directory / NAME)
        said, facts = self.world.state(journal), journal.facts()
        journal.close()
        if said != self.said or facts["integrity"] != "ok" or facts["problems"]:
            self._wrong(f"in the end it says {said}, not {self.said}; {facts}")


def _plain(given: object) -> object:
    """What a call gave, so that two stores can be compared."""
    if isinstance(given, list):
        return [type(one) if isinstance(one, JournalError) else one for one in given]
    return given
