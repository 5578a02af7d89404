"""What operators have switched, as this process last saw it: tools that are off, and policies that were set.

The one cell is looked at each time a worker looks for work. A text that cannot be read changes nothing and is told.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from holdfast.core import desk
from holdfast.core.failure import Failure, FailureKind
from holdfast.protocols import Journal
from holdfast.runtime.policies import Policies

_log = logging.getLogger("holdfast")


class Switchboard:
    """The switches of one app."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._version = 0
        self.now = desk.Switches()

    def look(self, journal: Journal) -> None:
        """Take over what is switched now."""
        cell = journal.cell(desk.CELL)
        if cell is None or cell.version == self._version:
            return
        self._version = cell.version
        try:
            self.now = desk.Switches.of(cell.value)
        except (ValueError, TypeError, AttributeError) as wrong:
            _log.warning("What operators have switched cannot be read; what was switched before holds. %r", wrong)
            return
        self._policies.desk = self.now.policies

    def refused(self, tool: str) -> Failure | None:
        """Why this tool is not to be called; None when it may be."""
        off = self.now.off.get(tool)
        if off is None:
            return None
        since = datetime.fromtimestamp(off.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        text = f"{tool} is switched off since {since} by {off.by or 'an operator'}: {off.why}. It was not called."
        return Failure(FailureKind.REFUSED, "SwitchedOff", text, text, because="an operator has switched it off")
