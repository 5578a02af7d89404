"""The tool decorator by itself. Each test says what would be lost."""

from __future__ import annotations

import gc

import pytest

import holdfast as hf
from holdfast.errors import ArgumentsInvalid
from holdfast.runtime.tool import declared_names


def test_the_names_of_living_tools_are_known_and_those_of_dead_ones_forgotten() -> None:
    """Lost: a warning about every tool of a request, or none about one that was forgotten."""

    @hf.tool(effect="read", name="look here")
    def look(x: int) -> int:
        return x

    assert "look here" in declared_names()
    del look
    gc.collect()
    assert "look here" not in declared_names()


def test_a_call_is_validated_before_it_is_ready() -> None:
    """Lost: wrong arguments of a model that are found only after the intent was written."""
    done: list[int] = []

    @hf.tool(effect="once", hidden=("where",))
    def pay(cents: int, where: str) -> int:
        done.append(cents)
        return cents

    call = pay.bound({"cents": "5"}, where="here")
    assert done == [] and call() == 5 and done == [5]
    for wrong in ({"cents": "many"}, {}, {"cents": 1, "where": "there"}):
        with pytest.raises(ArgumentsInvalid, match="pay do not fit"):
            pay.bound(wrong)
    assert pay.hidden == ("where",) and done == [5]
