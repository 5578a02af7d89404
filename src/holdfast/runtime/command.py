"""`command()`: a program that a tool runs, in a process group of its own, which ends when the attempt does."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core.policy import Duration, seconds
from holdfast.errors import PolicyInvalid, UsageError
from holdfast.runtime.group import Group
from holdfast.runtime.heartbeat import beats, pulse

OUTPUT_MAX = 1_000_000
TAIL = 2_000
"""Characters of its stderr that the error of a failed command shows."""


@dataclass(frozen=True, slots=True)
class CommandDone:
    """How a command ended."""

    code: int
    """Its exit code; negative: the signal that ended it."""
    stdout: str
    stderr: str


class CommandFailed(subprocess.CalledProcessError):
    """With `check=True`: the command ended with another code than 0."""

    def __str__(self) -> str:
        said = f": {self.stderr.strip()[-TAIL:]}" if self.stderr else ""
        return f"{self.cmd[0]} ended with code {self.returncode}{said}"


async def command(
    argv: Sequence[str | os.PathLike[str]],
    *,
    timeout: Duration,
    input: str | bytes | None = None,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    output_max: int = OUTPUT_MAX,
    check: bool = False,
) -> CommandDone:
    """Run a program, and give its exit code and what it wrote; another code than 0 is data, unless `check=True`.

    It runs in a process group of its own. All of the group is ended, with SIGTERM and two seconds later with SIGKILL,
    when `timeout` is over (`TimeoutError`), when the attempt of the tool is over or cut short, and when this process
    dies. There is no shell: write ["sh", "-c", text] for one, and never with text of a model. input: for its stdin.
    env: all of its environment; ours when left out. output_max: bytes that are kept of stdout and of stderr, from the
    beginning and the end; how much was cut stands between them. What it writes counts as a `heartbeat`.

    In a plain `def` tool write `asyncio.run(holdfast.command(…))`.
    """
    limit_s, words = _checked(argv, timeout, output_max)
    told, attempt = beats(), pulse()
    out, err = _Kept(output_max), _Kept(output_max)

    def into(kept: _Kept, data: bytes) -> None:
        kept.add(data)
        if told is not None:
            told.beat()

    group = Group(
        words,
        cwd=cwd,
        env=env,
        stdin=input.encode() if isinstance(input, str) else input or b"",
        stdout=lambda data: into(out, data),
        stderr=lambda data: into(err, data),
    )
    if attempt is not None:
        attempt.attach(group, group.end)
    try:
        async with asyncio.timeout(limit_s):
            code = await asyncio.shield(group.over)
    except TimeoutError:
        raise TimeoutError(
            f"{words[0]} had not ended within timeout={limit_s:g} s; its process group was ended"
        ) from None
    finally:
        await group.ended()
        if attempt is not None:
            attempt.detach(group)
    if attempt is not None and attempt.is_over:
        raise TimeoutError(f"{words[0]} was ended with the attempt that it belonged to")
    if group.failure is not None:
        raise OSError(group.failure.errno, f"{group.failure.strerror}. Nothing was run", words[0])
    done = CommandDone(code, out.text, err.text)
    if check and code != 0:
        raise CommandFailed(code, words, done.stdout, done.stderr)
    return done


def _checked(argv: Any, timeout: Any, output_max: Any) -> tuple[float, list[str]]:
    limit_s = seconds(timeout, "timeout")
    if limit_s == 0:
        raise PolicyInvalid(f"timeout={timeout!r} leaves no time at all. Nothing was run. Give more than 0 seconds.")
    if not isinstance(output_max, int) or isinstance(output_max, bool) or output_max < 0:
        raise PolicyInvalid(f"output_max={output_max!r} is no number of bytes. Nothing was run.")
    if isinstance(argv, (str, bytes)) or not argv:
        raise UsageError(
            f"command({argv!r}) is no list of words. Nothing was run. Write command(['git', 'status'], timeout=…); "
            "there is no shell, so nothing in a word is special."
        )
    return limit_s, [os.fspath(word) for word in argv]


class _Kept:
    """What a program wrote, as far as it is kept: the beginning and the end."""

    def __init__(self, size: int) -> None:
        self._room = size - size // 2
        self._tail_max = size // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._cut = 0

    def add(self, data: bytes) -> None:
        """More of it."""
        kept = data[: self._room - len(self._head)]
        self._head += kept
        self._tail += data[len(kept) :]
        over = len(self._tail) - self._tail_max
        if over > 0:
            self._cut += over
            del self._tail[:over]

    @property
    def text(self) -> str:
        """As text; what is no UTF-8 is shown as `\\ufffd`."""
        head, tail = self._head.decode("utf-8", "replace"), self._tail.decode("utf-8", "replace")
        return f"{head}\n[… {self._cut} bytes were cut …]\n{tail}" if self._cut else head + tail
