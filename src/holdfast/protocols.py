"""Every seam of holdfast on one page: what an engine and a clock must offer.

`Journal` is the waist. Its invariants are numbered here and in `holdfast.testing.conformance`, which checks each.

J1  `post` runs `accept` and stores the message in one transaction; a refused message stores nothing.
J2  `post` is idempotent by (run, message id): the second call changes nothing and says so.
J3  At most one stored message of a run has a given `subject` (first valid answer wins).
J4  A run is claimable when it is due or has unread mail, and nobody else holds it; each claim raises the epoch.
J5  An owner is replaced at once only when it is proven dead, otherwise when its worker's lease has expired. The claim
    tells when that lease ends or has ended.
J6  `append` is all or nothing per append: events, head, read mail and posts together.
J7  An append of a stale epoch is refused with `LeaseLost` and writes nothing.
J8  An append that ends a run with unread mail is refused with `MailWaiting` and writes nothing.
J9  In a group each append is checked before it writes and fails alone; the others are written.
J10 When `append` or `post` returns, what it wrote survives the death of the process and of the machine.
J11 `events` gives back exactly what was appended, in order, without gaps.
J12 Bytes that were changed behind the engine's back are found (`JournalCorrupt`), never handed out.
J13 A commit whose outcome is not known is read back by key; it is never repeated blindly.
J14 A store of a newer schema, or of somebody else, is refused before anything is written.
J15 `release` gives a run back with a time to wake; a released run is claimable from then on. An append with
    `releases` does so in its own transaction, with the wake time of its head.
J16 `unread` names the runs that a worker holds and that have unread mail, and no others.
J17 `put_blob` names bytes by their SHA-256: put again, they are the same blob. `get_blob` gives back those bytes, or
    `JournalCorrupt` when they were changed or are not there (for this tenant). A blob that nothing names is harmless.
J18 Bodies of more than `BODY_IN_ROW_MAX` bytes live in blobs, which nobody above the engine notices. An append or post
    may name blobs that hold its bodies already; one that names a blob which is not there is refused (J6, J9).
J19 A cell is one small text under a name. Each write raises its version by one, the first makes it 1. An append sets
    cells in its own transaction (J6); `swap` writes only over the version that it names, and says whether it did.
J20 The charges of an append are added to their accounts in its own transaction, or not at all (J6). One that states
    limits sets them; the limits in force are those of the account that it names as its `cap`, else its own.
J21 An append that asks for more than some account has room for is refused with `BudgetRefused` and writes nothing. In
    a group, and of several writers, each is judged after those before it. What asks for nothing is never refused.
J22 `listen` has `ring` called, from any thread, soon after somebody (also another process) has left mail or made a run
    due at once: after the commit of a post, of an append with posts or that gives back a run which is due, of such a
    release. A hint that may be lost, come twice or for nothing; looking once a second is the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from holdfast.core.accept import Message, Posted
from holdfast.core.accounts import Account as Account
from holdfast.core.accounts import AccountCharge as AccountCharge
from holdfast.core.budget import Limits
from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.errors import JournalError

BODY_IN_ROW_MAX: Final = 256 * 1024
"""Larger bodies of events and messages are blobs. The runtime puts them first, on a thread."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Who works: enough to prove, on the same machine, that it is dead."""

    id: str
    boot_id: str = ""
    """Changes with each start of the machine; empty where the system has none."""
    pid_namespace: str = ""
    pid: int = 0
    started: str = ""
    """Start time of the process as the kernel tells it; guards against a reused pid."""
    host: str = ""


class Lease(NamedTuple):
    """The right to append to one run, until a later epoch exists."""

    run_id: str
    worker_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this worker now holds."""

    lease: Lease
    head: Head
    is_takeover: bool
    """Whether the last owner went without a release, so that something may have been in flight."""
    held_until: float | None = None
    """Of a takeover: when the last owner's lease ends or has ended; None when it is not known."""


class Mail(NamedTuple):
    """A stored message: its number within the run, and when it was accepted."""

    number: int
    at: float
    message: Message


@dataclass(frozen=True, slots=True)
class Post:
    """A message to a run, as part of an append."""

    run_id: str
    message_id: str
    message: Message
    blob: str = ""
    """What `put_blob` gave for its body; empty when it was not put."""


class Cell(NamedTuple):
    """A small text that everybody of a tenant shares, and how often it was written."""

    version: int
    value: str


@dataclass(frozen=True, slots=True)
class Append:
    """What one writer wants to add to one run; all of it or nothing."""

    lease: Lease
    after: int
    """Number of events that the writer believes the run has."""
    events: Sequence[Event]
    head: Head
    """The run's facts after these events, computed by the core."""
    mail_read: int = 0
    """Mail up to this number is answered by these events."""
    posts: Sequence[Post] = ()
    releases: bool = False
    """Give the run back, due at the head's `wake_at`."""
    blobs: Mapping[int, str] = field(default_factory=dict)
    """By place in `events`: what `put_blob` gave for its body. The others' large bodies are put by the append."""
    charges: Sequence[AccountCharge] = ()
    """What these events change in accounts (J20, J21); only with events, which tell whether the append stands."""
    cells: Mapping[str, str] = field(default_factory=dict)
    """Cells to be set, by name (J19); only with events."""


class Journal(Protocol):
    """Where runs are written. Calls are synchronous, safe from any thread, and never retried blindly."""

    @property
    def hash_key(self) -> bytes:
        """The store's own 32 random bytes; run ids and idempotency keys derive from it."""

    def now(self) -> float:
        """The store's clock, seconds since the epoch, UTC."""

    def post(self, run_id: str, message_id: str, message: Message) -> Posted:
        """Offer a message to a run; see J1–J3."""

    def post_all(self, posts: Sequence[Post]) -> list[Posted]:
        """Offer several messages in one transaction; each is judged by itself, after those before it."""

    def register(self, worker: Worker, ttl_s: float) -> None:
        """Create or renew the worker's one lease row; it expires `ttl_s` seconds from the store's now."""

    def retire(self, worker_id: str) -> None:
        """Remove the worker's row; what it still holds may be claimed at once."""

    def claim(
        self,
        worker_id: str,
        *,
        run_ids: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        limit: int = 100,
    ) -> list[Claim]:
        """Take runs that may be taken (J4, J5), of these ids or these agents, the longest due first."""

    def release(self, lease: Lease, wake_at: float | None) -> None:
        """Give a run back; due again at `wake_at`, or only on mail when None. A stale lease changes nothing."""

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        """Write a group in one transaction; for each append None or why it was refused (J6–J10)."""

    def events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """The run's events with a number above `after`, in order, at most the first `limit` of them (J11, J12)."""

    def put_blob(self, data: bytes) -> str:
        """Keep bytes; the name by which an append, a post or `get_blob` finds them (J10, J17). Keeps no other writer
        waiting for long, so that it can be called on a thread while others append."""

    def get_blob(self, ref: str) -> bytes:
        """The bytes that `put_blob` gave this name to (J12, J17)."""

    def account(self, key: str) -> Account | None:
        """What was charged to an account, and its caps; None when nobody has (J20)."""

    def cap(self, key: str, limits: Limits) -> None:
        """Set the caps of an account outside of any append; doing it again changes nothing."""

    def cell(self, name: str) -> Cell | None:
        """A cell, None when there is none (J19)."""

    def swap(self, name: str, version: int, value: str) -> bool:
        """Write a cell if its version is still `version` (0: there is none yet); whether it did (J19).

        False is said also when the own commit's outcome was unknown and somebody else wrote after it."""

    def mail(self, run_id: str) -> list[Mail]:
        """The run's unread mail, oldest first."""

    def unread(self, worker_id: str) -> list[str]:
        """Ids of the runs that this worker holds and that have unread mail (J16)."""

    def head(self, run_id: str) -> Head | None:
        """The run's head, None when there is no such run."""

    def heads(
        self, *, prefix: str = "", key: str | None = None, status: str | None = None, limit: int = 200
    ) -> list[Head]:
        """Heads by exact key, by the beginning of their id, or by status; newest first."""

    def owner(self, run_id: str) -> tuple[Worker, float] | None:
        """Who holds the run, and until when; None when nobody does."""

    def listen(self, ring: Callable[[], None]) -> Callable[[], None]:
        """Call `ring` when there may be work (J22); it returns soon and never raises. Gives the function that ends it:
        once that has returned, `ring` is not called any more."""

    def facts(self) -> dict[str, Any]:
        """What `doctor` prints: engine, version, schema, counts, problems found."""

    def close(self) -> None:
        """Close connections; a second call does nothing."""


class Clock(Protocol):
    """Time, chance and ids: the only place where holdfast meets them."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back on the running loop after `delay_s`; gives the function that calls it off."""

    def draw(self) -> float:
        """A random number in [0, 1)."""

    def fresh_id(self) -> str:
        """A new id that nobody else has."""
