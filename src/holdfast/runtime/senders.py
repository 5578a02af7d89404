"""Who may still act on the world: attempts of effects whose body has not ended, in this process.

A thread cannot be stopped, and a task may take its time to unwind. As long as such a body lives, its step is neither
verified nor begun again in this process, whichever App asks; what it comes to in the end is an outcome like any other.
What a body started elsewhere by itself (`asyncio.to_thread`) cannot be seen: it is given the time of `settle`, and at
a shutdown that of the lease.

Invariants
1. A sender is known from before its body begins until the body has ended, or its event loop was closed.
2. What a body came to is kept until somebody takes it who has the same attempt on record.
3. Nothing here writes, and nothing here waits for a lock while it calls others.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

from holdfast.core.events import Address
from holdfast.runtime.thread import LOOK_S
from holdfast.runtime.way import Attempted

LATE_MAX = 1_000
"""Outcomes that nobody has taken; of more the oldest are forgotten, and their steps are in doubt."""


class Place(NamedTuple):
    """A step, among all stores that this process may have open."""

    store: bytes
    tenant: str
    run: str
    address: Address
    process: str = ""
    """Which simulated process; none of them knows what bodies another one runs."""


process: ContextVar[str] = ContextVar("holdfast_process", default="")
"""Which process this code belongs to, where several are simulated in one."""


class Sender:
    """One attempt of an effect, from before it begins until its body has ended."""

    def __init__(self, place: Place, logical: int, number: int) -> None:
        self.place = place
        self.logical = logical
        self.number = number
        self.is_seen = False
        """Its body runs in a thread of ours or in a child process, so that its end is seen for certain."""
        self.is_whole = True
        """What its body comes to needs no further check by its tool."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._has_body = False
        self._has_left = False
        self._is_over = False
        self._came: Callable[[], Attempted | None] | None = None
        self._listeners: list[Callable[[], None]] = []

    @property
    def is_alive(self) -> bool:
        """Whether its body may still act."""
        is_gone = self._is_over or (self._loop is not None and self._loop.is_closed())
        return self._has_body and not is_gone and self._process == os.getpid()  # a fork takes no thread along

    # --- its body --------------------------------------------------------------------------------------------

    def in_thread(self, call: Callable[[], Any], come: Callable[[Any, BaseException | None], Attempted | None]) -> Any:
        """`call` as the body of a thread. come: what a result or an exception of it amounts to."""
        self._has_body = self.is_seen = True

        def body() -> Any:
            try:
                result = call()
            except BaseException as error:  # the user's step: whatever it raises is a fact about it
                raised = error
                self._over(lambda: come(None, raised))
                raise
            self._over(lambda: come(result, None))
            return result

        return body

    def not_begun(self) -> None:
        """There was no thread to be had for it."""
        self._over(None)

    async def on_loop(self, body: Awaitable[Attempted]) -> Attempted:
        """`body` on the loop that runs at this moment."""
        self._has_body, self._loop = True, asyncio.get_running_loop()
        came: Attempted | None = None
        try:
            came = await body
            return came
        finally:
            self._over(lambda: came)

    def _over(self, came: Callable[[], Attempted | None] | None) -> None:
        with _lock:
            self._is_over, self._came = True, came
            listeners, self._listeners = self._listeners, []
            if self._has_left:
                _late.append(self)
            while len(_late) > LATE_MAX:
                _forget(_late.popleft())
        for listener in listeners:
            listener()

    # --- those who wait for it -------------------------------------------------------------------------------

    def when_over(self, listener: Callable[[], None]) -> None:
        """Call it when the body has ended: from any thread, at once if it has."""
        with _lock:
            is_late = not self.is_alive
            if not is_late:
                self._listeners.append(listener)
        if is_late:
            listener()

    async def end(self) -> None:
        """Come back when the body has ended."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        self.when_over(partial(wake, loop, partial(_tell, ended)))
        while self.is_alive:  # no callback tells that its loop was closed
            await asyncio.wait({ended}, timeout=LOOK_S)

    def left(self) -> None:
        """Whoever began it does not wait any more: it returned, or was cancelled."""
        self._has_left = True
        if not self.is_alive:
            _forget(self)

    def take(self, logical: int, number: int) -> Attempted | None:
        """What it came to, when it was this attempt, and anybody can know."""
        _forget(self)
        is_same = (self.logical, self.number) == (logical, number)
        return self._came() if self._came is not None and is_same else None


_lock = threading.RLock()
_senders: dict[Place, list[Sender]] = {}
_late: deque[Sender] = deque()
"""Those whose body ended after whoever had begun it had left, the oldest first."""


def begins(place: Place, logical: int, number: int) -> Sender:
    """An attempt is about to begin."""
    sender = Sender(place, logical, number)
    with _lock:
        _senders.setdefault(place, []).append(sender)
    return sender


def known(place: Place) -> Sender | None:
    """The sender of this step that is to be waited for, or whose outcome is to be taken: a living one first."""
    with _lock:
        found = list(_senders.get(place, ()))
    living = (sender for sender in found if sender.is_alive)
    return next(living, found[-1] if found else None)


def _forget(sender: Sender) -> None:
    with _lock:
        left = [other for other in _senders.get(sender.place, ()) if other is not sender]
        if left:
            _senders[sender.place] = left
        else:
            _senders.pop(sender.place, None)


def wake(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Call it on that loop soon, from any thread; a loop that is closed has nobody who waits."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        pass


def _tell(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
