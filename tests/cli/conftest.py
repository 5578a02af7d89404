"""A shell for the tests of the command line: agent files in a directory of their own, and real processes.

Tests wait for what a process says (its stderr, or a FIFO that its agent writes to), never for a time.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests import warm

from holdfast.cli.__main__ import command_line

AGENTS = """
import asyncio
import os
import holdfast as hf

def entered(name):  # tells the test that the step has begun, and waits until the test lets it go on
    with open(name + ".in", "w") as pipe:
        pipe.write("in")
    with open(name + ".go") as pipe:
        pipe.read()

@hf.tool(effect="read")
async def look(what: str) -> str:
    return "seen " + what

@hf.tool(effect="once")
def pay(what: str) -> str:
    with open("ledger", "a") as ledger:
        ledger.write(what + "\\n")
    if os.path.exists("pay.in"):
        entered("pay")
    return "paid " + what

@hf.tool(effect="once")
async def lose(what: str) -> str:
    raise RuntimeError("the line went dead")

@hf.tool(effect="read", retry=hf.Retry(attempts=2, wait=0))
async def flaky(what: str) -> str:
    if os.path.exists("mended"):
        return "held"
    raise ConnectionError("no route\\x1b[2K to " + what)

@hf.agent
async def pays(run: hf.Run, what: str) -> str:
    await look(what)
    paid = await asyncio.to_thread(pay, what)
    return await look(paid)

@hf.agent(budget=hf.Budget(tool_calls=2))
async def capped(run: hf.Run, what: str) -> str:
    return await look(await look(await look(what)))

@hf.agent
async def asks(run: hf.Run, what: str) -> dict:
    answer = await run.ask("Really " + what + "?", options=("yes", "no"), within=os.environ.get("WITHIN"))
    return {"said": answer.value, "by": answer.by}

@hf.agent
async def doubts(run: hf.Run, what: str) -> str:
    return await lose(what)

@hf.agent
async def breaks(run: hf.Run, what: str) -> str:
    return await flaky(what)

@hf.agent
async def sleeps(run: hf.Run, what: str) -> str:
    await run.sleep("2h")
    return what

@hf.agent
async def shapes(run: hf.Run, given) -> object:
    if given == "unwritable":
        return object()
    return given
"""


class Said(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)


class Shell:
    """A directory with agent files, and `holdfast` in it."""

    def __init__(self, home: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capture = capture
        self._started: list[subprocess.Popen[str]] = []
        self.write(AGENTS)

    def write(self, text: str, name: str = "agents.py") -> None:
        """Put a file there."""
        (self.home / name).write_text(text)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """A real process, still running."""
        process = warm.start(
            [sys.executable, "-m", "holdfast.cli", *arguments],
            cwd=self.home,
            env=_environment() | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._started.append(process)
        return process

    def run(self, *arguments: str, input: str = "", **environment: str) -> Said:
        """A real process, to its end."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(input, timeout=40)
        return Said(process.returncode, out, err)

    def call(self, *arguments: str) -> Said:
        """The same within this process: quicker, for verbs that run nobody's code."""
        self._capture.readouterr()
        code = command_line(list(arguments))
        out, err = self._capture.readouterr()
        return Said(code, out, err)

    def pipe(self, name: str) -> None:
        """From now on the step of this name tells when it has begun, and waits."""
        for end in ("in", "go"):
            os.mkfifo(self.home / f"{name}.{end}")

    def await_entry(self, name: str) -> None:
        """Wait until the step has begun; it will not wait another time."""
        pipe = os.open(self.home / f"{name}.in", os.O_RDWR)  # for writing too, so that opening does not wait
        while not select.select([pipe], [], [], 0.2)[0]:
            assert self._started[-1].poll() is None, "the process has ended: " + self._started[-1].communicate()[1]
        os.close(pipe)
        (self.home / f"{name}.in").unlink()

    def let_go(self, name: str) -> None:
        """Let the step go on, as soon as it waits; not if all processes have ended, which a cancelled one may have."""
        while any(process.poll() is None for process in self._started):
            try:
                pipe = os.open(self.home / f"{name}.go", os.O_WRONLY | os.O_NONBLOCK)
            except OSError as nobody:
                assert nobody.errno == errno.ENXIO
                continue
            os.write(pipe, b"go")
            os.close(pipe)
            return

    def end(self) -> None:
        """End what is left of the processes that were started here."""
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()


def _environment() -> dict[str, str]:
    """Ours, without what would change the tests."""
    dropped = ("HOLDFAST_", "NO_COLOR", "FORCE_COLOR", "PYTHONWARNINGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """A shell in a directory of its own."""
    for name in os.environ.keys() - _environment().keys():
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    opened = Shell(tmp_path, capsys)
    yield opened
    opened.end()
