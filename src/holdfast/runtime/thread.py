"""Threads for sync tools, and how a thread that waits on a run is unwound.

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
from typing import Any


class Unwind(BaseException):
    """Raised in a thread that waits on a run which is closing. Let it pass; `finally` blocks run."""


async def in_thread(name: str, fn: Callable[[], Any]) -> Any:
    """Run `fn` in a daemon thread with a copy of the current context. Cancelling the caller leaves it running."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        elif isinstance(error, (StopIteration, GeneratorExit)):  # neither can pass through a future
            done.set_exception(RuntimeError(f"a sync tool raised {type(error).__name__}: {error}"))
        else:
            done.set_exception(error)

    def body() -> None:
        result, error = None, None
        try:
            result = context.run(fn)
        except BaseException as raised:
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=body, name=f"holdfast {name}", daemon=True).start()
    return await done


def is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this thread is running that loop at this moment."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


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

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._waiting: set[Future[Any]] = set()

    @property
    def is_own_thread(self) -> bool:
        """Whether the calling thread is the loop's, where waiting would block everything."""
        return threading.get_ident() == self._thread

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run the coroutine on the loop and wait for it; raises `Unwind` when the run closes meanwhile."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        self._waiting.add(future)
        try:
            return future.result()
        except (asyncio.CancelledError, FutureCancelled):
            raise Unwind from None
        finally:
            self._waiting.discard(future)

    def unwind(self) -> None:
        """Wake every waiting thread with `Unwind`."""
        for future in list(self._waiting):
            future.cancel()
