"""What a model must read beside a value: kept from the step that gave the value until the value is told.

A value is known by its identity, since it is the caller's and cannot be marked. `heard` gives it exactly, to whoever
makes one call and tells its outcome (`Toolset`). For others it is taken when the value is told: of values that are one
object wherever they come from (`None`, `True`) the notice then stands beside the first that is told, and is not lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

KEPT_MAX: Final = 256
"""Values whose notices are kept until they are told; the oldest are forgotten first."""

_heard: ContextVar[list[str] | None] = ContextVar("holdfast_heard", default=None)


class Notices:
    """Those of one run that nobody was told yet."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Any, tuple[str, ...]]] = {}

    def attach(self, value: Any, notices: tuple[str, ...], listener: list[str] | None) -> None:
        """These belong to this value, and are told to this listener, if there is one."""
        if not notices:
            return
        if listener is not None:
            listener.extend(notices)
            return
        _, before = self._kept.pop(id(value), (value, ()))
        self._kept[id(value)] = (value, before + notices)  # holds the value, so that its id stays its own
        if len(self._kept) > KEPT_MAX:
            del self._kept[next(iter(self._kept))]

    def take(self, value: Any) -> tuple[str, ...]:
        """What belongs to this value, once."""
        return self._kept.pop(id(value), (value, ()))[1]


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collects the notices of the one call that is made inside."""
    collected: list[str] = []
    token = _heard.set(collected)
    try:
        yield collected
    finally:
        _heard.reset(token)


def listener() -> list[str] | None:
    """Who listens to the call that is made here; steps inside that call are not theirs."""
    found = _heard.get()
    if found is not None:
        _heard.set(None)
    return found
