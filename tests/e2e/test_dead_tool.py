"""Fifty real processes and one tool that is down: how often it is called, by a server that counts.

The processes are forked from one that has loaded holdfast, so that fifty are light; each opens the store by itself.
Time is set on between the acts instead of being waited for.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from tests import warm

from holdfast.core.events import Event, Kind
from holdfast.journal.sqlite import SqliteJournal
from holdfast.runtime.clock import SystemClock

PROCESSES = 50
PROGRAM = """
import asyncio, json, os, sys, time, urllib.request
import holdfast as hf
from holdfast.journal.codec import encode
from holdfast.runtime.app import App
from holdfast.runtime.clock import SystemClock

store, url, processes, calls, ahead_s, shuts, tenant, name = json.loads(sys.argv[1])

class Ahead(SystemClock):
    def now(self):
        return super().now() + ahead_s

retry = hf.Retry(attempts=3, wait=0.01, wait_max=0.01)

@hf.tool(effect="read", retry=retry, **({} if shuts else {"breaker": None}))
def lookup(x: str) -> str:
    with urllib.request.urlopen(url + x, timeout=20) as answer:
        return answer.read().decode()

@hf.agent(name="asks", budget=hf.Budget(tool_calls=1000))
def asks(run: hf.Run, name: str) -> list:
    told = []
    for n in range(calls):
        began = time.monotonic()
        try:
            lookup(f"{name}/{n}")
            how = "found"
        except hf.ToolFailed as failed:
            how = "refused" if "BreakerOpen" in str(failed) else "failed"
        told.append([how, time.monotonic() - began])
    return told

encode([])
told = {}
for n in range(processes):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        key = f"{name}-{n}"
        app = App(store, tenant=tenant, clock=Ahead(), serves=False, settings=hf.Settings(quiet_s=0.05))
        with os.fdopen(writer, "w") as out:
            json.dump(app.run_sync(asks, key, key=key), out)
        os._exit(0)
    os.close(writer)
    told[child] = reader
results = []
for child, reader in told.items():
    with os.fdopen(reader) as said:
        text = said.read()
    _, status = os.waitpid(child, 0)
    results.append(json.loads(text) if text and status == 0 else None)
print(json.dumps(results))
"""


class Tool:
    """A service that is down until it is mended, and counts who calls."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_dead = True
        tool, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with lock:
                    tool.asked.append(self.path)
                self.send_response(503 if tool.is_dead else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Act:
    """What happens between two looks at the counter."""

    def __init__(self, home: Path, tool: Tool) -> None:
        self.home, self.tool = home, tool
        self.program = home / "program.py"
        self.program.write_text(PROGRAM)
        self.store = str(home / "h.db")
        self.number = 0

    def play(
        self, processes: int, calls: int = 1, *, ahead_s: float = 0.0, shuts: bool = True, tenant: str = "default"
    ) -> tuple[list[tuple[str, float]], int]:
        """So many processes at once, each with a run of so many calls. How the calls ended, and how many arrived."""
        before, self.number = len(self.tool.asked), self.number + 1
        name = f"act{self.number}"
        given = json.dumps([self.store, self.tool.url, processes, calls, ahead_s, shuts, tenant, name])
        command = [sys.executable, str(self.program), given]
        done = warm.run(command, timeout=120)
        assert done.returncode == 0, done.stderr
        results = json.loads(done.stdout)
        assert all(result is not None for result in results), done.stderr
        return [(how, spent_s) for result in results for how, spent_s in result], len(self.tool.asked) - before

    def events(self, kind: Kind) -> list[Event]:
        """Of all runs of the default tenant."""
        journal = SqliteJournal(self.store, clock=SystemClock().now)
        found = [event for head in journal.heads() for event in journal.events(head.run_id) if event.kind is kind]
        journal.close()
        return found


@pytest.fixture
def act() -> Iterator[Act]:
    """The store is in memory where that is possible: fifty writers wait for a disk that others use for seconds."""
    tool = Tool()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as home:
        yield Act(Path(home), tool)
    tool.server.shutdown()
    tool.server.server_close()


def test_fifty_processes_share_the_retries_of_a_dead_tool(act: Act) -> None:
    """R6. Lost: three attempts each are 150 calls, at the moment at which the tool needs quiet."""
    began = SystemClock().monotonic()
    told, arrived = act.play(PROCESSES, shuts=False)
    refilled = (SystemClock().monotonic() - began) / 6.0
    assert [how for how, _ in told] == ["failed"] * PROCESSES
    assert PROCESSES + 15 <= arrived <= PROCESSES + 20 + refilled
    reasons = [event.facts["because"] for event in act.events(Kind.DECIDED)]
    assert any("all 20 shared retries are used up" in because for because in reasons)


def test_fifty_processes_find_a_dead_tool_shut_and_one_of_them_probes(act: Act) -> None:
    """R6, S32. Lost: a tool that is down stays down, because everybody asks whether it is up again."""
    told, arrived = act.play(PROCESSES)
    assert 10 <= arrived <= PROCESSES + 20
    choices = [event.facts["choice"] for event in act.events(Kind.DECIDED) if event.facts["what"] == "breaker"]
    assert choices.count("opened") == 1 and set(choices) <= {"opened", "refused"}
    assert len(act.tool.asked) == arrived == sum(event.charge.tool_calls for event in _attempts(act))

    told, arrived = act.play(1, 20, ahead_s=1.0)  # a new process: it is known to be down
    assert ([how for how, _ in told], arrived) == (["refused"] * 20, 0)
    assert median(spent_s for _, spent_s in told) < 0.05

    told, arrived = act.play(1, ahead_s=1.0, tenant="another")
    assert ([how for how, _ in told], arrived) == (["failed"], 3), "another tenant's breaker is its own"

    told, arrived = act.play(PROCESSES, ahead_s=45.0)  # its wait is over
    assert arrived == 1, "one probe, and fifty wanted to know"
    assert {how for how, _ in told} == {"refused"}, "the probe failed, and it was not tried again"

    act.tool.is_dead = False
    told, arrived = act.play(1, ahead_s=120.0)
    assert ([how for how, _ in told], arrived) == (["found"], 1)
    told, arrived = act.play(10, ahead_s=121.0)
    assert ([how for how, _ in told], arrived) == (["found"] * 10, 10)


def _attempts(act: Act) -> list[Event]:
    """What ended an attempt."""
    return [event for kind in (Kind.ATTEMPT_FAILED, Kind.STEP_FAILED) for event in act.events(kind)]
