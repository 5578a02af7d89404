"""Signals while a run is driven: the first one leaves in order, the second at once.

The handlers are the process's own, not the event loop's: a loop that is stuck in a user's function would never call
its own, and the second Ctrl-C has to work just then.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, redirect_stdout
from types import FrameType
from typing import Any, TypeVar

from holdfast.errors import InternalError

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """What signals have said."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The first signal; None while there was none."""
        self.is_over = False
        """The run has an outcome: a first signal changes nothing any more."""

    @property
    def exit_code(self) -> int:
        """As a shell reports a death by this signal."""
        return 128 + (self.number or 0)

    @contextmanager
    def listening(self, task: asyncio.Task[Any]) -> Iterator[None]:
        """Within the block the first signal cancels `task`. A signal that was ignored (nohup) stays so."""
        loop = asyncio.get_running_loop()

        def arrived(number: int, frame: FrameType | None) -> None:
            if self.number is not None:
                _leave_at_once(number)
            self.number = number
            if not self.is_over:
                name = signal.Signals(number).name
                _write(f"{name}: what is in flight finishes first (at most 25 s); once more leaves at once.\n")
                loop.call_soon_threadsafe(task.cancel)

        heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, arrived) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def to_its_end(work: Callable[[Interrupt], Coroutine[Any, Any, T]]) -> T | Interrupt:
    """What `work` gives, run on a loop of its own, with what is printed meanwhile on stderr; the interrupt, when a
    signal has ended it before."""
    interrupt = Interrupt()
    try:
        with redirect_stdout(sys.stderr):
            return asyncio.run(work(interrupt))
    except asyncio.CancelledError:
        if interrupt.number is None:
            raise InternalError("The command was cancelled, but not by a signal.") from None
        return interrupt


def _leave_at_once(number: int) -> None:
    _write("Left at once. What was driven stays resumable; an effect that was in flight is in doubt.\n")
    os._exit(128 + number)


def _write(text: str) -> None:
    os.write(2, text.encode())  # unlike print, allowed while print is under way in the interrupted code
