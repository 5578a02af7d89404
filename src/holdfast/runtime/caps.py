"""What a process must know, before a call, of the caps that all runs of its tenant have together.

The store holds these caps and keeps them (`core.accounts`). Here one thing must be known: with a cap in dollars, a
model whose price nobody knows is not asked. Looked up anew each time that a worker looks for work.
"""

from __future__ import annotations

from holdfast.core.books import DAY, TOTAL
from holdfast.protocols import Journal


class Caps:
    """Of one app."""

    def __init__(self) -> None:
        self.is_priced = False
        """One of them is in dollars."""

    def look(self, journal: Journal) -> None:
        """Take over what is set now."""
        accounts = [journal.account(key) for key in (DAY, TOTAL)]
        self.is_priced = any(account is not None and account.limits.usd_nano is not None for account in accounts)
