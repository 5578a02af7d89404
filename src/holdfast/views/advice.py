"""How much an approval is worth: whether a tool of an agent could have written it by itself."""

from __future__ import annotations

from typing import Final

from holdfast.protocols import Journal

ADVISORY: Final = (
    "Approvals are advisory here: the store is a file, and whatever runs as a user who may write it, a tool of an "
    "agent too, could write an answer."
)


def advice(journal: Journal) -> str:
    """What whoever approves should know; empty where the store has users of its own, and tools are none of them."""
    return ADVISORY if getattr(journal, "path", "") else ""  # only an engine of files has one
