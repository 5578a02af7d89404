"""The tool decorator by itself. Each test says what would be lost."""

from __future__ import annotations

import gc
from typing import Any

import pytest

import holdfast as hf
from holdfast.errors import ArgumentsInvalid, PolicyInvalid
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


@pytest.mark.parametrize(
    "classes", [ValueError, [ValueError], ("ValueError",), (int,), (ValueError("x"),), "ValueError"]
)
@pytest.mark.parametrize("option", ["raises", "definite"])
def test_what_is_no_tuple_of_exception_classes_is_refused_where_it_is_declared(option: str, classes: Any) -> None:
    """Lost: a payment in doubt, and "a bug in holdfast", since a comma was forgotten."""
    with pytest.raises(PolicyInvalid, match=option):
        hf.tool(**{option: classes})(lambda: 1)
