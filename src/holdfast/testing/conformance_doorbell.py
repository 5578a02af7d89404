"""The contract of the doorbell, as tests: J22. `JournalConformance` inherits them.

A hint may be lost, come twice or for nothing, so no test counts rings: each waits until one came, on a store where
nothing else happens, and looks at what can be seen then.

Never: sleeps, reads a clock, looks into an engine. Needs pytest (`holdfast[test]`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from holdfast.core import accept
from holdfast.core.heads import Status
from holdfast.protocols import Journal, Post
from holdfast.testing.conformance_engine import EngineUnderTest
from holdfast.testing.conformance_store import Store, start_of

PATIENCE_S = 20.0
"""A bell that has not rung by then is broken, however slow the machine is."""


class Bell:
    """Somebody who listens, and whether it rang since it was last asked."""

    def __init__(self, journal: Journal) -> None:
        self._rang = threading.Event()
        self.seen: list[int] = []
        """How much unread mail `r1` had, each time when it rang."""
        self._journal = journal
        self.end: Callable[[], None] = journal.listen(self._ring)

    def _ring(self) -> None:
        self.seen.append(len(self._journal.mail("r1")))
        self._rang.set()

    def rang(self) -> bool:
        """Wait until it rings."""
        came = self._rang.wait(PATIENCE_S)
        self._rang.clear()
        return came


class DoorbellConformance(EngineUnderTest):
    """Each test is named after the invariant it checks."""

    def other(self, store: Store) -> Journal:
        """Another journal of the same store, as another process has it; the same one where there is no other."""
        return store.journal if "J10" in self.not_applicable else store.open()

    def test_j22_a_message_rings_when_it_can_be_read(self, store: Store) -> None:
        """J22. Without it an answer would be a second late; rung before the commit, nobody would find the mail."""
        bell = Bell(self.other(store))
        store.start()
        assert bell.rang() and bell.seen[0] == 1
        for number in range(2, 7):  # who listens may be slower than a commit once, and not notice; not each time
            assert store.journal.post("r1", f"m{number}", accept.cancel(by="ada")).is_stored
            assert bell.rang() and number in bell.seen
        bell.end()

    def test_j22_an_append_rings_for_what_it_posts(self, store: Store) -> None:
        """J22. Without it a child or a parent in another process would begin a second late."""
        claim = store.hold("r2")
        bell = Bell(self.other(store))
        assert store.write(claim, posts=[Post("r1", "m1", start_of("r1"))]) is None
        assert bell.rang() and bell.seen[0] == 1
        bell.end()

    @pytest.mark.parametrize("way", ["append", "append with unread mail", "release", "release with unread mail"])
    def test_j22_a_run_that_is_given_back_and_due_rings(self, store: Store, way: str) -> None:
        """J22. Without it the runs of a worker that shuts down would lie for a second."""
        claim = store.hold()
        has_mail = way.endswith("mail")
        if has_mail:
            store.journal.post("r1", "m1", accept.cancel(by="ada"))
        wake_at = None if has_mail else store.time
        bell = Bell(self.other(store))
        if way.startswith("release"):
            store.journal.release(claim.lease, wake_at)
        else:
            append = store.appending(claim, mail_read=1, status=Status.SUSPENDED, wake_at=wake_at)
            assert store.journal.append([append._replace(releases=True)]) == [None]
        assert bell.rang()
        store.register("w2")
        assert store.claim("w2") == ["r1"]
        bell.end()

    def test_j22_one_who_rings_does_not_wait_for_one_who_listens(self, store: Store) -> None:
        """J22. Without it one process that is stuck, or stopped, would hold up all that post."""
        is_over = threading.Event()
        came = threading.Event()

        def stuck() -> None:
            came.set()
            assert is_over.wait(PATIENCE_S)

        end = self.other(store).listen(stuck) if "J10" not in self.not_applicable else lambda: None
        store.start()
        assert "J10" in self.not_applicable or came.wait(PATIENCE_S)
        for number in range(30):
            assert store.journal.post("r1", f"m{number}", accept.signal("s", by="", body=None)).is_stored
        is_over.set()
        end()

    def test_j22_one_that_has_ended_is_not_rung(self, store: Store) -> None:
        """J22. Without it a closed loop would be called by a thread that outlives its worker."""
        journal = self.other(store)
        ended, bell = Bell(journal), Bell(journal)
        ended.end()
        ended.end()
        store.start()
        assert bell.rang() and ended.seen == []
        bell.end()
        store.start("r2")
        assert ended.seen == []
