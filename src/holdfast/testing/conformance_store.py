"""What the contract suite is built from: a store whose time and deaths a test decides, and makers of what is in it.

Usable on its own, for tests of one engine that need more than the contract.

Never: sleeps, reads a clock, looks into an engine, judges. Needs hypothesis (`holdfast[test]`).

1. Time moves only when a test sets `Store.time`, and a worker is dead only when it is in `Store.dead`.
2. A store's journals are all closed by `close`; the same name opens the same store again.
3. `EVENTS` makes only events that an engine must give back as they were (J11).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hypothesis import strategies as st

from holdfast.core import accept
from holdfast.core.events import NOTHING, Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.core.heads import OpenQuestion, Status
from holdfast.errors import JournalError
from holdfast.protocols import Append, Claim, Journal, Post, Worker

TTL_S = 30.0


class OpenEngine(Protocol):
    """How the suite opens a store of the engine under test."""

    def __call__(self, name: str, *, clock: Callable[[], float], is_dead: Callable[[Worker], bool]) -> Journal: ...


class Store:
    """One store with a clock that only the test moves, and a list of the workers that are proven dead."""

    def __init__(self, open_engine: OpenEngine, name: str) -> None:
        self.name = name
        self.time = 1_000_000.0
        self.dead: set[str] = set()
        self._open_engine = open_engine
        self._opened: list[Journal] = []
        self.journal = self.open()

    def open(self) -> Journal:
        """Another journal of this store, as another process would open it."""
        journal = self._open_engine(self.name, clock=lambda: self.time, is_dead=lambda worker: worker.id in self.dead)
        self._opened.append(journal)
        return journal

    def again(self, tenant: str = "default") -> Journal:
        """The same store for whoever closes what they were given; one that ends with its journal is that journal."""
        return self.journal if self.journal.facts()["engine"] == "memory" else self.open()

    def reopen(self) -> Journal:
        """Close everything and open the store again."""
        self.close()
        self.journal = self.open()
        return self.journal

    def close(self) -> None:
        """Close all journals of this store."""
        while self._opened:
            self._opened.pop().close()

    def start(self, run_id: str = "r1", *, agent: str = "agent", message_id: str = "start") -> accept.Posted:
        """Post the start of a run whose key is its id."""
        return self.journal.post(run_id, message_id, start_of(run_id, agent))

    def register(self, worker_id: str) -> None:
        """Give the worker a fresh lease row."""
        self.journal.register(Worker(worker_id, pid=1), TTL_S)

    def claim(self, worker_id: str, *run_ids: str) -> list[str]:
        """The ids of what the worker could take, in the order in which it was given."""
        return [claim.lease.run_id for claim in self.journal.claim(worker_id, run_ids=run_ids or None)]

    def hold(self, run_id: str = "r1", worker_id: str = "w1") -> Claim:
        """Start the run if need be, and claim it."""
        self.start(run_id)
        self.register(worker_id)
        [claim] = self.journal.claim(worker_id, run_ids=[run_id])
        return claim

    def write(self, claim: Claim, events: Sequence[Event] = (), **changed: Any) -> JournalError | None:
        """Append `events` with a head that differs from the claim's in what `changed` says, reading all mail."""
        return self.journal.append([self.appending(claim, events, **changed)])[0]

    def appending(
        self,
        claim: Claim,
        events: Sequence[Event] = (),
        *,
        after: int | None = None,
        mail_read: int | None = None,
        posts: Sequence[Post] = (),
        releases: bool = False,
        **changed: Any,
    ) -> Append:
        """What `write` appends. Unless told otherwise it comes after all events and reads all mail."""
        run_id = claim.lease.run_id
        head = claim.head._replace(**({"status": Status.RUNNING} | changed))
        if mail_read is None:
            mail_read = max((mail.number for mail in self.journal.mail(run_id)), default=0)
        if after is None:
            after = len(self.journal.events(run_id))
        return Append(claim.lease, after, events or [step(after)], head, mail_read, posts, releases)

    def record(self, run_id: str = "r1") -> tuple[object, ...]:
        """All that the store says about a run."""
        return self.journal.events(run_id), self.journal.head(run_id), self.journal.mail(run_id)


def start_of(run_id: str, agent: str = "agent", digest: str = "d1") -> accept.Message:
    """The start of a run whose key is its id."""
    return accept.start(agent=agent, key=run_id, input_digest=digest, limits=None, body=b'{"order":1}')


def step(number: int, body: bytes = b'{"ok":true}') -> Event:
    """A step that succeeded."""
    address = Address("", "fetch", "d1g357", number)
    return Event(Kind.STEP_SUCCEEDED, 1_000_000.5, address, StepKind.TOOL, Effect.READ, 1, 1, Charge(1), "", body)


def question(name: str = "q1") -> OpenQuestion:
    """A question that may be answered with yes or no."""
    return OpenQuestion(name, "ask", "Refund?", ("yes", "no"), asked_at=1_000_000.0)


def reply(choice: str = "yes", *, to: str = "q1", by: str = "ada") -> accept.Message:
    """An answer to that question."""
    return accept.answer(to, choice=choice, by=by, body=None)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
COUNTS = st.integers(0, 2**62)
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(Kind),
    at=st.floats(1, 4e9),
    address=st.none() | st.builds(Address, TEXTS, TEXTS, TEXTS, st.integers(0, 99)),
    step=st.none() | st.sampled_from(StepKind),
    effect=st.none() | st.sampled_from(Effect),
    logical=st.integers(0, 9),
    attempt=st.integers(0, 9),
    charge=st.just(NOTHING) | st.builds(Charge, COUNTS, COUNTS, COUNTS, COUNTS),
    meta=st.just("") | TEXTS.map(lambda text: meta(text=text)),
    body=st.none() | st.binary(max_size=200),
    asked=st.integers(0, 99),
)
"""Any event that an engine must give back as it was."""
