"""What undoes a step: checked when it is declared, and marked in the record."""

from __future__ import annotations

from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.errors import PolicyInvalid


def release(result: str, room: int) -> None:
    """Fits `book`."""


def without_arguments(result: str) -> None:
    """Does not take what `book` takes."""


@hf.tool(effect="read")
def looks(result: str, room: int) -> None:
    """Undoes nothing."""


@pytest.mark.parametrize("undo", [without_arguments, looks, "release", 7])
def test_an_undo_that_cannot_undo_is_refused_where_it_is_declared(undo: Any) -> None:
    """Lost: it would be found out in the middle of an unwinding, with half of it undone."""
    with pytest.raises(PolicyInvalid, match="undo="):

        @hf.tool(effect="once", undo=undo)
        def book(room: int) -> str:
            return f"room {room}"


def test_a_read_and_a_tool_without_named_parameters_have_nothing_to_undo() -> None:
    """Lost: a promise that nothing could keep."""
    with pytest.raises(PolicyInvalid, match="no effect of its own"):
        hf.tool(effect="read", undo=release)(lambda room: room)
    with pytest.raises(PolicyInvalid, match=r"\*args"):
        hf.tool(effect="once", undo=release, name="any")(lambda *rooms: rooms)


def test_the_record_says_that_a_step_can_be_undone(world: Any) -> None:
    """Lost: by the record nobody could tell what to keep back for it, or what an unwinding left out."""

    @hf.tool(effect="once", undo=release)
    async def book(room: int) -> str:
        return f"room {room}"

    @hf.agent(name="trip", budget=hf.Budget(tool_calls=10))
    async def trip(run: hf.Run, given: Any) -> Any:
        return await book(4)

    assert world.run(trip) == "room 4"
    (intended,) = world.events(Kind.STEP_INTENDED)
    assert intended.facts["undo"] == "release"
    (slot,) = world.state().slots.values()
    assert (slot.undo, slot.is_undone, slot.undoes) == ("release", False, None)
