"""Which run does this code belong to? One context variable, and what to do when it is missing.

Frameworks that hop to a thread by `run_in_executor` or a bare `ThreadPoolExecutor` lose it; then an effect would
run outside its run, without a record. While an `App` is open that is refused (`RunContextLost`), and `run.carry`
is the way out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.events import Effect
from holdfast.errors import RunContextLost

if TYPE_CHECKING:
    from holdfast.runtime.driver import Driver


class Place(NamedTuple):
    """Where the code runs."""

    driver: Driver
    scope: str = ""
    inside: Effect | None = None
    """Effect of the step whose body this is; None in the agent's own code and in that of a composite."""
    step_name: str = ""

    @property
    def is_isolated(self) -> bool:
        """Whether this is the child process of an isolated tool, where there is no run."""
        return self.driver is None


_place: ContextVar[Place | None] = ContextVar("holdfast_place", default=None)
_is_detached: ContextVar[bool] = ContextVar("holdfast_detached", default=False)
_open_apps: set[int] = set()
_warned: set[str] = set()


def place() -> Place | None:
    """The place of the calling code, None outside every run."""
    return _place.get()


class entered:
    """Run a block at this place."""

    __slots__ = ("_token", "_where")

    def __init__(self, where: Place | None) -> None:
        self._where = where

    def __enter__(self) -> None:
        self._token = _place.set(self._where)

    def __exit__(self, *raised: object) -> None:
        try:
            _place.reset(self._token)
        except ValueError:
            if _place.get() is self._where:
                raise
            # a coroutine that is collected ends in the context of whoever collects it, which was never here


def copied(where: Place | None) -> Context:
    """A copy of the current context, at this place."""
    context = copy_context()
    context.run(_place.set, where)
    return context


class StartedInChild(BaseException):
    """A module that the child process of an isolated tool is loading opened an `App` or called a tool: that is what it
    does when it is started as a script, so it is loaded no further."""


_is_loading = False


@contextmanager
def loading() -> Iterator[None]:
    """Within the block a module is loaded that must not start what it would start as a script."""
    global _is_loading
    _is_loading = True
    try:
        yield
    finally:
        _is_loading = False


def check_not_loading() -> None:
    """Raise `StartedInChild` while a module is loaded for an isolated tool."""
    if _is_loading:
        raise StartedInChild


def app_opened(app: object) -> None:
    """An app is open: from now on lost contexts are found."""
    _open_apps.add(id(app))


def app_closed(app: object) -> None:
    """The app is closed."""
    _open_apps.discard(id(app))


@contextmanager
def detached() -> Iterator[None]:
    """Call tools and model hosts outside every run on purpose, while an `App` is open."""
    token = _is_detached.set(True)
    try:
        yield
    finally:
        _is_detached.reset(token)


def is_detached() -> bool:
    """Whether the calling code says that it belongs to no run."""
    return _is_detached.get()


def place_for(what: str, effect: Effect) -> Place | None:
    """The place, None when the call may go on without a run; raises when its run was lost."""
    if _is_loading:
        raise StartedInChild
    here = _place.get()
    if here is not None:
        return None if _is_detached.get() else here
    if not _open_apps or _is_detached.get():
        return None
    message = (
        f"{what} was called while an App is open, but without a run in its context: probably in a thread or an "
        "executor that does not carry contextvars. "
    )
    if effect is not Effect.READ:
        raise RunContextLost(
            message + "It was not begun. Pass `run.carry(fn)` to the executor, or wrap the call in "
            "`with holdfast.detached():` if it belongs to no run."
        )
    if what not in _warned:
        _warned.add(what)
        warnings.warn(message + "It runs without a record. See `run.carry`.", stacklevel=4)
    return None
