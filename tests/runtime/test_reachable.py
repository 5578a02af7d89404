"""What a function can get at: by its closure, by the names in its code, and by what stands in these."""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass
from typing import Any

import pytest

import holdfast as hf
from holdfast.runtime import reachable as looked
from holdfast.runtime.reachable import reachable
from holdfast.runtime.tool import Tool


class Thing:
    """What is looked for."""


@dataclass(frozen=True, slots=True)
class Slotted:
    """Holds something without a `__dict__`."""

    inner: Any


class Holder:
    """Holds something, and has a property that nobody may call."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @property
    def costly(self) -> None:
        """Never called."""
        raise AssertionError

    def method(self) -> None:
        """Reaches its object."""


NAMED, UNNAMED = Thing(), Thing()
INNER = types.ModuleType("inner")
INNER.thing, INNER.other = Thing(), Thing()  # type: ignore[attr-defined]
OUTER = types.ModuleType("outer")
OUTER.inner, OUTER.outer = INNER, OUTER  # type: ignore[attr-defined]


def helper() -> Any:
    """Called by another."""
    return NAMED


def test_what_the_code_names_is_reached_and_what_it_does_not_name_is_not() -> None:
    """Lost: the agent's own tool is not found, or that of its neighbour in the same module is taken for it."""
    assert reachable(lambda: NAMED, Thing) == [NAMED]
    assert reachable(lambda: lambda: helper(), Thing) == [NAMED]
    assert reachable(lambda: 1, Thing) == []
    assert reachable(lambda: OUTER.inner.thing, Thing) == [INNER.thing]


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda thing: lambda: thing,
        lambda thing: lambda given=thing: given,
        lambda thing: Holder(thing).method,
        lambda thing: functools.partial(print, [thing]),
        lambda thing: {"a": ({thing},)},
        lambda thing: Slotted(Holder(thing)),
        lambda thing: hf.agent(name="holder")(lambda run, given: thing),
        lambda thing: hf.tool(effect="read", name="held")(lambda: thing),
    ],
)
def test_whatever_holds_it_is_looked_into(wrapped: Any) -> None:
    """Lost: tools in a dict, a class, a partial or another agent are not found, and nothing is undone."""
    thing = Thing()
    assert reachable(wrapped(thing), Thing) == [thing]
    assert reachable(functools.wraps(helper)(lambda: wrapped(thing)), Thing) in ([thing, NAMED], [NAMED, thing])


def test_a_tool_that_may_stand_in_is_reached_by_its_tool() -> None:
    """Lost: what a stand-in did stays, because only the first tool is found."""
    other = hf.tool(effect="read", name="other")(lambda: 1)
    first = hf.tool(effect="read", name="first", fallback=[other])(lambda: 2)
    assert reachable(lambda: first, Tool) == [first, other]


def test_an_app_that_the_agent_names_does_not_give_it_all_agents() -> None:
    """Lost: two agents with tools of one name; neither could be unwound."""
    thing = Thing()
    app = hf.App(":memory:", agents=[hf.agent(name="another")(lambda run, given: thing)])
    assert reachable(lambda: app, Thing) == []


def test_a_variable_that_is_not_assigned_yet_and_a_circle_end_the_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: an unwinding that fails or hangs over a look into somebody's data."""

    def outer() -> Any:
        def inner() -> Any:
            return late, circle

        found = reachable(inner, Thing)
        circle: list[Any] = []
        late = Thing()
        circle += [circle, late]
        return found, reachable(inner, Thing), late

    before, after, late = outer()
    assert before == [] and after == [late]
    monkeypatch.setattr(looked, "MOST", 3)
    assert reachable([[[[[[Thing()]]]]]], Thing) == []
