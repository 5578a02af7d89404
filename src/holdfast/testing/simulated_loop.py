"""An event loop that owns neither time nor order: both come from the simulated world that it belongs to.

What is ready when a turn begins runs in that turn, in an order that the world's chance draws; asyncio promises none
across tasks, and code that relies on one is found so. Time goes on only between turns, when nobody has anything to do.

Never: opens a socket, starts a thread or reads a clock. `asyncio.to_thread` runs at once, on the spot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, NoReturn, Protocol, TypeVar, TypeVarTuple

from holdfast.runtime.clock import Random

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Time(Protocol):
    """The world's time, as a loop needs it."""

    now_s: float
    """Seconds since the world began."""

    def at(self, when_s: float, timer: Timer) -> None:
        """Let this timer ring then."""


class Timer(asyncio.Handle):
    """A callback with a time; rung by the world, it is ready on its loop."""

    def __init__(
        self,
        when_s: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: SimulatedLoop,
        context: Context | None = None,
    ) -> None:
        super().__init__(callback, args, loop, context)
        self._home = loop
        self._when_s = when_s

    def when(self) -> float:
        """Seconds since the world began."""
        return self._when_s

    def ring(self) -> None:
        """Its time has come."""
        if not self._cancelled and not self._home.is_closed():
            self._home.ready.append(self)


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The loop of one simulated process. `turn` runs what is ready; nothing else does."""

    def __init__(self, time: Time, chance: Random | None, complain: Callable[[str], None]) -> None:
        """chance: None keeps the order in which things became ready. complain: told what nobody has handled."""
        self._time = time
        self._chance = chance
        self._complain = complain
        self._is_closed = False
        self.ready: list[asyncio.Handle] = []
        self._tasks: list[asyncio.Task[Any]] = []
        """All of them: to collect a pending task of a dead process would be to run its code."""
        self.owner: object = None
        """The process that it is the loop of."""

    def turn(self) -> None:
        """Run everything that is ready now."""
        batch, self.ready = self.ready, []
        if self._chance is not None and len(batch) > 1:
            self._chance.shuffle(batch)
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            for handle in batch:
                if self._is_closed:
                    return
                if not handle._cancelled:
                    handle._run()
        finally:
            asyncio._set_running_loop(outer)

    # --- what asyncio asks of a loop -------------------------------------------------------------------------

    def time(self) -> float:
        return self._time.now_s

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self._is_closed:
            raise RuntimeError("Event loop is closed")
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Timer:
        return self.call_at(self._time.now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Timer:
        timer = Timer(when, callback, args, self, context)
        self._time.at(when, timer)
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    @property
    def pending(self) -> list[asyncio.Task[Any]]:
        """Tasks that have not ended, the oldest first."""
        self._tasks = [task for task in self._tasks if not task.done()]
        return self._tasks

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Here and now: a thread would have an order of its own."""
        done: asyncio.Future[T] = asyncio.Future(loop=self)
        try:
            done.set_result(func(*args))
        except Exception as raised:  # handed on to whoever waits, as an executor does
            done.set_exception(raised)
        return done

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        self._is_closed = True
        self.ready.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._is_closed:
            self._complain(f"{context.get('message')}: {context.get('exception')!r} ({context.get('task')})")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def run_forever(self) -> NoReturn:
        raise RuntimeError("a simulated loop is turned by its world")

    def run_until_complete(self, future: Any) -> NoReturn:
        raise RuntimeError("a simulated loop is turned by its world")
