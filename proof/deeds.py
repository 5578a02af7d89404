"""What is done to a store while its disk is watched: seeded calls of every kind, and what the store says after each.

The bounds of the engine are small here (what is a blob, a piece of one, a long log), so that each is passed often.

Invariants
1. A `Deed` that is `lasts` had returned when it says so: its `after` is what no later fault may take back.
2. `state` asks through the public interface only, and changes nothing.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from holdfast.core import accept
from holdfast.core.accounts import AccountCharge
from holdfast.core.budget import Limits
from holdfast.core.events import Charge, Event
from holdfast.core.heads import Status
from holdfast.errors import JournalCorrupt, JournalError
from holdfast.journal import blobs, checkpoint, log, mailbox, mount, place
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Append, Claim, Journal, Post, Worker
from holdfast.testing.conformance_store import question, start_of, step

RUNS = tuple(f"r{number}" for number in range(5))
WORKERS = ("w1", "w2")
CELLS, ACCOUNTS = ("breaker", "switch"), ("tenant", "day")
NAME = "store.db"
SUFFIXES = ("", "-wal", "-journal", "-shm")


@contextmanager
def small_bounds(body: int = 3_000, piece: int = 2_048, pages: int = 30) -> Iterator[None]:
    """Blobs of `body` bytes in pieces of `piece`, and a checkpoint after `pages`."""
    with ExitStack() as stack:
        for module in (log, mailbox):
            stack.enter_context(patch.object(module, "BODY_IN_ROW_MAX", body))
        stack.enter_context(patch.object(blobs, "PIECE", piece))
        stack.enter_context(patch.object(checkpoint, "PAGES_MAX", pages))
        yield


@contextmanager
def mounts_that_stay() -> Iterator[None]:
    """What a path is on is asked of the system once, and not by each opening of a store."""
    known = functools.cache(mount.mount_of)
    with patch.object(mount, "mount_of", known), patch.object(place, "mount_of", known):
        yield


class Said(NamedTuple):
    """All that a store says."""

    runs: tuple[Any, ...]
    shared: tuple[Any, ...]
    blobs: dict[str, bytes]


@dataclass(slots=True)
class World:
    """What is outside of the store: the time, who is dead, and what was put."""

    time: float = 1_000_000.0
    dead: set[str] = field(default_factory=set)
    refs: list[str] = field(default_factory=list)
    """Every blob that was ever named, also one whose call failed."""

    def open(self, path: Path, kind: Callable[..., SqliteJournal] = SqliteJournal) -> SqliteJournal:
        """The store at `path`, also where it is an image of what was elsewhere."""
        dead = self.dead
        return kind(path, clock=lambda: self.time, is_dead=lambda worker: worker.id in dead, is_wherever=True)

    def state(self, journal: Journal) -> Said:
        """All that can be asked, without changing anything."""
        runs = tuple(
            (head, journal.events(head.run_id), journal.mail(head.run_id), journal.owner(head.run_id))
            for head in journal.heads()
        )
        unread = tuple(tuple(sorted(journal.unread(worker))) for worker in WORKERS)
        cells = tuple(journal.cell(name) for name in CELLS)
        return Said(runs, (unread, cells, tuple(journal.account(key) for key in ACCOUNTS)), self._blobs(journal))

    def _blobs(self, journal: Journal) -> dict[str, bytes]:
        found = {ref: _blob(journal, ref) for ref in self.refs}
        return {ref: data for ref, data in found.items() if data is not None}


def _blob(journal: Journal, ref: str) -> bytes | None:
    """Its bytes, None when it is not there; raises when it is there and not itself."""
    try:
        return journal.get_blob(ref)
    except JournalCorrupt as error:
        if "is not in the store" in str(error):
            return None
        raise


class Deed(NamedTuple):
    """One call, which can be made on more than one journal."""

    what: str
    lasts: bool
    """Whether it survives a power cut from when it has returned."""
    do: Callable[[Journal], object]


class Deeds:
    """Calls on a journal, drawn from `chance`."""

    def __init__(self, journal: Journal, world: World, chance: random.Random) -> None:
        self.journal = journal
        self._world = world
        self._chance = chance
        self._number = 0
        self.claims: dict[str, Claim] = {}

    def begin(self, events: int) -> Iterator[Deed]:
        """The calls that make runs which are held and have so many events."""
        posts = [Post(run_id, "start", start_of(run_id)) for run_id in RUNS]
        yield Deed("post", True, lambda journal: journal.post_all(posts))
        yield Deed("register", False, lambda journal: journal.register(Worker("w1", pid=1), 30.0))
        yield self._take("w1")
        log = [step(number, self._chance.randbytes(400)) for number in range(events)]
        appends = [Append(claim.lease, 0, log, claim.head, 1) for claim in self.claims.values()]
        yield Deed("group", True, lambda journal: journal.append(appends))

    def some(self, count: int, events: int = 1) -> Iterator[Deed]:
        """Often the calls of `begin`, then so many others."""
        if events > 1 or self._chance.random() < 0.6:
            yield from self.begin(events)
        for _ in range(count):
            yield self.next()

    def next(self) -> Deed:
        """What is done next; it reads the store, and writes only when it is done."""
        self._number += 1
        self._world.time += self._chance.choice((0.0, 0.5, 20.0))
        draw = self._chance.random()
        for share, make in self._table():
            if draw < share:
                return make()
            draw -= share
        return self._append()

    def _table(self) -> tuple[tuple[float, Callable[[], Deed]], ...]:
        return (
            (0.14, self._post),
            (0.15, self._claim),
            (0.07, self._release),
            (0.15, self._blob),
            (0.05, self._share),
            (0.06, self._group),
        )

    def _message(self, run_id: str) -> Post:
        head = self.journal.head(run_id)
        name = f"m{self._number}"
        if head is None:
            return Post(run_id, name, start_of(run_id))
        if head.questions and self._chance.random() < 0.7:
            return Post(run_id, name, accept.answer(head.questions[0].id, choice="yes", by="ada", body=None))
        if self._chance.random() < 0.1:
            return Post(run_id, name, accept.cancel(by="ada"))
        return Post(run_id, name, accept.signal(f"s{self._number}", by="ada", body=self._body()))

    def _body(self) -> bytes:
        return self._chance.randbytes(self._chance.choice((0, 40, 700, 3_500, 9_000)))

    def _post(self) -> Deed:
        posts = [self._message(self._chance.choice(RUNS)) for _ in range(self._chance.choice((1, 1, 2)))]
        return Deed("post", True, lambda journal: journal.post_all(posts))

    def _claim(self) -> Deed:
        worker_id = self._chance.choice(WORKERS)
        if self._chance.random() < 0.3:
            self._world.dead ^= {worker_id}
        if self._chance.random() < 0.4:
            return Deed("register", False, lambda journal: journal.register(Worker(worker_id, pid=1), 30.0))
        return self._take(worker_id)

    def _take(self, worker_id: str) -> Deed:
        def claim(journal: Journal) -> object:
            claims = journal.claim(worker_id)
            self.claims |= {one.lease.run_id: one for one in claims}
            return sorted(one.lease for one in claims)

        return Deed("claim", True, claim)

    def _release(self) -> Deed:
        if not self.claims or self._chance.random() < 0.2:
            worker_id = self._chance.choice(WORKERS)
            return Deed("retire", False, lambda journal: journal.retire(worker_id))
        claim = self.claims.pop(self._chance.choice(sorted(self.claims)))
        wake_at = self._chance.choice((None, self._world.time, self._world.time + 60))
        return Deed("release", False, lambda journal: journal.release(claim.lease, wake_at))

    def _blob(self) -> Deed:
        data = self._chance.randbytes(self._chance.choice((100, 3_000, 9_000)))
        self._world.refs.append(blobs.hash_of(data).hex())
        return Deed("put_blob", True, lambda journal: journal.put_blob(data))

    def _share(self) -> Deed:
        if self._chance.random() < 0.5:
            key, limits = self._chance.choice(ACCOUNTS), Limits(tokens=self._chance.randint(1, 10**6))
            return Deed("cap", True, lambda journal: journal.cap(key, limits))
        name = self._chance.choice(CELLS)
        found = self.journal.cell(name)
        version, value = (0 if found is None else found.version), f"value {self._number}"
        return Deed("swap", True, lambda journal: journal.swap(name, version, value))

    def _append(self) -> Deed:
        appends = self._appends(1)
        return Deed("append", True, lambda journal: journal.append(appends)) if appends else self._claim()

    def _group(self) -> Deed:
        appends = self._appends(4)
        return Deed("group", True, lambda journal: journal.append(appends)) if appends else self._post()

    def _appends(self, count: int) -> list[Append]:
        return [self._one(run_id) for run_id in self._chance.sample(sorted(self.claims), min(count, len(self.claims)))]

    def _one(self, run_id: str) -> Append:
        claim, chance = self.claims[run_id], self._chance
        after, head = len(self.journal.events(run_id)), self.journal.head(run_id)
        assert head is not None
        mail = [one.number for one in self.journal.mail(run_id)]
        status = chance.choice((Status.RUNNING, Status.RUNNING, Status.SUSPENDED))
        questions = (question(f"q{self._number}"),) if chance.random() < 0.3 else ()
        releases = chance.random() < 0.1
        if releases:
            self.claims.pop(run_id)
        return Append(
            claim.lease,
            after,
            [self._event(after + 1 + number) for number in range(chance.choice((1, 1, 2, 5)))],
            head._replace(status=status, questions=questions, wake_at=self._world.time, why=f"at {self._number}"),
            max(mail, default=0) if chance.random() < 0.8 else 0,
            posts=[self._message(chance.choice(RUNS))] if chance.random() < 0.2 else (),
            releases=releases,
            charges=[AccountCharge(chance.choice(ACCOUNTS), spent=Charge(tokens=3))] if chance.random() < 0.3 else (),
            cells={chance.choice(CELLS): f"set {self._number}"} if chance.random() < 0.15 else {},
        )

    def _event(self, number: int) -> Event:
        return step(number, self._body())


def attempt(do: Callable[[], object]) -> JournalError | None:
    """Do it; what it was refused with. Nothing but an error of ours may come."""
    try:
        do()
    except JournalError as error:
        return error
    return None


def read(path: Path) -> bytes:
    """Its bytes, none when it is not there."""
    return path.read_bytes() if path.exists() else b""


def put(directory: Path, files: Mapping[str, bytes]) -> None:
    """Make the files, and no others of a store."""
    for name in (NAME + suffix for suffix in SUFFIXES):
        if name in files:
            with open(os.open(directory / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
                file.write(files[name])
        else:
            (directory / name).unlink(missing_ok=True)
