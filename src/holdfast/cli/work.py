"""Being a worker until a signal comes, or until nothing is left: what `holdfast worker` does. Loads asyncio."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from holdfast.cli.exit import Exit
from holdfast.cli.interrupt import Interrupt
from holdfast.cli.output import say
from holdfast.core.heads import Status
from holdfast.errors import JournalError, StoreMoved

if TYPE_CHECKING:
    from holdfast.protocols import Journal
    from holdfast.runtime.agent import Agent
    from holdfast.runtime.app import App

_LOOK_S = 0.1
_LOOKS_PER_LOOK = 10
"""A look at a large store takes its time: after each, so many times as long is rested."""
_ALL = 1_000_000_000


def until_over(
    app: App,
    agents: list[Agent[Any, Any]],
    stay_s: float | None,
    hears: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> int:
    """Be a worker until a signal comes, or with `stay_s` until nothing is due within that time; the exit code.

    hears: what is to be heard from outside meanwhile."""
    interrupt = Interrupt()
    try:
        asyncio.run(_work(app, agents, stay_s, interrupt, hears))
    except asyncio.CancelledError:
        if interrupt.number is None:
            raise
        return interrupt.exit_code
    return Exit.DONE


async def _work(
    app: App,
    agents: list[Agent[Any, Any]],
    stay_s: float | None,
    interrupt: Interrupt,
    hears: Callable[[], AbstractContextManager[None]],
) -> None:
    """Be a worker until a signal cancels this; without `stay_s` nothing else does."""
    task = asyncio.current_task()
    assert task is not None
    names = frozenset(agent.name for agent in agents)
    _tell()
    with interrupt.listening(task):
        try:
            async with app:
                say(f"Worker (pid {os.getpid()}) takes runs of {', '.join(sorted(names))}. Ctrl-C ends it in order.")
                with hears():
                    await (app.until_moved() if stay_s is None else _idle(app, names, stay_s))
        except asyncio.CancelledError:
            say("Ended in order. What was driven here is given back, and any worker goes on with it.")
            raise
        interrupt.is_over = True
    say("Nothing is left to do.")


async def _idle(app: App, agents: frozenset[str], stay_s: float) -> None:
    """Come back when all runs of these agents have ended, or wait for something that is not due soon."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            if _is_idle(app.journal, agents, stay_s):
                return
        except StoreMoved:
            raise
        except JournalError:
            pass  # the worker tells of it, and asks again in a moment; so do we
        with suppress(TimeoutError):
            await asyncio.wait_for(app.until_moved(), max(_LOOK_S, _LOOKS_PER_LOOK * (loop.time() - began)))


def _is_idle(journal: Journal, agents: frozenset[str], stay_s: float) -> bool:
    due_at = journal.now() + stay_s
    for status in (Status.RUNNING, Status.READY):
        if any(head.agent in agents for head in journal.heads(status=status, limit=_ALL)):
            return False
    waiting = [head for head in journal.heads(status=Status.SUSPENDED, limit=_ALL) if head.agent in agents]
    if any(head.wake_at is not None and head.wake_at <= due_at for head in waiting):
        return False
    return not any(journal.mail(head.run_id) for head in waiting)


class _Said(logging.Handler):
    """What holdfast logs, as lines on stderr that are safe for a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            say(line)


def _tell() -> None:
    """Tell what is taken and what becomes of it, unless the user's file has said where logs go."""
    log = logging.getLogger("holdfast")
    if not log.hasHandlers():
        log.addHandler(_Said())
        log.setLevel(logging.INFO)
