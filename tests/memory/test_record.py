"""A project in a store: whoever tells it something, from whichever process, and what is left when one dies.

If these fail, two sessions have one feature, what was told is lost, or a reader sees another board than the log's.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests import warm

from holdfast.core import accept
from holdfast.core import board as b
from holdfast.core.board import Board, State, fold
from holdfast.core.budget import Limits
from holdfast.core.events import Event, Kind, meta
from holdfast.core.feature import Feature, digest, features
from holdfast.core.heads import Status, Why
from holdfast.core.state import fold as state_of
from holdfast.core.verdict import Result, Verdict, judged
from holdfast.errors import JournalError, MessageRefused, UsageError
from holdfast.journal.open import open_journal, upkeep_of
from holdfast.journal.rebuild import rebuild
from holdfast.memory.record import ProjectRecord
from holdfast.protocols import Append, Cell, Journal, Worker
from holdfast.runtime import desk, project
from holdfast.testing.postgres_server import PostgresServer

NAMES = [f"f{number}" for number in range(6)]
LIST = features([{"id": name, "description": name, "check": "command:true"} for name in NAMES])
GOOD = [Result(True, True, exit_code=0, output="fine\0\ud800", output_sha256="a")]
BAD = [Result(True, False, why="1 != 2", exit_code=1)] * 2
SCHEMAS = itertools.count()

Open = Callable[[], Journal]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same store again and again."""
    opened: list[Journal] = []
    if request.param == "memory":
        only = open_journal("memory:", clock=time.time)
        yield lambda: only
        return
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.url(f"project_{os.getpid()}_{next(SCHEMAS)}")
    else:
        url = f"sqlite:///{tmp_path}/h.db"

    def again() -> Journal:
        opened.append(open_journal(url, clock=time.time))
        return opened[-1]

    yield again
    for journal in opened:
        journal.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Journal]:
    """A store in a file."""
    journal = open_journal(f"sqlite:///{tmp_path}/h.db", clock=time.time)
    yield journal
    journal.close()


def frozen(journal: Journal, found: list[Feature] = LIST) -> ProjectRecord:
    """A project with a list."""
    record = ProjectRecord(journal, "demo")
    record.freeze(found, by="ann", digest=digest(found), message_id="freeze")
    return record


def proof(record: ProjectRecord, run: str, name: str, results: list[Result], number: Any = "") -> Board:
    """What a check gave."""
    said = judged(results)
    told = f"proof {run} {name} {number}"
    return record.evidence(run, name, verdict=said, results=results, commit="c1", tree="t1", message_id=told)


def over(record: ProjectRecord, run: str, outcome: str) -> Board:
    """A session ends."""
    how: dict[str, Any] = {"commit": "c1", "branch": "", "digest": {"notes": []}, "revision": record.board().count}
    return record.ended(run, outcome=outcome, message_id=f"ended {run}", **how)


def check_whole(journal: Journal, record: ProjectRecord) -> Board:
    """What every reader sees is the log's, and so is the head, which nobody read the log for."""
    events = journal.events(record.id)
    whole = fold(events)
    assert ProjectRecord(journal, record.name).board() == whole == record.board()
    assert journal.head(record.id) == state_of(events).head()
    assert journal.owner(record.id) is None and not journal.mail(record.id)
    return whole


def test_a_session_from_beginning_to_end_on_every_engine(store: Open) -> None:
    """Lost: an engine on which a project is another one."""
    first, second = frozen(store()), ProjectRecord(store(), "demo")
    one = first.begin("h:/a", message_id="b1", by="me")
    two = second.begin("h:/b", message_id="b1", by="you")
    assert (one.number, two.number, one.run, two.run) == (1, 2, first.session_id(1), second.session_id(2))
    assert first.claim(one.run, "f0", message_id="c1") == ""
    assert second.claim(two.run, "f0", message_id="c2") == "held by session 1 at h:/a"
    assert second.claim(two.run, "f1", message_id="c3") == ""
    assert proof(first, one.run, "f0", GOOD).items["f0"].state is State.PASSING
    assert proof(second, two.run, "f1", BAD).items["f1"].state is State.OPEN
    first.note(one.run, "x" * 600, message_id="n1")
    second.restored(two.run, "features.json was edited", message_id="e1")
    over(first, one.run, "passed")
    board = over(second, two.run, "passed")
    assert [(each.number, each.outcome) for each in board.ended] == [(1, "passed"), (2, "partial")]
    assert board.items["f1"].tries[0].why == "1 != 2, 2 times"
    assert len(board.notes[0].text) == 500 and board.edited[0].session == 2
    assert check_whole(store(), first) == board
    head = store().head(first.id)
    assert head is not None and (head.status, head.why, head.wake_at) == (Status.SUSPENDED, Why.COMMAND, None)


def test_the_same_told_again_changes_nothing_and_is_answered_the_same(store: Open) -> None:
    """Lost: a session that was killed and tells it again would have two features, or be told another answer."""
    record = frozen(store())
    one = record.begin("h:/a", message_id="b1", by="me")
    two = record.begin("h:/b", message_id="b2", by="me")
    assert record.claim(one.run, "f0", message_id="c1") == ""
    assert record.claim(two.run, "f0", message_id="c2") == "held by session 1 at h:/a"
    over(record, one.run, "failed")
    count = record.board().count
    again = ProjectRecord(store(), "demo")
    assert again.claim(two.run, "f0", message_id="c2") == "held by session 1 at h:/a"
    assert again.claim(one.run, "f0", message_id="c1") == ""
    assert again.begin("h:/b", message_id="b2", by="me") == two
    assert frozen(store()).board().count == over(again, one.run, "lost").count == count
    assert again.board().held() == {}


def test_a_run_of_its_own_is_a_session_and_two_are_not_at_one_place(store: Open) -> None:
    """Lost: an agent that is a session by itself, outside of the harness."""
    record = frozen(store())
    mine = record.begin("h:/a", message_id="m1", by="me", run="run_mine")
    assert (mine.run, mine.number) == ("run_mine", 1) and record.begin("h:/a", message_id="m2", by="x") == mine
    with pytest.raises(UsageError, match="session 1 is open at h:/a"):
        record.begin("h:/a", message_id="m3", by="x", run="run_other")
    with pytest.raises(UsageError, match="it is session 1, at h:/a"):
        record.begin("h:/b", message_id="m4", by="x", run="run_mine")
    record.stop("ann", "enough")
    with pytest.raises(UsageError, match="stopped: enough"):
        record.begin("h:/b", message_id="m5", by="x")
    record.go_on("ann")
    assert record.begin("h:/b", message_id="m6", by="x").number == 2


def test_a_pass_without_results_is_refused_with_its_reason_on_record(file: Journal) -> None:
    """Lost: whoever calls it done is believed; or nobody ever learns that it was tried."""
    record = frozen(file)
    one = record.begin("h:/a", message_id="b1", by="me")
    record.claim(one.run, "f0", message_id="c1")
    lie = Verdict(True, True, False, "trust me")
    forged: list[tuple[list[Result], Feature | None]] = [
        ([], None), (BAD, None), ([Result(True, True)], None), ([Result(False, True, exit_code=0)], None),
        (GOOD, LIST[1]),
    ]  # fmt: skip
    for number, (results, checked) in enumerate(forged):
        board = record.evidence(
            one.run, "f0", verdict=lie, results=results, commit="c", tree="t", message_id=f"{number}", checked=checked
        )
        assert not board.passing
        event = record.told(f"{number}")
        assert event is not None and event.facts["refused"] and event.facts["because"] == "trust me"
    assert proof(record, one.run, "f0", GOOD).passing
    event = record.told(f"proof {one.run} f0 ")
    assert event is not None and event.body == '[{"artefacts":[],"output":"fine\N{REPLACEMENT CHARACTER}?"}]'.encode()


def test_another_list_than_the_one_shown_is_not_frozen(file: Journal) -> None:
    """Lost: a person agrees to one list and an agent freezes another."""
    record = ProjectRecord(file, "demo")
    with pytest.raises(MessageRefused, match="not the one that was shown"):
        record.freeze(LIST[1:], by="ann", digest=digest(LIST))
    assert not record.board().digest


def test_what_all_sessions_may_use_is_capped(store: Open) -> None:
    """Lost: a budget over the project."""
    record = frozen(store())
    record.cap({"usd_nano": 5, "tokens": 7}, "ann")
    assert record.cap({"tokens": None}, "ann", "more").caps == Limits(usd_nano=5)
    account = store().account(b.cell_of("demo"))
    assert account is not None and account.limits[:4] == (None, None, None, 5)
    check_whole(store(), record)


def test_threads_that_claim_never_get_the_same_feature(store: Open) -> None:
    """Lost: two sessions on one feature."""
    record = frozen(store())
    got: list[str] = []

    def session(number: int) -> None:
        mine = ProjectRecord(store(), "demo")
        run = mine.begin(f"h:/{number}", message_id=f"b{number}", by="me").run
        got.extend(name for name in NAMES[:3] if not mine.claim(run, name, message_id=f"{number} {name}"))

    threads = [threading.Thread(target=session, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == NAMES[:3]
    board = check_whole(store(), record)
    assert sorted(board.held()) == NAMES[:3] and board.numbered == 5


# --- processes ---------------------------------------------------------------------------------------------------


SESSIONS = """
import os, sys, time
from pathlib import Path
from holdfast.core.verdict import Result, judged
from holdfast.journal.open import open_journal
from holdfast.memory.record import ProjectRecord

url, me, ledger = sys.argv[1], sys.argv[2], Path(sys.argv[3])
record = ProjectRecord(open_journal(url, clock=time.time), "demo")
good = [Result(True, True, exit_code=0)]
print("ready", flush=True)
sys.stdin.readline()
place, held = f"h:/{me}", 0
for turn in range(100):
    board = record.board()
    if len(board.passing) == len(board.items):
        break
    session = record.begin(place, message_id=f"{me} {turn}", by=me)
    name = session.feature
    for wanted in board.items:
        if not name and not record.claim(session.run, wanted, message_id=f"{session.run} {wanted}"):
            name = wanted
    if name:
        with open(ledger / f"{name}.{os.getpid()}", "a") as file:
            print(session.number, file=file)
        os.close(os.open(ledger / f"{name}.held", os.O_CREAT | os.O_EXCL))
        record.evidence(session.run, name, verdict=judged(good), results=good, commit="c", tree="t",
                        message_id=f"{session.run} done")
        os.unlink(ledger / f"{name}.held")
        held += 1
    record.ended(session.run, outcome="passed" if name else "nothing", commit="c", branch="", digest={},
                 revision=0, message_id=f"{session.run} ended")
print(held, flush=True)
"""


@pytest.mark.parametrize("many", [12, pytest.param(40, marks=pytest.mark.proof)])
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_processes_that_claim_never_get_the_same_feature(
    engine: str, many: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Lost: two harnesses on one feature. What each of them has done is in files of their own, not in the store."""
    url = f"sqlite:///{tmp_path}/h.db"
    if engine == "postgres":
        url = request.getfixturevalue("postgres").url(f"race_{os.getpid()}")
    journal = open_journal(url, clock=time.time)
    found = features([{"id": f"f{n}", "description": "x", "check": "command:true"} for n in range(many)])
    record = frozen(journal, found)
    (tmp_path / "ledger").mkdir()
    command = [sys.executable, "-c", SESSIONS, url]
    racers = [
        warm.start([*command, str(number), str(tmp_path / "ledger")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for number in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=50)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    worked_on = sorted(path.name.partition(".")[0] for path in (tmp_path / "ledger").iterdir())
    assert worked_on == sorted(feature.id for feature in found)
    assert sum(map(int, said)) == many and len([count for count in said if int(count)]) > 1, "nobody raced"
    board = check_whole(journal, record)
    assert len(board.passing) == many and not board.sessions
    journal.close()


KILLED = """
import os, signal, sys, time
from holdfast.journal.open import open_journal
from holdfast.memory.record import ProjectRecord

url, moment = sys.argv[1], sys.argv[2]
journal = open_journal(url, clock=time.time)
record = ProjectRecord(journal, "demo")
run = record.begin("h:/a", message_id="b1", by="me").run
armed = {"posted": "post_all", "registered": "register", "claimed": "claim", "done": "append"}[moment]
method = getattr(journal, armed)

def dies(*args, **more):
    method(*args, **more)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(journal, armed, dies)
record.claim(run, "f0", message_id="c1")
"""


@pytest.mark.parametrize("moment", ["posted", "registered", "claimed", "done"])
def test_a_kill_after_a_command_is_stored_loses_nothing(moment: str, tmp_path: Path) -> None:
    """Lost: a claim that nobody has made, or one that is made and does not hold."""
    url = f"sqlite:///{tmp_path}/h.db"
    journal = open_journal(url, clock=time.time)
    record = frozen(journal)
    killed = warm.run([sys.executable, "-c", KILLED, url, moment], timeout=50)
    assert killed.returncode == -signal.SIGKILL
    assert bool(journal.mail(record.id)) is (moment != "done")
    other = record.begin("h:/b", message_id="b2", by="you")
    assert record.claim(other.run, "f0", message_id="c2") == "held by session 1 at h:/a"
    again = ProjectRecord(journal, "demo")
    assert again.claim(again.session_id(1), "f0", message_id="c1") == ""
    board = check_whole(journal, record)
    assert board.held()["f0"].number == 1
    assert len([event for event in journal.events(record.id) if event.facts.get("id") == "c1"]) == 1
    journal.close()


def test_somebody_who_stays_at_the_project_is_told_and_what_was_told_is_kept(
    file: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: a session that waits for ever, or takes what nobody carried out for done."""
    record = frozen(file)
    file.register(Worker("other"), 600.0)
    file.post(record.id, "x", accept.command("stop", "demo", by="ann", id="x"))
    (held,) = file.claim("other", run_ids=[record.id])
    carry_out = desk.carry_out
    monkeypatch.setattr(desk, "carry_out", lambda *how: False)  # as after its five seconds
    with pytest.raises(JournalError, match="What was told is kept"):
        record.go_on("ann", message_id="go")
    assert len(file.mail(record.id)) == 2
    file.release(held.lease, None)
    monkeypatch.setattr(desk, "carry_out", carry_out)
    assert record.go_on("ann", message_id="go").stopped == ""
    assert [event.facts["what"] for event in file.events(record.id)[3:]] == ["stop", "go_on"]


# --- the written board -------------------------------------------------------------------------------------------


def grown(record: ProjectRecord, count: int = 100) -> str:
    """Many events; the run of a session that is open."""
    run = record.begin("h:/a", message_id="grow", by="me").run
    for number in range(count):
        record.note(run, "x" * 500, message_id=f"n{number}")
    return run


def test_a_reader_begins_at_the_last_written_board(store: Open) -> None:
    """Lost: a brief that takes longer with each session; or a cell that grows past what one holds."""
    record = frozen(store())
    grown(record)
    journal = store()
    cell = journal.cell(b.cell_of("demo"))
    assert cell is not None
    at, events = int(cell.value), journal.events(record.id)
    assert events[at - 1].facts["what"] == b.BOARD
    assert len(events) - at < len(events) / 2
    found = project.read(journal, record.id, "demo")
    assert found.board == fold(events) and found.written > 0
    assert [event for event in events if event.facts.get("what") == b.BOARD] != [] and check_whole(journal, record)


class Counting:
    """A store that says from where its events were read."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.read: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.journal, name)

    def events(self, run_id: str, after: int = 0, limit: int | None = None) -> Any:
        """As the journal's."""
        self.read.append(after)
        return self.journal.events(run_id, after, limit)


def test_neither_a_reader_nor_a_writer_reads_the_whole_log(file: Journal) -> None:
    """Lost: a project that takes longer for each command with each that it was told."""
    record = frozen(file)
    run = grown(record)
    counting: Any = Counting(file)
    again = ProjectRecord(counting, "demo")
    again.board()
    again.note(run, "y", message_id="last")
    cell = file.cell(b.cell_of("demo"))
    assert cell is not None
    assert counting.read and min(counting.read) >= int(cell.value) - 1 > 50


@pytest.mark.parametrize("value", ["", "0", "1", "7", "999", "no number", "-3", "\u00b2"])
def test_a_cell_that_names_nothing_is_no_loss_and_is_mended(value: str, file: Journal) -> None:
    """Lost: a board, since what was only written down of it is gone."""
    record = frozen(file)
    run = grown(record)
    was = file.cell(b.cell_of("demo"))
    assert was is not None and upkeep_of(file).put_cell(b.cell_of("demo"), was, Cell(was.version + 1, value))
    before = check_whole(file, record)
    (difference,) = rebuild(file, upkeep_of(file)).differences
    assert (difference.what, difference.now, difference.is_mended) == ("cell project/demo", was.value, True)
    after = file.cell(b.cell_of("demo"))
    assert after is not None and after.value == was.value
    assert not rebuild(file, upkeep_of(file)).differences
    assert record.note(run, "on", message_id="on").count == before.count + 1


def test_a_damaged_cell_is_no_loss_and_stops_nobody(file: Journal, tmp_path: Path) -> None:
    """Lost: a project that nobody can tell anything, since one row of a cache is damaged."""
    record = frozen(file)
    run = grown(record)
    with apsw.Connection(f"{tmp_path}/h.db") as connection:
        connection.execute("UPDATE cells SET value = '3' WHERE name = 'project/demo'")
    again = ProjectRecord(file, "demo")
    for number in range(100):
        again.note(run, "z" * 500, message_id=f"z{number}")
    whole = fold(file.events(record.id))
    assert again.board() == whole and whole.count > 200
    found = rebuild(file, upkeep_of(file))
    assert [(each.what, each.was, each.is_mended) for each in found.differences] == [
        ("cell project/demo", "damaged", True)
    ]
    assert not rebuild(file, upkeep_of(file)).differences and not found.left
    check_whole(file, record)


def test_a_board_that_was_written_wrong_is_not_what_doctor_points_at(file: Journal) -> None:
    """Lost: a mistake of an older version is believed for ever."""
    record = frozen(file)
    run = grown(record, 5)
    lie = Board(name="demo", count=record.board().count + 1, stopped="says who").text().encode()
    worker = Worker("w")
    file.register(worker, 60.0)
    file.post(record.id, "x", accept.command("go_on", "demo", by="ann", id="x"))
    (held,) = file.claim("w", run_ids=[record.id])
    count = len(file.events(record.id))
    event = Event(Kind.DECIDED, held.head.updated_at, meta=meta(what=b.BOARD, choice="x", because="x"), body=lie)
    append = Append(held.lease, count, [event], held.head, cells={b.cell_of("demo"): str(count + 1)}, releases=True)
    assert file.append([append]) == [None]
    assert ProjectRecord(file, "demo").board().stopped == "says who"
    (difference,) = rebuild(file, upkeep_of(file)).differences
    assert (difference.what, difference.now) == ("cell project/demo", "empty")
    assert not ProjectRecord(file, "demo").note(run, "on", message_id="on").stopped


def test_caps_of_a_project_are_computed_anew(file: Journal) -> None:
    """Lost: a budget over the project, with the row that holds it."""
    record = frozen(file)
    record.cap({"usd_nano": 5}, "ann")
    account = file.account(b.cell_of("demo"))
    assert account is not None
    assert upkeep_of(file).put_account(b.cell_of("demo"), account, account._replace(limits=Limits()))
    (difference,) = rebuild(file, upkeep_of(file)).differences
    assert difference.what == "account project/demo" and file.account(b.cell_of("demo")) == account


def test_a_list_that_is_larger_than_a_cell_is_a_project_like_others(file: Journal) -> None:
    """Lost: a project of a thousand features."""
    many = features(
        [
            {"id": f"f{n}", "description": "x" * 300, "steps": ["y" * 200] * 2, "check": "command:true"}
            for n in range(900)
        ]
    )
    record = frozen(file, many)
    run = record.begin("h:/a", message_id="b", by="me").run
    assert record.claim(run, "f899", message_id="c") == ""
    assert len(proof(record, run, "f899", GOOD).passing) == 1
    assert len(check_whole(file, record).items) == 900
    assert project.read(file, record.id, "demo").written > 500_000
