"""Forked processes that tell their parent what happens to them, a JSON text a line; the parent kills, stops, continues.

The parent is one thread with a selector, and holds no store open, so that a child takes nothing over by the fork but
what is loaded. What it waits for is what a child says, and its end; never a time.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import selectors
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from holdfast.testing.warm import load, loaded_since

SILENCE_S_MAX = 60.0
"""Nobody says anything for so long: something hangs."""
CHUNK = 65_536


class Line:
    """In a child: its line to the parent."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._file = end.makefile("rb")
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._rest = b""
        self._is_heard = False

    def tell(self, **what: Any) -> None:
        """Say something; it has arrived when this returns, whatever becomes of this process."""
        self._end.sendall(json.dumps(what).encode() + b"\n")

    def ask(self, **what: Any) -> Any:
        """Say something, and stand still until there is an answer."""
        self.tell(**what)
        return json.loads(self._file.readline() or b"null")

    async def request(self, **what: Any) -> Any:
        """Say something, and wait for the answer while the loop goes on."""
        loop = asyncio.get_running_loop()
        if not self._is_heard:
            loop.add_reader(self._end, self._hear)
            self._is_heard = True
        number = next(self._numbers)
        answer = self._answers[number] = loop.create_future()
        self.tell(**what, number=number)
        return await answer

    def _hear(self) -> None:
        *lines, self._rest = (self._rest + self._end.recv(CHUNK)).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            waiting = self._answers.pop(answer["number"])
            if not waiting.done():
                waiting.set_result(answer)


@dataclass(eq=False)
class Child:
    """In the parent: one process."""

    pid: int
    end: socket.socket
    said: Callable[[Child, dict[str, Any]], None]
    """Called with each line."""
    over: Callable[[Child, int], None]
    """Called with its exit code, negative for the signal that killed it, when all it said was heard."""
    rest: bytes = b""
    is_killed: bool = False
    is_over: bool = False

    def answer(self, **what: Any) -> None:
        """To what it asks."""
        try:
            self.end.sendall(json.dumps(what).encode() + b"\n")
        except OSError:  # it has died meanwhile, and its end is heard of next
            pass

    def kill(self) -> None:
        """SIGKILL."""
        self.is_killed = True
        os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """SIGSTOP; it stands still when this returns."""
        os.kill(self.pid, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(self.pid, os.WUNTRACED)[1])

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)


class Crew:
    """All children of this process; none outlives the block."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.children: set[Child] = set()

    def start(
        self,
        work: Callable[[Line], int],
        said: Callable[[Child, dict[str, Any]], None],
        over: Callable[[Child, int], None],
    ) -> Child:
        """Fork a process that does this work and ends with its code."""
        ours, its = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():  # a test runner's own threads hold nothing that the child needs
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            ours.close()
            os._exit(_worked(work, Line(its)))
        its.close()
        child = Child(pid, ours, said, over)
        self.children.add(child)
        self._selector.register(ours, selectors.EVENT_READ, child)
        return child

    def run(self, is_done: Callable[[], bool]) -> None:
        """Hear what is said until all is done; TimeoutError when nobody says anything any more."""
        while not is_done():
            heard = self._selector.select(SILENCE_S_MAX)
            if not heard:
                raise TimeoutError(f"{len(self.children)} processes said nothing for {SILENCE_S_MAX:g} s")
            for key, _ in heard:
                if not key.data.is_over:  # somebody else's word may have ended it
                    self._hear(key.data)

    def _hear(self, child: Child) -> None:
        """What it says; of one that is being killed all of it, before anybody else is heard."""
        got, is_more = b"", True
        while is_more:
            try:
                got = child.end.recv(CHUNK)
            except ConnectionResetError:  # it was killed with an answer unread
                got = b""
            *lines, child.rest = (child.rest + got).split(b"\n")
            for line in lines:
                what = json.loads(line)
                load(what.pop("loaded", ()))
                if what:
                    child.said(child, what)
            is_more = child.is_killed and bool(got)
        if not got:
            self._part(child)

    def _part(self, child: Child) -> None:
        child.is_over = True
        self._selector.unregister(child.end)
        child.end.close()
        self.children.discard(child)
        child.over(child, os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.children:
            child.kill()
            os.waitpid(child.pid, 0)
            child.end.close()
        self._selector.close()


def _worked(work: Callable[[Line], int], line: Line) -> int:
    signal.alarm(int(SILENCE_S_MAX) * 2)
    modules = len(sys.modules)
    try:
        code = work(line)
        line.tell(loaded=loaded_since(modules))
        return code
    except BaseException:  # the top of a child: the parent must see a code, never a second copy of itself
        traceback.print_exc()
        return 70
