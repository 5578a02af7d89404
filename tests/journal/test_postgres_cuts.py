"""Postgres behind a proxy that cuts: what a commit of unknown outcome comes to, and how long a silence is borne."""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import pytest

from holdfast.core import accept
from holdfast.journal.postgres.engine import PostgresJournal
from holdfast.testing.conformance_store import Store, start_of, step
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.proxy import Commit, Cut, Proxy


class Plan:
    """Cuts once, at the next transaction that adds events or mail."""

    def __init__(self) -> None:
        self.cut: Cut | None = None

    def __call__(self, commit: Commit) -> Cut | None:
        """Whether to cut here."""
        is_meant = any("INTO events" in text or "INTO mail" in text for text in commit.statements)
        cut, self.cut = (self.cut, None) if is_meant else (None, self.cut)
        return cut


@pytest.fixture
def plan() -> Plan:
    return Plan()


@pytest.fixture
def proxy(postgres: PostgresServer, plan: Plan) -> Iterator[Proxy]:
    if not postgres.is_ours:
        pytest.skip("HOLDFAST_TEST_POSTGRES is a URL, and a proxy needs the server's socket")
    with Proxy(postgres.socket, plan) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: Proxy, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store behind the proxy, whose silences are borne for half a second."""
    name = f"cuts_{crc32(request.node.name.encode())}"
    store = Store(
        lambda name, *, clock, is_dead: PostgresJournal(
            proxy.url(name, tcp_user_timeout=500), clock=clock, is_dead=is_dead, owns_clock=True
        ),
        name,
    )
    yield store
    store.close()


@pytest.mark.parametrize("cut", list(Cut))
@pytest.mark.timeout(30)
def test_an_append_of_unknown_outcome_is_written_once(store: Store, proxy: Proxy, plan: Plan, cut: Cut) -> None:
    """Lost: a step recorded twice, or not at all, because a cable was pulled; or a worker that waits for ever."""
    claim = store.hold()
    plan.cut = cut
    assert store.write(claim, [step(0), step(1)]) is None
    assert proxy.cuts == {cut: 1}
    assert store.journal.events("r1") == [step(0), step(1)]
    assert store.write(claim, [step(2)]) is None
    assert len(store.journal.events("r1")) == 3


@pytest.mark.parametrize("cut", list(Cut))
@pytest.mark.timeout(30)
def test_a_message_of_unknown_outcome_is_stored_once(store: Store, proxy: Proxy, plan: Plan, cut: Cut) -> None:
    """Lost: an answer that is refused because it was stored by the attempt whose outcome nobody heard."""
    plan.cut = cut
    assert store.journal.post("r1", "m1", start_of("r1")).is_stored
    plan.cut = cut
    assert store.journal.post("r1", "m2", accept.cancel(by="ada")).is_stored
    assert proxy.cuts == {cut: 2}
    assert [mail.number for mail in store.journal.mail("r1")] == [1, 2]
