"""What is asked in the runs that a run waits for: whoever looks at the parent is to see whom it waits for.

It reads the records of open children, and theirs; never of more than `RUNS_MAX`, since it is for people.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from holdfast.cli.answer import how_to_answer

if TYPE_CHECKING:
    from holdfast.protocols import Journal

RUNS_MAX = 50
"""Runs that are looked at."""


def asked_below(journal: Journal, run_id: str) -> list[str]:
    """The open questions of the runs below this one in lines, each with whose it is and how to answer it."""
    from holdfast.core.state import fold
    from holdfast.views.show import question  # loads the codec

    lines: list[str] = []
    waiting, looked = deque(sorted(fold(journal.events(run_id)).open_children)), 0
    while waiting and looked < RUNS_MAX:
        looked += 1
        head = journal.head(waiting.popleft())
        if head is None or head.status.is_end:
            continue
        for asked in head.questions:
            first, *ways = how_to_answer(question(asked), head.run_id, journal.now())
            lines += [f"of {head.run_id} ({head.key}): {first}", *ways]
        waiting.extend(sorted(fold(journal.events(head.run_id)).open_children))
    return lines
