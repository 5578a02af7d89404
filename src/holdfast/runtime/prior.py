"""`run.prior`: what earlier runs of the same agent did, read off their records by the search index.

It reads, on a thread of the driver's, as one step: on replay the run is told what it was told.
"""

from __future__ import annotations

from typing import Any

from holdfast.core import prior, query
from holdfast.core.digest import digest_of
from holdfast.core.document import Found
from holdfast.core.prior import Earlier
from holdfast.core.state import fold
from holdfast.errors import JournalCorrupt, UsageError
from holdfast.journal.lookup import search
from holdfast.protocols import Journal


def checked(tokens: Any) -> int:
    """The number of tokens; UsageError when nothing could be told in them, or everything twice."""
    is_number = isinstance(tokens, int) and not isinstance(tokens, bool)
    if not is_number or not prior.TOKENS_MIN <= tokens <= prior.TOKENS_MAX:
        bounds = f"{prior.TOKENS_MIN} to {prior.TOKENS_MAX}"
        raise UsageError(f"run.prior(tokens={tokens!r}) takes a number from {bounds}. It was not begun.")
    return int(tokens)


def earlier(journal: Journal, agent: str, own: str, tokens: int) -> str:
    """What the newest runs of this agent did, without the run `own`."""
    now = journal.now()
    asked = query.read("", {"agent": agent, "sort": "newest", "limit": prior.RUNS_MAX + 1}, now)
    others = [found for found in search(journal, asked).found if found.run_id != own][: prior.RUNS_MAX]
    return prior.prior(agent, [_read(journal, found) for found in others], now, tokens).text


def _read(journal: Journal, found: Found) -> Earlier:
    try:
        digest = digest_of(fold(journal.events(found.run_id)))
    except JournalCorrupt:
        digest = {}
    return Earlier(found.run_id, found.key, found.updated_at, digest)
