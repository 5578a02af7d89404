"""Threads for sync tools and sync agents, how a thread that waits on a run is unwound, and loops in other threads.

Threads are daemons of our own, one a call: a pool of `concurrent.futures` is joined at interpreter exit, and a
process with a parked tool would never end.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

LOOK_S = 1.0
"""How often it is seen whether another loop was closed with our coroutine unfinished: no callback tells."""


class Unwind(BaseException):
    """Raised in a thread that waits on a run which is closing. Let it pass; `finally` blocks run."""


async def in_thread(name: str, fn: Callable[[], Any], *, not_begun: Callable[[], None] = lambda: None) -> Any:
    """Run `fn` in a daemon thread with a copy of the current context. Cancelling the caller leaves it running.

    not_begun: told when there is no thread to be had.
    """
    try:
        running = _started(name, fn)
    except RuntimeError:
        not_begun()
        raise
    return await running


async def body_in_thread(name: str, fn: Callable[[], Any], patience_s: float) -> Any:
    """Run `fn` as the body of a run. Cancelled, it comes back when the thread has ended, or after `patience_s`."""
    ended = _started(name, fn)
    try:
        await asyncio.wait({ended})
    except asyncio.CancelledError:
        await asyncio.wait({ended}, timeout=patience_s)
        if not ended.cancel():
            ended.exception()  # seen, so that the loop does not report it
        raise
    try:
        return ended.result()
    except Unwind:
        raise asyncio.CancelledError("the run is closing") from None


def _started(name: str, fn: Callable[[], Any]) -> asyncio.Future[Any]:
    """A daemon thread that runs `fn` in a copy of the current context, and what it comes to."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        elif isinstance(error, (StopIteration, GeneratorExit)):  # neither can pass through a future
            done.set_exception(RuntimeError(f"sync code raised {type(error).__name__}: {error}"))
        else:
            done.set_exception(error)

    def body() -> None:
        result, error = None, None
        try:
            result = context.run(fn)
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            pass  # the loop is closed: nobody waits for it any more

    threading.Thread(target=body, name=f"holdfast {name}", daemon=True).start()
    return done


_abandoned: list[asyncio.Task[Any]] = []
"""Kept: to collect such a task is to ask its code to end once more, and it swallows that too."""


def forget(task: asyncio.Task[Any] | None) -> None:
    """Nobody waits for this task at exit: it swallows every cancellation, and `asyncio.run` would never return.

    Both are what asyncio documents ("Extending asyncio") and does itself for tasks that it gives up.
    """
    if task is not None:
        asyncio.tasks._unregister_task(task)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        _abandoned.append(task)


def let_go(waiting: asyncio.Future[None], *_: object) -> None:
    """Let whoever waits for this go on; a callback of tasks and timers, too."""
    if not waiting.done():
        waiting.set_result(None)


def is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this thread is running that loop at this moment."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def is_at_home(thread: int, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the calling thread is this one, which runs that loop: a thread runs one at a time.

    Told by the thread: to ask for the running loop is a call to the system.
    """
    return threading.get_ident() == thread and loop.is_running()


def loop_elsewhere(thread: int, loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop | None:
    """The loop that the calling thread is running, when it is another one than this, which runs in that thread."""
    if is_at_home(thread, loop):
        return None
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return None if running is loop else running


class Waiters:
    """What threads wait for on one loop. `cancel` also reaches what was submitted and is not yet kept here."""

    def __init__(self) -> None:
        self._futures: set[Future[Any]] = set()
        self._cancels = 0

    def submit(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> Future[T]:
        """Run the coroutine on the loop, from another thread. RuntimeError: the loop is closed."""
        before = self._cancels
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        self._futures.add(future)
        if self._cancels != before:
            future.cancel()
        return future

    def over(self, future: Future[Any]) -> None:
        """Nobody waits for it any more."""
        self._futures.discard(future)

    def cancel(self) -> None:
        """Cancel all of them."""
        self._cancels += 1
        for future in list(self._futures):
            future.cancel()


async def on_loop(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], among: Waiters | None = None
) -> T:
    """Run the coroutine on a loop that another thread runs; cancelled with its caller.

    Raises `CancelledError` when it was cancelled over there, or when that loop is closed or is closed meanwhile.
    among: where it is kept while it runs, so that others can cancel it.
    """
    among = among or Waiters()
    try:
        there = among.submit(coroutine, loop)
    except RuntimeError:
        coroutine.close()
        raise asyncio.CancelledError("the other event loop is closed") from None
    here = asyncio.wrap_future(there)
    try:
        while not (await asyncio.wait({here}, timeout=LOOK_S))[0]:
            if loop.is_closed():
                raise asyncio.CancelledError("the other event loop was closed")
        return here.result()
    finally:
        among.over(there)
        if not loop.is_closed():
            here.cancel()


def run_blocking(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end and give the result, on a loop of its own in another thread when this thread's loop runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    result: Future[Any] = Future()
    context = contextvars.copy_context()

    def body() -> None:
        try:
            result.set_result(context.run(asyncio.run, coroutine))
        except BaseException as raised:
            result.set_exception(raised)

    threading.Thread(target=body, name="holdfast bridge", daemon=True).start()
    return result.result()


class Bridge:
    """Threads of user code that wait for a step of one run."""

    def __init__(self, loop: asyncio.AbstractEventLoop, is_closing: Callable[[], bool] = bool) -> None:
        self._loop = loop
        self._is_closing = is_closing
        self._thread = threading.get_ident()
        self._waiting = Waiters()
        self._is_unwound = False

    @property
    def is_own_thread(self) -> bool:
        """Whether the calling thread is the loop's, where waiting would block everything."""
        return threading.get_ident() == self._thread

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run the coroutine on the loop and wait for it; raises `Unwind` when the run closes meanwhile.

        It keeps the context of the calling thread, so that a tool in it knows where it is.
        """
        try:
            future = self._waiting.submit(coroutine, self._loop)
        except RuntimeError:  # the loop is closed: this thread has outlived its process's work
            coroutine.close()
            raise Unwind from None
        try:
            return future.result()
        except (asyncio.CancelledError, FutureCancelled) as cancelled:
            if self._is_unwound or self._is_closing():
                raise Unwind from None
            raise asyncio.CancelledError(*cancelled.args) from None
        finally:
            self._waiting.over(future)

    async def reach(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The same for a task on the loop of another thread, which it does not block; cancelled as it is closed."""
        return await on_loop(self._loop, coroutine, self._waiting)

    def unwind(self) -> None:
        """Wake every waiting thread with `Unwind`, and cancel what tasks on other loops wait for."""
        self._is_unwound = True
        self._waiting.cancel()
