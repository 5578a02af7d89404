"""Simulated worlds, each of its own seed: the real engine, a few runs, up to four faults, an oracle after each write.

A seed's world is the same in whichever shard and on whichever machine it happens. What a seed has found stays in
tests/proof/seeds for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import holdfast as hf
from holdfast.core.accept import Message
from holdfast.core.events import Kind, meta
from holdfast.core.heads import OpenQuestion, Status
from holdfast.core.slot import Slot
from holdfast.journal.process import this_worker
from holdfast.runtime import worker
from holdfast.runtime.clock import Random
from holdfast.testing.simulated_world import World
from holdfast.testing.simulation import Scenario, Start, simulate
from proof import approvals
from proof.part import Plan, Seen
from proof.simulated_agent import PEOPLE, RACING, changed, part, simulated

WANTED = {
    "seeds": 100_000,
    "crash": 40_000,
    "power": 8_000,
    "pause": 7_000,
    "stall": 7_000,
    "jump": 4_000,
    "outage": 8_000,
    "unknown_before": 2_500,
    "unknown_after": 2_500,
    "stop": 8_000,
    "cancel": 8_000,
    "hold": 8_000,
    "deploy": 8_000,
    "blocked": 200,
    "takeovers": 40_000,
    "in_doubt": 20_000,
    "verify_done": 9_000,
    "verify_not_done": 7_000,
    "doubts_answered": 3_000,
    "stale_refused": 200,
    "questions_answered": 20_000,
    "questions_expired": 12_000,
    "messages_refused": 12_000,
    "bells_heard": 100_000,
    "bells_lost": 100_000,
    "refused_LeaseLost": 3_000,
    "refused_MailWaiting": 2_000,
    "refused_BudgetRefused": 400,
    "resumed": 1_500,
    "unwound": 1_800,
    "undone": 1_500,
    "approvals_used": 1_000,
    "approvals_used_of_a_list": 500,
    "approvals_asked_anew": 500,
    "approvals_declined": 500,
    "approvals_expired": 500,
    "approvals_of_two": 1_000,
}
"""What must have been seen in 100,000 seeds: about half of what is."""
COST = 700

PROBLEMS_MAX = 50
"""After so many no more worlds are needed to know that something is wrong."""
SEEDS_APART = 1_000_000_000
"""Proofs of different seeds share no world."""


class Drawn(Scenario):
    """One to three runs of two to five operations each."""

    workers = 3

    def agents(self, version: int) -> tuple[hf.Agent[Any, Any], ...]:
        """The older and the newer code in turn."""
        return (part, simulated if version % 2 == 0 else changed)

    def starts(self, chance: Random) -> Sequence[Start]:
        """The runs of this seed."""
        return [_start(chance, place) for place in range(chance.randint(1, 3))]


class Reopened(Drawn):
    """The same, with agents that give up waiting, steps made of steps, and runs that fail and are resumed."""

    reopened = 0.8

    def starts(self, chance: Random) -> Sequence[Start]:
        """The runs of this seed."""
        return [_start(chance, place, _harder) for place in range(chance.randint(1, 2))]


class Undone(Drawn):
    """Runs that are unwound, by their agent or by an operator, and runs that go on as their next chapter."""

    reopened = 0.3
    unwound = 0.8

    def starts(self, chance: Random) -> Sequence[Start]:
        """The runs of this seed."""
        return [_start(chance, place, _undoable) for place in range(chance.randint(1, 2))]

    def check(self, world: World) -> list[str]:
        """What a run did that is unwound is undone, each piece once, unless its end says what could not be."""
        done = Counter((there[0].run, there[0].name) for there in world.receiver.arrived.values() if there)
        wrong = []
        for run, state in world.oracle.states.items():
            booked, undone = done[run, "book"], done[run, "take_back"]
            world.count("undone", undone)
            is_told = (
                "budget" in state.why
                or state.status is Status.CANCELLED
                or any(slot.undoes and _has_failed(slot) for slot in state.slots.values())
            )
            must_be = state.is_unwound and not is_told
            if booked < undone or (must_be and booked > undone):
                wrong.append(f"unwind: {run} booked {booked} and took {undone} back")
        return wrong


class Signed(Drawn):
    """Effects that somebody must agree to first, one by one or in a list; runs that are stopped for it, and resumed."""

    reopened = 0.5

    def starts(self, chance: Random) -> Sequence[Start]:
        """The runs of this seed."""
        return [_start(chance, place, _signed) for place in range(chance.randint(1, 2))]

    def check(self, world: World) -> list[str]:
        """Each begin of such an effect follows an "approve" that holds, and no other logical attempt has used it."""
        wrong = []
        for run in world.oracle.states:
            book = approvals.Book()
            for event in world.store.events(run):
                book.take(event)
            wrong += [f"P8: {run}: {told}" for told in book.wrong]
            for what, times in book.seen.items():
                world.count(what, times)
        return wrong


class Several(Signed):
    """The same, with effects that two of some people must agree to; others answer as well, and some give no name."""

    def starts(self, chance: Random) -> Sequence[Start]:
        """The runs of this seed."""
        return [_start(chance, place, _several) for place in range(chance.randint(1, 2))]

    def answer(self, world: World, run: str, question: OpenQuestion) -> Message:
        """What somebody says, who may be anybody."""
        said = super().answer(world, run, question)
        by = world.chance.choice((*PEOPLE, *PEOPLE, "eve", "Ann", "")) if question.digest else "ann"
        return said._replace(meta=meta(**said.facts | {"by": by}))


def _has_failed(slot: Slot) -> bool:
    return slot.outcome is None or slot.outcome.kind is not Kind.STEP_SUCCEEDED


SCENARIOS: dict[str, Scenario] = {"drawn": Drawn(), "reopened": Reopened(), "undone": Undone(), "signed": Signed()}
SCENARIOS["several"] = Several()
"""Of 24 worlds four are of the third kind, eight of the second, one of the fourth and one of the fifth."""


def scenario_of(trial: int) -> Scenario:
    """What the world of this number is about."""
    if trial % 12 == 10:
        return SCENARIOS["signed" if trial % 24 == 10 else "several"]
    return SCENARIOS["undone" if trial % 6 == 3 else "reopened" if trial % 3 == 2 else "drawn"]


def _harder(chance: Random, number: int, depth: int) -> list[Any]:
    drawn = chance.random()
    if drawn < 0.2:
        inner = _operation(chance, RACING + number, depth=1)
        return ["race", number, round(0.2 + chance.random() * 3.0, 1), inner]
    if drawn < 0.4:
        return ["whole", number, [[chance.choice(("pay", "put", "find")), number + n] for n in (1, 2)]]
    if drawn < 0.7:
        return ["must", number, [chance.choice(("pay", "put", "find", "mail")), number + 1]]
    return _operation(chance, number, depth)


def _undoable(chance: Random, number: int, depth: int) -> list[Any]:
    drawn = chance.random()
    if drawn < 0.45:
        return ["must", number, ["book", number + 1]]
    if drawn < 0.60:
        return ["must", number, [chance.choice(("pay", "put", "find")), number + 1]]
    if drawn < 0.68:
        return ["unwind", number]
    if drawn < 0.76:
        return ["next", number, [_undoable(chance, 100 + number, 1)] if depth < 1 else []]
    return _operation(chance, number, depth=1)


def _signed(chance: Random, number: int, depth: int) -> list[Any]:
    drawn = chance.random()
    if drawn < 0.35:
        return ["sign", number]
    if drawn < 0.5:
        return ["must", number, ["seal", number + 1]]
    if drawn < 0.65:
        return ["list", number, [number + 1, number + 2]]
    return _operation(chance, number, depth=1)


def _several(chance: Random, number: int, depth: int) -> list[Any]:
    return ["attest", number] if chance.random() < 0.5 else _signed(chance, number, depth)


Draw = Callable[[Random, int, int], list[Any]]


def _start(chance: Random, place: int, draw: Draw | None = None) -> Start:
    plan = [(draw or _operation)(chance, 10 * at, 0) for at in range(chance.randint(2, 5))]
    calls = _calls(plan)
    is_tight = chance.random() < 0.25
    cap = max(1, calls - 1 + chance.randrange(3)) if is_tight else 60
    tokens = 500 * chance.randint(1, 3) if chance.random() < 0.3 else 100_000
    budget = hf.Budget(tool_calls=cap, tokens=tokens)
    return Start(simulated, plan, f"k{place}", chance.random() * 5.0 * place, budget)


def _calls(plan: Sequence[Any]) -> int:
    return sum(_calls(op[2]) if op[0] in ("both", "child", "whole") else 1 for op in plan)


_KINDS = ("pay", "pay", "pay", "mail", "put", "put", "find", "find", "ask", "sleep", "signal", "model", "note")


def _operation(chance: Random, number: int, depth: int) -> list[Any]:
    drawn = chance.random()
    if depth < 1 and drawn < 0.10:
        return ["child", number, [_operation(chance, number + n, depth + 1) for n in (1, 2)]]
    if depth < 1 and drawn < 0.22:
        return ["both", number, [_operation(chance, number + n, depth + 1) for n in (1, 2)]]
    if depth < 1 and drawn < 0.28:
        return ["changed", number, chance.choice(("pay", "find")), chance.choice(("put", "mail"))]
    kind = _KINDS[chance.randrange(len(_KINDS))]
    match kind:
        case "sleep":
            return [kind, number, round(chance.random() * 6.0, 1)]
        case "ask" | "signal":
            return [kind, number, round(2.0 + chance.random() * 8.0, 1)]
        case _:
            return [kind, number]


def run(plan: Plan) -> Seen:
    """This shard's seeds."""
    seen = Seen()
    with one_process():
        for trial in plan.trials(WANTED["seeds"]):
            if len(seen.problems) > PROBLEMS_MAX:
                continue  # the others tell nothing new
            found = simulate(scenario_of(trial), plan.seed * SEEDS_APART + trial)
            seen.count("seeds")
            seen.counts.update(found.seen)
            seen.problems += found.problems
    return seen


@contextmanager
def one_process() -> Iterator[None]:
    """Which process this is is asked of the system once, and not by each one of each world."""
    here = this_worker("")
    with patch.object(worker, "this_worker", lambda worker_id: replace(here, id=worker_id)):
        yield
