"""`heartbeat()`: a tool that is slow for good reason says that it lives; and what has to end with an attempt.

A `Pulse` belongs to one attempt and is found by the code of its body, in threads too (`contextvars`). In the child
process of an isolated tool another one stands in its place, and the beats come over a pipe.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Protocol


class Beats(Protocol):
    """Whoever is told that an attempt lives."""

    def beat(self) -> None:
        """It lives."""


class Pulse:
    """The signs of life of one attempt, and what ends with it. May be used from several threads."""

    __slots__ = ("_ends", "_monotonic", "at", "is_over")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._ends: dict[object, Callable[[], None]] = {}
        self.at = monotonic()
        """When it last showed that it lives."""
        self.is_over = False

    def beat(self) -> None:
        """It lives."""
        self.at = self._monotonic()

    def attach(self, what: object, end: Callable[[], None]) -> None:
        """`end` is called when the attempt is over; at once when it is over already."""
        self._ends[what] = end
        if self.is_over:
            self._end(what)

    def detach(self, what: object) -> None:
        """It has ended by itself."""
        self._ends.pop(what, None)

    def over(self) -> None:
        """The attempt is over: nobody takes a result of it any more, so what it started is ended."""
        self.is_over = True
        if self._ends:
            for what in list(self._ends):
                self._end(what)

    def _end(self, what: object) -> None:
        end = self._ends.pop(what, None)
        if end is not None:
            end()


_beats: ContextVar[Beats | None] = ContextVar("holdfast_beats", default=None)


def heartbeat() -> None:
    """Say that this attempt lives: one with `heartbeat="30s"` that has not for so long is stopped.

    For work that is slow for good reason, from async code, threads and isolated tools; cheap enough for every turn of
    a loop. Outside a tool it does nothing.
    """
    told = _beats.get()
    if told is not None:
        told.beat()


def beats() -> Beats | None:
    """Who is told that the attempt lives whose body this is."""
    return _beats.get()


def pulse() -> Pulse | None:
    """The pulse of the attempt whose body this is."""
    told = _beats.get()
    return told if isinstance(told, Pulse) else None


def beats_of(beats: Beats) -> Token[Beats | None]:
    """From here on the code of this context is the body of an attempt with these beats."""
    return _beats.set(beats)


def beats_as_before(token: Token[Beats | None]) -> None:
    """It is no longer."""
    _beats.reset(token)


class beating:
    """Run a block as the body of an attempt with these beats."""

    __slots__ = ("_beats", "_token")

    def __init__(self, beats: Beats) -> None:
        self._beats = beats

    def __enter__(self) -> None:
        self._token = beats_of(self._beats)

    def __exit__(self, *raised: object) -> None:
        beats_as_before(self._token)
