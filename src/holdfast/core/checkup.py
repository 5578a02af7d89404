"""Whether holdfast does what people rely on, by what it finds of itself. Pure.

Looked at before anybody outside is told that it lives: a process that is alive and stuck must be missed as one that is
dead. What is wrong is told in words that are harmless to whoever reads them: no key, no name, no argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.core.duration import span

LIMIT_S: Final = 600.0
"""So late may a question's deadline be carried out, and a chain's next notice be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What it has found of itself."""

    overdue_s: float = 0.0
    """For how long the oldest question is open whose time is over."""
    behind_s: float = 0.0
    """For how long a run is due, and not driven, that tells people of something."""
    without_anybody: Sequence[str] = ()
    """Chains that nobody is there for now."""
    problems: int = 0
    """What the store says is wrong with it, its free space too."""


def wrong(found: Found) -> list[str]:
    """What is wrong, each as a line; nothing when all is well."""
    return list(_wrong(found))


def _wrong(found: Found) -> Iterator[str]:
    if found.overdue_s > LIMIT_S:
        yield f"a question is open {span(found.overdue_s)} after its time: no worker carries its default out"
    if found.behind_s > LIMIT_S:
        yield f"a chain is {span(found.behind_s)} behind: no worker tells people of a question"
    if found.without_anybody:
        yield f"{len(found.without_anybody)} of the chains have nobody who is there now"
    if found.problems:
        yield "the store is unwell; holdfast doctor says how"
