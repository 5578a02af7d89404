"""The state machine over every engine: a sample, and engines with a bug, which it must find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from proof import state_machine
from proof.part import Plan, Seen

from holdfast.core.accept import Posted
from holdfast.core.heads import Head
from holdfast.errors import JournalError
from holdfast.journal.memory import MemoryJournal
from holdfast.protocols import Append, Claim, Lease, Post
from holdfast.testing.conformance_store import OpenEngine
from holdfast.testing.postgres_server import PostgresServer


def test_every_engine_does_what_the_model_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer
) -> None:
    """Lost: what single tests of the contract do not see, because it takes two of its rules at once."""
    monkeypatch.setattr(state_machine, "PostgresServer", lambda: nullcontext(postgres))
    monkeypatch.setattr(state_machine, "PLAIN", settings(state_machine.PLAIN, max_examples=10))
    seen = state_machine.run(Plan(tmp_path, scale=0.1))
    assert seen.problems == []
    assert seen.lacks({what: count for what, count in state_machine.WANTED.items() if count >= 100}, 0.005) == []


class GivesToAnyWriter(MemoryJournal):
    """Lets whoever has ever held a run write to it."""

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        """As its newest owner."""
        runs = self._runs
        return super().append([self._as_owner(append, runs) for append in appends])

    def _as_owner(self, append: Append, runs: Any) -> Append:
        run = runs[append.lease.run_id]
        return append._replace(lease=Lease(append.lease.run_id, run.worker_id or "", run.epoch))


class EndsWithMail(MemoryJournal):
    """Loses the mail of a run that ends."""

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        """All of it is said to be read."""
        return super().append([one._replace(mail_read=len(self._runs[one.lease.run_id].mail)) for one in appends])


class StoresTwice(MemoryJournal):
    """Keeps a message as often as it is sent."""

    def post_all(self, posts: Sequence[Post]) -> list[Posted]:
        """Under a name of its own."""
        return super().post_all([self._renamed(post) for post in posts])

    def _renamed(self, post: Post) -> Post:
        self.sent = getattr(self, "sent", 0) + 1
        return replace(post, message_id=f"{post.message_id} {self.sent}")


class TakesFromTheLiving(MemoryJournal):
    """Takes a run from a worker whose lease is good."""

    def _is_free(self, run: Any, worker_id: str, now: float) -> bool:
        return run.worker_id != worker_id


class ForgetsTheEpoch(MemoryJournal):
    """Claims without a new epoch."""

    def claim(self, worker_id: str, **how: Any) -> list[Claim]:
        """As the last owner had it."""
        claims = super().claim(worker_id, **how)
        for claim in claims:
            self._runs[claim.lease.run_id].epoch -= 1
        return [replace(claim, lease=claim.lease._replace(epoch=claim.lease.epoch - 1)) for claim in claims]


class ReleasesForAnybody(MemoryJournal):
    """Gives back what somebody else holds."""

    def release(self, lease: Lease, wake_at: float | None) -> None:
        """Whoever asks."""
        run = self._runs[lease.run_id]
        super().release(Lease(lease.run_id, run.worker_id or "", run.epoch), wake_at)


class HasRoomForAll(MemoryJournal):
    """Charges without looking at the cap."""

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        """Nothing is asked for."""
        return super().append(
            [one._replace(charges=[replace(c, asks=type(c.asks)()) for c in one.charges]) for one in appends]
        )


class WritesHalf(MemoryJournal):
    """Keeps the first event of an append that it refuses."""

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        """It is there before anything is judged."""
        results = super().append(appends)
        for one, result in zip(appends, results, strict=True):
            if result is not None and one.events:
                self._runs[one.lease.run_id].events.append(one.events[0])
        return results


class OldHeads(MemoryJournal):
    """Answers from a head that it looked at before."""

    def head(self, run_id: str) -> Head | None:
        """The first one."""
        known: dict[str, Any] = self.__dict__.setdefault("known", {})
        return known.setdefault(run_id, super().head(run_id))


def opener(engine: Callable[..., MemoryJournal]) -> OpenEngine:
    """As the machine opens it."""
    return lambda name, *, clock, is_dead: engine(clock=clock, is_dead=is_dead)


@pytest.mark.parametrize(
    "engine",
    [GivesToAnyWriter, EndsWithMail, StoresTwice, TakesFromTheLiving, ForgetsTheEpoch, ReleasesForAnybody,
     HasRoomForAll, WritesHalf, OldHeads],
)  # fmt: skip
def test_a_bug_in_an_engine_is_found(engine: Callable[..., MemoryJournal]) -> None:
    """Lost: the proof of the proof."""
    seen = Seen()
    for number in range(5):
        state_machine.explore("memory", {"memory": opener(engine)}, number, seen)
        if seen.problems:
            return
    pytest.fail("five batches of programs did not see it")
