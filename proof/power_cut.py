"""Power cuts: a store's disk as it may be after a cut at each change of a file, opened and read by the real engine.

Each trial makes a store, upgrades an old one or goes on with one, does some calls on it and writes down what SQLite
did to its files. For each point between two changes, disks are made that a cut there may leave; each is opened.

What is wrong: a store that does not open; anything but what it said after one of the calls that the cut may have left
(everything that had returned and lasts is there, a call in flight is there or not, never half); one that does not go
on. Disks that are byte for byte equal are opened once.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from holdfast.errors import JournalError
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Append, Worker
from holdfast.testing.conformance_store import step
from holdfast.testing.disk import Change, Disk, Failing, Op
from holdfast.testing.power import Loss, Power
from proof.deeds import NAME, Deeds, Said, World, attempt, mounts_that_stay, put, read, small_bounds
from proof.part import Plan, Seen, in_memory

WANTED = {
    "images": 100_000,
    "in_creation": 5_000,
    "in_upgrade": 3_000,
    "in_checkpoint": 10_000,
    "in_recovery": 5_000,
    "unsynced": 2_000,
    "torn": 10_000,
    "went_on": 5_000,
    "in_flight_there": 1_000,
    "in_flight_not_there": 20_000,
    "unpromised_lost": 20,
    "syncs_that_failed": 100,
}
TRIALS = 660
PROBLEMS_MAX = 50
"""After so many no more disks are needed to know that something is wrong."""
COST = 290
OLD = Path(__file__).parent.parent / "tests" / "journals"
FAILURES = (JournalError, OSError, ValueError, AssertionError)


class Mark(NamedTuple):
    """A call: between which changes it was made, whether it lasts, and what the store said after it."""

    begin: int
    end: int
    lasts: bool
    said: Said


class Cut(NamedTuple):
    """Where the power went, and what may be left."""

    stage: str
    where: str
    left: Sequence[Mark]
    """The calls that may be the last one of which something is left."""
    in_flight: bool
    """Whether the last of them had not returned."""

    @property
    def has_lasting(self) -> bool:
        """Whether something was promised."""
        return any(mark.lasts for mark in (self.left[:-1] if self.in_flight else self.left))


@dataclass(frozen=True, slots=True)
class Yard:
    """Where disks are made and opened, in memory where there is such a place."""

    live: Path
    image: Path
    world: World
    seen: Seen
    chance: random.Random
    equal: set[int]
    """Hashes of the disks that were opened. Should two have the same, one is not opened, nor counted."""
    key: list[bytes]
    """The store's own, as soon as it is known."""


def run(plan: Plan) -> Seen:
    """Make workloads, cut them everywhere, and open what is left."""
    seen = Seen()
    with small_bounds(), mounts_that_stay(), in_memory(plan.directory) as place:
        for trial in plan.trials(TRIALS):
            if len(seen.problems) > PROBLEMS_MAX:
                continue
            live, image = place / f"live{trial}", place / f"image{trial}"
            live.mkdir()
            image.mkdir()
            before = len(seen.problems)
            _trial(Yard(live, image, World(), seen, plan.random(trial), set(), []), trial)
            seen.problems[before:] = [f"trial {trial}: {problem}" for problem in seen.problems[before:]]
            for path in (*live.iterdir(), *image.iterdir()):
                path.unlink()
    return seen


def _trial(yard: Yard, trial: int) -> None:
    kind = ("creation", "upgrade", "going on")[trial % 3]
    path = yard.live / NAME
    if kind == "upgrade":
        name = yard.chance.choice(("schema-1.db.gz", "schema-2.db.gz"))
        path.write_bytes(gzip.decompress((OLD / name).read_bytes()))
        path.chmod(0o600)
    elif kind == "going on":
        with small_bounds(pages=10_000):  # no checkpoint on its thread while the files are copied
            _fill(yard, path)
    ops, marks = _record(yard, path, kind)
    begins = marks[0 if kind == "creation" else 1].end
    power = Power()
    for number, op in enumerate(ops, 1):
        power.take(op)
        if op.change is Change.FOUND:
            continue
        stage = kind if number <= begins else "at work"
        _cut_here(yard, power, Cut(stage, f"{stage}, change {number}", *_left(marks, number)), ops[number : number + 1])


def _fill(yard: Yard, path: Path) -> None:
    """Some calls that nobody watches; half of the time the log is left as a killed process leaves it."""
    journal = yard.world.open(path)
    deeds = Deeds(journal, yard.world, yard.chance)
    for deed in deeds.some(8):
        attempt(partial(deed.do, journal))
    names = [path.with_name(NAME + suffix) for suffix in ("", "-wal")]
    left = {name: name.read_bytes() for name in names if name.exists()}
    journal.close()
    if yard.chance.random() < 0.5:
        for name, data in left.items():
            name.write_bytes(data)


def _record(yard: Yard, path: Path, kind: str) -> tuple[list[Op], list[Mark]]:
    """Open the store, do some calls, close it; what the disk was made to do meanwhile, and what was said."""
    marks = [] if kind == "creation" else [Mark(0, 0, True, _said_before(yard, path))]
    with Disk(yard.live) as disk:
        begin = len(disk.ops)
        journal = yard.world.open(path)
        marks.append(Mark(begin, len(disk.ops), False, yard.world.state(journal)))
        deeds = Deeds(journal, yard.world, yard.chance)
        fails = yard.chance.random() < 0.3
        for deed in deeds.some(yard.chance.randint(2, 8)):
            begin = len(disk.ops)
            if fails and yard.chance.random() < 0.4:
                disk.fail(1, Failing.IO, {"sync"})
            refused = attempt(partial(deed.do, journal))
            if refused is not None and disk.hits:  # its outcome is not known: it is known when it was made again
                disk.heal()
                refused = attempt(partial(deed.do, journal))
            if refused is not None:
                yard.seen.problems.append(f"{deed.what} on a sound disk: {refused}")
            end, said = len(disk.ops), yard.world.state(journal)
            has_synced = said != marks[-1].said  # who changed nothing may have synced nothing
            marks.append(Mark(begin, end, deed.lasts and refused is None and has_synced, said))
        disk.heal()
        yard.seen.count("syncs_that_failed", len(disk.hits))
        if yard.chance.random() < 0.7:
            journal.close()
        ops = list(disk.ops)
        journal.close()
    yard.key.append(journal.hash_key)
    return ops, marks


def _said_before(yard: Yard, path: Path) -> Said:
    """What a copy of the store says."""
    put(yard.image, {NAME + suffix: read(path.with_name(NAME + suffix)) for suffix in ("", "-wal")})
    journal = yard.world.open(yard.image / NAME)
    said = yard.world.state(journal)
    journal.close()
    return said


def _left(marks: Sequence[Mark], number: int) -> tuple[list[Mark], bool]:
    """The calls that a cut after so many changes may leave as the last one, and whether the last is in flight."""
    begun = [mark for mark in marks if mark.begin < number or mark.end <= number]
    returned = [mark for mark in begun if mark.end <= number]
    lasting = [place for place, mark in enumerate(returned) if mark.lasts]
    return begun[lasting[-1] if lasting else 0 :], len(begun) > len(returned)


def _cut_here(yard: Yard, power: Power, cut: Cut, following: Sequence[Op]) -> None:
    """Make disks that a cut at this point may leave, and open those that are new. Just before a sync most can be lost:
    there each loss is tried."""
    count = len(Loss) if following and following[0].change is Change.SYNCED else 1
    for loss in yard.chance.sample(list(Loss), count) if power.at_risk else [Loss.NOTHING]:
        files = power.left(loss, yard.chance)
        digest = hash(tuple(files.items()))
        if digest in yard.equal:
            yard.seen.count("equal_images_left_out")
            continue
        yard.equal.add(digest)
        if yard.chance.random() < 0.05:
            files[NAME + "-shm"] = yard.chance.randbytes(32_768)
        _count(yard.seen, power, loss, cut.stage)
        said = _open(yard, files, cut._replace(where=f"{cut.where}, {loss}"))
        if said is not None and len(cut.left) > 1:
            _count_fate(yard.seen, said, cut)


def _count(seen: Seen, power: Power, loss: Loss, stage: str) -> None:
    seen.count("images")
    seen.count({Loss.UNSYNCED: "unsynced", Loss.TORN: "torn"}.get(loss, f"loss_{loss.name.lower()}"))
    if stage in ("creation", "upgrade"):
        seen.count(f"in_{stage}")
    if stage != "creation" and NAME in power.at_risk:
        seen.count("in_checkpoint")


def _count_fate(seen: Seen, said: Said, cut: Cut) -> None:
    last, before = cut.left[-1].said, cut.left[-2].said
    if cut.in_flight and last != before:
        seen.count("in_flight_there" if said == last else "in_flight_not_there")
    if not cut.in_flight and said != last:
        seen.count("unpromised_lost")


def _open(yard: Yard, files: Mapping[str, bytes], cut: Cut) -> Said | None:
    """Open the disk and say what is wrong; now and then, cut again while it recovers, or go on with it."""
    draw = yard.chance.random()
    if draw < 0.004:
        _cut_again(yard, files, cut)
    put(yard.image, files)
    return _look(yard, cut, goes_on=draw > 0.9)


def _look(yard: Yard, cut: Cut, *, goes_on: bool = False) -> Said | None:
    """Open what is in the image directory."""
    try:
        journal = yard.world.open(yard.image / NAME)
        try:
            said = yard.world.state(journal)
            wrong = _wrong(yard, journal, said, cut)
            if goes_on and not wrong:
                wrong = _go_on(yard, journal)
        finally:
            journal.close()
    except FAILURES as error:
        wrong, said = f"{type(error).__name__}: {error}", None
    if wrong:
        yard.seen.problems.append(f"{cut.where}: {wrong}")
    return said


def _wrong(yard: Yard, journal: SqliteJournal, said: Said, cut: Cut) -> str:
    if all(said != mark.said for mark in cut.left):
        return f"it says {said}, and may only say one of {[mark.said for mark in cut.left]}"
    if cut.has_lasting and journal.hash_key not in yard.key:
        return "it is another store: its key has changed"
    return ""


def _go_on(yard: Yard, journal: SqliteJournal) -> str:
    """Take every run over, write to it, and read that after another opening."""
    later = World(yard.world.time + 1e6, refs=yard.world.refs)
    journal.close()
    journal = later.open(yard.image / NAME)
    journal.register(Worker("later", pid=1), 1e6)
    for claim in journal.claim("later"):
        after = len(journal.events(claim.lease.run_id))
        [refused] = journal.append([Append(claim.lease, after, [step(after)], claim.head)])
        if refused is not None:
            return f"it does not go on: {refused}"
    said, facts = later.state(journal), journal.facts()
    journal.close()
    again = later.open(yard.image / NAME)
    stands = later.state(again) == said
    again.close()
    yard.seen.count("went_on")
    return "" if stands and facts["integrity"] == "ok" and not facts["problems"] else f"it went on, and: {facts}"


def _cut_again(yard: Yard, files: Mapping[str, bytes], cut: Cut) -> None:
    """A second cut while the store is opened after the first."""
    put(yard.image, files)
    (yard.image / (NAME + "-shm")).unlink(missing_ok=True)
    with Disk(yard.image) as disk:
        try:
            yard.world.open(yard.image / NAME).close()
        except FAILURES:
            return  # said when it is opened without a second cut
    power = Power()
    for number, op in enumerate(disk.ops, 1):
        power.take(op)
        if power.at_risk:
            put(yard.image, power.left(yard.chance.choice(list(Loss)), yard.chance))
            yard.seen.count("images")
            yard.seen.count("in_recovery")
            _look(yard, cut._replace(where=f"{cut.where}, cut again at change {number} of its recovery"))
