"""Planted bugs about model calls whose prompt has drifted: each breaks one rule of `core.drift`, and a check sees it.

A check that passes with the bug proves nothing, and one that fails without it is wrong; either fails the test.

name                  what is broken                                                  check
====================  ==============================================================  ====================
any_of_several        of several records with one tail the first is taken             equal_questions
deaf_to_the_others    a call takes a record though another that waits has its tail    one_that_was_faster
blind_to_order        a record behind an answer that nobody got is given              a_stranger
numbers_are_times     all numbers count as times                                      another_order
forgotten_fresh       what was given up to begin afresh is asked for after all        crash_after_fresh
forgotten_move        that a call is a recorded step is found anew in each process    deploy_and_crash
grown_is_changed      a history that grew is told as any other difference             saver
fresh_for_all         `fresh` begins what `hold` would hold                           held
====================  ==============================================================  ====================
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import holdfast as hf
from holdfast.core import machine
from holdfast.core.command import Call
from holdfast.core.events import Charge, Effect, Kind, StepKind
from holdfast.core.machine import Machine
from holdfast.core.policy import Policy
from holdfast.core.state import State
from holdfast.journal.codec import decode, encode
from holdfast.journal.sqlite import SqliteJournal
from holdfast.models import mask
from holdfast.models.tail import tail_of
from holdfast.runtime import current
from holdfast.runtime.attempts import Attempts
from holdfast.runtime.way import Attempted, Begun, Way

QUICK = hf.Settings(quiet_s=0.02, park_s=0.06, poll_s=0.02)
Patch = pytest.MonkeyPatch
Body = Callable[["Model", int], Awaitable[Any]]
"""What the agent does, in which of its lives (from 1)."""


_stores: list[SqliteJournal] = []


class Bug(NamedTuple):
    """`seen` is a part of what the check says of it, so that no other failure passes for having caught it."""

    plant: Callable[[Patch], None]
    check: Callable[[Path], list[str]]
    seen: str


class Model:
    """Answers each request with its number; each request holds the time."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self._clock = itertools.count(1)

    async def ask(self, *conversation: str, system: str = "") -> str:
        """One call: messages of the user and the assistant in turn. Without a system text that is the time."""
        place = current.place()
        assert place is not None
        messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(conversation)]
        prompt = f"{system or next(self._clock)} {conversation}"
        history = tuple("/".join(conversation[: n + 1]) for n in range(len(conversation)))

        async def attempt(begun: Begun) -> Attempted:
            self.sent.append(conversation[-1])
            return Attempted(encode(f"{conversation[-1]} {len(self.sent)}"), Charge(model_calls=1))

        call = Call("", "model", prompt, StepKind.MODEL, Effect.READ, prompt.encode(), tail_of(messages), history)
        plan = Attempts(
            call=call,
            args=encode(prompt),
            policy=lambda: Policy(retry=hf.Retry(attempts=1)),
            ways=(Way(attempt=attempt),),
        )
        answer: str = decode((await place.driver.step(plan)).body or b"")
        return answer


class Story:
    """One run through several processes; each is left at its end by an error and reopened, or comes to what it says."""

    def __init__(self, directory: Path, body: Body, **options: Any) -> None:
        self.model = Model()
        self.lives: list[Any] = []
        """What the agent returned, life by life."""
        self.store = SqliteJournal(directory / f"{time.time_ns()}.db", clock=time.time)
        _stores.append(self.store)
        self._body = body
        self._options = options
        self._number = 0

    def live(self, *, dies: bool, **options: Any) -> str:
        """The next process; what it came to, in words. dies: it fails when the agent is done, and is reopened."""
        self._number += 1
        number = self._number

        @hf.agent(name="asker", budget=hf.Budget(model_calls=100), **(self._options | options))
        async def agent(run: hf.Run, given: Any) -> Any:
            self.lives.append(await self._body(self.model, number))
            if dies:
                raise RuntimeError("this life is over")
            return "done"

        async def main() -> str:
            async with asyncio.timeout(10), hf.App(self.store, settings=QUICK, serves=False) as app:
                try:
                    return str(await app.run(agent, None, key="k", wait=0))
                except (hf.RunError, TimeoutError) as error:
                    return f"{type(error).__name__}: {error}"

        said = asyncio.run(main())
        if dies:
            asyncio.run(self._resume())
        return said

    async def _resume(self) -> None:
        async with hf.App(self.store, settings=QUICK, serves=False) as app:
            await app.resume(self.store.heads()[0].run_id)


# --- several ---------------------------------------------------------------------------------------------------


def any_of_several(patch: Patch) -> None:
    real = machine.matches

    def matches(held: Any, gone: Any, records: Any, **how: Any) -> Any:
        records = sorted(records, key=lambda slot: slot.first_no)
        asks = [ask for ask in held if ask.call.tail]
        return real(held, gone, records, **how) or list(zip(asks, records, strict=False))

    patch.setattr(machine, "matches", matches)


def equal_questions(directory: Path) -> list[str]:
    """Two branches ask the same; in the second life the other one is first."""

    async def body(model: Model, life: int) -> Any:
        async def branch(name: str, turns: int) -> tuple[str, str]:
            await asyncio.sleep(0.001 * turns)
            return name, await model.ask("draft?")

        return sorted(await asyncio.gather(branch("a", life), branch("b", 3 - life)))

    story = Story(directory, body)
    story.live(dies=True)
    said = story.live(dies=False)
    if len(story.lives) == 2:
        return [f"the branches swapped their answers: {story.lives}"] if story.lives[0] != story.lives[1] else []
    return [] if "hold" in said else [f"not held: {said}"]


def deaf_to_the_others(patch: Patch) -> None:
    real = machine.matches
    patch.setattr(machine, "matches", lambda held, *more, **how: real(held[:1], *more, **how))


def one_that_was_faster(directory: Path) -> list[str]:
    """Only one branch had got to its call; in the second life both do, and the other is first."""

    async def body(model: Model, life: int) -> Any:
        async def branch(name: str) -> tuple[str, str]:
            return name, await model.ask("draft?")

        if life == 1:
            return [await branch("a")]
        return sorted(await asyncio.gather(branch("b"), branch("a")))

    story = Story(directory, body)
    story.live(dies=True)
    said = story.live(dies=False)
    return [] if "hold" in said else [f"b took what was a's: {story.lives}"]


def blind_to_order(patch: Patch) -> None:
    patch.setattr(machine, "awaited_no", lambda *given: float("inf"))


def a_stranger(directory: Path) -> list[str]:
    """a and b are held at one question; c asks what a asked next."""

    async def body(model: Model, life: int) -> Any:
        async def branch(name: str, *questions: str) -> tuple[str, list[str]]:
            return name, [await model.ask(question) for question in questions]

        branches = [branch("a", "one?", "two?"), branch("b", "one?")]
        if life == 2:
            branches.append(branch("c", "two?"))
        return await asyncio.gather(*branches)

    story = Story(directory, body)
    story.live(dies=True)
    story.live(dies=False)
    found = [event for event in story.store.events(story.store.heads()[0].run_id) if event.kind is Kind.DRIFT_FOUND]
    return [f"c took the answer of a: {event.facts}" for event in found]


# --- what is the same, and what is not -------------------------------------------------------------------------


def numbers_are_times(patch: Patch) -> None:
    patch.setattr(mask, "TIME", re.compile(r"\d+"))


def another_order(directory: Path) -> list[str]:
    """The code asks about another order now."""

    async def body(model: Model, life: int) -> str:
        return await model.ask(f"where is order {life}?")

    story = Story(directory, body)
    story.live(dies=True)
    said = story.live(dies=False)
    return [] if "hold" in said else [f"the answer about order 1 was given for order 2: {story.lives}"]


def forgotten_move(patch: Patch) -> None:
    real = State.apply

    def apply(self: State, event: Any) -> None:
        real(self, event)
        self.moved.clear()

    patch.setattr(State, "apply", apply)


def deploy_and_crash(directory: Path) -> list[str]:
    """The new code has other prompts and asks once more; then its process dies, too."""

    async def body(model: Model, life: int) -> Any:
        systems = ["old"] if life == 1 else ["new", "new, and again"]
        return [await model.ask("draft?", system=system) for system in systems]

    story = Story(directory, body)
    story.live(dies=True)
    story.live(dies=True)
    said = story.live(dies=False)
    return [] if said == "done" and story.lives[1] == story.lives[2] else [f"held by its own record: {said}"]


# --- fresh and hold --------------------------------------------------------------------------------------------


def forgotten_fresh(patch: Patch) -> None:
    real = State.apply

    def apply(self: State, event: Any) -> None:
        real(self, event)
        if event.kind is Kind.DRIFT_FOUND and event.facts.get("rule") == "fresh":
            for slot in self.slots.values():
                slot.is_excused = False

    patch.setattr(State, "apply", apply)


def crash_after_fresh(directory: Path) -> list[str]:
    """The question was reworded and put anew; then the process dies once more."""

    async def body(model: Model, life: int) -> str:
        return await model.ask("draft?" if life == 1 else "a short draft?")

    story = Story(directory, body)
    story.live(dies=True)
    story.live(dies=True, on_drift="fresh")
    said = story.live(dies=False)
    wrong = [] if said == "done" else [f"held by what was given up: {said}"]
    return wrong if len(story.model.sent) == 2 else [*wrong, f"paid for again: {story.model.sent}"]


def fresh_for_all(patch: Patch) -> None:
    real = Machine.__init__
    patch.setattr(Machine, "__init__", lambda self, state, **how: real(self, state, on_drift="fresh"))


def held(directory: Path) -> list[str]:
    """Nobody said `fresh`."""

    async def body(model: Model, life: int) -> str:
        return await model.ask(f"question {'AB'[life - 1]}?")

    story = Story(directory, body)
    story.live(dies=True)
    story.live(dies=False)
    return [f"sent on a guess: {story.model.sent}"] if len(story.model.sent) > 1 else []


def grown_is_changed(patch: Patch) -> None:
    patch.setattr(machine, "has_grown", lambda *given: False)


def saver(directory: Path) -> list[str]:
    """The conversation is kept where it outlives the process."""
    memory: list[str] = []

    async def body(model: Model, life: int) -> str:
        memory.append("question?")
        memory.append(await model.ask(*memory))
        return memory[-1]

    story = Story(directory, body)
    story.live(dies=True)
    said = story.live(dies=False)
    return [] if said.startswith("HistoryGrew") else [f"not named: {said}"]


# --- the test --------------------------------------------------------------------------------------------------

BUGS = {
    bug.plant.__name__: bug
    for bug in (
        Bug(any_of_several, equal_questions, "swapped their answers"),
        Bug(deaf_to_the_others, one_that_was_faster, "b took what was a's"),
        Bug(blind_to_order, a_stranger, "c took the answer of a"),
        Bug(numbers_are_times, another_order, "the answer about order 1 was given"),
        Bug(forgotten_fresh, crash_after_fresh, "held by what was given up"),
        Bug(forgotten_move, deploy_and_crash, "held by its own record"),
        Bug(grown_is_changed, saver, "not named: RunBlocked"),
        Bug(fresh_for_all, held, "sent on a guess"),
    )
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No store stays open."""
    yield
    while _stores:
        _stores.pop().close()


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(tmp_path: Path, name: str) -> None:
    """Lost: the right to say that the checks would notice."""
    plant, check, seen = BUGS[name]
    assert check(tmp_path) == [], "the check fails without the bug"
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        found = check(tmp_path)
    assert any(seen in problem for problem in found), f"{check.__name__} did not see it, but said: {found}"


def test_the_table_above_is_true() -> None:
    """Lost: a list of planted bugs that nobody could trust."""
    rows = [line.split() for line in (__doc__ or "").splitlines()]
    listed = {row[0]: row[-1] for row in rows if row and row[0] in BUGS}
    assert listed == {name: bug.check.__name__ for name, bug in BUGS.items()}
