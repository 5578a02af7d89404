"""Searching past runs: the index is brought up to date with the logs, and asked.

Invariants
1. What is told is of the logs as they were when the search began, or newer.
2. An index that has to be made anew is, and is asked only once it is whole.
3. A run that cannot be read is told by its id, and in no other way; it is tried again by each search.
4. Of many who search at once in a process one reads what is behind, and the others wait for it, for `PATIENCE_S`.
5. A run that others write to meanwhile keeps nobody waiting: each run is brought up to date once in a search.
"""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

from holdfast.core.accept import MessageKind
from holdfast.core.document import Document, Found, document, found
from holdfast.core.query import Query
from holdfast.errors import JournalCorrupt, StoreUnreachable
from holdfast.journal.open import index_of
from holdfast.protocols import Behind, Index, Journal

PAGE: Final = 50
PATIENCE_S: Final = 30.0
_ATTEMPTS: Final = 3
_READING = threading.Lock()


class Looked(NamedTuple):
    """What a search found."""

    found: list[Found]
    unread: list[str]
    """Ids of runs that are damaged: whether they match, nobody knows."""


def search(journal: Journal, query: Query) -> Looked:
    """What matches, of the runs of the journal's tenant."""
    index = index_of(journal)
    try:
        for _ in range(_ATTEMPTS):
            unread = catch_up(journal, index)
            matching = None if unread is None else index.find(query)
            if unread is not None and matching is not None:
                return Looked([found(each, query) for each in matching], unread)
    finally:
        index.close()
    raise StoreUnreachable(
        "The search index could not be kept: it was found damaged again and again. The store itself is not concerned. "
        "Remove the file that ends in -search beside the store, or look with `holdfast ls`."
    )


def catch_up(journal: Journal, index: Index) -> list[str] | None:
    """Put what is behind; the ids of runs that cannot be read. None: the index had to be made anew, so all is behind
    again."""
    is_first = _READING.acquire(timeout=PATIENCE_S)  # after a fork nobody may be left to release it
    try:
        return _caught_up(journal, index)
    finally:
        if is_first:
            _READING.release()


def _caught_up(journal: Journal, index: Index) -> list[str] | None:
    unread: list[str] = []
    behind = index.behind()
    for first in range(0, len(behind), PAGE):
        page = [_document(journal, each, unread) for each in behind[first : first + PAGE]]
        documents = [each for each in page if each is not None]
        if documents and not index.put(documents):
            return None
    return unread


def _document(journal: Journal, behind: Behind, unread: list[str]) -> Document | None:
    """The mark was read before the log: a log that has grown meanwhile is behind again."""
    try:
        head = journal.head(behind.run_id)
        events = journal.events(behind.run_id)
        letters = journal.mail(behind.run_id) if head is not None and not events else []
    except JournalCorrupt:
        unread.append(behind.run_id)
        return None
    asked = next((each.message.body for each in letters if each.message.kind is MessageKind.START), None)
    return None if head is None else document(head, events, behind.mark, asked)
