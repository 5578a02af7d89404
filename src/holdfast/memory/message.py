"""Messages of commits, with trailers at their end that programs read. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from holdfast.errors import UsageError

KEY: Final = "Holdfast-Key"
"""Two commits with the same one are the same commit, made twice."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_LINE = re.compile(r"([A-Za-z][A-Za-z0-9-]*): (.*)")


def written(message: str, trailers: Mapping[str, str]) -> str:
    """The message with its trailers; what git could not store in one is replaced, and line ends in a trailer too."""
    if wrong := [name for name in trailers if not _NAME.fullmatch(name)]:
        raise UsageError(f"{wrong[0]!r} is no name of a trailer: letters, digits and dashes. Nothing was done.")
    lines = "\n".join(f"{name}: {' '.join(value.split())}" for name, value in trailers.items())
    text = f"{message.strip() or 'holdfast'}\n\n{lines}".strip() + "\n"
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def trailers_of(text: str) -> dict[str, str]:
    """The trailers of a message: the lines of its last paragraph, when all of them are such."""
    _, _, last = text.strip().rpartition("\n\n")
    found = [_LINE.fullmatch(line) for line in last.splitlines()]
    return {match[1]: match[2].strip() for match in found if match} if all(found) else {}
