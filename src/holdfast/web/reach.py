"""Whether anybody can be reached, as its page shows it."""

from __future__ import annotations

from typing import Any

from holdfast.inbox.measuring import FileMeasures
from holdfast.inbox.report import COLUMNS, outside, shown
from holdfast.protocols import Journal
from holdfast.views.unasked import unasked


def read(journal: Journal, measures: FileMeasures) -> dict[str, Any]:
    """What the template needs; `PolicyInvalid` when the file is wrong."""
    found = measures.now(journal)
    told, state = outside(found.outside, found.at)
    return {
        "chains": [chain._asdict() for chain in shown(found)],
        "columns": COLUMNS,
        "outside": told,
        "outside_state": state,
        "unasked": unasked(journal),
    }
