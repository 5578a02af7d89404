"""`holdfast.command`: real programs, and what is left of them. Each test says what would be lost.

The oracle is a named pipe that every process of the tree holds open: it ends when the last of them is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.errors import PolicyInvalid, RunBlocked, UsageError
from holdfast.runtime.command import CommandDone, CommandFailed, command
from holdfast.runtime.heartbeat import Pulse, beating

TREE = "trap '' TERM INT HUP; exec 9>\"$1\"; echo ready >&9; sh -c 'sleep 600' & sleep 600; sleep 600"
"""A program that ignores every polite signal, with children that hold the pipe open."""


class Tree:
    """A tree of processes, and the pipe that tells when all of it is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(self._fd, True)
        self._keep: int | None = os.open(path, os.O_WRONLY)  # so that reading waits for the first writer

    @property
    def argv(self) -> list[str]:
        """The program."""
        return ["sh", "-c", TREE, "sh", str(self.path)]

    def ready(self) -> None:
        """Wait until it has begun."""
        assert os.read(self._fd, 100) == b"ready\n"

    def gone(self) -> bool:
        """Wait until the last process of it is gone."""
        if self._keep is not None:
            os.close(self._keep)
            self._keep = None
        return os.read(self._fd, 100) == b""

    def close(self) -> None:
        """The test is over."""
        os.close(self._fd)
        if self._keep is not None:
            os.close(self._keep)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """A tree that is not begun yet."""
    made = Tree(tmp_path / "alive")
    yield made
    made.close()


async def test_a_command_gives_its_code_and_what_it_wrote() -> None:
    """A failed program looks like one that went well, or the other way round."""
    text = "cat; echo to stderr >&2; exit 3"
    assert await command(["sh", "-c", text], timeout="20s", input="given") == CommandDone(3, "given", "to stderr\n")
    assert await command(["sh", "-c", "kill -9 $$"], timeout="20s") == CommandDone(-9, "", "")
    assert (await command(["sh", "-c", "kill -9 0"], timeout="20s")).code == -9


async def test_what_it_is_given_and_where_it_runs(tmp_path: Path) -> None:
    """A program sees the secrets of our environment, or acts in another directory."""
    done = await command(
        ["/bin/sh", "-c", "pwd; echo $ONLY; echo ${HOME-none}"], timeout=20, cwd=tmp_path, env={"ONLY": "x"}
    )
    where, *seen = done.stdout.split()
    assert where.endswith(tmp_path.name) and seen == ["x", "none"]


async def test_more_than_a_pipe_holds_goes_both_ways() -> None:
    """A program that writes before it has read everything stands still, and we with it."""
    given = b"0123456789abcde\n" * 50_000
    done = await command(["cat"], timeout="30s", input=given)
    assert done.stdout.encode() == given and done.code == 0


async def test_a_program_that_does_not_read_its_input_is_no_failure() -> None:
    """`head`, or any program that knows enough early, would fail for a reason of ours."""
    assert (await command(["true"], timeout="20s", input=b"x" * 1_000_000)).code == 0


async def test_output_is_bounded_and_says_how_much_is_missing() -> None:
    """A program that writes without end fills the memory; or its last line, which says why, is lost silently."""
    text = "echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo last"
    done = await command(["sh", "-c", text], timeout="30s", output_max=1000)
    assert len(done.stdout) < 1100 and done.stdout.startswith("first\nxxx") and done.stdout.endswith("xxxlast\n")
    assert "[… 2999011 bytes were cut …]" in done.stdout


async def test_code_is_data_unless_it_is_checked() -> None:
    """`grep` that finds nothing fails the step; or a build that broke goes on to the release."""
    with pytest.raises(CommandFailed, match="sh ended with code 4: it broke") as failed:
        await command(["sh", "-c", "echo it broke >&2; exit 4"], timeout=20, check=True)
    assert isinstance(failed.value, subprocess.CalledProcessError) and failed.value.returncode == 4
    assert (await command(["true"], timeout=20, check=True)).code == 0


async def test_a_program_that_is_not_there_is_told_as_that() -> None:
    """A typo looks like a program that ended with 127."""
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        await command(["no-such-program"], timeout=20)
    with pytest.raises(PermissionError):
        await command(["/etc/passwd"], timeout=20)
    with pytest.raises(FileNotFoundError):
        await command(["true"], timeout=20, cwd="/no/such/directory")


@pytest.mark.parametrize(
    ("argv", "options", "error"),
    [
        ("ls -l", {}, UsageError),
        ([], {}, UsageError),
        (["ls"], {"timeout": 0}, PolicyInvalid),
        (["ls"], {"timeout": -1}, PolicyInvalid),
        (["ls"], {"timeout": float("nan")}, PolicyInvalid),
        (["ls"], {"output_max": -1}, PolicyInvalid),
        (["ls"], {"output_max": True}, PolicyInvalid),
    ],
)
async def test_what_makes_no_sense_is_refused_before_anything_runs(argv: Any, options: Any, error: Any) -> None:
    """A text of a model is run by a shell; a command without a bound hangs."""
    with pytest.raises(error, match=r"Nothing was run|must be finite"):
        await command(argv, **{"timeout": 20, **options})


async def test_a_tree_that_ignores_every_polite_signal_is_gone_at_its_deadline(tree: Tree) -> None:
    """R27: a build that hangs leaves its children behind, which go on writing."""
    running = asyncio.ensure_future(command(tree.argv, timeout="1s"))
    await asyncio.to_thread(tree.ready)
    with pytest.raises(TimeoutError, match=r"timeout=1 s; its process group was ended"):
        await running
    assert tree.gone()


async def test_a_tree_is_gone_when_its_caller_is_cancelled(tree: Tree) -> None:
    """A closed stream, a lost race or SIGTERM leaves programs that nobody knows of."""
    running = asyncio.ensure_future(command(tree.argv, timeout="10m"))
    await asyncio.to_thread(tree.ready)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert tree.gone()


async def test_what_a_command_leaves_running_in_its_group_ends_with_it(tmp_path: Path, tree: Tree) -> None:
    """Each call leaves a process behind, and its output pipe holds the tool for ever."""
    text = 'exec 9>"$1"; echo ready >&9; sleep 600 & echo done'
    done = await command(["sh", "-c", text, "sh", str(tree.path)], timeout="30s")
    assert done == CommandDone(0, "done\n", "")
    tree.ready()
    assert tree.gone()


def test_a_tree_is_gone_when_our_process_is_killed(tree: Tree) -> None:
    """After a crash or an OOM kill the programs of the dead worker go on beside those of the next."""
    code = "import asyncio, sys, holdfast as hf; asyncio.run(hf.command(sys.argv[1:], timeout='10m'))"
    worker = subprocess.Popen([sys.executable, "-c", code, *tree.argv])
    tree.ready()
    worker.send_signal(signal.SIGKILL)
    assert worker.wait(timeout=30) == -9
    assert tree.gone()


def test_a_tree_of_a_sync_tool_is_gone_when_the_attempt_is_over(world: Any, tree: Tree) -> None:
    """A thread cannot be stopped; what it waits for can, and then it ends."""
    said: list[BaseException] = []
    is_over = threading.Event()

    @hf.tool(effect="once", timeout="1s")
    def build(x: int) -> None:
        try:
            asyncio.run(command(tree.argv, timeout="10m"))
        except BaseException as error:
            said.append(error)
            raise
        finally:
            is_over.set()

    @hf.agent(budget=hf.Budget(tool_calls=10))
    async def agent(run: hf.Run, given: Any) -> Any:
        await asyncio.to_thread(build, 1)

    with pytest.raises(RunBlocked):
        world.run(agent, wait=0.5, settle_s=0.02)
    tree.ready()
    assert tree.gone() and is_over.wait(30)
    assert isinstance(said[0], TimeoutError)
    assert "timeout=1 s" in world.events(Kind.ATTEMPT_FAILED)[0].facts["text"]


async def test_what_a_command_writes_is_a_sign_of_life() -> None:
    """A build that prints its progress is killed as hung."""
    ticks = itertools.count()
    pulse = Pulse(lambda: float(next(ticks)))
    began = pulse.at
    with beating(pulse):
        await command(["true"], timeout=20)
        assert pulse.at == began
        await command(["echo", "progress"], timeout=20)
    assert pulse.at > began


async def test_what_is_begun_when_the_attempt_is_over_is_ended_at_once(tree: Tree) -> None:
    """A thread that nobody waits for any more goes on to start programs."""
    pulse = Pulse(lambda: 0.0)
    pulse.over()
    with beating(pulse), pytest.raises(TimeoutError, match="ended with the attempt"):
        await command(tree.argv, timeout="10m")
    assert tree.gone() or tree.gone(), "it may have come as far as to say that it is ready"
