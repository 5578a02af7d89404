"""What a decorated tool looks like to code that inspects functions, as agent frameworks do."""

from __future__ import annotations

import inspect
import typing

import holdfast as hf


@hf.tool(effect="once")
def refund(order: str, cents: int = 5, *, note: str = "", idempotency_key: str = hf.INJECTED) -> dict[str, int]:
    """Pay back."""
    return {order: cents}


@hf.tool(effect="read")
async def find(order: str) -> str:
    """Look it up."""
    return order


def test_what_holdfast_fills_in_is_nobody_elses() -> None:
    """Lost: a model is asked for an idempotency key, in strict schemas as a required one, and makes one up."""
    assert str(inspect.signature(refund)) == "(order: 'str', cents: 'int' = 5, *, note: 'str' = '') -> 'dict[str, int]'"
    assert set(typing.get_type_hints(refund)) == {"order", "cents", "note", "return"}
    assert refund.__kwdefaults__ == {"note": ""}  # type: ignore[attr-defined]
    assert "idempotency_key" in inspect.signature(refund.spec.fn).parameters
    assert refund.spec.fn.__annotations__["idempotency_key"] == "str"


def test_an_async_tool_is_seen_to_be_async() -> None:
    """Lost: a framework calls it in a thread and tells the model `<coroutine object …>`; the effect never happens."""
    assert inspect.iscoroutinefunction(find)
    assert not inspect.iscoroutinefunction(refund)


def test_a_tool_that_is_a_method_keeps_its_looks() -> None:
    """Lost: the same for tools of a class, where `self` would be asked of the model."""

    class Desk:
        @hf.tool(effect="once")
        async def pay(self, order: str, *, idempotency_key: str = hf.INJECTED) -> str:
            return order

    assert list(inspect.signature(Desk().pay).parameters) == ["order"]
    assert inspect.iscoroutinefunction(Desk().pay)
