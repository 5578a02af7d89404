"""Damage: one bit of a store's files is turned over, or a file is cut, and the real engine must not be fooled.

1. Whatever the store says is what it said before, or a `JournalError`. In the log beside the file a bad frame is the
   end of it, as after a power cut: there an earlier state may be said, whole.
2. What is not found any more (a bit in an index, a row that became another's) is told by `facts`.
3. Reading a damaged store does not change it: turn the bit back, and all is there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from holdfast.core import accept
from holdfast.errors import JournalError
from holdfast.journal.sqlite import SqliteJournal
from proof.deeds import (
    ACCOUNTS,
    CELLS,
    NAME,
    RUNS,
    Deeds,
    Said,
    World,
    attempt,
    mounts_that_stay,
    put,
    read,
    small_bounds,
)
from proof.part import Plan, Seen, in_memory

WANTED = {
    "damages": 8_000,
    "bits_of_the_file": 4_000,
    "bits_of_the_log": 1_000,
    "cuts_of_the_file": 500,
    "cuts_of_the_log": 300,
    "refused": 2_000,
    "earlier_states": 500,
    "nothing_noticed": 1_000,
}
TRIALS = 100
COST = 40
EACH = 80


@dataclass(slots=True)
class Store:
    """A store, what it says, and all that it said since its log began."""

    world: World
    files: dict[str, bytes]
    said: Said
    earlier: list[Said] = field(default_factory=list)


def run(plan: Plan) -> Seen:
    """Damage some stores, each in many ways."""
    seen = Seen()
    with small_bounds(pages=10_000), mounts_that_stay(), in_memory(plan.directory) as place:
        for trial in plan.trials(TRIALS):
            directory, chance = place / str(trial), plan.random(trial)
            directory.mkdir()
            store = _store(directory / NAME, chance, has_log=trial % 2 == 0)
            for number in range(EACH):
                for problem in _damage(store, directory, chance, seen):
                    seen.problems.append(f"trial {trial}, damage {number}: {problem}")
            put(directory, {})
    return seen


def _store(path: Path, chance: random.Random, *, has_log: bool) -> Store:
    """With a log as a killed process leaves it, or without."""
    world = World()
    journal = world.open(path)
    deeds, earlier = Deeds(journal, world, chance), [world.state(journal)]
    for deed in deeds.some(25, events=12):
        attempt(partial(deed.do, journal))
        earlier.append(world.state(journal))
    for number in range(15):
        journal.post(
            RUNS[number % 5], f"last{number}", accept.signal(f"l{number}", by="ada", body=chance.randbytes(400))
        )
        earlier.append(world.state(journal))
    names = (NAME, f"{NAME}-wal") if has_log else (NAME,)
    if not has_log:
        journal.close()
    files = {name: read(path.with_name(name)) for name in names}
    journal.close()
    return Store(world, files, earlier[-1], earlier)


def _damage(store: Store, directory: Path, chance: random.Random, seen: Seen) -> Iterator[str]:
    name = chance.choice(sorted(store.files))
    what = "log" if name.endswith("-wal") else "file"
    data = store.files[name]
    if chance.random() < 0.2:
        seen.count(f"cuts_of_the_{what}")
        damaged = data[: chance.randrange(len(data))]
    else:
        seen.count(f"bits_of_the_{what}")
        place = chance.randrange(len(data))
        damaged = data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
    seen.count("damages")
    put(directory, store.files | {name: damaged})
    yield from _look(store, directory / NAME, what, seen)
    if len(store.files) == 1 and read(directory / NAME) != damaged:
        yield "reading it has changed it"


def _look(store: Store, path: Path, what: str, seen: Seen) -> Iterator[str]:
    """Open it and ask for all that was there."""
    try:
        journal = store.world.open(path)
    except JournalError:
        seen.count("refused")
        return
    try:
        if what == "log" and _is_earlier(store, journal):
            seen.count("earlier_states")
            return
        yield from _ask(store, journal, seen)
    finally:
        journal.close()


def _is_earlier(store: Store, journal: SqliteJournal) -> bool:
    said: list[Said] = []
    return attempt(lambda: said.append(store.world.state(journal))) is None and said[0] in store.earlier


def _ask(store: Store, journal: SqliteJournal, seen: Seen) -> Iterator[str]:
    refused = hidden = 0
    for what, ask, before in _questions(store, journal):
        got: list[object] = []
        if attempt(lambda ask=ask, got=got: got.append(ask())) is not None:  # type: ignore[misc]
            refused += 1
        elif got[0] == before:
            continue
        elif not got[0] or (isinstance(before, list) and _is_part(got[0], before)):
            hidden += 1
        else:
            yield f"{what} is {got[0]!r}, not {before!r}"
    if hidden and not refused:
        if _is_told(journal):
            seen.count("told_by_facts")
        else:
            yield f"{hidden} answers are empty, and nothing tells why"
    seen.count("refused" if refused else "hidden" if hidden else "nothing_noticed")


def _is_part(got: object, before: list[object]) -> bool:
    return isinstance(got, list) and [one for one in before if one in got] == got


def _questions(store: Store, journal: SqliteJournal) -> Iterator[tuple[str, Callable[[], object], object]]:
    for head, events, mail, _ in store.said.runs:
        run_id = head.run_id
        yield f"the head of {run_id}", partial(journal.head, run_id), head
        yield f"the events of {run_id}", partial(journal.events, run_id), events
        yield f"the runs of key {run_id}", partial(journal.heads, key=run_id), [head]
        yield f"the mail of {run_id}", partial(journal.mail, run_id), mail
    yield (
        "the list of runs",
        lambda: [one.run_id for one in journal.heads()],
        [one[0].run_id for one in store.said.runs],
    )
    for name, cell in zip(CELLS, store.said.shared[1], strict=True):
        yield f"the cell {name}", partial(journal.cell, name), cell
    for key, account in zip(ACCOUNTS, store.said.shared[2], strict=True):
        yield f"the account {key}", partial(journal.account, key), account
    for ref, data in store.said.blobs.items():
        yield f"blob {ref}", partial(journal.get_blob, ref), data


def _is_told(journal: SqliteJournal) -> bool:
    try:
        facts = journal.facts()
    except JournalError:
        return True
    return facts["integrity"] != "ok" or bool(facts["problems"])
