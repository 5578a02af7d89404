"""Every seam of holdfast on one page: what an engine, a clock and a way to tell people must offer.

`Journal` is the waist; at the end, `Upkeep` is for whoever keeps a store and `Index` for whoever searches it. The
invariants of the waist are numbered here and in `holdfast.testing.conformance`, which checks each.

J1  `post` runs `accept` and stores the message in one transaction; a refused message stores nothing.
J2  `post` is idempotent by (run, message id): the second call changes nothing and says so.
J3  At most one stored message of a run has a given `subject` (first valid answer wins).
J4  A run is claimable when it is due or has unread mail, and nobody else holds it; each claim raises the epoch.
    A claim may bring the unread mail along, as `mail` would give it at that moment.
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
J22 `listen` has `ring` called, from any thread, soon after somebody else (who has another journal of the store, also
    another process) has left mail or made a run due at once: after the commit of a post, of an append with posts or
    that gives back a run which is due, of such a release. A hint that may be lost, come twice or for nothing; looking
    once a second is the truth.
J23 `held` tells the leases of all runs that a worker holds, and no others: so a worker that was not told what it
    claimed can find out, and give it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeVar, runtime_checkable

from holdfast.core.accept import Message, Posted
from holdfast.core.accounts import Account as Account
from holdfast.core.accounts import AccountCharge as AccountCharge
from holdfast.core.budget import Limits
from holdfast.core.document import Document
from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.core.query import Query
from holdfast.core.standing import Standing
from holdfast.errors import JournalError

T = TypeVar("T")

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
    mail: Sequence[Mail] | None = field(default=None, compare=False)
    """The run's unread mail as of the claim; None: `mail` has to be asked."""


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


class Append(NamedTuple):
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
    blobs: Mapping[int, str] = MappingProxyType({})
    """By place in `events`: what `put_blob` gave for its body. The others' large bodies are put by the append."""
    charges: Sequence[AccountCharge] = ()
    """What these events change in accounts (J20, J21); only with events, which tell whether the append stands."""
    cells: Mapping[str, str] = MappingProxyType({})
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

    def held(self, worker_id: str) -> list[Lease]:
        """The leases of the runs that this worker holds (J23)."""

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

    def beat(self, every_s: float, call: Callable[[], None]) -> Callable[[], None]:
        """Call again and again, each `every_s` seconds, apart from the loop: also while that is stuck. Gives the
        function that ends it, which comes back when nothing is called any more."""

    async def aside(self, name: str, work: Callable[[], T]) -> T:
        """Do `work` beside the running loop, which goes on; cancelled, it goes on alone."""

    def draw(self) -> float:
        """A random number in [0, 1)."""

    def fresh_id(self) -> str:
        """A new id that nobody else has."""


class Asked(NamedTuple):
    """A question that a run is asking, for whoever tells people of it. Nothing of it is an agent's own words."""

    run: str
    key: str
    agent: str
    question: str
    about: str
    tool: str
    """What waits for the answer; empty when that is the run itself."""
    to: str
    asked_at: float
    expires_at: float | None
    default: str
    """What is taken when nobody answers; empty: nothing is said of that."""
    is_urgent: bool
    alike: str = ""
    """The same for questions that differ in nothing but the run that asks."""


class Roll(Protocol):
    """Whom names stand for."""

    def members(self, names: Sequence[str]) -> Sequence[str]:
        """All people that these names of people, rotas and chains stand for now, also those who are not on call."""


class Escalation(Roll, Protocol):
    """Tells people of what runs ask; `holdfast.inbox` has one.

    The runtime starts a run of `agent` in the append that asks a question, and tells it, in the append that closes the
    question, that it is over. Before an approval is asked for, it is asked whether anybody can be reached.
    """

    @property
    def agent(self) -> Any:
        """The agent whose runs tell people; its name begins with @."""

    @property
    def agents(self) -> Sequence[Any]:
        """All agents whose runs it needs, that one too."""

    @property
    def lasting(self) -> Any | None:
        """The one of them of which a run is to be under way while an app that serves is open; None: there is none."""

    def attach(self, journal: Journal) -> None:
        """Called once, before the first run: the store that questions are looked up in."""

    def opened(self, asked: Asked) -> bytes | None:
        """The input of the run that is to tell people of it, in the codec's bytes; None when nobody is to be told.

        Pure, and called again for the same question it says the same."""

    def unreachable(self, to: str, within_s: float | None) -> str:
        """Why a question to `to` that is asked now, and can be answered for so long, would reach nobody; empty when it
        would, as far as is known. It only reads; asked once before an approval is asked for, and what it says is
        recorded."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a person is told of a question. All of it is ours: no arguments, and no word of a model."""

    id: str
    """The same when it is sent again: whoever gets it twice can tell."""
    thread: str
    """The same for all notices of one question."""
    kind: str
    """created, reminded, escalated, digest (of many questions), probe, or closed."""
    person: str
    """Whom it is for, by name."""
    to: str
    """Where the channel finds them."""
    title: str
    lines: tuple[str, ...]
    link: str
    """Where it can be answered; empty when there is no page."""
    is_urgent: bool
    facts: Mapping[str, Any]
    """For programs: run, question, agent, tool, about, expires_at."""
    earlier: str = ""
    """The reference of the first notice of this thread that the channel took for this person; of `closed`: of the one
    that it is about."""


class Receipt(NamedTuple):
    """What a channel says of a notice that it took. That somebody has read it, no channel is believed."""

    state: str
    """queued, accepted or delivered."""
    reference: str = ""
    """What the channel calls it."""


class Undelivered(Exception):
    """A channel did not take a notice; it may do better later."""

    def __init__(self, said: str, *, after_s: float | None = None) -> None:
        super().__init__(said)
        self.after_s = after_s
        """It has said that it takes nothing before."""
        self.headers = {} if after_s is None else {"Retry-After": f"{after_s:g}"}  # what a retry waits for


class Undeliverable(Undelivered):
    """It will not do better: there is no such address, or what is sent is not understood."""


class Gone(Undeliverable):
    """The receiver wants nothing more, ever. `mark` says which one that was: another one is asked again."""

    def __init__(self, said: str, mark: str) -> None:
        super().__init__(said)
        self.mark = mark


class Channel(Protocol):
    """A way to tell people something."""

    @property
    def name(self) -> str:
        """As `holdfast.toml` has it."""

    @property
    def failure_domain(self) -> str:
        """What it needs: channels that share it fail together."""

    def send(self, notice: Notice) -> Receipt:
        """Hand the notice over; called on a thread, and back within 30 s. `Undelivered` when it was not taken, or
        nobody knows: it is sent again then, under the same id."""


@runtime_checkable
class Amending(Channel, Protocol):
    """A channel that can change what it has sent."""

    def amend(self, notice: Notice) -> None:
        """Put this, of the kind `closed`, in place of `notice.earlier`, in which nobody can answer any more; called on
        a thread. What is not there any more is no error. `Undelivered` as of `Channel.send`; nothing hangs on it."""


class Letter(NamedTuple):
    """A stored message with the names by which it is known."""

    mail: Mail
    message_id: str
    subject: str | None


@dataclass(frozen=True, slots=True)
class Record:
    """All that a store holds of one run."""

    head: Head
    epoch: int
    events: Sequence[Event]
    letters: Sequence[Letter]
    """Its messages in order, those that were read too."""
    mail_read: int
    """Messages up to this number were read; of a run whose log was condensed they are not there any more."""
    holder: str = ""
    """The worker that took it and has not released it; the worker's row does not go along."""


class Identity(NamedTuple):
    """By what a store is known, and what run ids and idempotency keys derive from."""

    id: str
    hash_key: bytes


class Upkeep(Protocol):
    """What an engine offers to whoever keeps the store: `holdfast gc`, `migrate` and `doctor --rebuild`.

    No running agent calls it, and no feature adds to it. Its invariants are numbered here and checked by
    `holdfast.testing.conformance_upkeep`. All but U9 and U10 are about the runs and workers of one tenant.

    U1  `run_ids` names every run once, in the order in which they were made, also while others are made.
    U2  `record` gives all that the store holds of a run as of one moment, all of it checked (J12), also what of the
        head is kept a second time to be searched.
    U3  `install` makes the run that `record` gave, equal in all; whole or not at all; False when the id is there. Runs
        are in the order in which they were installed. One that was held can be claimed at once, as a takeover.
    U4  `condense` replaces the log of a run that has ended, is held by nobody who may be alive (`living`), has no
        unread mail and whose log has `after` events; else False, and nothing is changed. Its messages go. Its place in
        U1 and the numbers of its mail stay; so does its epoch, unless it was held: then it is given back, and its
        holder, should it wake up, writes nothing (J7).
    U5  `mend` writes the head of a run that is held by nobody who may be alive and whose log has `after` events, over
        whatever is there, also over what is damaged; else False, and nothing is changed. Who holds it stays.
    U6  `accounts` and `cells` name all there are, with None for one that is damaged. `put_account` and `put_cell` write
        over `before`, or over what is damaged; else False. With a `mark`, an account is written only while `mark`
        still gives that text: it is another one after each claim, append and start.
    U7  `sweep_blobs` removes the blobs that no row names and that were last put before a time, and no others; one whose
        time is not known counts as put at its first sweep. Tells how many and how many bytes.
    U8  `compact` gives the space of what was removed back to the system. Nothing that can be read is changed.
    U9  While a store is not open, every write of runs, mail, leases, cells, accounts and blobs, of every process, also
        of one that had it open before, is refused with `StoreMoved`; reading goes on. `pass_on` changes where it
        stands if that is `before` and `core.standing.may_become` allows it; never to leave a store while a worker that
        may be alive (`living`) holds a run, nor to fill one that holds anything. Only a store that is being filled can
        be filled (U3, U10); `condense`, `mend`, `sweep_blobs` and `sweep_workers` need one that is open.
    U10 `take_identity` gives an empty store that is being filled the identity of another one. Journals that had the
        store open before are refused to write (U9).
    U11 `sweep_workers` removes the rows of workers that no run names and that are proven dead, or whose lease ended
        before a time, and no others: none that is renewed or claims meanwhile. Tells how many. A worker that was only
        stopped has its row again when it registers; it held nothing, so nothing comes back to it (J7).
    """

    def tenants(self) -> list[str]:
        """The tenants that have runs, cells or accounts here, in order."""

    def run_ids(self, after: str = "", limit: int = 1_000) -> list[str]:
        """The first `limit` of those after the run `after`, or of all (U1)."""

    def record(self, run_id: str) -> Record | None:
        """All of a run; None when there is no such run (U2)."""

    def install(self, record: Record) -> bool:
        """Make a run; whether it did (U3)."""

    def condense(self, run_id: str, after: int, events: Sequence[Event], head: Head) -> bool:
        """Replace the log of an ended run; whether it did (U4)."""

    def mend(self, run_id: str, after: int, head: Head) -> bool:
        """Write a head; whether it did (U5)."""

    def accounts(self) -> dict[str, Account | None]:
        """All accounts by key (U6)."""

    def put_account(self, key: str, before: Account | None, account: Account, mark: str = "") -> bool:
        """Write an account; whether it did (U6)."""

    def cells(self) -> dict[str, Cell | None]:
        """All cells by name (U6)."""

    def put_cell(self, name: str, before: Cell | None, cell: Cell) -> bool:
        """Write a cell with its version; whether it did (U6)."""

    def mark(self) -> str:
        """A text that is another one when a log may have changed (U6)."""

    def sweep_blobs(self, put_before: float) -> tuple[int, int]:
        """Remove what nothing names; how many blobs, and how many bytes (U7)."""

    def sweep_workers(self, expired_before: float, *, is_trial: bool = False) -> int:
        """Remove the rows of workers that are gone; how many, or in a trial how many it would be (U11)."""

    def compact(self) -> None:
        """Give space back (U8)."""

    def living(self) -> list[Worker]:
        """Workers, of all tenants, that hold a run and whose lease is valid and who are not proven dead."""

    def standing(self) -> Standing:
        """Whether the store is open (U9)."""

    def pass_on(self, before: Standing, after: Standing) -> bool:
        """Change where the store stands; whether it did (U9)."""

    def identity(self) -> Identity:
        """What the store is known by."""

    def take_identity(self, identity: Identity) -> bool:
        """Become the store of that identity; whether it did (U10)."""


class Behind(NamedTuple):
    """A run whose document is not of its log as it is now."""

    run_id: str
    mark: str
    """Of that log."""


class Index(Protocol):
    """Past runs, to be searched: documents of one tenant, made by whoever searches and kept by the engine.

    A reader of the logs with a place of its own, and never in `append`: it is behind until somebody looks. Its
    invariants are numbered here and checked by `holdfast.testing.conformance_index`.

    I1  `behind` names each run of the tenant whose document is missing or was put under another mark than its log has
        now, and no others. A log that was added to or replaced has another mark. It names no run that is not there.
    I2  `put` replaces the documents of these runs: all of a call or none, and nothing of what was before is found.
    I3  `find` gives the documents that were put and that `core.query.fits`, in the order that is asked for, at most
        the limit: none of another tenant, none that is forgotten, none of a run that is not in the store any more as
        of the last `behind`.
    I4  What a query says is a value: no text of it changes what is asked.
    I5  It is a cache. When it is missing, damaged, of another version or of another store, it is made anew: `put` is
        False then, or `find` None, and all is behind. What was changed in it is never handed out.
    I6  Several may use it at once, also several processes, and what one of them is told is never of another tenant.
    """

    @property
    def is_made(self) -> bool:
        """Whether there is an index; to ask makes none."""

    def behind(self) -> list[Behind]:
        """What has to be put before `find` tells all (I1)."""

    def put(self, documents: Sequence[Document]) -> bool:
        """Keep documents (I2); False when the index had to be made anew (I5)."""

    def find(self, query: Query) -> list[Document] | None:
        """What matches (I3, I4); None when the index had to be made anew (I5)."""

    def clear(self) -> None:
        """Let all be behind. Makes no index."""

    def close(self) -> None:
        """Close what is open; a second call does nothing."""
