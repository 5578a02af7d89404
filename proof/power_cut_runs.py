"""Power cuts under real runs: the App drives an agent, the power goes, and what is left goes on in a new App.

A run is driven once, on a disk that writes down every change; the effects that its tools have had are kept with the
number of changes that the disk had seen. For points between two changes a disk is made that a cut there may leave, and
the world as it was at that moment: effects do not come back. A new App goes on with the run.

What is wrong: a run that does not come to its end with the result that it had to have; a `once` effect that happened
twice or never, an `idempotent` one that never happened or under two keys; a run that had been accepted and is gone; a
book that says less than was done.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import holdfast as hf
from holdfast.core.events import Event, Kind
from holdfast.core.state import State, fold
from holdfast.errors import JournalError, NotDone, RunError, UsageError
from holdfast.journal.sqlite import SqliteJournal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.disk import Disk, Op
from holdfast.testing.power import Loss, Power
from proof.deeds import NAME, mounts_that_stay, put
from proof.part import Plan, Seen, in_memory

WANTED = {
    "runs_gone_on": 2_000,
    "had_ended": 100,
    "was_not_accepted": 100,
    "taken_over": 1_000,
    "in_doubt": 100,
    "effect_was_known": 150,
    "effect_had_not_happened": 10,
}
TRIALS = 26
COST = 40
EACH = 150
ROUNDS = 3
SETTINGS = hf.Settings(settle_s=0.0, poll_s=0.02)
ITEMS = [f"{what}-{item}" for item in range(ROUNDS) for what in ("charge", "mail")]


class Effect(NamedTuple):
    """Something that has happened in the world."""

    name: str
    item: int
    key: str
    at: int
    """How many changes the disk had seen."""


@dataclass(slots=True)
class World:
    """What tools do, and what can be asked about it."""

    effects: list[Effect] = field(default_factory=list)
    disk: Disk | None = None

    def do(self, name: str, item: int, key: str) -> str:
        """It happens."""
        self.effects.append(Effect(name, item, key, 0 if self.disk is None else len(self.disk.ops)))
        return f"{name}-{item}"

    def at(self, change: int) -> World:
        """As it was when the disk had seen so many changes."""
        return World([effect for effect in self.effects if effect.at <= change])


def make_agent(world: World) -> hf.Agent[int, list[str]]:
    """Rounds of a read, a `once` effect that can be asked about, and an `idempotent` one."""

    def was_charged(key: str, item: int) -> hf.Done | NotDone:
        found = any(effect.key == key for effect in world.effects)
        return hf.Done(f"charge-{item}") if found else NotDone("nobody knows of it")

    @hf.tool(effect="read")
    async def price(item: int) -> int:
        return 100 + item

    @hf.tool(effect="once", verify=was_charged)
    async def charge(item: int, *, idempotency_key: str = hf.INJECTED) -> str:
        return world.do("charge", item, idempotency_key)

    @hf.tool(effect="idempotent")
    async def mail(item: int, *, idempotency_key: str = hf.INJECTED) -> str:
        return world.do("mail", item, idempotency_key)

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=200))
    async def shop(run: hf.Run, rounds: int) -> list[str]:
        done: list[str] = []
        for item in range(rounds):
            await price(item)
            done += await asyncio.gather(charge(item), mail(item))
        return done

    return shop


def opened(path: Path) -> SqliteJournal:
    """The store, on a machine that was started anew: whoever worked before is dead."""
    return SqliteJournal(path, clock=SystemClock().now, is_dead=lambda worker: True, is_wherever=True)


async def drive(path: Path, world: World) -> list[str]:
    """Start the run or go on with it, to its end."""
    with closing(opened(path)) as journal:
        async with hf.App(journal, settings=SETTINGS) as app:
            return await app.run(make_agent(world), ROUNDS, key="shop")


def run(plan: Plan) -> Seen:
    """Record runs and cut them."""
    seen = Seen()
    with mounts_that_stay(), in_memory(plan.directory) as place:
        for trial in plan.trials(TRIALS):
            live, image = place / f"live{trial}", place / f"image{trial}"
            live.mkdir()
            image.mkdir()
            problems = asyncio.run(_trial(live, image, plan.random(trial), seen))
            seen.problems += [f"trial {trial}, {problem}" for problem in problems]
            put(live, {})
            put(image, {})
    return seen


async def _trial(live: Path, image: Path, chance: random.Random, seen: Seen) -> list[str]:
    world = World()
    with Disk(live) as disk:
        world.disk = disk
        with closing(opened(live / NAME)) as journal:
            async with hf.App(journal, settings=SETTINGS) as app:
                agent = make_agent(world)
                await app.start(agent, ROUNDS, key="shop")
                accepted = len(disk.ops)
                await app.run(agent, ROUNDS, key="shop")
                ended = len(disk.ops)
        ops = list(disk.ops)
    problems = []
    for number, loss, files in _images(ops, chance):
        put(image, files)
        after = world.at(number - chance.randrange(2))
        problem = _lost(image / NAME, seen, is_accepted=number >= accepted, has_ended=number >= ended)
        wrong = [problem] if problem else await _go_on(image / NAME, after, seen)
        problems += [f"change {number} of {len(ops)}, {loss}: {one}" for one in wrong]
    return problems


def _images(ops: Sequence[Op], chance: random.Random) -> Iterator[tuple[int, Loss, dict[str, bytes]]]:
    """Disks that cuts may leave, each other than those before."""
    chosen = Counter(chance.randrange(1, len(ops) + 1) for _ in range(EACH))
    power, equal = Power(), list[dict[str, bytes]]()
    for number, op in enumerate(ops, 1):
        power.take(op)
        for _ in range(chosen[number]):
            loss = chance.choice(list(Loss))
            files = power.left(loss, chance)
            if files not in equal[-20:]:
                equal.append(files)
                yield number, loss, files


def _lost(path: Path, seen: Seen, *, is_accepted: bool, has_ended: bool) -> str:
    """What is no more of what had been promised."""
    with closing(opened(path)) as journal:
        heads = journal.heads(key="shop")
    if not heads:
        seen.count("was_not_accepted")
        return "a run that had been accepted is gone" if is_accepted else ""
    if heads[0].status.is_end:
        seen.count("had_ended")
    return "a run whose result was handed out is open again" if has_ended and not heads[0].status.is_end else ""


async def _go_on(path: Path, world: World, seen: Seen) -> list[str]:
    """Drive it to its end, and look at the world and at the record."""
    seen.count("runs_gone_on")
    try:
        result = await asyncio.wait_for(drive(path, world), 30)
    except (RunError, UsageError, JournalError, TimeoutError) as error:
        return [f"it does not come to its end: {type(error).__name__}: {error}"]
    wrong = [] if result == ITEMS else [f"its result is {result}"]
    charges = Counter(effect.item for effect in world.effects if effect.name == "charge")
    if charges != dict.fromkeys(range(ROUNDS), 1):
        wrong.append(f"once effects that happened: {dict(charges)}")
    if len({(effect.item, effect.key) for effect in world.effects if effect.name == "mail"}) != ROUNDS:
        wrong.append("an idempotent effect had two keys, or never happened")
    with closing(opened(path)) as journal:
        events = journal.events(journal.heads(key="shop")[0].run_id)
    return wrong + _booked(fold(events), world, events, seen)


def _booked(state: State, world: World, events: Sequence[Event], seen: Seen) -> list[str]:
    """Whether the record says at least what was done."""
    seen.count("taken_over", sum(event.kind is Kind.RUN_RESUMED for event in events))
    charged = [slot for slot in state.slots.values() if slot.address.name == "charge"]
    seen.count("in_doubt", sum(slot.served == "verify" or slot.attempt > 1 for slot in charged))
    seen.count("effect_was_known", sum(slot.served == "verify" for slot in charged))
    seen.count("effect_had_not_happened", sum(slot.attempt > 1 for slot in charged))
    if state.used.tool_calls < len(world.effects) + ROUNDS:
        return [f"{len(world.effects)} effects and {ROUNDS} reads, and {state.used.tool_calls} calls in the books"]
    return []
