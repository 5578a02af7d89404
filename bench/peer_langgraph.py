"""LangGraph on SqliteSaver with durability="sync": a sequential step, and going on. Needs `langgraph`.

The graph is one node that comes back to itself and adds 1 KB to its state each time, as an agent's messages do.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, TypedDict

from bench.measure import Place, kilobyte, told_by


def step(place: Place, count: int) -> float:
    """Seconds a step, over the first `count`."""
    with place.scratch() as directory:
        return told_by("bench.peer_langgraph", "record", directory / "langgraph.db", count)[0]


def record(path: Path, count: int) -> None:
    """A store with a thread that made `count` steps and was interrupted before the next."""
    told_by("bench.peer_langgraph", "record", path, count)


def resume(path: Path, count: int) -> float:
    """Seconds from asking for the thread to the first line of its new step, in a new process."""
    return told_by("bench.peer_langgraph", "resume", path, count)[0]


class State(TypedDict):
    """What the graph keeps."""

    number: int
    log: Annotated[list[str], operator.add]


class _Interrupted(Exception):
    """Stands for the end of the process."""


def _graph(saver: Any, on_step: Callable[[int], None]) -> Any:
    from langgraph.graph import START, StateGraph  # type: ignore[import-not-found,unused-ignore]

    def look(state: State) -> dict[str, Any]:
        on_step(state["number"])
        return {"number": state["number"] + 1, "log": [kilobyte(state["number"])]}

    graph = StateGraph(State)
    graph.add_node("look", look)
    graph.add_edge(START, "look")
    graph.add_conditional_edges("look", lambda state: "look")
    return graph.compile(checkpointer=saver)


def _measure(what: str, path: Path, count: int) -> float:
    from langgraph.checkpoint.sqlite import SqliteSaver  # type: ignore[import-not-found,unused-ignore]

    at: list[float] = []

    def on_step(number: int) -> None:
        at.append(perf_counter())
        if number >= count:
            raise _Interrupted

    given = {"number": 0, "log": []} if what == "record" else None
    with SqliteSaver.from_conn_string(str(path)) as saver:
        graph = _graph(saver, on_step)
        settings = {"configurable": {"thread_id": "1"}, "recursion_limit": 10 * count}
        began = perf_counter()
        try:
            graph.invoke(given, settings, durability="sync")
        except _Interrupted:
            return (at[-1] - at[0]) / count if what == "record" else at[-1] - began
    raise RuntimeError("the graph was not interrupted")


if __name__ == "__main__":
    _what, _path, _count = sys.argv[1:]
    print(_measure(_what, Path(_path), int(_count)), flush=True)
    os._exit(0)
