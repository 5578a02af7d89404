"""A law over random programs of composites, branches, reads, effects and children, whose process dies at any commit.

If it fails, some way of putting parts together repeats an effect, loses one, or gives a part another's answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.runtime.conftest import World

import holdfast as hf

LEAVES = st.tuples(st.sampled_from(["look", "pay", "decide"]), st.integers(0, 2))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.tuples(st.sampled_from(["part", "both", "child"]), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=7,
)
BUDGET = hf.Budget(tool_calls=500)


class Program:
    """One tree, as an agent."""

    def __init__(self, effects: list[Any]) -> None:
        @hf.tool(effect="read")
        async def look(n: int) -> str:
            return f"found {n}"

        @hf.tool(effect="idempotent")
        async def pay(n: int, *, idempotency_key: str = hf.INJECTED) -> str:
            effects.append((n, idempotency_key))
            return f"paid {n}"

        @hf.agent(name="child", budget=BUDGET)
        async def child(run: hf.Run, tree: Any) -> Any:
            return await walk(run, tree)

        @hf.agent(name="top", budget=BUDGET)
        async def top(run: hf.Run, tree: Any) -> Any:
            return await walk(run, tree)

        async def walk(run: hf.Run, tree: Any) -> Any:
            kind, what = tree
            if kind == "look":
                return await look(what)
            if kind == "pay":
                return await pay(what)
            if kind == "decide":
                return await run.decide(f"d{what}", what, because="a law")
            if kind == "both":
                return await asyncio.gather(*(walk(run, each) for each in what))
            if kind == "child":
                return await run.spawn(child, ["part", what])

            @hf.tool(effect="composite")
            async def part(trees: Any) -> Any:
                return [await walk(run, each) for each in trees]

            return await part(what)

        self.top, self.child = top, child


def plain(tree: Any) -> Any:
    """What the program gives."""
    kind, what = tree
    if kind in ("look", "pay", "decide"):
        return {"look": f"found {what}", "pay": f"paid {what}", "decide": what}[kind]
    return [plain(each) for each in what]


def payments(tree: Any) -> int:
    """How many effects it has."""
    kind, what = tree
    return int(kind == "pay") if kind in ("look", "pay", "decide") else sum(payments(each) for each in what)


@given(tree=TREES, dies_at=st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=2))
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_law_parts_give_the_same_whatever_dies(tree: Any, dies_at: list[tuple[int, bool]]) -> None:
    """Lost: R9 for agents that are made of parts."""
    world = World(None)
    program = Program(world.effects)
    for number, is_written in [*dies_at, (0, False)]:
        try:
            given_back = world.run(
                program.top,
                tree,
                wait=20,
                agents=[program.child],
                prepare=lambda journal, at=number, done=is_written: journal.die_at(at, is_written=done) if at else None,
            )
        except World.Crash:
            continue
        assert given_back == plain(tree)
    assert len({key for _, key in world.effects}) == payments(tree), "one key for each effect, in every life"
    assert not world.state().drifts and not world.state().open_children
