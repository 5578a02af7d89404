"""What is written together: messages, appends and releases, and what became of each.

A batch is performed on the loop or, when that would have to wait, on a thread: it goes on where it was kept from going
on, and nothing of it is done twice.

Never: knows futures, or who waits.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.core.accept import Posted
from holdfast.errors import InternalError, JournalError, OthersWriting
from holdfast.protocols import Append, Clock, Journal, Lease, Post

PATIENCE_S = 30.0
"""For so long a batch on a thread is tried again while others write; as long as a lease."""

Given = tuple[Lease, float | None]
"""A lease to give back, and when its run is due."""


class Batch:
    """Messages first, then appends, then releases."""

    def __init__(self, posts: Sequence[Post], appends: Sequence[Append], releases: Sequence[Given]) -> None:
        self.posts = posts
        self.appends = appends
        self.releases = list(releases)
        """Those that are not done."""
        self.posted: list[Posted] | JournalError | InternalError | None = None if posts else []
        self.appended: list[JournalError | None] | JournalError | None = None if appends else []

    @property
    def size(self) -> int:
        """How much is to be written."""
        return len(self.posts) + len(self.appends) + len(self.releases)

    def perform(self, journal: Journal) -> None:
        """Do what is not done. `OthersWriting`: the rest is still to be done."""
        if self.posted is None:
            try:
                self.posted = journal.post_all(self.posts)
            except OthersWriting:
                raise
            except (JournalError, InternalError) as error:
                self.posted = error
        if self.appended is None:
            try:
                self.appended = journal.append(self.appends)
            except OthersWriting:
                raise
            except JournalError as error:
                self.appended = error
        self._release(journal)

    def _release(self, journal: Journal) -> None:
        while self.releases:
            try:
                journal.release(*self.releases[0])
            except OthersWriting:
                raise
            except JournalError:
                return  # what is left is owed
            self.releases.pop(0)

    def insist(self, journal: Journal, clock: Clock) -> None:
        """Do it for certain, or until patience is over: then the rest is told that the store was busy."""
        began = clock.monotonic()
        while True:
            try:
                return self.perform(journal)
            except OthersWriting as error:
                if clock.monotonic() - began >= PATIENCE_S:
                    return self.fail(error)

    def fail(self, error: JournalError) -> None:
        """What is not done is not tried again."""
        self.posted = error if self.posted is None else self.posted
        self.appended = error if self.appended is None else self.appended
