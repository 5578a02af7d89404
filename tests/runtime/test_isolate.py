"""Isolated tools: real child processes, found by name, killed as a group. Each test says what would be lost.

The tools stand in a file that the test writes and loads, as `holdfast run` loads an agent's; what they do to the world
is a line in a file, the ledger.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.errors import BudgetExceeded, PolicyInvalid, RunBlocked, RunFailed

from .test_command import Tree, tree  # noqa: F401 - a fixture

PRELUDE = """
import os, sys, subprocess, threading
import holdfast as hf
HERE = os.path.dirname(os.path.abspath(__file__))
ONE = hf.Retry(attempts=1)

def did(what):
    with open(os.path.join(HERE, "ledger"), "a") as ledger:
        ledger.write(f"{what}\\n")
"""
TREE_TOOL = """
@hf.tool(effect="once", isolate=True, timeout="2s")
def build(argv: list[str]) -> None:
    import signal
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    did("build")
    subprocess.run(argv)
"""
Load = Callable[[str], Any]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a module with these tools from a file."""

    def loaded(code: str) -> types.ModuleType:
        file = tmp_path / "shop_tools.py"
        file.write_text(PRELUDE + code)
        spec = importlib.util.spec_from_file_location("shop_tools", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "shop_tools", module)
        spec.loader.exec_module(module)
        return module

    return loaded


def ledger(tmp_path: Path) -> list[str]:
    """What was done to the world."""
    file = tmp_path / "ledger"
    return file.read_text().split() if file.exists() else []


def deploy(fn: Any, **budget: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=hf.Budget(**(budget or {"tool_calls": 50})))(fn)


def calling(tool: Any, *args: Any, **budget: Any) -> hf.Agent[Any, Any]:
    """An agent that calls one tool."""

    async def agent(run: hf.Run, given: Any) -> Any:
        return await asyncio.to_thread(tool, *args)

    return deploy(agent, **budget)


def test_a_body_runs_in_another_process_and_its_result_is_typed(world: Any, load: Load) -> None:
    """The body runs here after all, or gives something that a replay would not give."""
    tools = load("""
import datetime
@hf.tool(effect="once", isolate=True, timeout="30s")
def when(day: datetime.date, days: int = 1, *, idempotency_key: str = hf.INJECTED) -> dict[str, datetime.date | str]:
    print("this goes to stderr")
    return {"day": day + datetime.timedelta(days), "pid": str(os.getpid()), "key": idempotency_key}
""")
    import datetime

    agent = calling(tools.when, datetime.date(2026, 2, 28))
    first = world.run(agent)
    assert first["day"] == datetime.date(2026, 3, 1) and first["pid"] != str(os.getpid()) and first["key"]
    assert world.run(agent) == first


def test_what_it_raises_is_what_the_agent_gets_live_and_on_replay(world: Any, load: Load) -> None:
    """An error of the child is another one here; or one after a replay."""
    tools = load("""
class Refused(Exception): pass
class Odd(Exception):
    def __init__(self): super().__init__("odd", object())
@hf.tool(effect="read", isolate=True, raises=(Refused,), retry=ONE)
def work(x: int) -> None:
    if x == 0: raise Refused("no", 3)
    if x == 1: raise ZeroDivisionError("by nothing")
    if x == 2: raise Odd()
    if x == 3: sys.exit(4)
    if x == 4: return object()
""")

    async def body(run: hf.Run, given: Any) -> Any:
        said = []
        for x in range(5):
            try:
                await asyncio.to_thread(tools.work, x)
            except Exception as error:
                said.append([type(error).__name__, str(error)])
        return said

    agent = deploy(body)
    said = world.run(agent)
    assert said[0] == ["Refused", "('no', 3)"]
    assert said[1] == ["ToolFailed", "work failed: ZeroDivisionError: by nothing"]
    assert said[2][1].startswith("work failed: Odd: ('odd', <object")
    assert said[3][1] == "work failed: SystemExit: 4"
    assert "cannot be recorded" in said[4][1]
    kinds = [event.facts["kind"] for event in world.events(Kind.STEP_FAILED)]
    assert kinds[:2] == ["transient", "permanent"]
    assert world.run(agent) == said


def test_not_done_and_declared_classes_are_definite_and_other_errors_are_not(world: Any, load: Load) -> None:
    """An effect that certainly did not happen is asked about; or one that may have is tried again."""
    tools = load("""
class Closed(Exception): pass
class Shut(Closed): pass
@hf.tool(effect="once", isolate=True, definite=(Closed,))
def pay(x: int) -> None:
    did(x)
    if x == 0: raise hf.NotDone("the till is shut")
    if x == 1: raise Shut("for today")
    raise OSError("lost")
""")
    for x in (0, 1):
        with pytest.raises(RunFailed, match=r"the till is shut|for today"):
            world.run(calling(tools.pay, x), key=f"k{x}")
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(calling(tools.pay, 2), key="k2", wait=0.1)


def test_a_body_that_takes_its_process_along_takes_only_that(world: Any, load: Load, tmp_path: Path) -> None:
    """A segfault in a C library kills the worker and every run on it; and a payment is repeated."""
    tools = load("""
@hf.tool(effect="read", isolate=True, retry=hf.Retry(attempts=2, wait=0))
def look(x: int) -> str:
    did("look")
    if open(os.path.join(HERE, "ledger")).read().count("look") == 1:
        os.abort()
    return "found"
@hf.tool(effect="once", isolate=True)
def pay(x: int) -> None:
    did("pay")
    os.kill(os.getpid(), 9)
""")
    assert world.run(calling(tools.look, 1)) == "found"
    assert "ended by signal 6" in world.events(Kind.ATTEMPT_FAILED)[0].facts["text"]
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(calling(tools.pay, 1), key="pay", wait=0.1)
    assert ledger(tmp_path) == ["look", "look", "pay"]


def test_a_loop_that_never_yields_is_killed(world: Any, load: Load) -> None:
    """R27: a busy loop in a thread cannot be stopped at all, and takes the interpreter along."""
    tools = load("""
@hf.tool(effect="read", isolate=True, timeout="2s", retry=ONE)
def spin(x: int) -> None:
    while True: pass
""")
    with pytest.raises(RunFailed, match="timeout=2 s"):
        world.run(calling(tools.spin, 1))


def test_a_tree_that_ignores_every_polite_signal_is_gone_at_the_deadline(
    world: Any,
    load: Load,
    tree: Tree,  # noqa: F811
    tmp_path: Path,
) -> None:
    """R27: the attempt is over in the record, and its children go on acting."""
    tools = load(TREE_TOOL)
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(calling(tools.build, tree.argv), wait=0.5)
    tree.ready()
    assert tree.gone() and ledger(tmp_path) == ["build"]


def test_a_tree_is_gone_when_the_time_of_its_run_is_up(
    world: Any,
    load: Load,
    tree: Tree,  # noqa: F811
) -> None:
    """The run is stopped, and what it started is not."""
    tools = load(TREE_TOOL.replace('timeout="2s"', 'timeout="10m"'))
    with pytest.raises(BudgetExceeded, match="active time"):
        world.run(calling(tools.build, tree.argv, active="2s"), wait=60)
    tree.ready()
    assert tree.gone()


def test_a_tree_is_gone_when_our_process_is_killed(
    tree: Tree,  # noqa: F811
    tmp_path: Path,
) -> None:
    """After a crash the effect goes on beside the one that the next worker begins."""
    script = PRELUDE + TREE_TOOL.replace('timeout="2s"', 'timeout="10m"') + "build(sys.argv[1:])\n"
    (tmp_path / "script.py").write_text(script)
    worker = subprocess.Popen([sys.executable, str(tmp_path / "script.py"), *tree.argv])
    tree.ready()
    worker.send_signal(signal.SIGKILL)
    assert worker.wait(timeout=30) == -9
    assert tree.gone()


def test_a_slow_body_that_beats_lives_and_one_that_stops_beating_is_killed(world: Any, load: Load) -> None:
    """Signs of life do not come out of the child, so that every slow tool is killed; or hung ones are not."""
    tools = load("""
@hf.tool(effect="read", isolate=True, heartbeat="10s", timeout="1h", retry=ONE)
def index(beats: int) -> str:
    for _ in range(beats):
        hf.heartbeat()
    if beats == 1000:
        return "indexed"
    threading.Event().wait()
""")
    assert world.run(calling(tools.index, 1000)) == "indexed"
    with pytest.raises(RunFailed, match="no sign of life for heartbeat=10 s"):
        world.run(calling(tools.index, 1), key="hangs", wait=60)


def test_a_file_that_has_changed_since_is_not_run_on_a_guess(world: Any, load: Load, tmp_path: Path) -> None:
    """A deploy in the middle of a run: the child runs other code than the one that was declared."""
    tools = load("""
@hf.tool(effect="once", isolate=True)
def pay(x: int) -> None:
    did("paid")
""")
    file = tmp_path / "shop_tools.py"
    file.write_text(file.read_text().replace('did("paid")', 'did("paid"); did("twice")'))
    with pytest.raises(RunFailed, match="the file has changed since"):
        world.run(calling(tools.pay, 1))
    file.unlink()
    with pytest.raises(RunFailed, match="was not begun"):
        world.run(calling(tools.pay, 1), key="gone")
    assert ledger(tmp_path) == []


def test_no_effect_of_a_run_and_no_model_call_hides_in_a_child(world: Any, load: Load, tmp_path: Path) -> None:
    """A payment, or a call that costs, is made where nobody records or charges it."""
    tools = load("""
@hf.tool(effect="once")
def pay(x: int) -> None:
    did("paid")
@hf.tool(effect="read", isolate=True, retry=ONE)
def look(x: int) -> None:
    if x == 0:
        pay(1)
    hf.http_client(sync=True).post("https://api.anthropic.com/v1/messages", json={"model": "m", "messages": []})
""")
    with pytest.raises(RunFailed, match="a stronger effect"):
        world.run(calling(tools.look, 0))
    with pytest.raises(RunFailed, match="isolated tool and asks a model"):
        world.run(calling(tools.look, 1), key="model")
    assert ledger(tmp_path) == []


async def test_without_a_run_it_is_isolated_too(load: Load) -> None:
    """A tool that is tried in a script takes the script along."""
    tools = load("""
@hf.tool(effect="read", isolate=True, timeout="30s", retry=ONE)
def work(x: int) -> int:
    if x: os._exit(3)
    return os.getpid()
""")
    assert await asyncio.to_thread(tools.work, 0) != os.getpid()
    with pytest.raises(ConnectionAbortedError, match="with code 3"):
        await asyncio.to_thread(tools.work, 1)


def plain(x: int) -> int:
    """A function that can be found."""
    return x


async def asynchronous(x: int) -> int:
    """One that is cancelled where it is."""
    return x


def generator(x: int) -> Any:
    """One that gives more than one result."""
    yield x


class Till:
    """A class."""

    def pay(self, x: int) -> int:
        """A method."""
        return x


def _closure() -> Any:
    return lambda: None


def _inner() -> Any:
    def inner() -> None:
        pass

    return inner


@pytest.mark.parametrize(
    ("fn", "declared", "why"),
    [
        (lambda x: x, {}, "a lambda has no name"),
        (_closure(), {}, "a lambda has no name"),
        (_inner(), {}, "inside another function"),
        (Till.pay, {}, "it is a method"),
        (Till().pay, {}, "it is no function"),
        (asynchronous, {}, "no plain `def`"),
        (generator, {}, "no plain `def`"),
        (plain, {"effect": "composite"}, "no run in another process"),
        (plain, {"hidden": ("x",)}, "'x' is hidden"),
        (types.FunctionType(plain.__code__, {"__name__": "console"}, "plain"), {}, "has no file"),
    ],
)
def test_what_another_process_cannot_find_or_be_given_is_refused_when_it_is_declared(
    fn: Any, declared: dict[str, Any], why: str
) -> None:
    """It would be found out at the first call, in production."""
    with pytest.raises(PolicyInvalid, match=why):
        hf.tool(isolate=True, **declared)(fn)


AGENT = """
import asyncio
class Refused(Exception): pass
@hf.tool(effect="once", isolate=True, timeout="1m", raises=(Refused,), definite=(Refused,))
def work(x: int) -> list[str]:
    did("work")
    if x: raise Refused("no")
    return [__name__, str(os.getpid())]
@hf.agent
async def agent(run, given):
    try:
        await asyncio.to_thread(work, 1)
    except Refused as refused:
        said = repr(refused)
    return [said, *await asyncio.to_thread(work, 0), str(os.getpid())]
"""
BARE = 'print(*hf.App("memory:").run_sync(agent, None, key="k"))\n'
GUARDED = 'if __name__ == "__main__":\n    ' + BARE


@pytest.mark.parametrize("start", [BARE, GUARDED], ids=["bare", "guarded"])
@pytest.mark.parametrize("how", ["file", "module", "holdfast"])
def test_agents_in_scripts_work_however_they_are_started(tmp_path: Path, how: str, start: str) -> None:
    """The script starts itself again in the child, for ever; or its tools are not found there."""
    (tmp_path / "work.py").write_text(PRELUDE + AGENT + ("" if how == "holdfast" else start))
    argv = {
        "file": [sys.executable, "work.py"],
        "module": [sys.executable, "-m", "work"],
        "holdfast": [sys.executable, "-m", "holdfast.cli", "run", "work.py:agent", "null", "--store", "h.db"],
    }[how]
    if how == "holdfast":
        argv = [str(Path(sys.executable).with_name("holdfast")), *argv[3:], "--key", "k"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Refused('no')" in done.stdout and "__main__" not in done.stdout
    child, parent = [word.strip('",]') for word in done.stdout.split() if word.strip('",]').isdigit()]
    assert child != parent and ledger(tmp_path) == ["work", "work"]


def test_an_isolated_undo_runs_in_a_child_too(world: Any, load: Load, tmp_path: Path) -> None:
    """Lost: the undo blocks our loop, or is made and counts as failed."""
    tools = load("""
@hf.tool(effect="idempotent", isolate=True)
def release(result: str, room: int) -> None:
    did(f"release {result} {'here' if os.getpid() == OURS else 'elsewhere'}")

@hf.tool(effect="once", undo=release)
def book(room: int) -> str:
    return f"room {room}"

OURS = 0
""")

    tools.OURS = os.getpid()

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=20))
    async def agent(run: hf.Run, given: Any) -> Any:
        await asyncio.to_thread(tools.book, 4)
        return await run.unwind(because="no trip")

    assert world.run(agent, wait=30) == ["book"]
    assert (tmp_path / "ledger").read_text() == "release room 4 elsewhere\n"
