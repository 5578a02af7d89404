"""Starts a program in this process's group, and ends the whole group: when the program has ended, and at once when
the pipe to whoever asked for it closes, however that one died.

Run as a script, by a bare interpreter in a session of its own: `launch.py GUARD STATUS PROGRAM ARGUMENTS…`, where GUARD
is the pipe that closes and STATUS the one that is told `exit CODE`, or first `failed ERRNO` when there is no such
program. It imports nothing of holdfast, ignores the polite signals that its group gets, and uses nothing that only
Linux has.
"""

from __future__ import annotations

import os
import select
import signal
import sys

POLITE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
IGNORED_BY_PYTHON = tuple(getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name))


def main(arguments: list[str]) -> None:
    """Does not return."""
    guard, status, program = int(arguments[0]), int(arguments[1]), arguments[2:]
    for fd in (guard, status):
        os.set_inheritable(fd, False)
    news, told = os.pipe()
    os.set_blocking(told, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(told)
    try:
        child = os.fork()
    except OSError as failed:
        os.write(status, b"failed %d\n" % (failed.errno or 0))
        os._exit(1)
    if child == 0:
        _become(program, status)
    for number in POLITE:
        signal.signal(number, signal.SIG_IGN)
    for fd in (0, 1, 2):
        os.close(fd)
    _watch(child, guard, status, news)


def _become(program: list[str], status: int) -> None:
    for number in (*IGNORED_BY_PYTHON, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(program[0], program)  # noqa: S606 - without a shell is what it is for
    except OSError as failed:
        os.write(status, b"failed %d\n" % (failed.errno or 0))
    finally:
        os._exit(127)


def _watch(child: int, guard: int, status: int, news: int) -> None:
    while True:
        ready, _, _ = select.select([guard, news], [], [])
        if guard in ready:
            break
        os.read(news, 512)
        ended, how = os.waitpid(child, os.WNOHANG)
        if ended:
            os.write(status, b"exit %d\n" % os.waitstatus_to_exitcode(how))
            break
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
