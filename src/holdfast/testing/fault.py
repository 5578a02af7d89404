"""Faults of a model provider by plan: what can go wrong, and how an answer is spoilt by it.

A fault stands instead of the answer (`drop`, `status`, `billing`), changes what the model says (`tool_name`,
`tool_arguments`, `usage`), or changes how the answer is sent (the rest). Pure functions: the server performs them.

Invariants
1. Events are counted from 1, and `…_after=0` is before the first. An answer that is no stream has two: its halves.
2. A fault that cannot be had from this answer raises `ValueError`; it is never passed over.
3. An answer that is spoilt is still of the form that the API has, up to the point where the fault is.

Never: does I/O, waits, or draws chance.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from holdfast.testing.dialect import Dialect, Turn
from holdfast.testing.loopback import Answer, Pieces
from holdfast.testing.policy import Reply, Usage, error

PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body><p>Please log in.</p></body></html>\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """One plan; the fields are explained at `ModelServer.fault`."""

    on: int
    times: int = 1
    delay_s: float = 0.0
    drop: bool = False
    status: int | None = None
    billing: bool = False
    type: str | None = None
    code: str | None = None
    message: str = "planned by the test"
    headers: Mapping[str, str] | None = None
    details: Any = None
    retry_after_s: float | None = None
    error_after: int | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    every_s: float = 0.0
    duplicate: int | None = None
    truncate: bool = False
    html: bool = False
    tool_name: str | None = None
    tool_arguments: str | None = None
    usage: Usage | None = None

    def __post_init__(self) -> None:
        counts = (self.error_after, self.cut_after, self.stall_after, self.delay_s, self.every_s)
        _require(all(count is None or count >= 0 for count in counts), "counts and times are not negative")
        _require(self.duplicate is None or self.duplicate > 0, "events are counted from 1")
        _require(self.cut_after is None or self.stall_after is None, "only one of cut_after and stall_after")
        _require(self.status is None or self.status >= 400, f"status {self.status} is no error")
        _require(not isinstance(self.usage, str) or self.usage == "missing", "usage is a mapping or 'missing'")

    @property
    def is_broken(self) -> bool:
        """Whether no client can make an answer of it: it is not finished, or nothing that the API says."""
        ends_early = any(after is not None for after in (self.error_after, self.cut_after, self.stall_after))
        return ends_early or self.truncate or self.html

    def error(self) -> Reply:
        """The error that it plans; "overloaded" unless another status is given."""
        return error(
            self.status or (429 if self.billing else 529),
            self.type,
            self.message,
            code=self.code,
            headers=self.headers,
            details=self.details,
            retry_after_s=self.retry_after_s,
            billing=self.billing,
        )

    def instead(self, *, is_stream: bool) -> Reply | None:
        """The error that stands instead of an answer; None when the answer is spoilt in another way, or late."""
        if self.error_after is not None:
            return None if is_stream else self.error()
        return self.error() if self.status or self.billing else None


def changed(fault: Fault, reply: Reply) -> Reply:
    """What the model says under this fault."""
    content = reply.content
    if fault.tool_name is not None or fault.tool_arguments is not None:
        if not any(block["type"] == "tool_use" for block in content):
            raise ValueError("the reply has no tool call that could be spoilt")
        content = tuple(_call(fault, block) if block["type"] == "tool_use" else block for block in content)
    usage = reply.usage
    if fault.usage is not None:
        is_laid_over = not isinstance(fault.usage, str) and not isinstance(usage, str)
        usage = {**usage, **fault.usage} if is_laid_over else fault.usage  # type: ignore[dict-item]
    return replace(reply, content=content, usage=usage, headers={**reply.headers, **(fault.headers or {})})


def _call(fault: Fault, block: dict[str, Any]) -> dict[str, Any]:
    arguments = {} if fault.tool_arguments is None else {"input": fault.tool_arguments}
    return block | arguments | ({} if fault.tool_name is None else {"name": fault.tool_name})


def spoilt(fault: Fault, answer: Answer | Pieces, dialect: Dialect, turn: Turn) -> Pieces:
    """How the answer is sent under this fault."""
    if fault.html:
        answer = Pieces(200, [PAGE], {**answer.headers, "content-type": "text/html; charset=utf-8"}, len(PAGE))
    is_stream = isinstance(answer, Pieces) and answer.length is None
    whole = answer.pieces() if isinstance(answer, Answer) else answer
    if fault.truncate:
        whole = _truncated(whole)
    events = list(whole.pieces) if is_stream else _halves(whole.pieces[0])
    if fault.duplicate is not None:
        _require(is_stream, "only a stream has events that can come twice")
        _require(0 < fault.duplicate <= len(events), f"the stream has only {len(events)} events")
        events.insert(fault.duplicate, events[fault.duplicate - 1])
    if fault.error_after is not None:
        _require(fault.error_after <= len(events), f"the stream has only {len(events)} events")
        events = [*events[: fault.error_after], dialect.error_event(fault.error(), turn, fault.error_after)]
    sent = replace(whole, pieces=events, every_s=fault.every_s)
    after = fault.cut_after if fault.cut_after is not None else fault.stall_after
    if after is None:
        return sent
    _require(after <= len(events), f"the answer has only {len(events)} events")
    return replace(sent, pieces=events[:after], ending="cut" if fault.cut_after is not None else "stall")


def _halves(body: bytes) -> list[bytes]:
    middle = len(body) // 2
    return [body[:middle], body[middle:]]


def _truncated(whole: Pieces) -> Pieces:
    """The JSON of the answer, or of the last event that has any, ends in the middle; the HTTP around it is well."""
    pieces = list(whole.pieces)
    if whole.length is not None:
        body = pieces[0][: len(pieces[0]) // 2]
        return replace(whole, pieces=[body], length=len(body))
    last = next(number for number in reversed(range(len(pieces))) if _has_json(pieces[number]))
    head, _, data = pieces[last].partition(b"data: ")
    pieces[last] = head + b"data: " + data[: len(data) // 2] + b"\n\n"
    return replace(whole, pieces=pieces)


def _has_json(event: bytes) -> bool:
    try:
        json.loads(event.partition(b"data: ")[2])
        return True
    except ValueError:
        return False


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
