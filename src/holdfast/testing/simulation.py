"""Deterministic simulation: the real App, Worker and Driver on a virtual clock, in a world where everything goes wrong.

    class Mine(Scenario):
        def agents(self, version): return (support,)
        def starts(self, chance): return [Start(support, "ticket 4711", key="a")]

    found = simulate(Mine(), seed=7)
    assert not found.problems

A world has one store, a few processes that die, stand still and are started again, people who answer, and receivers
that keep what arrived. Tools act on it with `receive`. After every write an oracle says whether the promises hold. In
the end the faults stop and people answer: then every run must end.

Invariants
1. Equal seeds of equal scenarios give equal worlds, to the last write (`Simulated.digest`).
2. Nothing here reads a clock, starts a thread or opens a file; time is what the world says.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

import holdfast as hf
from holdfast.core import accept, approval
from holdfast.core.accept import Message
from holdfast.core.address import idempotency_key
from holdfast.core.heads import OpenQuestion
from holdfast.journal.codec import encode
from holdfast.runtime import current
from holdfast.runtime.clock import Random
from holdfast.testing.receiver import Stale
from holdfast.testing.simulated_loop import SimulatedLoop
from holdfast.testing.simulated_process import Process
from holdfast.testing.simulated_world import World

SETTINGS: Final = hf.Settings(
    quiet_s=1.0, park_s=4.0, close_s=1.0, drain_s=4.0, settle_s=3.0, poll_s=3.0, lease_s=9.0, verify_s=4.0
)
"""Shorter than the real ones, in the same order: time in which nothing happens costs turns."""
REQUEST_S_MAX: Final = 2.5
"""How long a request is under way at most; less than `settle_s`, as is asked of who sets it."""


class Start(NamedTuple):
    """A run that somebody wants."""

    agent: hf.Agent[Any, Any]
    input: Any
    key: str
    at_s: float = 0.0
    budget: hf.Budget | None = None


class Scenario:
    """What is simulated. Override `agents` and `starts`; the rest has defaults."""

    settings: hf.Settings = SETTINGS
    workers: int = 2
    """Processes; a world has from two to so many."""
    faults_max: int = 4
    reopened: float = 0.0
    """How likely an operator resumes a run that failed or was stopped, with more budget; each at most three times."""

    unwound: float = 0.0
    """How likely an operator unwinds a run that ended badly and is not resumed."""

    def agents(self, version: int) -> tuple[hf.Agent[Any, Any], ...]:
        """The code of a process that is started after so many deployments."""
        raise NotImplementedError

    def starts(self, chance: Random) -> Sequence[Start]:
        """The runs that are wanted."""
        raise NotImplementedError

    def answer(self, world: World, run: str, question: OpenQuestion) -> Message:
        """What a person says, who knows what the receivers know."""
        return answer_of(world, run, question)

    def check(self, world: World) -> list[str]:
        """In the end: everything else that is wrong."""
        return []


@dataclass(frozen=True, slots=True)
class Simulated:
    """What became of one seed."""

    seed: int
    problems: list[str]
    seen: Counter[str]
    lines: list[str]
    """All that happened, when it was asked for."""
    happened: list[tuple[float, str]] = field(repr=False)
    """The same, with its times."""

    @property
    def digest(self) -> str:
        """Of all that happened, in order."""
        text = "".join([f"{at_s:.6f} {line}\n" for at_s, line in self.happened])
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def simulate(scenario: Scenario, seed: int, *, is_told: bool = False) -> Simulated:
    """Let one world happen. is_told: keep all that happens, for people to read."""
    log = logging.getLogger("holdfast")
    was_disabled, log.disabled = log.disabled, True  # stores fail here all the time
    world = World(scenario, seed)
    try:
        world.happen()
    finally:
        world.close()
        log.disabled = was_disabled
    problems = [f"seed {seed}: {problem}" for problem in world.oracle.problems]
    lines = [f"{at_s:8.3f} {line}" for at_s, line in world.happened] if is_told else []
    return Simulated(seed, problems, world.oracle.seen, lines, world.happened)


def answer_of(world: World, run: str, question: OpenQuestion) -> Message:
    """A person who looks at the receivers, approves most of what is to be done, and else says yes, or go on."""
    if question.digest:
        choice = approval.APPROVE if world.chance.random() < 0.75 else approval.DECLINE
        return accept.answer(question.id, choice=choice, by="ann", body=None, digest=question.digest)
    if question.about != "in_doubt":
        wanted = ("go_on", "tell_the_agent", "yes", "raise", "resume")
        choice = next((each for each in wanted if each in question.options), "yes")
        return accept.answer(question.id, choice=choice, by="ann", body=None)
    slot = world.oracle.states[run].question_slots[question.id]
    key = idempotency_key(world.store.hash_key, "default", run, slot.address, slot.logical)
    result = world.receiver.look(run, key, world.oracle.epochs[run])
    if result is None:
        choice = "it_did_not" if world.chance.random() < 0.8 else "tell_the_agent"
        return accept.answer(question.id, choice=choice, by="ann", body=None)
    return accept.answer(question.id, choice="it_happened", by="ann", body=encode(result))


def here() -> Process:
    """The process whose code asks."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop) and isinstance(loop.owner, Process), "this is no simulated world"
    return loop.owner


async def look(key: str) -> str | None:
    """What a `verify` finds at the receivers under this key."""
    process, where = here(), current.place()
    assert where is not None
    process.reach("effect look:before")
    if process.world.chance.random() < 0.3:
        await asyncio.sleep(process.world.chance.random())
    lease = where.driver.lease
    return process.world.receiver.look(lease.run_id, key, lease.epoch)


async def receive(name: str, key: str, args: str, *, dedupe: bool = False) -> str:
    """An effect of a tool's body: a request that is under way for a while, and its answer. dedupe: the receiver does
    what it gets under one key only once."""
    process, where = here(), current.place()
    assert where is not None, "an effect belongs into a step of a run"
    world, lease = process.world, where.driver.lease
    world.receiver.begun(lease.run_id)
    process.reach(f"effect {name}:before")
    answered: asyncio.Future[Callable[[], str]] = process.loop.create_future()

    def answer(said: Callable[[], str]) -> None:
        if not answered.done():
            answered.set_result(said)

    def arrive() -> None:
        world.trace(f"{name} arrives")
        try:
            result = world.receiver.arrive(name, lease.run_id, key, args, lease.epoch, dedupe=dedupe)
        except Stale as refused:
            answer(partial(_raised, refused))
        else:
            world.after(world.chance.random() * 0.5, lambda: answer(lambda: result))

    world.after(world.chance.random() ** 2 * REQUEST_S_MAX, arrive)
    process.reach(f"effect {name}:sent")
    said = await answered
    process.reach(f"effect {name}:after")
    return said()


def _raised(error: Exception) -> str:
    raise error
