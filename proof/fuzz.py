"""Hostile input at every door: values, stored rows, messages, URLs, holdfast.toml, the command line, and names in SQL.

Whatever comes in, what comes out is an answer or one of our typed errors that says what is wrong with it: no other
exception, no traceback, no exit code of a bug, and in time. Names that look like SQL or like patterns mean themselves,
and of two tenants neither ever sees a byte of the other.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import shutil
import signal
import string
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import apsw
import click

from holdfast.cli.__main__ import command_line, holdfast
from holdfast.core import accept
from holdfast.core.accept import MessageKind
from holdfast.core.events import meta
from holdfast.core.heads import Head, Status
from holdfast.errors import (
    InternalError,
    JournalCorrupt,
    JournalError,
    RunError,
    Unencodable,
    UsageError,
)
from holdfast.journal import codec
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.open import open_journal
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Journal
from holdfast.runtime import config
from holdfast.testing.conformance_store import question, start_of
from holdfast.testing.postgres_server import PostgresServer
from holdfast.views.show import show
from proof.part import Plan, Seen
from proof.suite import TESTS

ROUNDS = 200
"""In each, some inputs at every door."""
WANTED = {
    "inputs": 20_000,
    "codec": 8_000,
    "values": 1_200,
    "messages": 5_000,
    "configurations": 1_500,
    "urls": 1_200,
    "command lines": 1_500,
    "rows": 1_000,
    "names": 8_000,
    "refused": 10_000,
    "accepted": 1_500,
}
COST = 40
PATIENCE_S = 30
RECORDED = TESTS / "journals" / "0.1.0.db.gz"
OURS = (UsageError, RunError, JournalError)

HOSTILE = (
    "", " ", "\x00", "'", '"', "%", "_", "\\", "--", ";", "' OR '1'='1", '"; DROP TABLE runs; --',
    "a' UNION SELECT body FROM events --", "$1", "?", ":tenant", "%s", "%(x)s", "{}", "{0}", "${HOME}", "$(id)",
    "`id`", "../../etc/passwd", "/dev/zero", "@/etc/passwd", "@", "-", "--help", "--json", "-1", "1e309", "NaN",
    "Infinity", "9" * 400, "0x10", "1_000", "true", "null", "[" * 300, "{" * 300, '{"a":' * 200, '"\\ud800"',
    "\ud800", "\x1b[2J\x1b]0;x\x07", "\r\n", "\u202e", "\xe4\U0001f600", "\ufeff", "x" * 10_000, "run_", "@desk",
    "%00", "a\tb", "\U0010ffff", "none", "inf", "1h", "-5s", "0s", "1e10d", "day", "total",
)  # fmt: skip


def run(plan: Plan) -> Seen:
    """Some inputs at every door, in each round."""
    seen = Seen()
    with _alarm(), PostgresServer() as server:
        for trial in plan.trials(ROUNDS):
            place = plan.directory / f"round-{trial}"
            place.mkdir()
            _round(f"round {trial}", plan.random(trial), place, seen)
            for engine, opened in _engines(place, server, f"names_{trial}"):
                names = partial(compare_names, plan.random(trial), opened, seen)
                try_one(f"round {trial}, names in {engine}", "", names, seen)
            shutil.rmtree(place)
    return seen


def _round(where: str, chance: random.Random, place: Path, seen: Seen) -> None:
    for name, (times, door) in DOORS.items():
        for number in range(times):
            try_one(f"{where}, {name} {number}", name, partial(door, chance, place), seen)


def try_one(where: str, name: str, door: Callable[[], Any], seen: Seen) -> None:
    """One input; an error that is not ours, or none in time, is a problem."""
    seen.count("inputs")
    if name:
        seen.count(name)
    signal.alarm(PATIENCE_S)
    try:
        door()
        seen.count("accepted")
    except InternalError as error:
        seen.problems.append(f"{where}: {error!r}")
    except OURS:
        seen.count("refused")
    except (Exception, SystemExit) as error:  # which nobody but this part may ever see
        seen.problems.append(f"{where}: {type(error).__name__}: {str(error)[:500]}")
    finally:
        signal.alarm(0)


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer in {PATIENCE_S} s")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


# --- what is hostile ---------------------------------------------------------------------------------------------


def text(chance: random.Random) -> str:
    """A name, or something that is none."""
    if chance.random() < 0.6:
        return chance.choice(HOSTILE)
    return "".join(chance.choice(string.printable) for _ in range(chance.randint(0, 30)))


def value(chance: random.Random, depth: int = 0) -> Any:
    """Anything that JSON knows."""
    kind = chance.randint(0, 9 if depth < 4 else 7)
    match kind:
        case 0:
            return None
        case 1:
            return chance.random() < 0.5
        case 2:
            return chance.choice([0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**300])
        case 3:
            return chance.choice([0.0, -0.0, 1.5, 1e308, -1e-300])
        case 8:
            return [value(chance, depth + 1) for _ in range(chance.randint(0, 4))]
        case 9:
            return {text(chance): value(chance, depth + 1) for _ in range(chance.randint(0, 4))}
        case _:
            return text(chance)


def spoilt(chance: random.Random, data: bytes) -> bytes:
    """The same bytes, but for something."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(changed))
        match chance.randint(0, 4):
            case 0:
                del changed[at : at + chance.randint(1, 8)]
            case 1:
                changed[at:at] = chance.randbytes(chance.randint(1, 8))
            case 2 if at < len(changed):
                changed[at] ^= 1 << chance.randint(0, 7)
            case 3:
                changed[at:at] = chance.choice([b'"$', b"[", b"{", b'":', b"\\u", b"$", b"1e", b"-"])
            case _:
                changed = changed[:at] + changed
    return bytes(changed)


# --- values and messages -----------------------------------------------------------------------------------------


def decode_bytes(chance: random.Random, place: Path) -> None:
    """Bytes that no `encode` wrote."""
    tagged = {
        "$" + chance.choice(["time", "date", "bytes", "set", "tuple", "int", "map", "decimal", "x"]): value(chance)
    }
    try:
        written = codec.encode(chance.choice([value(chance), {1, 2}, b"x", (1, 2.5), {3: 4}]))
    except Unencodable:
        written = b'{"a":[1,2,{"b":null}]}'
    data = chance.choice([spoilt(chance, written), repr(tagged).replace("'", '"').encode("utf-8", "replace")])
    with contextlib.suppress(JournalCorrupt):
        found = codec.decode(data)
        codec.encode(found)  # what was read can be written
        return
    raise JournalCorrupt("refused, as it must be")


class Nasty:
    """Raises wherever it is looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("repr")


def encode_value(chance: random.Random, place: Path) -> None:
    """A value of a user's that may have no place in the record; what is written comes back."""
    ring: list[Any] = []
    ring.append(ring)
    deep: Any = 1
    for _ in range(chance.choice([10, 200])):
        deep = [deep]
    odd = [
        ring,
        deep,
        Nasty(),
        float("nan"),
        float("inf"),
        object(),
        lambda: 1,
        {Nasty: 1},
        {(1, 2): {3}},
        type,
        2**5_000,
        "\ud800",
    ]
    given = chance.choice([value(chance), chance.choice(odd), {"a": chance.choice(odd)}])
    written = codec.encode(given)
    if codec.encode(codec.decode(written)) != written:
        raise AssertionError(f"{given!r} does not come back")


QUESTION = question()
HEADS = (
    None,
    Head("r", "r", "agent", "d1", Status.READY, 1.0, 1.0),
    Head("r", "r", "agent", "d1", Status.SUSPENDED, 1.0, 1.0, why="question", questions=(QUESTION,), children=1),
    Head("r", "r", "agent", "d1", Status.FAILED, 1.0, 1.0),
    Head("r", "r", "agent", "d1", Status.SUCCEEDED, 1.0, 1.0),
    Head("@desk", "@desk", "@desk", "d1", Status.SUSPENDED, 1.0, 1.0, why="command"),
)
FACTS = (
    "agent", "key", "input_digest", "limits", "question", "choice", "by", "why", "now", "raised", "caps", "name",
    "verb", "child", "outcome", "limit", "settings", "tool", "account", "unpause", "fate", "with_parent", "depth",
    "accounts",
)  # fmt: skip
TABLES = (
    "prices", "tools", "budget", "budget.day", "budget.total", "retention", "holdfast", "tools.pay", "x", 'prices."m"',
    "tools.pay.retry", "retention.x",
)  # fmt: skip
NAMES = (
    "usd", "tokens", "model_calls", "input", "output", "attempts", "retry.attempts", "timeout", "ended_before", "keep",
    "store", "effect", "context", "output_max", "breaker",
)  # fmt: skip
TOML = (
    "1", "-1", "0", "1.5", "nan", "inf", "-inf", "true", '""', '"1h"', '"30d"', '"x"', "[]", "[1, 2]", "{}", "{a = 1}",
    "9" * 30, "1e400", "1979-05-27", "07:32:00", "'''a'''", '"\\u0000"', '"' + "x" * 300 + '"', '"-5s"', "0.1e-300",
)  # fmt: skip
QUERIES = (
    "", "?", "?schema=", "?schema=a", "?schema=a&schema=b", "?schema='", "?schema=pg_x", "?mode=memory", "?sslmode=x",
    "?host=/nowhere", "?tcp_user_timeout=x", "?connect_timeout=-1",
)  # fmt: skip
SCHEMES = ("sqlite:///", "sqlite://", "sqlite:", "postgresql://", "postgres://", "mysql://", "", "memory:", "file:")


def judge_message(chance: random.Random, place: Path) -> None:
    """A message whose facts are not what its kind needs."""
    facts = {name: value(chance) for name in FACTS if chance.random() < 0.7}
    try:
        told = meta(**facts)
    except (ValueError, RecursionError):
        return
    kind = chance.choice(list(MessageKind))
    posted = accept.accept(chance.choice(HEADS), "r", accept.Message(kind, told), 2.0)
    if posted.refused:
        raise UsageError(posted.refused)


# --- files, URLs, rows -------------------------------------------------------------------------------------------


def load_config(chance: random.Random, place: Path) -> None:
    """A holdfast.toml that somebody has mistyped, or worse."""
    lines = []
    for _ in range(chance.randint(1, 6)):
        table = chance.choice(TABLES)
        lines.append(chance.choice([f"[{table}]", f"[[{table}]]"]))
        lines += [f"{chance.choice(NAMES)} = {chance.choice(TOML)}" for _ in range(chance.randint(0, 4))]
    file = place / "holdfast.toml"
    written = "\n".join(lines).encode("utf-8", "replace")
    file.write_bytes(spoilt(chance, written) if chance.random() < 0.3 else written)
    config.load(file)


def open_url(chance: random.Random, place: Path) -> None:
    """A store's name that is none, or of a place where nothing can be."""
    scheme = chance.choice(SCHEMES)
    host = chance.choice(["127.0.0.1:1", "127.0.0.1:99999", "[::1]:1", "127.0.0.1:x"])
    user = chance.choice(["", "u@", "u:p@", "a b@", "%@", "'@", "u:%00@"])
    paths = [str(place / "a.db"), str(place), str(place / "no" / "a.db"), "/dev/null", text(chance)[:200], "db"]
    query = chance.choice([*QUERIES, f"?x={text(chance)[:99]}"])
    server = f"{user}{host}/" if scheme.startswith("postgres") else ""
    with contextlib.chdir(place):
        url = f"{scheme}{server}{chance.choice(paths)}{query}"
        open_journal(url, clock=lambda: 1e9, must_exist=chance.random() < 0.3).close()


def recorded(place: Path) -> Path:
    """A store with everything in it."""
    path = place / "recorded.db"
    path.write_bytes(gzip.decompress(RECORDED.read_bytes()))
    path.chmod(0o600)
    return path


def read_changed_rows(chance: random.Random, place: Path) -> None:
    """Something in a table is something else; all that reads is asked to read it."""
    path = recorded(place)
    connection = apsw.Connection(str(path))
    try:
        table = chance.choice(["runs", "events", "mail", "workers", "cells", "accounts", "blobs", "pieces", "store"])
        columns = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]
        odd = chance.choice(
            [None, "", "x", "{}", "[]", '{"run_id":1}', -1, 2**62, 1.5, b"", b"\xff\0", "9" * 50, "\x1b[2J"]
        )
        column, rows = chance.choice(columns), chance.choice(["", " WHERE rowid = 3", " WHERE 1"])
        with contextlib.suppress(apsw.Error):  # the schema itself says that this cannot be
            connection.execute(f'UPDATE OR IGNORE {table} SET "{column}" = ?{rows if table != "cells" else ""}', (odd,))
    finally:
        connection.close()
    journal = SqliteJournal(path, clock=lambda: 2e9)
    try:
        _read_all(journal)
    finally:
        journal.close()


def _read_all(journal: Journal) -> None:
    journal.facts()
    for head in journal.heads():
        show(head, journal.events(head.run_id))
        journal.mail(head.run_id)
        journal.owner(head.run_id)
    for name in ("lamp", "switches"):
        journal.cell(name)
    for name in ("day", "total"):
        journal.account(name)


# --- the command line --------------------------------------------------------------------------------------------

AGENTS = """
import holdfast as hf

@hf.agent
async def asks(run: hf.Run, given: str) -> str:
    return str((await run.ask(given, options=["yes", "no"])).value)
"""
VERBS = (
    "run",
    "pause",
    "resume",
    "ls",
    "show",
    "answer",
    "signal",
    "cancel",
    "tools",
    "budget",
    "unwind",
    "gc",
    "migrate",
    "doctor",
)
KEYS = (
    "asks",
    "failed",
    "paused",
    "done",
    "doubts",
    "parents",
    "listens",
    "run_",
    "agents.py:asks",
    "disable",
    "day",
    "yes",
)


def command(chance: random.Random, place: Path) -> None:
    """A command with arguments that nobody meant."""
    (place / "agents.py").write_text(AGENTS)
    if not (place / "recorded.db").exists():
        recorded(place)
    arguments = _arguments(chance)
    out, err = io.StringIO(), io.StringIO()
    stdin, sys.stdin = sys.stdin, io.StringIO(text(chance))
    try:
        with contextlib.chdir(place), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command_line(arguments)
    finally:
        sys.stdin = stdin
    if code not in (0, 1, 2, 3, 4, 5, 6, 7, 8, 75) or "Traceback" in out.getvalue() + err.getvalue():
        raise AssertionError(f"holdfast {arguments!r} ended with {code}: {err.getvalue()[-700:]}")
    if code:
        raise UsageError("refused, as it may be")


def _arguments(chance: random.Random) -> list[str]:
    verb = chance.choice(VERBS)
    found = holdfast.get_command(click.Context(holdfast), verb)
    assert found is not None
    options = [
        option for option in found.params if isinstance(option, click.Option) and option.name not in ("help", "watch")
    ]
    arguments = [verb]
    for _ in range(chance.randint(0, 3)):
        arguments.append(chance.choice([chance.choice(KEYS), text(chance)]))
    for option in chance.sample(options, min(len(options), chance.randint(0, 3))):
        if option.name != "store":
            arguments.append(chance.choice(option.opts))
            arguments += [] if option.is_flag else [chance.choice([text(chance), chance.choice(KEYS), "1", "1h"])]
    if any(option.name == "wait" for option in options):
        arguments += ["--wait", "0"]
    return [*arguments, "--store", "recorded.db"] if any(option.name == "store" for option in options) else arguments


# --- names in SQL ------------------------------------------------------------------------------------------------


def _engines(place: Path, server: PostgresServer, schema: str) -> list[tuple[str, Callable[[str], Journal]]]:
    return [
        ("sqlite", lambda tenant: open_journal(str(place / "names.db"), clock=lambda: 1e9, tenant=tenant)),
        (
            "postgres",
            lambda tenant: open_journal(server.url(schema), clock=lambda: 1e9, tenant=tenant, owns_clock=True),
        ),
    ]


def compare_names(chance: random.Random, opened: Callable[[str], Journal], seen: Seen) -> None:
    """Two tenants with the same names and other secrets: each sees what a plain list of its own says, and no more."""
    ours, theirs, model = opened("ours"), opened("' OR tenant = 'ours"), MemoryJournal(clock=lambda: 1e9)
    try:
        for _ in range(6):
            name, agent = _storable(chance), _storable(chance)
            for journal, secret in ((ours, b'"ours"'), (theirs, b'"THEIRS"'), (model, b'"ours"')):
                start = start_of(name, agent)._replace(body=secret)
                journal.post(name, "m", start)
        for _ in range(6):
            asked = _storable(chance)
            ways: list[dict[str, Any]] = [{"prefix": asked}, {"key": asked}, {"status": asked}, {"prefix": asked[:1]}]
            for how in ways:
                seen.count("names")
                found, wanted = ours.heads(**how), model.heads(**how)
                if [head.run_id for head in found] != [head.run_id for head in wanted]:
                    raise AssertionError(f"{how} finds {found}, not {wanted}")
            if (ours.head(asked) is None) is not (model.head(asked) is None) or ours.cell(asked) or ours.account(asked):
                raise AssertionError(f"{asked!r} is another name's")
        for head in ours.heads():
            if any(b"THEIRS" in (mail.message.body or b"") for mail in ours.mail(head.run_id)):
                raise AssertionError("a foreign byte")
    finally:
        ours.close()
        theirs.close()


def _storable(chance: random.Random) -> str:
    name = text(chance).replace("\0", "").encode("utf-8", "ignore").decode()
    return name[:200] or "a"


DOORS: dict[str, tuple[int, Callable[[random.Random, Path], None]]] = {
    "codec": (50, decode_bytes),
    "values": (8, encode_value),
    "messages": (30, judge_message),
    "configurations": (10, load_config),
    "urls": (8, open_url),
    "rows": (6, read_changed_rows),
    "command lines": (10, command),
}
"""By what is counted: how many inputs a round has, and the door."""
