"""Isolated tools: the body runs in a child process, which is killed with its whole group when its time is up.

The child is a new interpreter. It finds the function by its module, file and name, which this process has from its own
code and never from stored bytes; arguments, result and exception go over pipes as the codec writes them (`isolated`
is the other side). Nothing of this process is in it: no run, no loop, no open file.

Invariants
1. What cannot be found by name in a file, or is given what cannot be written, is refused when it is declared.
2. A child that ended before it said that the function begins has not begun it; that is certain (`NotDone`).
3. When the call is over, however, the child's group is gone.
"""

from __future__ import annotations

import asyncio
import builtins
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from holdfast.core.failure import Facts
from holdfast.errors import NotDone
from holdfast.journal.codec import decode, encode
from holdfast.runtime.facts import instance, told_elsewhere
from holdfast.runtime.group import Group
from holdfast.runtime.heartbeat import Pulse, pulse

if TYPE_CHECKING:
    from holdfast.runtime.spec import Spec

BEAT, BEGUN, RESULT, OPAQUE, FAILED, UNFOUND = "beat", "begun", "result", "opaque", "failed", "unfound"
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from holdfast.runtime.isolated import main; main(int(sys.argv[2]))"
)


async def call(spec: Spec, visible: dict[str, Any], key: str) -> Any:
    """Run the body once, in a child process, and give its result or raise what it raised."""
    where = spec.isolated
    assert where is not None
    asked = {**where._asdict(), "effect": str(spec.effect), "tool": spec.name, "key": key, "argv": sys.argv}
    report = _Report(pulse())
    try:
        group = Group(
            [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", _BOOT, json.dumps(sys.path)],  # type: ignore[attr-defined]
            stdin=json.dumps(asked).encode() + b"\n" + encode(visible),
            report=report.add,
        )
    except OSError as failed:
        raise NotDone(f"{spec.name} was not begun: there is no process to be had for it ({failed})") from failed
    try:
        code = await asyncio.shield(group.over)
    finally:
        await group.ended()
    return _result(spec, report, code)


def _result(spec: Spec, report: _Report, code: int) -> Any:
    match report.kind:
        case "result":
            try:
                return decode(report.body, spec.returns)
            except ValueError:  # pydantic's word for "not of the declared type": whoever weighs it says so
                return decode(report.body)
        case "opaque" if spec.effect.is_write:
            return decode(report.body)
        case "opaque":
            raise TypeError(f"its result cannot be recorded: {decode(report.body)}")
        case "failed":
            raise _raised(spec, json.loads(report.body))
        case "unfound":
            raise NotDone(f"{spec.name} was not begun: {report.body.decode()}")
        case _:
            pass  # it ended before it could tell
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    if not report.has_begun:
        raise NotDone(f"{spec.name} was not begun: its child process ended {how} before")
    raise ConnectionAbortedError(f"its child process ended {how} before it gave a result")


class _Report:
    """What the child has told: lines, each followed by as many bytes as it says."""

    def __init__(self, beats: Pulse | None) -> None:
        self._beats = beats
        self._data = bytearray()
        self.kind = ""
        """How it ended; empty while it has not said so."""
        self.body = b""
        self.has_begun = False

    def add(self, data: bytes) -> None:
        """More of it."""
        self._data += data
        while self._take():
            pass

    def _take(self) -> bool:
        line, newline, rest = self._data.partition(b"\n")
        kind, _, size = line.decode().partition(" ")
        if not newline or len(rest) < int(size):
            return False
        if self._beats is not None:
            self._beats.beat()
        if kind == BEGUN:
            self.has_begun = True
        elif kind != BEAT:
            self.kind, self.body = kind, bytes(rest[: int(size)])
        del self._data[: len(line) + 1 + int(size)]
        return True


# --- exceptions --------------------------------------------------------------------------------------------------


class RaisedElsewhere(Exception):
    """What an isolated tool raised, of a class that this process does not know."""


def _raised(spec: Spec, told: dict[str, Any]) -> BaseException:
    """The exception of the child: of its own class where this process has that, with what was read off it there."""
    facts = Facts(**{**told["facts"], "ancestors": tuple(told["facts"]["ancestors"])})
    line = told["line"]
    own = spec.isolated.module if spec.isolated is not None else ""

    def name(cls: type[BaseException]) -> str:
        return f"{own if cls.__module__ == '__main__' else cls.__module__}.{cls.__qualname__}"

    known = {name(cls): cls for cls in _classes(spec)}
    facts = replace(
        facts,
        raised=next((place for place, cls in enumerate(spec.raises) if name(cls) in line), None),
        is_declared=isinstance(spec.definite, tuple) and any(name(cls) in line for cls in spec.definite),
    )
    cls = known.get(line[0])
    args = decode(told["args"].encode()) if told["args"] is not None else None
    error = instance(cls, args, facts) if cls is not None and args is not None else None
    return told_elsewhere(error or RaisedElsewhere(f"{facts.error}: {facts.text}"), facts)


def _classes(spec: Spec) -> Iterator[type[BaseException]]:
    yield from (cls for cls in vars(builtins).values() if isinstance(cls, type) and issubclass(cls, Exception))
    yield NotDone
    yield from spec.raises
    yield from spec.definite if isinstance(spec.definite, tuple) else ()
