"""Records a store with everything in it that a store can hold; README.md says when.

    python tests/journals/record.py FOLDER NAME      # writes NAME.db.gz, and what is seen in it: NAME.json.gz

Each life of an agent is a process of its own, killed where `agents.py` says so. Between them people answer, cancel,
pause; at the end some runs are left with mail that nobody has read.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import agents
import apsw
from picture import picture

import holdfast as hf
from holdfast.core import accept
from holdfast.core.address import run_id
from holdfast.core.state import fold
from holdfast.errors import JournalError, RunError, UsageError
from holdfast.journal.codec import digest, encode
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.model_server import ModelServer, Reply, Request, error, text

QUICK = hf.Settings(quiet_s=0.03, park_s=0.1, close_s=0.5, poll_s=0.05, settle_s=0.01)


# --- one life of one agent -----------------------------------------------------------------------------------------


async def live(store: str, key: str, agent: str, given: Any, others: list[str]) -> None:
    """Start the run or go on with it, until it ends, waits, or its process dies."""
    known = [getattr(agents, name) for name in others]
    async with hf.App(store, agents=known, settings=QUICK, config="holdfast.toml") as app:
        running = asyncio.create_task(app.run(getattr(agents, agent), given, key=key, wait=0.5))
        if agent == "shutting":
            await asyncio.wait({running}, timeout=1.0)
            running.cancel()
            return
        with contextlib.suppress(RunError, UsageError, JournalError, LookupError):
            print(key, "->", await running)


class Recorder:
    """The store that is being recorded."""

    def __init__(self, home: Path, model: ModelServer) -> None:
        self.home, self.store, self.model = home, f"sqlite:///{home / 'h.db'}", model
        self.environment = {**os.environ, "HOLDFAST_MODEL": model.url, "HOLDFAST_EFFECTS": str(home / "effects.jsonl")}
        (home / "holdfast.toml").write_text(agents.CONFIG)

    def life(self, key: str, agent: str, given: Any, number: int = 1, *others: str) -> None:
        """One process."""
        told = json.dumps([self.store, key, agent, given, list(others)])
        command = [sys.executable, str(Path(__file__)), "--life", str(number), told]
        done = subprocess.run(command, cwd=self.home, env=self.environment, timeout=60, capture_output=True, text=True)
        print(f"{key}: life {number} ended with {done.returncode}", done.stdout.strip(), done.stderr.strip()[-2000:])

    def lives(self, key: str, agent: str, given: Any, *numbers: int) -> None:
        """Several, one after the other."""
        for number in numbers:
            self.life(key, agent, given, number)

    def do(self, work: Callable[[hf.App], Any]) -> None:
        """What a person does, while no process is there to hear of it."""

        async def main() -> None:
            async with hf.App(self.store, serves=False, settings=QUICK, config=self.home / "holdfast.toml") as app:
                await work(app)

        asyncio.run(main())

    def answer(self, key: str, value: Any, **how: Any) -> None:
        """Answer the one question that is open."""

        async def work(app: hf.App) -> None:
            (question,) = self.head(app.journal, key).questions
            await app.answer(self.id(app.journal, key), question.id, value, by="ann", **how)

        self.do(work)

    def tell(self, key: str, *messages: accept.Message) -> None:
        """Leave these as they are."""

        async def work(app: hf.App) -> None:
            for message in messages:
                posted = app.journal.post(self.id(app.journal, key), SystemClock().fresh_id(), message)
                assert posted.is_stored, (key, message, posted)

        self.do(work)

    def start(self, key: str, agent: str, given: Any) -> None:
        """Accepted, and begun by nobody."""
        wanted, body = getattr(agents, agent), encode(given)
        message = accept.start(
            agent=wanted.name, key=key, input_digest=digest(body), limits=list(wanted.limits), body=body
        )

        async def work(app: hf.App) -> None:
            run = run_id(app.journal.hash_key, "default", key)
            assert app.journal.post(run, f"start {wanted.name} {digest(body)}", message).is_stored

        self.do(work)

    @staticmethod
    def head(journal: Journal, key: str) -> Any:
        """The newest run of this key."""
        return journal.heads(key=key, limit=1)[0]

    def id(self, journal: Journal, key: str) -> str:
        """Its id."""
        return str(self.head(journal, key).run_id) if key != "@desk" else run_id(journal.hash_key, "default", key)


# --- what is recorded ------------------------------------------------------------------------------------------------


def ended(r: Recorder) -> None:
    """Runs that ended, in each way."""
    r.start("done", "worker", {"n": 1})
    r.tell("done", accept.signal("go", by="ben", body=encode([1, "two"])))
    r.life("done", "worker", {"n": 1}, 1, "helper")
    r.answer("done", "yes")
    r.life("done", "worker", {"n": 1}, 1, "helper")
    r.life("failed", "failing", "cup")
    r.life("stopped", "spending", "cups")
    r.life("raised", "spending", "cups and jugs")
    r.tell("raised", accept.resume(by="ann", raised=[4, 0, 0, 0]))
    r.life("raised", "spending", "cups and jugs")
    r.life("cancelled", "booking", 1)
    r.tell("cancelled", accept.cancel(by="ann", why="no need"))
    r.life("cancelled", "booking", 1)
    r.life("unwound", "booking", 2)
    r.tell("unwound", accept.cancel(by="ann"))
    r.life("unwound", "booking", 2)
    r.tell("unwound", accept.unwind(by="ann", why="undo it"))
    r.life("unwound", "booking", 2)
    r.life("settled", "settler", "s", 1)
    r.lives("settled", "settler", "s", 2, 3)
    r.lives("reordered", "reordering", "r", 1, 2)


def waiting(r: Recorder) -> None:
    """Runs that wait, for each thing there is to wait for."""
    for key, agent, given in (("asks", "keeper", "k"), ("sleeps", "sleeper", "s"), ("retries", "retrier", "r"),
                              ("listens", "listener", "l"), ("plain", "plain", "p"), ("circles", "circling", "c"),
                              ("repeats", "repeating", "r"), ("chapters", "chapters", 1)):  # fmt: skip
        r.life(key, agent, given)
    r.tell("listens", accept.signal("other", by="ben", body=encode("early")))
    r.life("listens", "listener", "l")
    r.life("parents", "parent", "p", 1, "helper")
    r.lives("doubts", "doubter", "d", 1, 2)
    r.life("warm", "degrading", "warm")
    r.life("degrades", "degrading", "send", 1)
    r.life("shut", "shutting", "s")
    r.life("paused", "booking", 3)
    r.tell("paused", accept.pause(by="ann", why="lunch"), accept.cap({"tool_calls": 40}, by="ann", why="less"))
    r.life("paused", "booking", 3)
    r.life("unpaused", "booking", 4)
    r.tell("unpaused", accept.pause(by="ann"))
    r.life("unpaused", "booking", 4)
    r.tell("unpaused", accept.resume(by="ann", why="back"))
    r.life("unpaused", "booking", 4)


def mismatched(r: Recorder) -> None:
    """Runs whose code is not that of their record."""
    for key, agent in (("drifts", "drifting"), ("held", "rewording"), ("grew", "remembering"), ("clock", "clockwork")):
        r.lives(key, agent, "x", 1, 2)
    r.lives("fresh", "fresh", "x", 1, 2, 3)
    r.lives("impatient", "impatient", "x", 1, 2)
    r.lives("unblocked", "drifting", "x", 1, 2)
    r.tell("unblocked", accept.resume(by="ann"))
    r.life("unblocked", "drifting", "x", 2)


def killed(r: Recorder) -> None:
    """Runs whose process died, and that nobody has taken over."""
    r.lives("loops", "looping", "x", 1, 2, 3, 4)
    r.life("flies", "flier", "x")
    r.model.fault(on=r.model.count + 1, stall_after=6)
    r.life("streams", "streaming", "x")


def ordered(r: Recorder) -> None:
    """What operators and other runs have left, partly unread."""
    r.do(lambda app: app.disable("telegraph", by="ann", why="it is old"))
    r.do(lambda app: app.disable("fax", by="ann"))
    r.do(lambda app: app.enable("fax", by="ann"))
    r.life("answered", "keeper", "a")
    r.answer("answered", "yes")
    r.life("failed-resumed", "failing", "jug")
    r.tell("failed-resumed", accept.resume(by="ann"))
    r.life("to-unwind", "booking", 5)
    r.tell("to-unwind", accept.cancel(by="ann"))
    r.life("to-unwind", "booking", 5)
    r.tell("to-unwind", accept.unwind(by="ann"))
    r.life("told", "parent", "told", 1, "helper")
    _end_the_child(r, "told")
    r.start("ready", "keeper", "ready")
    r.tell("ready", accept.signal("go", by="ben", body=None))
    r.start("ready-cancelled", "keeper", "no")
    r.tell("ready-cancelled", accept.cancel(by="ann"))
    r.start("ready-capped", "keeper", "less")
    r.tell("ready-capped", accept.cap({"tool_calls": 30}, by="ann"), accept.resume(by="ann", raised=[1, 0, 0, 0]),
           accept.pause(by="ann"))  # fmt: skip
    r.do(_cell)
    r.life("forgotten", "passing", 300)
    forget = [sys.executable, "-m", "holdfast.cli", "gc", "--keep", "0", "--agent", "passing", "--store", r.store]
    subprocess.run(forget, cwd=r.home, env=r.environment, timeout=60, check=True)
    r.tell("@desk", accept.command("disable", "radio", by="ann"))


def _end_the_child(r: Recorder, key: str) -> None:
    """It ends in a process that does not know its parent's agent, which is told by mail."""

    async def work(app: hf.App) -> None:
        (child,) = fold(app.journal.events(r.id(app.journal, key))).open_children
        head = app.journal.head(child)
        assert head is not None
        await app.answer(child, head.questions[0].id, "four", by="ann")

    r.do(work)
    r.life("idle", "helper", 9)


async def _cell(app: hf.App) -> None:
    assert app.journal.swap("lamp", 0, "on") and app.journal.swap("lamp", 1, "off")


def policy(request: Request) -> Reply:
    """A model that refuses what it is told to refuse."""
    return error(400, message="refused by plan") if "Refused" in request.last_text else text("It is so. " * 20)


def main(folder: Path, name: str) -> None:
    """Record it."""
    with tempfile.TemporaryDirectory() as scratch, ModelServer(policy) as server:
        recorder = Recorder(Path(scratch), server)
        for part in (ended, waiting, mismatched, killed, ordered):
            part(recorder)
        path = recorder.home / "h.db"
        _settle(path)
        (folder / f"{name}.db.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        journal = SqliteJournal(path, clock=SystemClock().now)
        seen = picture(journal) | {"effects": agents.World(recorder.home / "effects.jsonl").seen()}
        journal.close()
        (folder / f"{name}.json.gz").write_bytes(
            gzip.compress(json.dumps(seen, indent=1, sort_keys=True).encode(), mtime=0)
        )


def _settle(path: Path) -> None:
    """All in one file, which names no place on the machine that recorded it."""
    connection = apsw.Connection(str(path))
    if "place" in [row[1] for row in connection.execute("PRAGMA table_info(store)")]:
        connection.execute("UPDATE store SET place = NULL")
    connection.execute("UPDATE workers SET boot_id = 'recorded', host = 'recorded'")
    connection.pragma("wal_checkpoint", "TRUNCATE")
    connection.close()


if __name__ == "__main__":
    if sys.argv[1] == "--life":
        agents.world.life = int(sys.argv[2])
        asyncio.run(live(*json.loads(sys.argv[3])))
    else:
        main(Path(sys.argv[1]), sys.argv[2])
