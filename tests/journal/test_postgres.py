"""What the engine for several machines adds to the contract: a server, its settings, and others at the same moment."""

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

import holdfast as hf
from holdfast.cli.__main__ import command_line
from holdfast.core import accept
from holdfast.core.budget import Limits
from holdfast.core.events import NOTHING, ONE_TOOL_CALL, Address, Charge, Effect, Kind, StepKind
from holdfast.core.heads import Status
from holdfast.core.standing import OPEN, Passage, Standing
from holdfast.errors import (
    JournalCorrupt,
    LeaseLost,
    MailWaiting,
    NotFound,
    StoreForeign,
    StoreMoved,
    StoreUnreachable,
    UsageError,
)
from holdfast.journal.open import open_journal, upkeep_of
from holdfast.journal.postgres import address, bulk, leases, log, mailbox, server
from holdfast.journal.postgres.engine import PostgresJournal
from holdfast.journal.refusal import Unwritable
from holdfast.protocols import AccountCharge, Append, Claim, Journal, Post, Worker
from holdfast.runtime.clock import SystemClock
from holdfast.testing.conformance_store import Store, start_of, step
from holdfast.testing.postgres_server import PostgresServer

STORES = itertools.count()


class Interrupted(PostgresJournal):
    """Does something when a transaction is about to commit."""

    at_commit: Callable[[Callable[[], Any]], Any] | None = None

    def _finish(self, end: Callable[[], Any]) -> Any:
        planned, self.at_commit = self.at_commit, None
        return super()._finish(end) if planned is None else planned(end)


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.url(f"postgres_{next(STORES)}")


@pytest.fixture
def admin(postgres: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    """Another session, as an operator has it."""
    with psycopg.connect(database_of(postgres.url("x")), autocommit=True) as db:
        yield db


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A store whose time the test owns."""

    def open_engine(name: str, *, clock: Callable[[], float], is_dead: Callable[[Worker], bool]) -> Journal:
        return Interrupted(url, clock=clock, is_dead=is_dead, owns_clock=True)

    store = Store(open_engine, "store")
    yield store
    store.close()


def database_of(url: str) -> str:
    """The URL without our parameter."""
    return url.rpartition("schema=")[0].rstrip("&?")


def schema_of(url: str) -> str:
    return url.rpartition("schema=")[2]


def interrupted(journal: Journal) -> Interrupted:
    assert isinstance(journal, Interrupted)
    return journal


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["off", "local"])
@pytest.mark.parametrize("level", ["role", "database", "connection"])
def test_a_server_that_loses_commits_is_refused(
    postgres: PostgresServer, admin: psycopg.Connection[Any], level: str, value: str
) -> None:
    """P1. Without it what a step has returned would be gone after a power cut, as the operator had set it."""
    name = f"lossy_{level}_{value}"
    url = postgres.url(f"postgres_{next(STORES)}")
    if level == "connection":
        url = url.replace("schema=", f"options=-csynchronous_commit%3D{value}&schema=")
    elif level == "role":
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER").format(sql.Identifier(name)))
        admin.execute(sql.SQL("ALTER ROLE {} SET synchronous_commit = {}").format(sql.Identifier(name), value))
        url = url.replace("postgres@", f"{name}@")
    else:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = {}").format(sql.Identifier(name), value))
        url = url.replace("/postgres?", f"/{name}?")
    with pytest.raises(StoreUnreachable, match=f"synchronous_commit is {value}.*Nothing was written"):
        open_journal(url, clock=time.time)
    with psycopg.connect(database_of(url)) as db:
        found = db.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema_of(url),)).fetchall()
    assert found == []


def test_what_is_no_place_for_a_store_is_told(postgres: PostgresServer, admin: psycopg.Connection[Any]) -> None:
    """Without it a typing error would be a traceback, or tables in somebody's schema."""
    url = postgres.url("not_there")
    with pytest.raises(NotFound, match="no store at"):
        open_journal(url, clock=time.time, must_exist=True)
    with pytest.raises(StoreUnreachable, match=r"createdb|could not be used"):
        open_journal(url.replace("/postgres?", "/nowhere?"), clock=time.time)
    with pytest.raises(StoreUnreachable, match="could not be used"):
        open_journal("postgresql://ada:secret@127.0.0.1:1/desk", clock=time.time)
    admin.execute("CREATE SCHEMA theirs")
    admin.execute("CREATE TABLE theirs.orders (id int)")
    with pytest.raises(StoreForeign, match="tables of another program"):
        open_journal(postgres.url("theirs"), clock=time.time)
    admin.execute("CREATE ROLE guest LOGIN")
    with pytest.raises(StoreUnreachable, match="Grant it CREATE"):
        open_journal(url.replace("postgres@", "guest@"), clock=time.time)


@pytest.mark.parametrize("schema", ["", "A", "a b", "pg_x", "a;drop", '"', "a" * 64, "a&schema=b", "ä"])
def test_a_name_that_can_be_no_schema_is_refused(schema: str) -> None:
    """Without it a URL could name a schema of the server's own, or none."""
    with pytest.raises(UsageError, match="can be no schema"):
        address.read(f"postgresql://h/d?schema={schema}")


def test_a_password_is_shown_nowhere() -> None:
    """Without it `doctor` would print it, and an error would log it."""
    found = address.read("postgres://ada:s3cret@db.example:5433/desk?schema=shop&sslmode=require")
    assert found.shown == "postgresql://ada@db.example:5433/desk?schema=shop"
    assert (found.parameters["password"], found.parameters["sslmode"], found.schema) == ("s3cret", "require", "shop")
    assert "schema" not in found.parameters
    assert address.read("postgresql://h/d").schema == "holdfast"
    with pytest.raises(UsageError) as told:
        address.read("postgresql://ada:s3cret@h/d?nothing=like_that")
    assert "nothing" in str(told.value) and "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            "s3%zzcret@h/d",
            "s3cret@[::1/d",
            "s3@s3cret@h/d",
            "s3/s3cret@h/d",
            "12/s3cret@h/d",
            "x@s3:s3cret@h/d",
            "x@h:s3cret/d",
        ),
        *("x@h/d?s3cret", "x@h/d?schema=a&s3cret="),
    ],
)
def test_a_password_that_breaks_its_url_is_shown_nowhere(wrong: str) -> None:
    """Without it a typing error in a URL would print the password, as the part of it that is not understood."""
    with pytest.raises(UsageError) as told:
        address.read(f"postgresql://ada:{wrong}")
    assert "s3cret" not in str(told.value).replace('parameter: "s3cret"', ""), "but the name of a parameter is"


def test_a_url_reaches_libpq_as_it_is_written() -> None:
    """Without it a URL without a host would be none, and a space or a plus in it would become the other."""
    assert address.read("postgresql:///desk").parameters["dbname"] == "desk"
    assert address.read("postgresql://").schema == "holdfast"
    found = address.read("postgresql://ada:s3%23+cret@h/d?options=-c%20a%3D1&schema=shop&application_name=a+b")
    assert (found.parameters["password"], found.parameters["options"]) == ("s3#+cret", "-c a=1")
    assert (found.parameters["application_name"], found.schema) == ("a+b", "shop")


def test_each_connection_is_set_as_the_engine_needs_it(url: str) -> None:
    """Without it a process that was stopped in a transaction would keep rows locked, or a commit not be synced."""
    expected = {
        "synchronous_commit": "on",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "10s",
        "transaction_timeout": "30s",
        "statement_timeout": "0",
        "default_transaction_isolation": "read committed",
    }
    given = address.read(url.replace("schema=", "options=-cdefault_transaction_isolation%3Dserializable&schema="))
    with closing(server.connect(given)) as db:
        known = {name for (name,) in server.rows(db, "SELECT name FROM pg_settings WHERE name = ANY($1)", [*expected])}
        assert expected.keys() - known <= {"transaction_timeout"}, "which only Postgres 17 has"
        assert {name: db.execute(f"SHOW {name}").fetchone() for name in known} == {
            name: (expected[name],) for name in known
        }
    assert {"keepalives_idle", "tcp_user_timeout", "connect_timeout"} <= set(given.parameters)


# --- one at a time, and all of them ------------------------------------------------------------------------------


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Do them at the same moment; what each gave, or raised."""
    found: list[Any] = [None] * len(works)
    gate = threading.Barrier(len(works))

    def go(place: int) -> None:
        gate.wait(20)
        try:
            found[place] = works[place]()
        except Exception as error:
            found[place] = error

    threads = [threading.Thread(target=go, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    return found


def test_processes_that_start_together_make_one_store(url: str) -> None:
    """Without it the first start of a fleet would fail for all but one, or make two identities."""
    journals = at_once(*[lambda: open_journal(url, clock=time.time)] * 6)
    assert {journal.hash_key for journal in journals} == {journals[0].hash_key}
    for journal in journals:
        journal.close()


def test_no_run_is_given_to_two_workers(store: Store) -> None:
    """J4. Without it two machines that look at the same moment would run the same run."""
    runs = [f"r{number:02}" for number in range(40)]
    store.journal.post_all([Post(run_id, "start", start_of(run_id)) for run_id in runs])
    workers = [f"w{number}" for number in range(4)]
    journals = [store.open() for _ in workers]
    for worker in workers:
        store.register(worker)

    def take(journal: Journal, worker: str) -> list[tuple[str, int]]:
        taken = []
        while claims := journal.claim(worker, limit=3):
            taken += [(claim.lease.run_id, claim.lease.epoch) for claim in claims]
        return taken

    found = at_once(*[lambda pair=pair: take(*pair) for pair in zip(journals, workers, strict=True)])  # type: ignore[misc]
    assert sorted(itertools.chain(*found)) == [(run_id, 1) for run_id in runs]


def test_a_run_that_another_is_taking_keeps_nobody_waiting(store: Store, url: str) -> None:
    """J4. Without it each claim would wait for the slowest worker's commit."""
    for run_id in ("r1", "r2"):
        store.start(run_id)
    store.register("w1")
    with psycopg.connect(database_of(url)) as other:
        other.execute(sql.SQL("SELECT 1 FROM {}.runs WHERE run_id = 'r1' FOR UPDATE").format(_named(url)))
        assert [claim.lease.run_id for claim in store.journal.claim("w1")] == ["r2"]
        other.rollback()
    assert [claim.lease.run_id for claim in store.journal.claim("w1")] == ["r1"]


def _named(url: str) -> sql.Identifier:
    return sql.Identifier(schema_of(url))


def test_opposed_writers_never_lock_each_other_out(store: Store, admin: psycopg.Connection[Any], url: str) -> None:
    """Without it two machines whose runs tell each other something would stop for a second, again and again.

    In each turn a third session keeps another run locked, so that both have begun to lock before one is done."""
    runs = [f"r{number}" for number in range(8)]
    claims = {run_id: store.hold(run_id, f"w{int(run_id[1]) % 2}") for run_id in runs}
    journals = [(store.open(), runs[0::2], runs), (store.open(), runs[7::-2], runs[::-1])]
    before = _deadlocks(admin)
    for turn, kept in enumerate(runs[2:]):
        with psycopg.connect(database_of(url)) as other:
            other.execute(sql.SQL("SELECT 1 FROM {}.runs WHERE run_id = {} FOR UPDATE").format(_named(url), kept))
            groups = [[_telling(store, claims[run_id], turn, told) for run_id in mine] for _, mine, told in journals]
            works = [lambda pair=pair: pair[0][0].append(pair[1]) for pair in zip(journals, groups, strict=True)]
            works.append(lambda other=other: (_wait_for_waiters(url, 2), other.commit()))
            assert [set(results) for results in at_once(*works)[:2]] == [{None}, {None}]
    assert _deadlocks(admin) == before
    accounts = [store.journal.account(run_id) for run_id in runs]
    assert [account and account.spent for account in accounts] == [Charge(8 * 6)] * 8


def _telling(store: Store, claim: Claim, turn: int, told: Sequence[str]) -> Append:
    """A step that leaves mail for these runs, and charges an account and sets a cell of each."""
    name = f"{claim.lease.run_id}.{turn}"
    posts = [Post(run_id, name, accept.signal("go", by="", body=None)) for run_id in told]
    append = store.appending(claim, [step(turn)], after=turn, mail_read=0, posts=posts)
    return append._replace(
        charges=[AccountCharge(run_id, Charge(1)) for run_id in told], cells=dict.fromkeys(told, name)
    )


def _deadlocks(admin: psycopg.Connection[Any]) -> int:
    admin.execute("SELECT pg_stat_force_next_flush()")
    [found] = (
        admin.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone() or ()
    )
    return int(found)


# --- fencing, of an ordinary step too ----------------------------------------------------------------------------


def test_an_owner_that_was_replaced_elsewhere_writes_nothing(store: Store) -> None:
    """J7. Without it a worker that was away would write into a run that another machine has gone on with."""
    old = store.hold(worker_id="w1")
    assert store.write(old) is None
    elsewhere = store.open()
    elsewhere.register(Worker("w2", pid=1), 30.0)
    store.dead.add("w1")
    [new] = elsewhere.claim("w2")
    stale, before = store.appending(old), store.record()
    assert isinstance(store.journal.append([stale])[0], LeaseLost)
    assert store.record() == before
    assert elsewhere.append([store.appending(new)]) == [None]
    before = store.record()
    for append in (stale, stale._replace(after=2)):
        assert isinstance(store.journal.append([append])[0], LeaseLost)
    assert store.record() == before


@pytest.mark.parametrize("text", ["be\0fore", "\ud800"])
def test_of_many_steps_one_that_cannot_be_kept_is_told(store: Store, text: str) -> None:
    """J9. Lost: the steps of the runs that are sent before or after it, or its connection, half way through."""
    claims = [store.hold(f"r{number:03}") for number in range(3 * bulk.PART)]
    events = [step(0)._replace(meta=text if number == 2 * bulk.PART else "{}") for number in range(len(claims))]
    results = store.journal.append(
        [store.appending(claim, [event]) for claim, event in zip(claims, events, strict=True)]
    )
    assert [type(result) for result in results].index(Unwritable) == 2 * bulk.PART
    assert results.count(None) == len(claims) - 1
    for claim, event, result in zip(claims, events, results, strict=True):
        assert store.journal.events(claim.lease.run_id) == ([event] if result is None else [])
    assert store.journal.append([store.appending(claim, [step(1)]) for claim in claims]) == [None] * len(claims)


@pytest.mark.parametrize("at", [1, bulk.PART + 5, 3 * bulk.PART])
def test_many_steps_whose_connection_breaks_half_way_are_written_once(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """J13. Lost: a step, or that it is in the record already."""
    claims = [store.hold(f"r{number:03}") for number in range(3 * bulk.PART)]
    calls, original = itertools.count(1), bulk.stepped

    def stepped(*args: Any) -> Any:
        if next(calls) == at:
            kill_backends(url)
        return original(*args)

    monkeypatch.setattr(bulk, "stepped", stepped)
    assert store.journal.append([store.appending(claim, [step(0)]) for claim in claims]) == [None] * len(claims)
    assert next(calls) > 3 * bulk.PART, "it was begun again"
    assert [len(store.journal.events(claim.lease.run_id)) for claim in claims] == [1] * len(claims)


MANY = [f"r{number:03}" for number in range(3 * mailbox.PART)]
"""More runs than are sent at once."""


def test_many_messages_are_each_judged_and_told_in_their_order(store: Store) -> None:
    """J1-J3. Lost: which message was refused, where many are sent in parts; and the order of those to one run."""
    assert store.start("r150").is_stored
    starts = [Post(run, "start", start_of(run)) for run in reversed(MANY)]
    signals = [Post("r050", f"s{number}", accept.signal(f"s{number}", by="ada", body=None)) for number in range(250)]
    other = Post("r050", "other", start_of("r050", digest="d2"))
    nobody = Post("r999", "s0", accept.signal("s0", by="ada", body=None))
    posted = store.journal.post_all([nobody, *starts, *signals, other, signals[0]])
    are_new = [post.run_id != "r150" for post in starts]
    assert [one.is_stored for one in posted] == [False, *are_new, *[True] * len(signals), False, False]
    assert [bool(one.refused) for one in posted] == [True, *[False] * len(starts + signals), True, False]
    assert [mail.message.facts.get("name") for mail in store.journal.mail("r050")] == [
        None,
        *(f"s{number}" for number in range(250)),
    ]
    store.register("w1")
    claims = store.journal.claim("w1", run_ids=MANY, limit=len(MANY))
    assert [claim.lease.run_id for claim in claims] == ["r150", *(run for run in MANY if run != "r150")]
    for claim in claims:
        assert (claim.lease.epoch, claim.head) == (1, store.journal.head(claim.lease.run_id))
        assert claim.mail == store.journal.mail(claim.lease.run_id)
    assert store.journal.claim("w1", run_ids=MANY) == []


@contextmanager
def at_call(
    monkeypatch: pytest.MonkeyPatch, place: object, name: str, at: int, do: Callable[[], object]
) -> Iterator[Iterator[int]]:
    """Something happens when this place is come to for the `at`-th time; gives the count of calls."""
    calls, original = itertools.count(1), getattr(place, name)

    def called(*args: Any) -> Any:
        if next(calls) == at:
            do()
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, called)
        yield calls


@pytest.mark.parametrize("at", [1, mailbox.PART + 5, len(MANY)])
def test_many_messages_whose_connection_breaks_half_way_are_stored_once(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """J13. Lost: a start, or that it is stored already."""
    with at_call(monkeypatch, mailbox.Delivery, "deliver", at, lambda: kill_backends(url)) as calls:
        posted = store.journal.post_all([Post(run, "start", start_of(run)) for run in MANY])
    assert next(calls) > len(MANY), "it was begun again"
    assert [one.is_stored for one in posted] == [True] * len(MANY)
    assert [len(store.journal.mail(run)) for run in MANY] == [1] * len(MANY)


def test_of_many_starts_one_that_others_made_meanwhile_is_theirs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """J2. Lost: the other starts, some of which were sent before it; or two rows of one run."""
    run, elsewhere = MANY[mailbox.PART + 5], store.open()

    def start_elsewhere() -> None:
        assert elsewhere.post(run, "start", start_of(run)).is_stored

    with at_call(monkeypatch, mailbox.Delivery, "deliver", mailbox.PART + 1, start_elsewhere):
        posted = store.journal.post_all([Post(each, "start", start_of(each)) for each in MANY])
    assert [one.is_stored for one in posted] == [each != run for each in MANY]
    assert [len(store.journal.mail(each)) for each in MANY] == [1] * len(MANY)


@pytest.mark.parametrize("at", [1, len(MANY)])
def test_many_claims_whose_connection_breaks_half_way_are_made_once(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """J13. Lost: runs that this worker holds without knowing it."""
    store.journal.post_all([Post(run, "start", start_of(run)) for run in MANY])
    store.register("w1")
    with at_call(monkeypatch, leases.Search, "_judged", at, lambda: kill_backends(url)) as calls:
        claims = store.journal.claim("w1", run_ids=MANY, limit=len(MANY))
    assert next(calls) > len(MANY), "it was begun again"
    assert [claim.lease for claim in claims] == store.journal.held("w1")
    assert [(claim.lease.run_id, claim.lease.epoch) for claim in claims] == [(run, 1) for run in MANY]


@pytest.mark.parametrize("is_committed", [False, True])
def test_claims_whose_connection_breaks_at_the_commit_are_made_once(store: Store, url: str, is_committed: bool) -> None:
    """J13, J4. Lost: runs that their worker does not know of, or mail that it believes to be all there is."""
    store.journal.post_all([Post(run, "start", start_of(run)) for run in MANY])
    store.register("w1")

    def at_commit(end: Callable[[], Any]) -> Any:
        if is_committed:
            end()
            with closing(server.connect(address.read(url))) as db:  # which waits for it
                assert server.rows(db, "SELECT worker_id FROM runs FOR UPDATE") == [("w1",)] * len(MANY)
        kill_backends(url)
        return end()

    interrupted(store.journal).at_commit = at_commit
    claims = store.journal.claim("w1", run_ids=MANY, limit=len(MANY))
    assert [claim.lease for claim in claims] == store.journal.held("w1")
    assert [(claim.lease.run_id, claim.lease.epoch) for claim in claims] == [(run, 1) for run in MANY]
    assert [claim.mail for claim in claims] == [store.journal.mail(run) for run in MANY]


def test_of_many_runs_with_a_damaged_one_none_is_taken(store: Store, url: str) -> None:
    """J12. Lost: runs that are held by a worker which was told only of the damage."""
    store.journal.post_all([Post(run, "start", start_of(run)) for run in MANY])
    store.register("w1")
    with closing(server.connect(address.read(url))) as db:
        db.execute("UPDATE runs SET head = replace(head, 'ready', 'stopped') WHERE run_id = $1", (MANY[-1],))
    with pytest.raises(JournalCorrupt, match=MANY[-1]):
        store.journal.claim("w1", run_ids=MANY, limit=len(MANY))
    assert store.journal.held("w1") == []
    assert len(store.journal.claim("w1", run_ids=MANY[:-1], limit=len(MANY))) == len(MANY) - 1


@contextmanager
def stopped(monkeypatch: pytest.MonkeyPatch, place: object, name: str, at: int = 1) -> Iterator[threading.Event]:
    """Whoever comes to this place in the block for the `at`-th time stops there until its end; set: somebody has."""
    reached, go_on, original, calls = threading.Event(), threading.Event(), getattr(place, name), itertools.count(1)

    def stop(*args: Any, **named: Any) -> Any:
        if next(calls) == at:
            reached.set()
            assert go_on.wait(60)
        return original(*args, **named)

    monkeypatch.setattr(place, name, stop)
    try:
        yield reached
    finally:
        go_on.set()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("setting", "place", "name", "at", "deed"),
    [
        ("idle_in_transaction_session_timeout", mailbox.Delivery, "deliver", 1, "post"),
        ("idle_in_transaction_session_timeout", mailbox.Delivery, "deliver", mailbox.PART + 5, "posts"),
        ("idle_in_transaction_session_timeout", leases.Search, "_judged", 5, "claims"),
        ("idle_in_transaction_session_timeout", mailbox, "brought", 1, "claims"),
        ("idle_in_transaction_session_timeout", bulk, "stepped", 40, "steps"),
        ("transaction_timeout", PostgresJournal, "_finish", 1, "post"),
    ],
)
def test_a_process_that_stops_in_a_transaction_keeps_no_run(
    url: str, monkeypatch: pytest.MonkeyPatch, setting: str, place: object, name: str, at: int, deed: str
) -> None:
    """U11. Lost: its runs, which others pass over while their rows are locked, until it goes on or is killed."""
    with monkeypatch.context() as early:  # who comes later has its time
        early.setitem(server.SETTINGS, setting, "300ms")
        first = PostgresJournal(url, clock=time.time)
    with closing(first) as mine, closing(PostgresJournal(url, clock=time.time)) as other:
        with closing(server.connect(address.read(url))) as db:
            if not server.row(db, "SELECT current_setting($1, true)", setting)[0]:
                pytest.skip(f"this server is older than {setting}")
        assert all(one.is_stored for one in mine.post_all([Post(run, "m0", start_of(run)) for run in MANY]))
        mine.register(Worker("w1", pid=1), 60.0)
        other.register(Worker("w2", pid=2), 60.0)
        claims = mine.claim("w1", run_ids=MANY[:80]) if deed == "steps" else []
        appends = [Append(claim.lease, 0, (step(0),), claim.head) for claim in claims]
        cancels = [Post(run, "m1", accept.cancel(by="ada")) for run in (MANY if deed == "posts" else MANY[:1])]

        def work() -> None:
            if deed == "claims":
                mine.claim("w1", run_ids=MANY, limit=len(MANY))
            elif deed == "steps":
                mine.append(appends)
            else:
                mine.post_all(cancels)

        with stopped(monkeypatch, place, name, at) as reached:
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            assert reached.wait(30)
            assert other.post("r000", "m2", accept.cancel(by="bob")).is_stored, "its row is free again"
        thread.join(30)
        assert not thread.is_alive()
        assert len(other.events("r000")) == len(appends[:1])
        assert len(other.held("w1")) == (len(MANY) if deed == "claims" else len(claims))
        assert len(other.mail(MANY[0])) == (2 if deed in ("claims", "steps") else 3)


def test_a_message_from_elsewhere_keeps_a_run_from_ending(store: Store) -> None:
    """J8. Without it a cancellation that another machine has accepted would never be answered."""
    claim = store.hold()
    assert store.write(claim) is None
    ending = store.appending(claim, status=Status.SUCCEEDED, wake_at=None)
    assert store.open().post("r1", "m1", accept.cancel(by="ada")).is_stored
    assert isinstance(store.journal.append([ending])[0], MailWaiting)
    assert store.write(claim) is None


def test_of_steps_that_are_written_together_each_is_judged(store: Store) -> None:
    """J7 to J9. Without it a group would write for a worker that was replaced, or end a run over its mail; or what
    may be written would not be."""
    claims = {run_id: store.hold(run_id, worker_id="w1") for run_id in ("r1", "r2", "r3", "r4", "r5")}
    elsewhere = store.open()
    elsewhere.register(Worker("w2", pid=1), 30.0)
    store.dead.add("w1")
    elsewhere.claim("w2", run_ids=["r2"])
    store.dead.clear()
    assert elsewhere.post("r3", "m1", accept.cancel(by="ada")).is_stored
    assert elsewhere.append([store.appending(claims["r5"])]) == [None]
    ends = {"status": Status.SUCCEEDED, "wake_at": None, "releases": True}
    appends = [
        store.appending(claims["r1"], [step(0)]),
        store.appending(claims["r2"], [step(0)]),
        store.appending(claims["r3"], [step(0)], mail_read=1, **ends),
        store.appending(claims["r4"], [step(0)], mail_read=1, **ends),
        store.appending(claims["r5"], [step(0)])._replace(after=0),
    ]
    told = [type(result) for result in store.journal.append(appends)]
    assert told == [type(None), LeaseLost, MailWaiting, type(None), Unwritable]
    assert [len(store.journal.events(run_id)) for run_id in claims] == [1, 0, 0, 1, 1]
    head, owner = store.journal.head("r4"), store.journal.owner("r4")
    assert head is not None and head.status is Status.SUCCEEDED and owner is None
    assert store.claim("w1", "r4") == [] and store.claim("w2", "r4") == []
    assert [store.write(claims[run_id]) for run_id in ("r1", "r3")] == [None, None]


def test_an_ordinary_step_takes_the_short_way_alone_and_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the short way could fail each time and nobody would see: the general one writes the same, later."""
    claims = [store.hold(f"r{number}") for number in range(3)]

    def group(*_: object) -> None:
        raise AssertionError("the general way")

    monkeypatch.setattr(log, "Group", group)
    assert store.journal.append([store.appending(claims[0])]) == [None]
    assert store.journal.append([store.appending(claim) for claim in claims]) == [None] * 3
    assert [len(store.journal.events(f"r{number}")) for number in range(3)] == [2, 1, 1]


OTHERS: dict[str, dict[str, Any]] = {
    "time": {"at": 7.25},
    "kind": {"kind": Kind.STEP_FAILED},
    "no step": {"address": None, "step": None, "effect": None},
    "address": {"address": Address("a", "b", "c", 4)},
    "sort of step": {"step": StepKind.MODEL, "effect": Effect.ONCE},
    "attempt": {"logical": 2, "attempt": 3},
    "calls made": {"asked": 9},
    "no charge": {"charge": NOTHING},
    "charge": {"charge": Charge(1, 2, 3, 4)},
    "facts": {"meta": '{"name":"\u00e9"}'},
    "no body": {"body": None},
    "body": {"body": b"\x00\xff"},
    "empty body": {"body": b""},
}


def test_rows_that_are_written_together_are_each_what_was_given(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a value that most rows share could stand in a row that has another one, or none: its run is lost."""
    monkeypatch.setattr(log, "Group", lambda *_: pytest.fail("the general way"))
    event = step(0)._replace(charge=ONE_TOOL_CALL, body=b'"looked"', meta="{}")
    for name, places in itertools.product(OTHERS, ((0,), (1,), (2,), (0, 1, 2))):
        runs = [f"{name} {places} {number}" for number in range(3)]
        claims = [store.hold(run) for run in runs]
        given = [event._replace(**OTHERS[name]) if number in places else event for number in range(3)]
        heads = [{"wake_at": 5.0} if number in places else {} for number in range(3)]
        appends = [store.appending(claims[number], [given[number]], **heads[number]) for number in range(3)]
        assert store.journal.append(appends) == [None] * 3
        assert [store.journal.events(run) for run in runs] == [[each] for each in given], f"{name} at {places}"
        assert [store.journal.head(run) for run in runs] == [append.head for append in appends], f"{name} at {places}"


def test_a_store_that_is_left_takes_no_steps_together(store: Store, url: str) -> None:
    """U9. Without it runs would go on in a store whose runs go on elsewhere: each of them twice."""
    claims = [store.hold(f"r{number}") for number in range(2)]
    with psycopg.connect(database_of(url)) as db:
        left = Standing(Passage.LEFT, "t", "memory:").text()
        db.execute(sql.SQL("UPDATE {}.store SET moved_to = %s").format(_named(url)), (left,))
    with pytest.raises(StoreMoved):
        store.journal.append([store.appending(claim, [step(0)]) for claim in claims])
    assert [store.journal.events(f"r{number}") for number in range(2)] == [[], []]


def test_a_step_tells_what_another_journal_has_read(store: Store) -> None:
    """J6. Without it a second journal of one worker would bring back mail that was read."""
    claim = store.hold()
    assert store.open().append([store.appending(claim)]) == [None]
    assert store.write(claim, mail_read=0) is None
    assert store.journal.mail("r1") == [] and len(store.journal.events("r1")) == 2


# --- commits of unknown outcome ----------------------------------------------------------------------------------


def kill_backends(url: str) -> None:
    """End all sessions of the engine, as a failover does."""
    with psycopg.connect(database_of(url), autocommit=True) as db:
        db.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'holdfast'")


@pytest.mark.parametrize("is_committed", [False, True])
@pytest.mark.parametrize(("size", "steps"), [(1, 1), (3, 1), (3, 2)])
def test_a_connection_that_breaks_at_the_commit_is_looked_up(
    store: Store, url: str, is_committed: bool, size: int, steps: int
) -> None:
    """J13. Without it a step would be in the record twice, or not at all."""
    claims = [store.hold(f"r{number}") for number in range(size)]
    events = [step(number) for number in range(steps)]
    appends = [store.appending(claim, events) for claim in claims]

    def at_commit(end: Callable[[], Any]) -> Any:
        given = end() if is_committed and steps == 1 else None
        kill_backends(url)
        if given is not None:
            raise psycopg.OperationalError("the connection is lost before the answer")
        return end()

    interrupted(store.journal).at_commit = at_commit
    assert store.journal.append(appends) == [None] * size
    assert [store.journal.events(claim.lease.run_id) for claim in claims] == [events] * size
    assert store.journal.append([store.appending(claim, [step(steps)]) for claim in claims]) == [None] * size


def test_of_steps_that_were_lost_together_each_is_looked_up(store: Store, url: str) -> None:
    """J13, J7. Without it a step that was refused would count as written, when the answer for its group is lost."""
    claims = [store.hold(f"r{number}") for number in range(3)]
    elsewhere = store.open()
    elsewhere.register(Worker("w2", pid=1), 30.0)
    store.dead.add("w1")
    [taken] = elsewhere.claim("w2", run_ids=["r1"])
    appends = [store.appending(claim, [step(0)]) for claim in claims]

    def at_commit(end: Callable[[], Any]) -> Any:
        end()
        kill_backends(url)
        raise psycopg.OperationalError("the connection is lost before the answer")

    interrupted(store.journal).at_commit = at_commit
    results = store.journal.append(appends)
    assert [type(result) for result in results] == [type(None), LeaseLost, type(None)]
    assert [len(store.journal.events(claim.lease.run_id)) for claim in claims] == [1, 0, 1]
    assert elsewhere.append([store.appending(taken)]) == [None]


@pytest.mark.timeout(15)
def test_a_commit_that_is_still_under_way_is_waited_for(store: Store, url: str) -> None:
    """J13. Without it a look that comes before the lost commit would find nothing, and the step be written twice."""
    claim = store.hold()
    assert store.write(claim, [step(0)]) is None
    with closing(server.connect(address.read(url))) as db:
        [run_no] = server.row(db, "SELECT run_no FROM runs")
        [[number, chain]] = server.rows(db, "SELECT number, chain FROM events")
    wanted = log.Written("r1", number, chain, b"", "w1", 1, True)
    found: list[bool] = []

    def look() -> None:
        with closing(server.connect(address.read(url))) as db, db.transaction():
            found.extend(log.standing(db, "default", [wanted]))

    with psycopg.connect(database_of(url)) as lost:
        lost.execute(sql.SQL("SET search_path = {}").format(_named(url)))
        lost.execute("CREATE TEMP TABLE kept AS SELECT * FROM events")
        lost.execute("DELETE FROM events")
        lost.commit()
        lost.execute("SELECT 1 FROM runs WHERE run_no = %s FOR UPDATE", (run_no,))
        lost.execute("INSERT INTO events SELECT * FROM kept")
        thread = threading.Thread(target=look)
        thread.start()
        _wait_for_waiters(url, 1, lambda: not thread.is_alive())
        assert found == []
        lost.commit()
        thread.join(20)
    assert found == [True]


def _wait_for_waiters(url: str, count: int, is_over: Callable[[], bool] = lambda: False) -> None:
    with psycopg.connect(database_of(url), autocommit=True) as db:
        while (
            not is_over() and len(db.execute("SELECT DISTINCT pid FROM pg_locks WHERE NOT granted").fetchall()) < count
        ):
            pass


def test_an_equal_value_of_another_writer_is_not_taken_for_ones_own(store: Store, url: str) -> None:
    """J19. Without it two processes that make the same switch at once would each believe that they decided."""
    elsewhere = store.open()

    def at_commit(end: Callable[[], Any]) -> Any:
        kill_backends(url)
        assert elsewhere.swap("a", 0, "on")
        return end()

    interrupted(store.journal).at_commit = at_commit
    assert not store.journal.swap("a", 0, "on")


def test_rows_that_somebody_keeps_locked_are_not_waited_for_without_end(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it an open transaction of an operator's tool would stop a worker for ever."""
    claim = store.hold()
    append = store.appending(claim)
    monkeypatch.setattr(server, "LOCK_S", 0.1)
    with psycopg.connect(database_of(url)) as other, closing(store.open()) as journal:
        other.execute(sql.SQL("SELECT 1 FROM {}.runs FOR UPDATE").format(_named(url)))
        with pytest.raises(StoreUnreachable, match=r"locked for more than 0\.1 s.*Nothing was written"):
            journal.append([append])
        other.rollback()
        assert journal.append([append]) == [None]


def test_a_server_that_restarts_is_found_again(postgres: PostgresServer, store: Store) -> None:
    """Without it each failover would need all workers to be started anew."""
    claim = store.hold()
    assert store.write(claim, [step(0)]) is None
    before = store.record()
    postgres.restart()
    assert store.record() == before
    assert store.write(claim, [step(1)]) is None
    assert store.journal.events("r1") == [step(0), step(1)]


def test_sessions_that_were_ended_while_idle_are_opened_again(store: Store, url: str) -> None:
    """Without it a firewall that drops idle connections would end a worker."""
    claim = store.hold()
    kill_backends(url)
    assert store.write(claim, [step(0)]) is None
    kill_backends(url)
    assert store.journal.events("r1") == [step(0)]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[server.Db]:
    """The connections that are opened from here on."""
    connections: list[server.Db] = []
    connect = server.connect

    def watched(place: address.Address) -> server.Db:
        connections.append(connect(place))
        return connections[-1]

    monkeypatch.setattr(server, "connect", watched)
    return connections


def test_a_store_that_cannot_be_opened_keeps_no_connection(url: str, opened: list[server.Db]) -> None:
    """Without it each attempt to open a store on a failing server would take one of its connections for good."""
    PostgresJournal(url, clock=SystemClock().now).close()
    with psycopg.connect(database_of(url), autocommit=True) as db:
        db.execute(sql.SQL("ALTER TABLE {}.store DROP COLUMN hash_key").format(sql.Identifier(schema_of(url))))
    with pytest.raises(JournalCorrupt):
        PostgresJournal(url, clock=SystemClock().now)
    assert len(opened) == 4, "the first one and the reader's, both times"
    assert [db.closed for db in opened] == [True] * 4


def test_who_waited_while_a_journal_was_closed_opens_no_connection(url: str, opened: list[server.Db]) -> None:
    """Without it a thread that comes a moment late would open a connection that nobody closes."""
    for use in (lambda journal: journal.cap("a", Limits(tokens=1)), lambda journal: journal.head("r1")):
        journal = PostgresJournal(url, clock=SystemClock().now)
        database = journal._database
        check = database._check_usable

        def close_meanwhile(check: Callable[[], None] = check, close: Callable[[], None] = journal.close) -> None:
            check()
            close()

        database._check_usable = close_meanwhile  # type: ignore[method-assign]
        with pytest.raises(UsageError, match="closed"):
            use(journal)
    assert [db.closed for db in opened] == [True] * 4


def test_a_doorbell_without_a_thread_keeps_nothing_open(
    url: str, opened: list[server.Db], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a machine that has no threads left would lose its connections and files, too."""

    pipes, make_pipe = list[int](), os.pipe

    def watched() -> tuple[int, int]:
        made = make_pipe()
        pipes.extend(made)
        return made

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError(f"can't start new thread {thread.name}")

    with closing(PostgresJournal(url, clock=SystemClock().now)) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pipe", watched)
            patch.setattr(threading.Thread, "start", refuse)
            before = len(opened)
            with pytest.raises(RuntimeError, match="holdfast-doorbell"):
                journal.listen(lambda: None)
        assert [db.closed for db in opened[before:]] == [True]
        assert len(pipes) == 2
        for end in pipes:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(end)
        journal.listen(lambda: None)()


def test_a_journal_does_not_cross_a_fork(store: Store) -> None:
    """Without it two processes would speak on one connection, and each read the other's answers."""
    store.start()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store.journal.head("r1")
            os.write(write, b"used")
        except UsageError as error:
            os.write(write, b"refused" if "fork" in str(error) else b"?")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"refused"
    os.close(read)
    os.close(write)
    assert store.journal.head("r1") is not None


# --- time, and where the store stands ----------------------------------------------------------------------------


def test_the_time_is_the_servers(url: str) -> None:
    """J5. Without it a machine whose clock is an hour ahead would take runs from workers that are alive."""
    with (
        closing(open_journal(url, clock=time.time)) as here,
        closing(open_journal(url, clock=lambda: time.time() + 3600)) as ahead,
        closing(open_journal(url, clock=lambda: 1_000.0)) as behind,
    ):
        assert abs(here.now() - ahead.now()) < 60 and abs(here.now() - behind.now()) < 60
        here.post("r1", "m1", start_of("r1"))
        here.register(Worker("w1", pid=1), 30.0)
        assert [claim.lease.epoch for claim in here.claim("w1")] == [1]
        ahead.register(Worker("w2", pid=1), 30.0)
        assert ahead.claim("w2") == []
        behind.register(Worker("w3", pid=1), 30.0)
        here.post("r2", "m1", start_of("r2"))
        assert [claim.lease.run_id for claim in behind.claim("w3")] == ["r2"]


def test_a_store_is_not_left_while_somebody_writes(store: Store) -> None:
    """U9. Without it the last step of a run would be written to the store that its run has just left."""
    claim = store.hold()
    store.journal.retire("w1")
    elsewhere, order = store.open(), list[str]()
    passed = threading.Thread(
        target=lambda: order.append(
            f"left {upkeep_of(elsewhere).pass_on(OPEN, Standing(Passage.LEAVING, 't', 'memory:'))}"
        )
    )

    def at_commit(end: Callable[[], Any]) -> Any:
        passed.start()
        passed.join(0.3)
        order.append("written")
        return end()

    posted = [store.appending(claim, [step(0)], posts=[Post("r2", "start", start_of("r2"))])]
    interrupted(store.journal).at_commit = at_commit
    assert store.journal.append(posted) == [None]
    passed.join(20)
    assert order == ["written", "left True"]
    with pytest.raises(StoreMoved):
        store.write(claim, [step(1)], after=1, mail_read=0)
    assert store.journal.events("r1") == [step(0)]


# --- from the top ------------------------------------------------------------------------------------------------


@hf.tool(effect="once")
async def charge(amount: int) -> int:
    return amount + 1


@hf.agent
async def shop(run: hf.Run, amount: int) -> int:
    return await charge(amount) + await charge(amount * 2)


async def test_an_agent_runs_on_it(url: str) -> None:
    """Without it the URL would be accepted and nothing follow from it."""
    async with hf.App(url, agents=[shop]) as app:
        assert await app.run(shop, 20, key="order") == 62
    async with hf.App(url, agents=[shop]) as app:
        assert await app.run(shop, 20, key="order") == 62
        assert app.journal.facts()["runs"] == {"succeeded": 1}


async def test_an_agent_lives_in_the_servers_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """P9. Without it a timer that one machine sets would fire early on another, by what their clocks differ."""

    @hf.agent
    async def clocked(run: hf.Run, _: None) -> float:
        return run.now

    monkeypatch.setattr(SystemClock, "now", lambda _: time.time() + 7200)
    async with hf.App(url, agents=[clocked]) as app:
        assert abs(await app.run(clocked, None, key="r") - time.time()) < 600
        [head] = app.journal.heads()
        assert abs(head.updated_at - time.time()) < 600


def test_a_table_that_was_changed_is_damage(store: Store, url: str) -> None:
    """J12. Without it a schema that a tool has altered would be an error that nobody understands."""
    claim = store.hold()
    with psycopg.connect(database_of(url), autocommit=True) as db:
        db.execute(sql.SQL("ALTER TABLE {}.events RENAME COLUMN chain TO chained").format(_named(url)))
    with pytest.raises(JournalCorrupt, match="other than they were made"):
        store.journal.append([store.appending(claim, after=0, mail_read=1)])


def test_the_command_line_takes_its_url(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without it an operator could run agents on a store that no command can look into."""
    with closing(open_journal(url, clock=time.time)) as journal:
        journal.post("r1", "m1", start_of("r1"))
    assert command_line(["doctor", "--store", url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["store"]["engine"], found["store"]["runs"], found["problems"]) == ("postgres", {"ready": 1}, [])
    assert command_line(["ls", "--store", url]) == 0 and "r1" in capsys.readouterr().out
    assert command_line(["ls", "--store", f"{url}_not_there"]) == 3
    assert "There is no store at" in capsys.readouterr().err
