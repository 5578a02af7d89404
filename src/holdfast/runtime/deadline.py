"""What ends attempts and runs when their time is up. `core.deadline` decides; here the timers are kept.

Invariants
1. A timer is a hint, the clock is the truth: when one fires early, because the run waited meanwhile or was given more
   time, it is set again.
2. An attempt is cut short by a cancellation of its own task, which becomes a `TimeoutError` with the reason; a
   cancellation from elsewhere stays one.
3. When a run's time is over, nothing more begins, what is under way is cut short and recorded as that, and the run
   ends as stopped. Code that swallows even that is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from holdfast.core import deadline
from holdfast.core.budget import Excess
from holdfast.core.events import Kind, meta
from holdfast.core.heads import UNTIMED, Status
from holdfast.protocols import Clock
from holdfast.runtime.heartbeat import Pulse, beats_as_before, beats_of
from holdfast.runtime.thread import forget, is_at_home, let_go

if TYPE_CHECKING:
    from holdfast.runtime.calls import Calls

T = TypeVar("T")
TIMEOUT, HEARTBEAT, WITHIN, RUN = "timeout", "heartbeat", "within", "run"
JUMP_S = 60.0
"""A clock that goes ahead of the monotonic one by so much was set."""


class Limit:
    """How long one attempt may take: what is left for it, and who may cut it short."""

    __slots__ = ("_because", "_bounds", "_home", "_open", "_until", "_within_s", "clock", "cut_by", "on_cut")

    def __init__(
        self,
        clock: Clock,
        *,
        within_s: float | None = None,
        left_s: float | None = None,
        among: set[Limit] | None = None,
        home: tuple[int, asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        """home: a thread and the loop that it runs, where the attempt is made as a rule."""
        self.clock = clock
        self._home = home
        self._within_s = within_s
        self._until = None if left_s is None else clock.monotonic() + left_s
        """When the time of its step is over."""
        self._bounds: list[_Bounded] = []
        self._open = among if among is not None else set()
        self.cut_by = ""
        """Whose time was up first: `timeout`, `heartbeat`, `within` or `run`; empty while none was."""
        self._because = ""
        self.on_cut: Callable[[], None] = _nothing
        """Called when it is cut short, from any thread."""

    def __enter__(self) -> Self:
        self._open.add(self)
        return self

    def __exit__(self, *raised: object) -> None:
        self._open.discard(self)

    def task(self) -> asyncio.Task[Any] | None:
        """The task in which this is asked; at home without asking the system for the loop."""
        home = self._home
        return asyncio.current_task(home[1] if home is not None and is_at_home(*home) else None)

    def bounded(
        self, timeout_s: float | None = None, heartbeat_s: float | None = None, *, beats: bool = False
    ) -> _Bounded:
        """Within the block (`with`) the time runs; `TimeoutError` when it is up. beats: it is the body of the attempt,
        whose pulse `heartbeat()` finds."""
        return _Bounded(self, timeout_s, heartbeat_s, beats)

    def cut(self, by: str, because: str) -> None:
        """Its time is up."""
        if not self.cut_by:
            self.cut_by, self._because = by, because
            self.on_cut()
        for bounds in list(self._bounds):
            bounds.expire()

    @property
    def because(self) -> str:
        """Why it was cut short."""
        return self._because


def _nothing() -> None:
    pass


async def outlived(attempt: Awaitable[T], limit: Limit, patience_s: float) -> T | None:
    """What the attempt comes to; None when it was cut short and has not come back after so long: it swallows that.

    It runs in a task of its own, which is then left behind, and which nobody waits for at exit.
    """
    loop = asyncio.get_running_loop()
    body = asyncio.ensure_future(attempt)
    left: asyncio.Future[None] = loop.create_future()
    either: set[asyncio.Future[Any]] = {body, left}
    calls: list[Callable[[], None]] = []

    def wait_no_longer() -> None:
        calls.append(limit.clock.call_later(patience_s, partial(let_go, left)))

    limit.on_cut = lambda: _on(loop, wait_no_longer)
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        body.cancel()
        await asyncio.wait({body}, timeout=patience_s)
        raise
    finally:
        limit.on_cut = _nothing
        for call_off in calls:
            call_off()
        if not body.done():
            forget(body)
    return body.result() if body.done() else None


def _on(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        pass  # that loop is closed, and with it everybody who waits


class _Bounded(Pulse):
    """A block within which the time of an attempt runs, and the attempt's pulse.

    A block without a time of its own costs next to nothing, and can be cut short all the same. The cancellation that
    becomes a `TimeoutError` is counted as `asyncio.timeout` does it, so that one from elsewhere stays what it is.
    """

    __slots__ = (
        "_cancelling",
        "_has_beats",
        "_heartbeat_s",
        "_is_expired",
        "_limit",
        "_offs",
        "_task",
        "_timeout_s",
        "_token",
    )

    def __init__(self, limit: Limit, timeout_s: float | None, heartbeat_s: float | None, beats: bool) -> None:
        super().__init__(limit.clock.monotonic)
        self._limit = limit
        self._timeout_s = timeout_s
        self._heartbeat_s = heartbeat_s
        self._offs: tuple[Callable[[], None], ...] = ()
        self._is_expired = False
        self._task: asyncio.Task[Any] | None = None
        """Whose block it is, while it is in it."""
        self._has_beats = beats

    def __enter__(self) -> Pulse:
        limit = self._limit
        task = limit.task()
        if task is None:
            raise RuntimeError("the time of an attempt runs in a task")
        self._task, self._cancelling = task, task.cancelling()
        limit._bounds.append(self)
        if limit.cut_by:
            self.expire()
        if (timeout_s := self._timeout_s) is not None:
            self._later(timeout_s, lambda: limit.cut(TIMEOUT, f"no result within timeout={timeout_s:g} s"))
        if limit._until is not None:
            because = f"the step's time is up, within={limit._within_s:g} s"
            self._later(max(0.0, limit._until - limit.clock.monotonic()), lambda: limit.cut(WITHIN, because))
        if self._heartbeat_s is not None:
            self._listen(self._heartbeat_s, self._heartbeat_s)
        self._token = beats_of(self) if self._has_beats else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            beats_as_before(self._token)
        self._limit._bounds.remove(self)
        for call_off in self._offs:
            call_off()
        self.over()
        task, self._task = self._task, None
        if self._is_expired and task is not None:
            is_ours = task.uncancel() <= self._cancelling
            if is_ours and kind is asyncio.CancelledError:
                raise TimeoutError(self._limit.because) from None

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._offs += (self._limit.clock.call_later(delay_s, call),)

    def _listen(self, heartbeat_s: float, wait_s: float) -> None:
        def look() -> None:
            left_s = self.at + heartbeat_s - self._limit.clock.monotonic()
            if left_s > 0:
                self._listen(heartbeat_s, left_s)
            else:
                self._limit.cut(HEARTBEAT, f"no sign of life for heartbeat={heartbeat_s:g} s")

        self._later(wait_s, look)

    def expire(self) -> None:
        """Cancel the task whose block this is; from any thread."""
        if (task := self._task) is not None:
            _on(task.get_loop(), self._expire)

    def _expire(self) -> None:
        if self._task is not None and not self._is_expired:
            self._is_expired = True
            self._task.cancel()


class RunTime:
    """The time of one run: watched while it is in memory."""

    def __init__(self, driver: Calls) -> None:
        self._driver = driver
        self._open: set[Limit] = set()
        self._home = driver.thread, driver.loop
        self._call_off: Callable[[], None] | None = None
        clock = driver.services.clock
        self._began = clock.now(), clock.monotonic()

    def limit(self, within_s: float | None = None, left_s: float | None = None) -> Limit:
        """The limit of an attempt that begins now (`with`); it ends with the run's time too."""
        clock = self._driver.services.clock
        return Limit(clock, within_s=within_s, left_s=left_s, among=self._open, home=self._home)

    def look(self) -> None:
        """Stop the run if its time is over; otherwise see to it that this is looked at again in time."""
        self.stop()
        driver, now = self._driver, self._driver.record.now()
        state = driver.state
        is_blocked = state.status is Status.SUSPENDED and state.why in UNTIMED
        if driver.is_closing or driver.is_ending or state.status.is_end or is_blocked:
            return
        if state.unwinding is not None:
            return  # its time is up, as a rule; what it did can still be undone
        if (excess := deadline.over(state, now)) is not None:
            self._over(excess)
        elif (wait_s := deadline.look_again_s(state, now, driver.services.settings.poll_s)) is not None:
            self._call_off = driver.services.clock.call_later(wait_s, self.look)

    def stop(self) -> None:
        """Look no more."""
        if self._call_off is not None:
            self._call_off()
            self._call_off = None

    def _over(self, excess: Excess) -> None:
        driver, told = self._driver, f"{excess}{self._jump()}"
        how = f"holdfast resume {driver.lease.run_id} --raise {excess.raise_flag}"
        driver.record.note(Kind.DECIDED, meta(what="deadline", choice="stop", because=told))
        driver.stop(Status.STOPPED, f"budget: {told}. Its work is kept. Go on with `{how}`", {"limit": excess.name})
        self.cut(f"the run's time is up: {told}")

    def _jump(self) -> str:
        """What of it was no time at all: while this process looked on, the clock was set forward."""
        clock = self._driver.services.clock
        now, monotonic = self._began
        jumped_s = (clock.now() - now) - (clock.monotonic() - monotonic)
        return f"; the store's clock was set forward by {jumped_s:.0f} s" if jumped_s >= JUMP_S else ""

    def cut(self, because: str) -> None:
        """Cut every attempt short that is under way."""
        for limit in list(self._open):
            limit.cut(RUN, because)
        driver = self._driver
        driver.services.clock.call_later(driver.services.settings.close_s, driver.leave_behind)
