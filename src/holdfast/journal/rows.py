"""Rows of the journal: how events, mail and heads become columns, and the hashes that seal them.

Pure: no database, no clock. Each engine that keeps rows can use it, so that all stores are checked alike.

Invariants
1. The chain of a run starts at `root(tenant, run_id)`. Each event's link is SHA-256 over the link before it, the
   event's columns (`number` to `key_id`, in the order of the table) as text joined by NUL, SQL's NULL as `None`
   and a float in its shortest form, and, unless the body is NULL, one more NUL and the body. No text holds a NUL,
   and only the words of their enumerations stand in `kind`, `step` and `effect`: equal bytes are equal rows.
2. `read_events` hands out an event only after its number and its link have been checked.
3. A row of format `IN_BLOB` has the SHA-256 of its body in its place: the link covers the hash, the hash the bytes.
4. A row and what was read back from it are equal: numbers are made floats where the column is REAL.
5. A head is handed out only after its text was checked against its seal; that text need not be read where this process
   has sealed it itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from holdfast.core import small_json
from holdfast.core.accept import Message, MessageKind
from holdfast.core.events import NOTHING, ONE_TOOL_CALL, Address, Charge, Effect, Event, Kind, StepKind
from holdfast.core.heads import Head
from holdfast.errors import JournalCorrupt
from holdfast.protocols import Mail

FORMAT = 1
IN_BLOB = 2
"""Format of a row whose body is a blob; only its body is told in another way."""
KEY_ID = ""
"""Under which key the row is encrypted; there is none yet."""

Row = tuple[Any, ...]
Fetch = Callable[[bytes], bytes]
"""Gives the blob of that hash, checked; raises JournalCorrupt."""

EVENT_COLUMNS = (
    "number, at, kind, scope, name, digest, n, step, effect, logical, attempt, asked, "
    "tool_calls, model_calls, tokens, usd_nano, meta, tenant, format, key_id, body, chain"
)
MAIL_COLUMNS = "number, at, message_id, subject, kind, meta, tenant, format, key_id, body, seal"

_KINDS = {kind.value: kind for kind in Kind}
_STEPS = {None: None} | {step.value: step for step in StepKind}
_EFFECTS = {None: None} | {effect.value: effect for effect in Effect}
_sha256 = hashlib.sha256


_EVENT = "%d\0%r\0%s\0%s\0%s\0%s\0%s\0%s\0%s\0%d\0%d\0%d\0%s\0%s\0%s\0%s\0%s\0%s\0%d\0%s"
_MAIL = "%d\0%r\0%s\0%s\0%s\0%s\0%s\0%d\0%s"
_EVENT_NULS, _MAIL_NULS = _EVENT.count("\0"), _MAIL.count("\0")


@lru_cache(maxsize=4096)
def root(tenant: str, run_id: str) -> bytes:
    """The link before a run's first event."""
    return _sha256(f"holdfast\0{FORMAT}\0{tenant}\0{run_id}".encode()).digest()


def link(before: bytes, text: str, body: bytes | None) -> bytes:
    """The link of a row, whose columns are `text`, after the link `before`."""
    columns = text.encode()
    return _sha256(before + columns if body is None else b"%b%b\0%b" % (before, columns, body)).digest()


def event_row(run_no: int, before: bytes, number: int, event: Event, tenant: str, blob: bytes | None = None) -> Row:
    """The run's number in the store and the columns of an event, its link last. `blob`: the hash of its body."""
    kind, at, address, step, effect, logical, attempt, charge, meta, body, asked = event
    scope, name, digest, n = address if address is not None else _NO_ADDRESS
    calls, models, tokens, usd = _NO_CHARGE if charge == NOTHING else charge
    form = FORMAT
    if blob is not None:
        form, body = IN_BLOB, blob
    columns = (
        *(number, at + 0.0, kind, scope, name, digest, n, step, effect, logical, attempt, asked),
        *(calls, models, tokens, usd, meta, tenant, form, KEY_ID),
    )
    text = _EVENT % columns
    if text.count("\0") != _EVENT_NULS:
        raise ValueError("a NUL in a text")
    return (run_no, *columns, body, link(before, text, body))


_NO_ADDRESS = (None, None, None, None)
_ONE = list(ONE_TOOL_CALL)
_NO_CHARGE = (None, None, None, None)


def read_events(
    run_id: str, before: bytes, after: int, rows: Iterable[Row], fetch: Fetch
) -> tuple[list[Event], int, bytes]:
    """The events in `rows`, checked, which follow number `after` with link `before`; and the last number and link."""
    events: list[Event] = []
    number = after
    make_event, make_address, make_charge, keep = Event._make, Address._make, Charge._make, events.append
    for row in rows:
        number += 1
        try:
            if row[0] != number or link(before, _EVENT % row[:-2], row[-2]) != row[-1]:
                raise corrupt_event(run_id, number)
            _, at, kind, scope, name, digest, n, step, effect, logical, attempt, asked, *charged, meta = row[:17]
            address = None if scope is None else make_address((scope, name, digest, n))
            charge = NOTHING if charged[0] is None else ONE_TOOL_CALL if charged == _ONE else make_charge(charged)
            parts = (_KINDS[kind], at, address, _STEPS[step], _EFFECTS[effect])
            body = row[-2] if row[-4] == FORMAT else _body(row[-4], row[-2], fetch)
        except (
            KeyError,
            TypeError,
            _BlobLost,
        ) as error:  # a changed type of a column, or a row of a format that we do not know
            raise corrupt_event(run_id, number) from error
        keep(make_event((*parts, logical, attempt, charge, meta, body, asked)))
        before = row[-1]
    return events, number, before


class _BlobLost(Exception):
    """The blob of a row is not what was written."""


def _body(form: int, name: bytes, fetch: Fetch) -> bytes:
    """The body of a row that is no `FORMAT` row; KeyError for a format that we do not know."""
    if form != IN_BLOB:
        raise KeyError(form)
    try:
        return fetch(name)
    except JournalCorrupt as error:
        raise _BlobLost(str(error)) from error


def corrupt_event(run_id: str, number: int) -> JournalCorrupt:
    """What is raised when event `number` of a run is not what was written."""
    return JournalCorrupt(
        f"Event {number} of run {run_id} is not what was written: it was changed, moved or removed behind holdfast's "
        f"back, or the disk lost it. Nothing of this run was handed out. Copy the store away, see "
        f"`holdfast doctor`, and restore the run from a backup; other runs can go on."
    )


def seal(tenant: str, run_id: str, head: str) -> bytes:
    """The seal of a head's text: the head of another run or tenant does not pass for it."""
    return _sha256(f"{tenant}\0{run_id}\0{FORMAT}\0{KEY_ID}\0{head}".encode()).digest()


_SEALED_MAX = 4_096
_sealed: dict[bytes, Head] = {}
"""Heads of runs that this process has begun and not looked at since, by their seals."""


def sealed_first(tenant: str, head: Head) -> tuple[str, bytes]:
    """The text and the seal of the head of a run that begins. It is likely to be asked for soon, as it is."""
    text = head_text(head)
    sealed = seal(tenant, head.run_id, text)
    if len(_sealed) >= _SEALED_MAX:
        _sealed.clear()
    _sealed[sealed] = head
    return text, sealed


def head_text(head: Head) -> str:
    """`head.facts()` as JSON. By hand: each append needs one, and the general way costs more than the statements."""
    questions = json.dumps([asdict(question) for question in head.questions]) if head.questions else "[]"
    forgotten = ',"is_forgotten":true' if head.is_forgotten else ""
    return (
        f'{{{_names(head.run_id, head.key, head.agent, head.input_digest)},"status":"{head.status}",'
        f'"created_at":{_time(head.created_at)},'
        f'"updated_at":{head.updated_at or abs(head.updated_at)!r},"why":{_quoted(head.why)},'
        f'"wake_at":{"null" if head.wake_at is None else _time(head.wake_at)},'
        f'"spent":[{_CHARGE % head.spent}],"reserved":[{_CHARGE % head.reserved}],"questions":{questions},'
        f'"is_unwound":{"true" if head.is_unwound else "false"},"children":{head.children:d}{forgotten}}}'
    )


@lru_cache(maxsize=1024)
def _names(run_id: str, key: str, agent: str, input_digest: str) -> str:
    """What stands in each head of a run."""
    return (
        f'"run_id":{_quoted(run_id)},"key":{_quoted(key)},"agent":{_quoted(agent)},'
        f'"input_digest":{_quoted(input_digest)}'
    )


_CHARGE = "%d,%d,%d,%d"


@lru_cache(maxsize=1024, typed=True)
def _time(at: float) -> str:
    """Of times that stand in one head after the other: what a float is in its shortest form costs a sixth of the text.
    Minus zero is zero: they are one key."""
    return repr(at or abs(at))


def read_head(tenant: str, run_id: str, text: Any, sealed: Any, wake_at: float | None) -> Head:
    """The head of that text, checked against its seal and the column that is searched."""
    if not isinstance(text, str) or seal(tenant, run_id, text) != sealed:
        raise corrupt_head(run_id)
    head = _sealed.pop(sealed, None) or Head.from_facts(small_json.read(text))
    if head.wake_at != wake_at:
        raise corrupt_head(run_id)
    return head


def is_due_right(due_at: float | None, wake_at: float | None, *, has_mail: bool, is_held: bool) -> bool:
    """Whether the column by which due runs are found fits the rest of the row. Of a run that is held, unread mail need
    not count there: it does when the run is given back, and a takeover looks for it by itself."""
    if has_mail and due_at is not None:
        return True
    return due_at == wake_at and (is_held or not has_mail)


def corrupt_head(run_id: str) -> JournalCorrupt:
    """What is raised when the row of a run is not what was written."""
    return JournalCorrupt(
        f"The head of run {run_id} is not what was written: its row was changed behind holdfast's back, or the disk "
        f"lost it. Nothing was changed. Copy the store away and restore it from a backup; see `holdfast doctor`."
    )


def mail_row(
    tenant: str,
    run_id: str,
    number: int,
    at: float,
    message_id: str,
    subject: str | None,
    message: Message,
    blob: bytes | None,
) -> Row:
    """The columns of a message, its seal last. `blob`: the hash of its body."""
    form, body = (FORMAT, message.body) if blob is None else (IN_BLOB, blob)
    columns = (number, at + 0.0, message_id, subject, message.kind, message.meta, tenant, form, KEY_ID)
    text = _MAIL % columns
    if text.count("\0") != _MAIL_NULS:
        raise ValueError("a NUL in a text")
    return (*columns, body, link(root(tenant, run_id), text, body))


def read_mail(tenant: str, run_id: str, after: int, rows: Iterable[Row], fetch: Fetch) -> list[Mail]:
    """The messages in `rows`, checked, which follow number `after`."""
    origin = root(tenant, run_id)
    return [_one_mail(origin, run_id, number, row, fetch) for number, row in enumerate(rows, after + 1)]


def read_small_mail(tenant: str, run_id: str, after: int, last: int, rows: Sequence[Row]) -> list[Mail] | None:
    """The messages in `rows`, checked, which are those after number `after` up to `last`; None when one is a blob."""
    if any(row[-4] == IN_BLOB for row in rows):
        return None
    if after + len(rows) != last:
        raise corrupt_mail(run_id, min(after + len(rows), last) + 1)
    return read_mail(tenant, run_id, after, rows, _no_blob)


def _no_blob(name: bytes) -> bytes:
    raise KeyError(name)


def _one_mail(origin: bytes, run_id: str, number: int, row: Row, fetch: Fetch) -> Mail:
    try:
        if row[0] == number and link(origin, _MAIL % row[:-2], row[-2]) == row[-1]:
            body = row[-2] if row[-4] == FORMAT else _body(row[-4], row[-2], fetch)
            return Mail(number, row[1], Message(MessageKind(row[4]), row[5], body))
    except (KeyError, TypeError, ValueError, _BlobLost) as error:
        raise corrupt_mail(run_id, number) from error
    raise corrupt_mail(run_id, number)


def corrupt_mail(run_id: str, number: int) -> JournalCorrupt:
    """What is raised when message `number` of a run is not what was written."""
    return JournalCorrupt(
        f"Message {number} to run {run_id} is not what was written: it was changed, moved or removed behind "
        f"holdfast's back, or the disk lost it. Nothing was handed out. Copy the store away, see `holdfast doctor`, "
        f"and restore it from a backup."
    )
