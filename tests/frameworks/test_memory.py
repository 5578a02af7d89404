"""State of a framework's own: a saver that outlives the process, and one that does not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.state import fold
from holdfast.testing.crash import sweep

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(120)]

TASK = "Refund order K-17, it came broken."
KILLED = "append:after:StepSucceeded(refund)"


def with_saver(saver: Callable[[], Any]) -> SimpleNamespace:
    """The LangChain example with a checkpointer."""

    @hf.agent
    async def desk(run: hf.Run, task: str) -> str:
        from langchain.agents import create_agent
        from langchain_openai import ChatOpenAI
        from shop import RULES, find_order, refund

        async with saver() as kept:
            model = ChatOpenAI(model="gpt-5-mini", http_async_client=hf.http_client())
            graph = create_agent(model, [find_order, refund], system_prompt=RULES, checkpointer=kept)
            thread: Any = {"configurable": {"thread_id": run.key}}
            said: Any = {"messages": [("user", task)]}
            return str((await graph.ainvoke(said, thread))["messages"][-1].text)

    return SimpleNamespace(desk=desk)


def on_disk() -> Any:
    """A saver that outlives the process."""
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    return AsyncSqliteSaver.from_conn_string(os.environ["SAVER"])


def in_memory() -> Any:
    """One that does not."""
    from langgraph.checkpoint.memory import InMemorySaver

    return InMemorySaver()


def test_a_saver_that_outlives_the_process_is_recognised(row_of: Any, refunds: Any, directory: Any) -> None:
    """Lost: the reason. The conversation is ahead of the record, and all that one would be told is that it differs."""
    scenario = refunds(row_of("langchain_agent"), TASK, with_saver(on_disk))
    scenario.settings = hf.Settings(settle_s=0.0, quiet_s=0.05, park_s=0.3)
    killed_as_usual = scenario.run

    def run(place: Any, journal: Any) -> None:
        os.environ["SAVER"] = str(directory / f"{place.trial}.saver")
        try:
            killed_as_usual(place, journal)
        except hf.errors.HistoryGrew as grew:
            (directory / f"{place.trial}.grew").write_text(str(grew))

    def check(place: Any, kills: Sequence[str]) -> list[str]:
        if not kills:
            return []
        saved = (
            sqlite3.connect(directory / f"{place.trial}.saver").execute("SELECT count(*) FROM checkpoints").fetchone()
        )
        state = fold(place.events())
        told = directory / f"{place.trial}.grew"
        wrong = [] if told.exists() and "outlived the process" in told.read_text() else [f"not told: {state.status}"]
        wrong += [] if saved[0] > 1 else ["the saver saved nothing"]
        refunded = scenario.ledger.count(f"{place.trial}/refund")
        return wrong + ([] if refunded == 1 and len(place.requests) == 2 else [f"{refunded} refunds, or asked more"])

    scenario.run, scenario.check = run, check
    sweep(scenario, every=0, seconds=0, windows=(KILLED,)).require(kills=1, windows=(KILLED,))


def test_a_saver_in_memory_is_no_harm(row_of: Any, refunds: Any) -> None:
    """Lost: the way out that we name."""
    scenario = refunds(row_of("langchain_agent"), TASK, with_saver(in_memory))
    sweep(scenario, every=4, seconds=0).require(kills=8)
