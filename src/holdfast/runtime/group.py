"""A program in a process group of its own, from its start until nothing of its group is left.

`launch` stands between us and the program: it leads the group, and kills it when the program has ended or when our end
of a pipe closes, as it does whatever ends this process.

Invariants
1. The group is signalled only while its leader is our child that we have not reaped, so never a stranger's.
2. When `over` is done, the group has been sent SIGKILL, and every pipe of ours is closed.
3. What left the group by itself (a daemon with a session of its own) is not followed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from holdfast.errors import UsageError

GRACE_S = 2.0
"""Between SIGTERM and SIGKILL."""
DRAIN_S = 1.0
"""How long a pipe is read on when its program has ended: what left the group may hold it open for ever."""
CHUNK = 64 * 1024
KILLED = -9
_LAUNCH = str(Path(__file__).with_name("launch.py"))

Sink = Callable[[bytes], None]


class Group:
    """A program that was started. Belongs to the loop that runs when it is made; only `end` may be called elsewhere."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        report: Sink | None = None,
    ) -> None:
        """stdout, stderr: told what the program writes there; None: it writes where we do. report: the same for a
        further pipe, whose number is the program's last argument."""
        if not hasattr(os, "killpg"):
            raise UsageError("This system has no process groups, so nothing could be ended for certain. Not started.")
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[int] = self._loop.create_future()
        """Done when all of it is over, with the exit code; negative: the signal that ended it."""
        self._told = b""
        self._reading: dict[int, Sink] = {}
        self._writing: dict[int, memoryview] = {}
        self._is_ending = False
        self._killing: threading.Timer | None = None
        self._reaping = threading.Lock()
        self._later: list[asyncio.TimerHandle] = []
        self._start(argv, cwd, env, stdin, stdout, stderr, report)

    # --- its start -------------------------------------------------------------------------------------------

    def _start(
        self,
        argv: Sequence[str],
        cwd: str | os.PathLike[str] | None,
        env: Mapping[str, str] | None,
        stdin: bytes,
        stdout: Sink | None,
        stderr: Sink | None,
        report: Sink | None,
    ) -> None:
        pipes: list[int] = []

        def pipe() -> tuple[int, int]:
            made = os.pipe()
            pipes.extend(made)
            return made

        try:
            guard, self._guard = pipe()
            told, status = pipe()
            passed, last = [guard, status], list[str]()
            sinks: dict[int, Sink] = {told: self._tell}
            if report is not None:
                reported, reporting = pipe()
                passed.append(reporting)
                sinks[reported], last = report, [str(reporting)]
            self._process = subprocess.Popen(
                [_interpreter(), "-I", "-S", _LAUNCH, str(guard), str(status), *argv, *last],
                cwd=cwd,
                env=env,
                stdin=subprocess.PIPE,
                stdout=None if stdout is None else subprocess.PIPE,
                stderr=None if stderr is None else subprocess.PIPE,
                start_new_session=True,
                pass_fds=passed,
                bufsize=0,
            )
        except BaseException:
            for fd in pipes:
                os.close(fd)
            raise
        for fd in passed:
            os.close(fd)
        self._status_fd = told
        for stream, sink in ((self._process.stdout, stdout), (self._process.stderr, stderr)):
            if stream is not None and sink is not None:
                sinks[_taken(stream)] = sink
        for fd, sink in sinks.items():
            self._read(fd, sink)
        assert self._process.stdin is not None
        self._write(_taken(self._process.stdin), stdin)

    # --- pipes -----------------------------------------------------------------------------------------------

    def _tell(self, told: bytes) -> None:
        self._told += told

    def _read(self, fd: int, sink: Sink) -> None:
        os.set_blocking(fd, False)
        self._reading[fd] = sink
        self._loop.add_reader(fd, self._readable, fd)

    def _readable(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._reading[fd](data)
            return
        self._stop_reading(fd)
        if not self._reading:
            self._finish()
        elif fd == self._status_fd:
            self._after(DRAIN_S, self._finish)

    def _stop_reading(self, fd: int) -> None:
        del self._reading[fd]
        self._loop.remove_reader(fd)
        os.close(fd)

    def _write(self, fd: int, data: bytes) -> None:
        os.set_blocking(fd, False)
        self._writing[fd] = memoryview(data)
        self._loop.add_writer(fd, self._writable, fd)

    def _writable(self, fd: int) -> None:
        left = self._writing[fd]
        try:
            left = left[os.write(fd, left[:CHUNK]) :] if left else left
        except BlockingIOError:
            return
        except OSError:  # it does not read it
            left = left[:0]
        self._writing[fd] = left
        if not left:
            self._stop_writing(fd)

    def _stop_writing(self, fd: int) -> None:
        del self._writing[fd]
        self._loop.remove_writer(fd)
        os.close(fd)

    # --- its end ---------------------------------------------------------------------------------------------

    @property
    def _first(self) -> tuple[str, str]:
        """The first that the leader told of the program; nothing when it was killed itself."""
        what, _, number = self._told.partition(b"\n")[0].decode().partition(" ")
        return what, number

    @property
    def failure(self) -> OSError | None:
        """Why there was no program to start."""
        what, number = self._first
        return OSError(int(number), os.strerror(int(number))) if what == "failed" else None

    def end(self) -> None:
        """End all of it: SIGTERM now, SIGKILL soon. From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._end)
        except RuntimeError:  # its loop is closed: nobody is there to wait
            self._signal(signal.SIGKILL)

    def _end(self) -> None:
        if not self._is_ending and not self.over.done():
            self._is_ending = True
            self._signal(signal.SIGTERM)
            self._killing = threading.Timer(GRACE_S, self._kill_anyway)
            self._killing.daemon = True
            self._killing.start()

    def _kill_anyway(self) -> None:
        """In a thread: also when its loop has been closed meanwhile."""
        self._signal(signal.SIGKILL)
        try:
            self._loop.call_soon_threadsafe(self.kill)
        except RuntimeError:
            pass  # nobody waits there any more

    def kill(self) -> None:
        """End all of it now."""
        if not self.over.done():
            self._signal(signal.SIGKILL)
            self._after(DRAIN_S, self._finish)

    async def ended(self) -> None:
        """End it, and come back when it is over; cancelled meanwhile, it is killed at once."""
        self._end()
        try:
            await asyncio.wait({self.over})
        except asyncio.CancelledError:
            self.kill()
            self._finish()
            raise

    def _after(self, delay_s: float, call: Callable[[], None]) -> None:
        self._later.append(self._loop.call_later(delay_s, call))

    def _signal(self, number: int) -> None:
        with self._reaping:
            if self._process.returncode is None:
                try:
                    os.killpg(self._process.pid, number)
                except (ProcessLookupError, PermissionError):
                    pass  # nothing of it is left; macOS says "not permitted" where only zombies are

    def _finish(self) -> None:
        if self.over.done():
            return
        self._signal(signal.SIGKILL)
        for handle in self._later:
            handle.cancel()
        for fd in list(self._reading):
            self._stop_reading(fd)
        for fd in list(self._writing):
            self._stop_writing(fd)
        if self._killing is not None:
            self._killing.cancel()
        with self._reaping:
            is_left = self._process.poll() is None
        if is_left:  # a moment more, or for ever in the kernel: nobody waits for it here
            threading.Thread(target=self._process.wait, name="holdfast reaper", daemon=True).start()
        os.close(self._guard)
        what, number = self._first
        self.over.set_result(int(number) if what == "exit" else KILLED)


def _taken(stream: object) -> int:
    """The descriptor of a pipe of `Popen`, which is ours to close from now on."""
    fd = os.dup(stream.fileno())  # type: ignore[attr-defined]
    stream.close()  # type: ignore[attr-defined]
    return fd


def _interpreter() -> str:
    if not sys.executable:
        raise UsageError("Python does not tell where its interpreter is (`sys.executable`), so nothing was started.")
    return sys.executable
