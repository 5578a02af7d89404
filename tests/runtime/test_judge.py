"""Whether what a tool gave is a result at all (R3, R17). Each test says what would be lost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from pydantic import BaseModel

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.errors import PolicyInvalid, RunWaiting
from holdfast.runtime import judge

QUICK = hf.Retry(attempts=3, wait=0)


def told(world: Any, fn: Any, **options: Any) -> str:
    """What a model reads of a call of this function as a tool."""
    tool = hf.tool(effect=options.pop("effect", "read"), retry=options.pop("retry", QUICK), **options)(fn)

    @hf.agent(name="asks")
    async def asks(run: hf.Run, given: Any) -> str:
        try:
            outcome = await tool() if tool.spec.is_async else await asyncio.to_thread(tool)
        except hf.ToolFailed as error:
            outcome = error
        return hf.for_model(outcome).text

    return world.run(asks)  # type: ignore[no-any-return]


def giving(result: Any) -> Any:
    async def give() -> Any:
        return result

    return give


@dataclass
class CallToolResult:
    """As a client of the Model Context Protocol gives it."""

    content: list[Any]
    isError: bool = False


# --- answers that say no -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "says", "attempts"),
    [
        ({"ok": False, "error": "no such customer"}, "NotOk: no such customer", 1),
        ({"ok": False}, "NotOk: it does not say why", 1),
        ({"ok": False, "error": "ratelimited"}, "NotOk: ratelimited", 3),
        ({"isError": True, "content": [{"type": "text", "text": "bad query"}]}, "IsError: bad query", 1),
        (CallToolResult([{"type": "text", "text": "bad query"}], True), "IsError: bad query", 1),
    ],
)
def test_an_answer_that_says_no_is_a_failure(quick: Any, result: Any, says: str, attempts: int) -> None:
    """Lost: R3; an error in an HTTP 200 goes to the model as if it were the customer's data."""
    assert told(quick, giving(result)) == f"give failed: {says}"
    assert quick.state().spent.tool_calls == attempts


@pytest.mark.parametrize(
    "result", [{"ok": True}, {"ok": None}, {"ok": 0}, {"isError": False}, {"isError": "no"}, [], ""]
)
def test_an_answer_that_does_not_say_no_is_a_result(quick: Any, result: Any) -> None:
    """Lost: good results that only look a little like failures."""
    assert "failed" not in told(quick, giving(result))


def test_an_answer_that_says_no_of_an_effect_is_unknown_unless_it_was_its_one_request(world: Any) -> None:
    """Lost: a payment made twice, because the second of two requests was refused."""
    with pytest.raises(RunWaiting):
        told(world, giving({"ok": False}), effect="once", retry=None)


def test_the_one_requests_no_is_believed(quick: Any) -> None:
    """Lost: a person asked about every card that was declined."""
    said = told(quick, giving({"ok": False, "error": "declined"}), effect="once", retry=None, definite=hf.ONE_REQUEST)
    assert said == "give failed: NotOk: declined"


# --- classify= ---------------------------------------------------------------------------------------------------


def test_a_table_takes_such_dicts_for_results(quick: Any) -> None:
    """Lost: a tool that tells of somebody else's `ok`."""
    assert "ok" in told(quick, giving({"ok": False}), classify={"ok_false": "ok"})


@pytest.mark.parametrize(
    ("said", "attempts", "is_failure"),
    [("transient", 3, True), ("permanent", 1, True), ("ok", 1, False), (None, 1, False), ("odd", 1, False)],
)
def test_a_predicate_is_given_results_too(quick: Any, said: Any, attempts: int, is_failure: bool) -> None:
    """Lost: the errors of a service that has a form of its own for them."""
    text = told(quick, giving({"state": "busy"}), classify=lambda outcome: said)
    assert text.startswith("give failed") is is_failure
    assert quick.state().spent.tool_calls == attempts


def test_a_predicate_that_raises_has_not_classified_and_that_is_said(quick: Any) -> None:
    """Lost: an error in the error handling, which makes of a wrong key something to retry."""

    async def refused() -> str:
        raise ValueError("no")

    def broken(outcome: Any) -> str:
        raise KeyError("status")

    assert told(quick, refused, classify=broken) == "refused failed: ValueError: no"
    assert quick.state().spent.tool_calls == 1
    (failed,) = quick.events(Kind.STEP_FAILED)
    assert "classify= raised KeyError" in failed.facts["because"]


@pytest.mark.parametrize("table", [{503: "odd"}, {"": "transient"}, "transient", 7])
def test_a_table_without_a_meaning_is_refused(table: Any) -> None:
    """Lost: a typo that classifies nothing."""
    with pytest.raises(PolicyInvalid):
        hf.tool(classify=table)(lambda: 1)


# --- declared types ----------------------------------------------------------------------------------------------


class Row(TypedDict):
    """A row of a table."""

    name: str
    cents: int


class Invoice(BaseModel):
    """A value of the user's."""

    cents: int


@pytest.mark.parametrize(
    ("annotation", "result", "why"),
    [
        (dict[str, int], "a lot", "str is not dict[str, int]"),
        (dict[str, int], {"eur": "many"}, "str is not int (at $['eur'])"),
        (dict[str, int], {1: 1}, "int is not str (at a key of $)"),
        (list[str], ["a", 1], "int is not str (at $[1])"),
        (str, 1, "int is not str"),
        (str, None, "NoneType is not str"),
        (int | None, "1", "str is not int | None"),
        (Row, {"name": "x"}, "it has no 'cents'"),
        (Row, {"name": "x", "cents": "1"}, "str is not int (at $.cents)"),
        (Invoice, {"cents": "many"}, "cents"),
    ],
)
def test_a_result_of_another_type_never_reaches_the_model(quick: Any, annotation: Any, result: Any, why: str) -> None:
    """Lost: R17; one bad answer sends the agent down another trajectory."""
    give = giving(result)
    give.__annotations__["return"] = annotation
    said = told(quick, give)
    assert said.startswith("give failed: InvalidOutput: ") and why in said
    assert quick.state().spent.tool_calls == 3, "another attempt may do better"
    (failed,) = quick.events(Kind.STEP_FAILED)
    assert failed.facts["kind"] == "invalid_output"


@pytest.mark.parametrize(
    ("annotation", "result"),
    [
        (dict[str, int], {"eur": 1}),
        (dict[str, Any], {"eur": object}),
        (list[str], ["a"]),
        (float, 1),
        (int | None, None),
        (Row, {"name": "x", "cents": 1, "more": 1}),
        (Invoice, Invoice(cents=1)),
        (None, 7),
        (Any, 7),
    ],
)
def test_a_result_of_its_type_passes(quick: Any, annotation: Any, result: Any) -> None:
    """Lost: good results."""
    give = giving({"eur": 1} if annotation == dict[str, Any] else result)
    give.__annotations__["return"] = annotation
    assert "InvalidOutput" not in told(quick, give)


# --- check= ------------------------------------------------------------------------------------------------------


def raises(result: Any) -> bool:
    raise ValueError("negative")


async def says_later(result: Any) -> str:
    await asyncio.sleep(0)
    return "too small"


@pytest.mark.parametrize(
    ("check", "why"),
    [
        (lambda result: False, "it said no"),
        (lambda result: "too large", "too large"),
        (raises, "ValueError: negative"),
        (says_later, "too small"),
        (lambda result: 0, "it said no"),
    ],
)
def test_a_result_that_does_not_pass_its_check_is_a_failure(quick: Any, check: Any, why: str) -> None:
    """Lost: R17; a number that is of the right type and cannot be right."""
    said = told(quick, giving(-1), check=check)
    assert said.startswith("give failed: InvalidOutput: ") and said.endswith(why)
    (failed,) = quick.events(Kind.STEP_FAILED)
    assert "check" in failed.facts["because"] and failed.body is None
    assert quick.state().spent.tool_calls == 3


@pytest.mark.parametrize("check", [lambda result: True, lambda result: None, lambda result: "", lambda result: 1])
def test_a_result_that_passes(quick: Any, check: Any) -> None:
    """Lost: good results."""
    assert told(quick, giving(5), check=check) == "5"


def test_a_check_that_hangs_has_not_passed(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: the step, for ever."""
    monkeypatch.setattr(judge, "CHECK_S", 0.01)

    async def hangs(result: Any) -> bool:
        await asyncio.Event().wait()
        return True

    assert "no answer within" in told(quick, giving(5), check=hangs, retry=hf.Retry(attempts=1))


def test_a_sync_tools_check_runs_apart_from_the_loop(quick: Any) -> None:
    """Lost: every other run of the process, while one check thinks."""

    def give() -> int:
        return 5

    def slow(result: int) -> bool:
        time.sleep(0.01)
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return True

    assert told(quick, give, check=slow) == "5"


def test_an_effect_whose_result_does_not_pass_is_in_doubt_and_never_made_again(world: Any, shop: Any) -> None:
    """Lost: a second payment, because the receipt of the first looked odd."""

    @hf.tool(effect="once", check=lambda receipt: receipt.startswith("R-"))
    async def pay(cents: int) -> str:
        shop.done.append(("paid", cents))
        return "odd"

    @hf.agent(name="pays")
    async def pays(run: hf.Run, given: Any) -> str:
        return await pay(5)

    with pytest.raises(RunWaiting):
        world.run(pays)
    world.answer("it_happened", pays, result="still odd")
    with pytest.raises(RunWaiting):
        world.run(pays)
    world.answer("it_happened", pays, result="R-17")
    assert world.run(pays) == "R-17"
    assert shop.done == [("paid", 5)]


def test_an_idempotent_effects_odd_result_is_asked_for_again_under_its_key(world: Any, shop: Any) -> None:
    """Lost: the key, or the bound on attempts."""
    keys: list[str] = []

    @hf.tool(effect="idempotent", retry=QUICK)
    async def book(seat: int, *, idempotency_key: str = hf.INJECTED) -> dict[str, int]:
        keys.append(idempotency_key)
        return {"seat": seat} if len(keys) == 2 else "busy"  # type: ignore[return-value]

    @hf.agent(name="books")
    async def books(run: hf.Run, given: Any) -> dict[str, int]:
        return await book(5)

    assert world.run(books) == {"seat": 5}
    assert len(keys) == 2 and len(set(keys)) == 1


def test_what_is_no_function_is_no_check() -> None:
    """Lost: a check that was written wrong, and never made."""
    with pytest.raises(PolicyInvalid, match="no function"):
        hf.tool(check="positive")(lambda: 1)  # type: ignore[call-overload]
