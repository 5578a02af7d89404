"""What a search asks: words, and filters by name. Pure.

Rules
1. A filter that is not known is refused with the names of those that are, never left out: what was meant to be narrow
   would be wide. So is a value that a filter does not take.
2. What comes out is values only. Engines bind each of them; which columns and orders there are, they know themselves.
3. Holdfast's own runs, whose agents begin with @, are found only by their agent's name.
4. A time is seconds since the epoch, a datetime with a zone, a date or time in ISO 8601 (UTC unless it says so), or a
   span that is so long ago, such as "7d". A run is found that was under way between `since` and `until`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypedDict

from holdfast.core.budget import USD_NANO
from holdfast.core.duration import seconds
from holdfast.core.heads import Status
from holdfast.core.words import Part, matches, parts
from holdfast.errors import UsageError

if TYPE_CHECKING:
    from holdfast.core.document import Document

SORTS: Final = ("rank", "newest", "cost")
OUTCOMES: Final = tuple(str(status) for status in Status)
LIMIT: Final = 20
LIMIT_MAX: Final = 1_000
TEXT_MAX: Final = 1_000
_USD_MAX: Final = 1e9
_SPAN = re.compile(r"\d{1,9}(?:\.\d{1,9})?(?:s|m|h|d)")


class Filters(TypedDict, total=False):
    """What may be asked beside words; what is left out, or None, is not asked."""

    agent: str | None
    outcome: str | None
    """A status, such as "failed"."""
    tool: str | None
    """A tool that it called."""
    error: str | None
    """Class of something that failed in it."""
    key: str | None
    """How its key begins."""
    since: float | str | datetime | None
    until: float | str | datetime | None
    usd_min: float | None
    usd_max: float | None
    sort: str | None
    """rank (the default where words are given), newest or cost."""
    limit: int | None


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked, checked. None: it does not matter."""

    parts: tuple[Part, ...] = ()
    agent: str | None = None
    outcome: str | None = None
    tool: str | None = None
    error: str | None = None
    key: str | None = None
    since: float | None = None
    until: float | None = None
    nano_min: int | None = None
    nano_max: int | None = None
    sort: str = "newest"
    limit: int = LIMIT

    @property
    def wanted(self) -> tuple[Part, ...]:
        """What must be there."""
        return tuple(part for part in self.parts if not part.is_negative)

    @property
    def unwanted(self) -> tuple[Part, ...]:
        """What must not."""
        return tuple(part for part in self.parts if part.is_negative)


def read(words: str, filters: Mapping[str, Any], now: float) -> Query:
    """What is asked; UsageError for what nobody can ask. now: what spans are counted from."""
    unknown = [name for name in filters if name not in Filters.__annotations__]
    if unknown:
        raise _refused(f"There is no filter {unknown[0]!r}. The filters are: {', '.join(Filters.__annotations__)}")
    if not isinstance(words, str):
        raise _refused(f"{words!r} is no text to look for")
    _check_text("what is to be found", words)
    given = {name: value for name, value in filters.items() if value is not None}
    asked = parts(words)
    texts = {name: _text(name, given[name]) for name in ("agent", "tool", "error", "key") if name in given}
    has_words = any(not part.is_negative for part in asked)
    return Query(
        parts=asked,
        outcome=_one_of("outcome", given["outcome"], OUTCOMES) if "outcome" in given else None,
        since=_time("since", given["since"], now) if "since" in given else None,
        until=_time("until", given["until"], now) if "until" in given else None,
        nano_min=_nano("usd_min", given["usd_min"]) if "usd_min" in given else None,
        nano_max=_nano("usd_max", given["usd_max"]) if "usd_max" in given else None,
        sort=_sort(given.get("sort"), has_words=has_words),
        limit=_limit(given.get("limit", LIMIT)),
        **texts,
    )


def fits(query: Query, document: Document) -> bool:
    """Whether the document is one that is asked for: what engines give, in their own ways."""
    return (
        not document.is_forgotten
        and _is_named(query, document)
        and (query.since is None or document.updated_at >= query.since)
        and (query.until is None or document.created_at <= query.until)
        and (query.nano_min is None or document.spent.usd_nano >= query.nano_min)
        and (query.nano_max is None or document.spent.usd_nano <= query.nano_max)
        and matches(document.words, query.parts)
    )


def _is_named(query: Query, document: Document) -> bool:
    is_agent = not document.agent.startswith("@") if query.agent is None else document.agent == query.agent
    return (
        is_agent
        and query.outcome in (None, document.outcome)
        and (query.tool is None or query.tool in document.tools)
        and (query.error is None or query.error in document.errors)
        and document.key.startswith(query.key or "")
    )


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _refused(f"{name}={value!r} names nothing. Give a text, or leave it out")
    _check_text(name, value)
    return unicodedata.normalize("NFC", value)  # as documents have it


def _check_text(name: str, value: str) -> None:
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise _refused(f"{name} holds what is no character")
    if len(value) > TEXT_MAX:
        raise _refused(f"{name} has {len(value)} characters. Give {TEXT_MAX} at most")


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise _refused(f"{name}={value!r} is none of: {', '.join(known)}")
    return str(value)


def _sort(value: Any, *, has_words: bool) -> str:
    if value is None:
        return "rank" if has_words else "newest"
    sort = _one_of("sort", value, SORTS)
    return "newest" if sort == "rank" and not has_words else sort


def _limit(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LIMIT_MAX:
        raise _refused(f"limit={value!r} is no number from 1 to {LIMIT_MAX}")
    return value


def _nano(name: str, value: Any) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= _USD_MAX:
        raise _refused(f"{name}={value!r} is no amount of US dollars")
    nano: int = round(value * USD_NANO)
    return nano


def _time(name: str, value: Any, now: float) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12:
        return float(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.timestamp()
    if isinstance(value, str) and len(value) <= 64:
        return _said(name, value.strip(), now)
    raise _wrong_time(name, value)


def _said(name: str, value: str, now: float) -> float:
    if _SPAN.fullmatch(value):
        return now - seconds(value)
    try:
        at = datetime.fromisoformat(value)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _wrong_time(name, value) from None


def _wrong_time(name: str, value: Any) -> UsageError:
    return _refused(f'{name}={value!r} is no time. Write a date such as "2026-11-01", or a span such as "7d" or "2h"')


def _refused(what: str) -> UsageError:
    return UsageError(f"{what}. Nothing was looked for.")
