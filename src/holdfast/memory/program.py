"""A program in a process group of its own, with a deadline; what it says goes to whoever listens, while it says it.

Unlike `holdfast.command`, it gives no error at its deadline: what was said until then is what somebody wants to read.
When `run` is over, nothing of what it started runs any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from holdfast.runtime.group import Group
from holdfast.runtime.heartbeat import beats, pulse

Listener = Callable[[bytes], object]


async def run(
    argv: Sequence[str],
    limit_s: float,
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdout: Listener,
    stderr: Listener,
    stdin: bytes = b"",
) -> int | None:
    """Its exit code, negative for the signal that ended it; None: its time was over, and all of it was ended. It ends
    with the attempt that it belongs to. `OSError`: it could not be started."""
    told, attempt = beats(), pulse()

    def heard(listener: Listener, data: bytes) -> None:
        listener(data)
        if told is not None:
            told.beat()

    group = Group(
        argv,
        cwd=cwd,
        env=env,
        stdin=stdin,
        stdout=lambda data: heard(stdout, data),
        stderr=lambda data: heard(stderr, data),
    )
    if attempt is not None:
        attempt.attach(group, group.end)
    code: int | None = None
    try:
        async with asyncio.timeout(limit_s):
            code = await asyncio.shield(group.over)
    except TimeoutError:
        pass  # no code says so
    finally:
        await group.ended()
        if attempt is not None:
            attempt.detach(group)
    if attempt is not None and attempt.is_over:
        raise TimeoutError(f"{argv[0]} was ended with the attempt that it belonged to")
    if group.failure is not None:
        raise group.failure
    return code


class Tail:
    """The end of what was said; its beginning goes."""

    def __init__(self, most: int) -> None:
        """most: bytes that are kept."""
        self._most = most
        self._kept = bytearray()
        self._gone = 0

    def add(self, data: bytes) -> None:
        """More of it."""
        self._kept += data
        if len(self._kept) > 2 * self._most:
            self._trim()

    def _trim(self) -> None:
        more = max(len(self._kept) - self._most, 0)
        self._gone += more
        del self._kept[:more]

    @property
    def text(self) -> str:
        """As text, with what is gone said first."""
        self._trim()
        text = self._kept.decode("utf-8", "replace")
        return f"[{self._gone:,} bytes before this are not kept]\n{text}" if self._gone else text
