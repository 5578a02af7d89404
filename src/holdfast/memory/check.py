"""Performs a feature's check, and says what it found; an agent never does.

Invariants
1. What did not run to its end, or ran nothing, has not passed.
2. When `perform` is over, nothing of what it started runs any more; a function in our own process, which nobody can
   end, may go on in a thread, and what it then gives is not looked at.
3. However much a check says, a bounded part of it is held; its digest is over all.
4. What it starts sees no secret of our environment (`memory.environment`).
"""

from __future__ import annotations

import asyncio
import glob
import hashlib
import inspect
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from holdfast.core.feature import Check
from holdfast.core.verdict import Artefact, Result
from holdfast.errors import InternalError, UsageError
from holdfast.memory import environment, plain_file, probe, program, report
from holdfast.memory.bounded import within

OUTPUT_MAX: Final = 2_000
"""Characters that are kept of what it said, from the end."""
ARTEFACTS_MAX: Final = 50
ARTEFACT_BYTES_MAX: Final = 32 << 20

Function = Callable[..., Any]


async def perform(
    check: Check, directory: Path, functions: Mapping[str, Function] | None = None, *, of: Path | None = None
) -> Result:
    """Perform it once, in this directory. functions: what a check of the kind python may name; each is called in a
    thread, with the directory unless it can do without, and has to return True. of: the working tree that the directory
    is a checkout of."""
    before = _stamps(check, directory)
    began = asyncio.get_running_loop().time()
    match check.kind:
        case "command":
            result = await _command(check.argv, directory, check.timeout_s, of or directory)
        case "pytest":
            result = await _pytest(check, directory, of or directory)
        case "http":
            result = await probe.perform(check)
        case "python":
            result = await _function(check, directory, functions or {})
        case _:
            raise InternalError(f"A check of the kind {check.kind!r} came to be performed.")
    took_s = asyncio.get_running_loop().time() - began
    return replace(result, took_s=round(took_s, 3), artefacts=_made(check, directory, before))


class Said:
    """What a program said: the end of it, and a digest of all."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._tail = bytearray()

    def add(self, data: bytes) -> None:
        """More of it."""
        self._digest.update(data)
        self._tail += data
        del self._tail[: -4 * OUTPUT_MAX]

    def on(self, result: Result) -> Result:
        """The result, with what was said."""
        text = self._tail.decode("utf-8", "replace")[-OUTPUT_MAX:]
        return replace(result, output=text, output_sha256=self._digest.hexdigest())


# --- programs ----------------------------------------------------------------------------------------------------


async def _command(argv: list[str], directory: Path, timeout_s: float, tree: Path) -> Result:
    said, seen = Said(), environment.for_check(tree, directory)
    try:
        code = await program.run(argv, timeout_s, cwd=directory, env=seen, stdout=said.add, stderr=said.add)
    except (OSError, UsageError) as error:
        return Result(False, False, f"{argv[0]} could not be started: {getattr(error, 'strerror', None) or error}")
    if code is None:
        return said.on(Result(True, False, f"had not ended within {timeout_s:g} s; all of it was ended"))
    if code < 0:
        return said.on(Result(True, False, f"was ended by signal {-code}", code))
    return said.on(Result(True, code == 0, "" if code == 0 else f"exit code {code}", code))


_BEGIN_PYTEST: Final = Path(__file__).with_name("begin_pytest.py")


async def _pytest(check: Check, directory: Path, tree: Path) -> Result:
    with tempfile.TemporaryDirectory(prefix="holdfast-", ignore_cleanup_errors=True) as folder:
        told = Path(folder) / "report.xml"
        begun = [sys.executable, "-P", "-S", str(_BEGIN_PYTEST), str(tree)]
        options = ["-q", "-p", "no:cacheprovider", f"--rootdir={directory}", f"--junit-xml={told}"]
        result = await _command([*begun, check.target, *options], directory, check.timeout_s, tree)
        if result.exit_code is None or result.exit_code < 0:  # it had not ended by itself
            return result
        return report.judged(result, report.read(told))


# --- functions ---------------------------------------------------------------------------------------------------


async def _function(check: Check, directory: Path, functions: Mapping[str, Function]) -> Result:
    function = functions.get(check.target)
    if function is None:
        known = ", ".join(sorted(functions)) or "none"
        return Result(False, False, f"there is no function {check.target!r} among those that were given: {known}")
    late = f"had not returned within {check.timeout_s:g} s; nobody waits for it any more"
    return await within(check.timeout_s, "check", lambda: _called(function, directory), late)


def _called(function: Function, directory: Path) -> Result:
    """In a thread of its own: whatever the function raises, also to end the process, ends here."""
    said = Said()
    try:
        given = function() if _takes_nothing(function) else function(directory)
        if inspect.iscoroutine(given):
            given = asyncio.run(given)
    except BaseException as raised:
        said.add(f"{type(raised).__name__}: {raised}".encode("utf-8", "replace"))
        return said.on(Result(True, False, f"raised {type(raised).__name__}: {raised}"[:200]))
    said.add(f"returned {given!r:.1000}".encode("utf-8", "replace"))
    return said.on(Result(True, given is True, "" if given is True else f"returned {given!r:.100}, which is not True"))


def _takes_nothing(function: Function) -> bool:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True


# --- artefacts ---------------------------------------------------------------------------------------------------


def _matching(check: Check, directory: Path) -> list[str]:
    found = (
        name
        for pattern in check.artefacts
        for name in glob.iglob(pattern, root_dir=directory, recursive=True, include_hidden=True)
    )
    return sorted(set(found))


def _stamps(check: Check, directory: Path) -> dict[str, tuple[int, ...]]:
    return {name: stamp for name in _matching(check, directory) if (stamp := _stamp(directory / name))}


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        there = os.lstat(path)
    except OSError:
        return ()
    return (there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns)


def _made(check: Check, directory: Path, before: Mapping[str, tuple[int, ...]]) -> tuple[Artefact, ...]:
    """The files that are new or were written; none that is reached through a link."""
    made: list[Artefact] = []
    for name in _matching(check, directory):
        if len(made) < ARTEFACTS_MAX and _stamp(directory / name) != before.get(name):
            data = plain_file.seen(directory, name, ARTEFACT_BYTES_MAX).data
            if data is not None:
                made.append(Artefact(name, hashlib.sha256(data).hexdigest(), len(data)))
    return tuple(made)
