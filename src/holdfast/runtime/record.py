"""A run's record as its one writer sees it: the folded state, and the events that are not yet committed.

Invariants
1. `state` holds every event that was added; nothing of it may leave before `write` came back.
2. Before any other event that may follow from it stands what the agent has had of its open streams.
3. After a refusal (a lost lease, a store that does not answer) nothing more is written.
4. What is added while an append is under way is not written with it, and is not lost.
5. What tells people of a question begins in the append that asks it, and hears in the one that closes it that it is
   over.
6. Each append charges to the accounts exactly what its events change in the run's books. What an account has no room
   for was not begun: the record says so before anything else is written, and `unpaid` tells the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from holdfast.core.accounts import excess_of
from holdfast.core.charges import charged, charges, is_asking
from holdfast.core.events import NOTHING, Address, Effect, Event, Kind, StepKind, meta
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.heads import Status
from holdfast.core.state import State
from holdfast.errors import BudgetRefused, InternalError, JournalError, MailWaiting
from holdfast.protocols import BODY_IN_ROW_MAX, AccountCharge, Append, Lease, Post
from holdfast.runtime import escalating
from holdfast.runtime.settings import Services

OUTCOMES = frozenset(
    {Kind.STEP_SUCCEEDED, Kind.STEP_FAILED, Kind.STEP_STREAMED, Kind.QUESTION_CLOSED, Kind.NOTE_WRITTEN}
)


def is_outcome(event: Event) -> bool:
    """Whether a step's caller gets something by it."""
    return event.kind in OUTCOMES or (event.kind is Kind.DECIDED and event.step is StepKind.DECISION)


class Stream(Protocol):
    """An answer that its caller gets while it comes in."""

    address: Address
    asked: int
    """How many calls the agent had made when it got the beginning."""

    def take_part(self) -> bytes | None:
        """What the caller has had of it since the last time, at first also nothing but that it opened; else None."""


_NO_BLOBS: Mapping[int, str] = {}
_NO_CELLS: Mapping[str, str] = {}


class Record:
    """The writer of one run."""

    def __init__(self, services: Services, lease: Lease, state: State) -> None:
        self.services = services
        self.now: Callable[[], float] = services.clock.now
        """The time by the store's clock."""
        self.lease = lease
        self.state = state
        self.mail_seen = 0
        """Mail up to this number was looked at."""
        self.mail_read = 0
        """Mail up to this number is answered by what is added, and marked so with the next append."""
        self.is_last = False
        """The next append gives the run back."""
        self.is_given_back = False
        self.refusal: JournalError | InternalError | None = None
        self.is_lone = True
        """See `scribe.Writer`; kept by the driver."""
        self.asked: Callable[[str], int] = lambda scope: 0
        """How many calls the agent has made in a scope; the driver's machine counts them."""
        self.streams: list[Stream] = []
        """Those that are open: whatever is recorded next may follow from what was read of them."""
        self.large: dict[int, bytes] = {}
        """See `scribe.Writer`: by place among the unwritten."""
        self.unpaid: dict[Address, BudgetRefused] = {}
        """Steps whose reservation an account refused, until they are told."""
        self._blobs: dict[int, str] = {}
        self._cells: dict[str, str] = {}
        self._unwritten: list[Event] = []
        self._posts: list[Post] = []
        self._before_end = (0, 0)
        """How many events and posts the end of the run was added after."""
        self.is_awake = state.status is Status.RUNNING
        """What is in the store says that the run is at work: whoever takes it over knows that something may have been
        under way."""
        self._taken: Append | None = None
        """What the scribe has; more may be added before it is written."""
        self._owed_then = 0
        """`reads_owed` when it took that."""
        self.reads_owed = 0
        """Reads without an intent that are over, while what became of them is not yet written: of these, too, the store
        knows no more than the allowance."""
        self._written = state.count
        self._charged = self._charging = charged(state)
        """What is in the accounts, and what is with the append that was taken."""
        self._mail_written = 0
        self._writing = 0

    @property
    def has_unwritten(self) -> bool:
        """Whether an append is due."""
        return bool(self._unwritten) or self.mail_read > self._mail_written

    def left(self) -> list[tuple[Event, str]]:
        """What was added and is not written, each with the name of its blob where that was put."""
        return [(event, self._blobs.get(place, "")) for place, event in enumerate(self._unwritten)]

    def add(self, event: Event) -> None:
        """Take an event in; it is written with the next `write`."""
        # that a run is suspended we say by ourselves: nothing was done about what was read
        if self.streams and event.kind is not Kind.RUN_SUSPENDED:
            self._add_parts(event.address)
        is_told = is_outcome(event)
        self.add_heard(event.heard_after(self._asked_before(event.address)) if is_told else event)
        if self.streams and is_told:
            self.streams = [stream for stream in self.streams if stream.address != event.address]

    def _add_parts(self, address: Address | None) -> None:
        for stream in self.streams:
            if stream.address != address and (part := stream.take_part()) is not None:
                told = Event(Kind.STEP_STREAMED, self.now(), stream.address, StepKind.MODEL, Effect.READ, body=part)
                self.add_heard(told.heard_after(self._asked_before(stream.address)))

    def add_heard(self, event: Event) -> None:
        """Take in an event that says by itself after how many calls it was heard."""
        open_before = tuple(self.state.questions) if event.kind is Kind.RUN_ENDED else ()
        self.state.apply(event)
        if event.kind is Kind.RUN_ENDED:
            self._before_end = len(self._unwritten), len(self._posts)
        if self.services.escalation is not None and not self.state.agent.startswith("@"):
            self._escalate(event, open_before)
        if event.body is not None and len(event.body) > BODY_IN_ROW_MAX:
            self.large[len(self._unwritten)] = event.body
        self._unwritten.append(event)

    def _escalate(self, event: Event, ended: tuple[str, ...]) -> None:
        """Whoever tells people of questions hears of one that is asked, or over, in the same append."""
        run = self.lease.run_id
        if event.kind is Kind.QUESTION_ASKED:
            start = escalating.opened(self.services, run, self.state.key, self.state.agent, event)
            if start is not None:
                self.post(start)
                self.services.follow(start.run_id)
        elif event.kind is Kind.QUESTION_CLOSED:
            ended = (event.facts["id"],)
        for question in ended:
            self.post(escalating.closed(self.services, run, question))

    def _asked_before(self, address: Address | None) -> int:
        """How many calls the agent had made when it got this step's outcome, or the beginning of it."""
        if self.streams:
            opened = next((stream.asked for stream in self.streams if stream.address == address), 0)
            if opened:
                return opened
        return self.asked(address.scope if address is not None else "")

    def set_cell(self, name: str, value: str) -> None:
        """Set a shared cell in the same transaction as what was added."""
        self._cells[name] = value

    def note(self, kind: Kind, meta: str = "", *, address: Address | None = None, body: bytes | None = None) -> None:
        """Add an event about the run."""
        self.add(Event(kind, self.now(), address, meta=meta, body=body))

    def note_step(self, kind: Kind, address: Address, step: StepKind, effect: Any, **more: Any) -> None:
        """Add an event about a step."""
        self.add(Event(kind, self.now(), address, step, effect, **more))

    def post(self, post: Post) -> None:
        """Tell another run something, in the append of the events that were added with it."""
        self._posts.append(post)

    async def write(self) -> bool:
        """Commit what was added. False when it was refused: the run is not ours any more, or has new mail."""
        if self.refusal is None and self.has_unwritten:
            self._writing += 1
            try:
                await self.services.scribe.write(self)
            finally:
                self._writing -= 1
        return self.refusal is None

    @property
    def is_writing(self) -> bool:
        """Whether somebody waits for a commit."""
        return self._writing > 0

    def put(self, place: int, blob: str) -> None:
        """For the scribe: a large body is in the store."""
        del self.large[place]
        self._blobs[place] = blob

    def take(self) -> Append | None:
        """For the scribe: what is to be written now."""
        if not self.has_unwritten or self.refusal is not None:
            return None
        events = tuple(self._unwritten)
        blobs = dict(self._blobs) if self._blobs else _NO_BLOBS
        cells = dict(self._cells) if self._cells else _NO_CELLS
        place = self.lease, self._written, events, self.state.head(), self.mail_read, tuple(self._posts), self.is_last
        append = self._taken = Append(*place, blobs, self._charges(events), cells)
        self._owed_then = self.reads_owed
        return append

    def _charges(self, events: tuple[Event, ...]) -> tuple[AccountCharge, ...]:
        found = charges(self._charged, self.state, events)
        self._charging = charged(self.state) if found else self._charged
        return found

    def retake(self, refused: BudgetRefused) -> bool:
        """For the scribe: what some account has no room for was not begun. False when nothing asked for it."""
        name = excess_of(refused).name
        assert self._taken is not None
        for event in reversed(self._unwritten[: len(self._taken.events)]):
            if event.address is not None and is_asking(self.state, event) and getattr(event.charge, name):
                self.unpaid[event.address] = refused
                self.add(_not_begun(event, refused, self.now()))
                return True
        return False

    def written(self, error: JournalError | None) -> None:
        """For the scribe: what became of it."""
        taken, self._taken = self._taken, None
        if error is not None:
            self.refusal = error
            return
        assert taken is not None
        self._written += len(taken.events)
        self._mail_written = taken.mail_read
        self.is_awake = taken.head.status is Status.RUNNING
        self._charged = self._charging
        self._forget(taken)
        self.reads_owed -= self._owed_then
        if taken.posts:
            self.services.on_posted([post.run_id for post in taken.posts])
        self.is_given_back = taken.releases

    def _forget(self, taken: Append) -> None:
        """What was taken is written; what was added meanwhile is not."""
        count, posts = len(taken.events), len(taken.posts)
        del self._unwritten[:count], self._posts[:posts]
        self._blobs.clear()  # nothing is put for a run while an append of it is under way
        if self._cells:
            self._cells = {name: text for name, text in self._cells.items() if taken.cells.get(name) != text}
        if self._unwritten:
            end, posts_before = self._before_end
            self._before_end = end - count, posts_before - posts
            self.large = {place - count: body for place, body in self.large.items()}

    def take_back_end(self) -> bool:
        """After an end that was refused for unread mail: as if it had not been tried. What was added before it stays
        to be written: it may be what earlier mail has said. False for other refusals."""
        if not isinstance(self.refusal, MailWaiting):
            return False
        self.refusal = None
        end, posts = self._before_end
        del self._unwritten[end], self._posts[posts:]
        self._blobs = {place - (place > end): blob for place, blob in self._blobs.items() if place != end}
        self.state = State()
        for event in (*self.services.journal.events(self.lease.run_id), *self._unwritten):
            self.state.apply(event)
        return True


def _not_begun(intent: Event, refused: BudgetRefused, now: float) -> Event:
    """What is written after an intent that an account refused: its number is free again, and it may go on at once."""
    text = f"not begun: the budget {refused.cap} has no room"
    failure = Failure(FailureKind.REFUSED, "BudgetRefused", str(refused), text, because=text)
    facts = meta(**failure.facts(), account=refused.account, retry_at=now)
    return intent._replace(
        kind=Kind.ATTEMPT_FAILED, at=now, attempt=intent.attempt - 1, charge=NOTHING, meta=facts, body=None
    )
