"""A store as one simulated process sees it: every call is a point at which the world may do something to the process.

Before and after each write the process may die, stand still, or be told that the store cannot be reached, though the
write was made, or was not. What was written is shown to the oracle before anything else happens. A dead process's
calls raise `Death` for ever.

Never: changes what is written. What reaches the engine is what the runtime said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from holdfast.core.accept import Message, Posted
from holdfast.core.accounts import Account
from holdfast.core.budget import Limits
from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.errors import JournalError, StoreUnreachable
from holdfast.protocols import Append, Cell, Claim, Journal, Lease, Mail, Post, Worker
from holdfast.testing.oracle import Oracle

T = TypeVar("T")


class Death(KeyboardInterrupt):
    """The process dies here. A subclass of the one exception that asyncio lets through at once."""


class Place(Protocol):
    """What the process is to its store."""

    def reach(self, label: str) -> None:
        """A point is reached. Raises `Death`, or `StoreUnreachable`; may come back much later."""

    def hears(self) -> bool:
        """Whether the doorbell that is rung now is heard; often enough it is not."""


class SimulatedJournal(Journal):
    """An engine, with points around its calls."""

    def __init__(self, journal: Journal, place: Place, oracle: Oracle) -> None:
        self._journal = journal
        self._place = place
        self._reach = place.reach
        self.hush: Callable[[], None] = lambda: None
        """Ends the doorbell."""
        self._oracle = oracle
        self.workers: list[str] = []
        """Ids under which the process has registered."""

    @property
    def hash_key(self) -> bytes:
        return self._journal.hash_key

    def now(self) -> float:
        return self._journal.now()

    def _write(self, label: str, call: Callable[[], T], seen: Callable[[T], None] | None = None) -> T:
        self._reach(f"{label}:before")
        result = call()
        if seen is not None:
            seen(result)
        self._reach(f"{label}:after")
        return result

    # --- writes ----------------------------------------------------------------------------------------------

    def post(self, run_id: str, message_id: str, message: Message) -> Posted:
        return self.post_all([Post(run_id, message_id, message)])[0]

    def post_all(self, posts: Sequence[Post]) -> list[Posted]:
        def seen(results: list[Posted]) -> None:
            self._oracle.posted(posts, results)

        return self._write("post", lambda: self._journal.post_all(posts), seen)

    def register(self, worker: Worker, ttl_s: float) -> None:
        if worker.id not in self.workers:
            self.workers.append(worker.id)
        self._write("register", lambda: self._journal.register(worker, ttl_s))

    def retire(self, worker_id: str) -> None:
        self._write("retire", lambda: self._journal.retire(worker_id))

    def claim(
        self,
        worker_id: str,
        *,
        run_ids: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        limit: int = 100,
    ) -> list[Claim]:
        def call() -> list[Claim]:
            return self._journal.claim(worker_id, run_ids=run_ids, agents=agents, limit=limit)

        return self._write("claim", call, self._oracle.claimed)

    def release(self, lease: Lease, wake_at: float | None) -> None:
        self._write("release", lambda: self._journal.release(lease, wake_at))

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        def seen(results: list[JournalError | None]) -> None:
            self._oracle.appended([each for each, refused in zip(appends, results, strict=True) if refused is None])
            for refused in results:
                if refused is not None:
                    self._oracle.seen[f"refused_{type(refused).__name__}"] += 1

        return self._write("append", lambda: self._journal.append(appends), seen)

    def put_blob(self, data: bytes) -> str:
        return self._write("put_blob", lambda: self._journal.put_blob(data))

    def cap(self, key: str, limits: Limits) -> None:
        self._write("cap", lambda: self._journal.cap(key, limits))

    def swap(self, name: str, version: int, value: str) -> bool:
        return self._write("swap", lambda: self._journal.swap(name, version, value))

    # --- reads -----------------------------------------------------------------------------------------------

    def events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        self._reach("read")
        return self._journal.events(run_id, after, limit)

    def get_blob(self, ref: str) -> bytes:
        self._reach("read")
        return self._journal.get_blob(ref)

    def account(self, key: str) -> Account | None:
        self._reach("read")
        return self._journal.account(key)

    def cell(self, name: str) -> Cell | None:
        self._reach("read")
        return self._journal.cell(name)

    def mail(self, run_id: str) -> list[Mail]:
        self._reach("read")
        found = self._journal.mail(run_id)
        self._reach("read")
        return found

    def unread(self, worker_id: str) -> list[str]:
        self._reach("read")
        return self._journal.unread(worker_id)

    def held(self, worker_id: str) -> list[Lease]:
        self._reach("read")
        return self._journal.held(worker_id)

    def head(self, run_id: str) -> Head | None:
        self._reach("read")
        return self._journal.head(run_id)

    def heads(
        self, *, prefix: str = "", key: str | None = None, status: str | None = None, limit: int = 200
    ) -> list[Head]:
        self._reach("read")
        return self._journal.heads(prefix=prefix, key=key, status=status, limit=limit)

    def owner(self, run_id: str) -> tuple[Worker, float] | None:
        self._reach("read")
        return self._journal.owner(run_id)

    def listen(self, ring: Callable[[], None]) -> Callable[[], None]:
        def rung() -> None:
            if self._place.hears():
                ring()

        self.hush = self._journal.listen(rung)
        return self.hush

    def facts(self) -> dict[str, Any]:
        return self._journal.facts()

    def close(self) -> None:
        pass  # the world's


def unreachable(label: str) -> StoreUnreachable:
    """What a process is told whose store does not answer."""
    known = "It was written, and nobody could be told" if label.endswith(":after") else "Nothing was written"
    return StoreUnreachable(f"The simulated store cannot be reached ({label}). {known}.")
