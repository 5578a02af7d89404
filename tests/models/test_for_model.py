"""What a model reads. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import holdfast as hf
from holdfast.errors import ArgumentsInvalid, PolicyInvalid, StoreUnreachable

MEMORY = hf.Settings(quiet_s=0.02, park_s=0.06, poll_s=0.02)


@dataclass
class Order:
    """A result of the user's own."""

    number: int
    paid: Decimal


class Line(BaseModel):
    """Another."""

    at: dt.date
    tags: set[str]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("plain text", "plain text"),
        ("", "(empty)"),
        (None, "Done; it returned nothing."),
        (0, "0"),
        (True, "true"),
        ({"cents": 4200, "to": "Käthe"}, '{"cents": 4200, "to": "Käthe"}'),
        ([1, 2.5, None], "[1, 2.5, null]"),
        (Order(7, Decimal("42.50")), '{"number": 7, "paid": "42.50"}'),
        (Line(at=dt.date(2026, 1, 2), tags={"b", "a"}), '{"at": "2026-01-02", "tags": ["a", "b"]}'),
        (hf.Opaque("Cursor", "<Cursor at 0x7f00aa>"), "Done; its result (Cursor) could not be kept."),
        (object(), "Done; its result (object) cannot be shown."),
        ("a lone \ud800", "a lone \\ud800"),
    ],
)
def test_a_result_is_text_of_its_values(result: Any, text: str) -> None:
    """Lost: a model that reads `Order(...)`, a memory address, or nothing at all."""
    said = hf.for_model(result)
    assert (said.text, said.is_error) == (text, False)


def test_a_set_reads_the_same_in_every_process() -> None:
    """Lost: the next request would differ on replay, since the order of a set changes from process to process."""
    code = "import holdfast as hf; print(hf.for_model({'tags': {'a', 'b', 'c', 'd', 'e'}}).text)"
    said = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": str(seed)}
        ).stdout
        for seed in range(3)
    }
    assert said == {'{"tags": ["a", "b", "c", "d", "e"]}\n'}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (hf.ToolFailed("find failed: ConnectionError: down"), "find failed: ConnectionError: down"),
        (
            hf.Unverified("refund(K-1): whether it happened is not known"),
            "refund(K-1): whether it happened is not known",
        ),
        (ArgumentsInvalid("The arguments of f do not fit."), "The arguments of f do not fit."),
        (ValueError("no such order"), "ValueError: no such order"),
        (KeyError("k"), "KeyError: 'k'"),
        (TimeoutError(), "TimeoutError"),
        (OSError("<socket at 0x7f3a12345678> is gone"), "OSError: <socket> is gone"),
    ],
)
def test_a_failure_is_an_error_without_addresses(error: Exception, text: str) -> None:
    """Lost: a prompt that differs on replay, by the address of an object that somebody put into a message."""
    said = hf.for_model(error)
    assert (said.text, said.is_error) == (text, True)


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        hf.Unwind(),
        KeyboardInterrupt(),
        hf.UsageError("a misuse"),
        hf.errors.RunContextLost("no run"),
        PolicyInvalid("no bound"),
        StoreUnreachable("gone"),
        hf.InternalError("a bug"),
    ],
)
def test_what_is_not_for_a_model_is_raised(error: BaseException) -> None:
    """Lost: an agent that talks a model through its own bug, or goes on although its run is closing."""
    with pytest.raises(type(error)):
        hf.for_model(error)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (hf.Answer("answered", "yes", "ann"), "Answered by ann: yes"),
        (hf.Answer("answered", {"cents": 1}), 'Answered: {"cents": 1}'),
        (hf.Answer("expired", "no"), "Nobody answered in time. Taken instead: no"),
        (hf.Answer("expired"), "Nobody answered in time."),
        (hf.Answer("withdrawn"), "The question was withdrawn."),
    ],
)
def test_silence_of_a_person_does_not_read_as_a_no(answer: hf.Answer, text: str) -> None:
    """Lost: a model that takes an expired question for a decision of somebody (P8)."""
    assert hf.for_model(answer).text == text


def test_each_provider_gets_its_form() -> None:
    """Lost: a request that the provider refuses."""
    said, failed = hf.for_model({"a": 1}), hf.for_model(ValueError("x"))
    assert said.anthropic("t1") == {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": '{"a": 1}',
        "is_error": False,
    }
    assert failed.anthropic("t1")["is_error"] is True
    assert said.openai("c1") == {"role": "tool", "tool_call_id": "c1", "content": '{"a": 1}'}
    assert said.openai_responses("c1") == {"type": "function_call_output", "call_id": "c1", "output": '{"a": 1}'}
    assert said.gemini("f") == {"function_response": {"name": "f", "response": {"output": '{"a": 1}'}}}
    assert failed.gemini("f", "c1")["function_response"] == {
        "name": "f",
        "response": {"error": "ValueError: x"},
        "id": "c1",
    }
    assert hf.for_model(said) is said


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.sets(st.integers() | st.text(max_size=2), max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_law_every_value_has_a_text_that_can_be_sent(value: Any) -> None:
    """Lost: an agent that dies on an unusual result, after the tool's effect has happened."""
    assert json.dumps(hf.for_model(value).anthropic("t"), ensure_ascii=False).encode()


def test_a_failure_reads_the_same_live_and_on_replay() -> None:
    """Lost: the prompt after a failed tool would be another one on replay, and the run would be held."""

    class Missing(Exception):
        pass

    @hf.tool(effect="read", retry=hf.Retry(attempts=1), raises=(Missing,))
    async def find(x: int) -> int:
        if x == 1:
            raise Missing(f"nothing at {object()!r}")
        raise ConnectionError(f"{object()!r} is down")

    told: list[list[str]] = []

    @hf.agent
    async def agent(run: hf.Run, given: Any) -> None:
        texts = []
        for x in (1, 2):
            try:
                await find(x)
            except Exception as error:
                texts.append(hf.for_model(error).text)
        told.append(texts)
        await run.ask("go on?")

    async def main() -> None:
        async with hf.App("memory:", settings=MEMORY) as app:
            with pytest.raises(hf.errors.RunWaiting):
                await app.run(agent, None, key="k", wait=0)
            run = await app.start(agent, None, key="k")
            head = app.journal.head(run)
            assert head is not None
            await app.answer(run, head.questions[0].id, "yes")
            await app.run(agent, None, key="k")

    asyncio.run(main())
    first = "Missing: nothing at <object object>"
    assert told[0] == told[1] == [first, "find failed: ConnectionError: <object object> is down"]
