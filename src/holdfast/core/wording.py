"""Words of a brief: checks, evidence, times, and rows of records, which nobody promises to be well formed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from holdfast.core.board import Item
from holdfast.core.drawn import safe_text
from holdfast.core.duration import span
from holdfast.core.excerpt import clipped, code, quoted
from holdfast.core.feature import Check

WHY_BYTES: Final = 160
_COMMIT_LENGTH: Final = 10
_PATHS_SHOWN: Final = 10


def check(check: Check) -> str:
    """A check, in words."""
    contains = f", contains {quoted(check.contains)}" if check.contains else ""
    more = f" (status {check.status}{contains})" if check.kind == "http" else ""
    return f"{check.kind} {code(check.target)}{more}"


def ground(check: Check) -> str:
    """Where a check is performed, in words; empty: nowhere."""
    if check.kind == "http":
        return ""
    if check.in_tree:
        return "its check runs in the working tree, with all that git ignores"
    kept = f", beside {some(check.keep)} of the working tree" if check.keep else ""
    return f"its check runs in a checkout of what is committed: nothing that git ignores is there{kept}"


def proof_of(item: Item, now: float) -> str:
    proof = item.proof
    assert proof is not None
    said = "passed" if proof.passed else f"did not pass: {quoted(proof.because)}"
    where = f" on commit {short_commit(proof.commit)}" if proof.commit else ""
    flaky = "; it says one thing and then another of the same tree" if item.is_flaky else ""
    return f"{said}{where}, {by(proof.session)}, {ago(proof.at, now)}{flaky}"


def rows(digest: Mapping[str, Any], key: str, width: int) -> list[list[str]]:
    """Rows of a digest, of which nobody promises that they are well formed."""
    rows = digest.get(key, ())
    if not isinstance(rows, Iterable) or isinstance(rows, str | Mapping):
        return []
    listed = [row if isinstance(row, list | tuple) else [row] for row in rows]
    return [[str(part) for part in row[:width]] for row in listed if len(row) >= width]


def some(names: Sequence[str]) -> str:
    more = len(names) - _PATHS_SHOWN
    return ", ".join(quoted(name, 100) for name in names[:_PATHS_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def by(session: int) -> str:
    return f"session {session}" if session else "outside of every session"


def ago(at: float, now: float) -> str:
    return f"{lasting(at, now)} ago"


def lasting(at: float, now: float) -> str:
    return span(round(max(0.0, now - at)))


def short_commit(commit: str) -> str:
    return safe_text(commit[:_COMMIT_LENGTH])


def ours(text: str) -> str:
    """Words of ours, on one line."""
    return clipped(safe_text(text), WHY_BYTES)
