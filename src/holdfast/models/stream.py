"""What came of a stream of events, read from its recorded bytes. Pure; never raises.

A provider folds its own events (`fold`); what all have in common is here: an error before the stream, an answer that
is no stream although one was asked for, and a body that broke off before its first event.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from holdfast.models.call import Answered, Sse
from holdfast.models.field import object_in, text
from holdfast.models.sse import BOM, events

Piece = tuple[str, dict[str, Any]]
"""An event: its name (`event:`, else the member `type`), and the JSON object that is its data."""
DONE = "[DONE]"
"""Name of the piece that closes a stream of OpenAI's kind; it has no data."""
_FIELDS = (b"event:", b"data:", b"id:", b"retry:", b":")


def folded(
    status: int,
    raw: bytes,
    answered: Callable[[int, bytes], Answered],
    fold: Callable[[int, list[Piece]], Answered | None],
    unread: Collection[str] = (),
) -> Answered:
    """The answer of a stream.

    answered: reads a body that is no stream. fold: makes an answer of the events, None when they are not this API's.
    unread: names of events whose data says nothing of tokens or ends, and is not read.
    """
    if status >= 300:
        return answered(status, raw)
    pieces = [piece for event in events(raw) if (piece := _piece(event, unread)) is not None]
    if pieces:
        return fold(status, pieces) or Answered(status, is_object=False)
    if object_in(raw) is not None:
        return answered(status, raw)
    return Answered(status, is_object=_begins(raw.removeprefix(BOM)), is_complete=False)


def _piece(event: Sse, unread: Collection[str]) -> Piece | None:
    if event.event in unread and b'"error"' not in event.data:
        return event.event, {}
    return piece_of(event)


def piece_of(event: Sse) -> Piece | None:
    """The piece that this event is, None when its data is no JSON object."""
    if event.data == b"[DONE]":
        return DONE, {}
    body = object_in(event.data) if event.data else None
    return None if body is None else (event.event or text(body.get("type")), body)


def _begins(raw: bytes) -> bool:
    """Whether so much of a body may be the beginning of a stream; also that of none at all."""
    return any(raw.startswith(field) or field.startswith(raw) for field in _FIELDS)
