"""What the engine in memory keeps: one run, and all of a store. Data only; whoever uses it holds the store's lock."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.core.accounts import Account
from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.core.standing import OPEN, Standing
from holdfast.errors import JournalError
from holdfast.journal import refusal
from holdfast.protocols import Cell, Identity, Letter, Mail, Worker

URL = "memory:"


@dataclass(slots=True)
class Run:
    """One run."""

    head: Head
    place: int
    events: list[Event] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    message_ids: set[str] = field(default_factory=set)
    subjects: dict[str, Mail] = field(default_factory=dict)
    read: int = 0
    condensed: int = 0
    """So many messages, all of them read, went when its log was condensed."""
    worker_id: str | None = None
    epoch: int = 0

    @property
    def posted(self) -> int:
        """Number of its last message."""
        return self.condensed + len(self.letters)

    @property
    def unread(self) -> list[Mail]:
        """Its unread mail, oldest first."""
        return [letter.mail for letter in self.letters[self.read - self.condensed :]]

    def take(self, letter: Letter) -> None:
        """One more message."""
        self.letters.append(letter)
        self.message_ids.add(letter.message_id)
        if letter.subject is not None:
            self.subjects[letter.subject] = letter.mail

    def due_at(self, now: float) -> float | None:
        """Since when it may be claimed, None when it may not."""
        times = [mail.at for mail in self.unread[:1]]
        if self.head.wake_at is not None and self.head.wake_at <= now:
            times.append(self.head.wake_at)
        return min(times, default=None)


@dataclass(slots=True)
class Shelf:
    """All of a store."""

    runs: dict[str, Run] = field(default_factory=dict)
    workers: dict[str, tuple[Worker, float]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    put_at: dict[str, float] = field(default_factory=dict)
    """When each blob was last put."""
    cells: dict[str, Cell] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    standing: Standing = OPEN
    identity: Identity | None = None
    """The identity that it took over."""
    is_another: bool = False
    """It was filled with the runs of another store since it was made."""

    @property
    def refused(self) -> JournalError | None:
        """Why nothing may be written."""
        if not self.standing.is_open:
            return refusal.moved(self.standing, URL)
        return refusal.became_another(URL) if self.is_another else None
