"""What a provider says about its limits, in the headers of any of its answers. Pure; nonsense is ignored.

https://platform.claude.com/docs/en/api/rate-limits#response-headers (`anthropic-ratelimit-*`, absolute times) and
https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers (`x-ratelimit-*`, durations; also Azure, Groq
and others).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

RESET_MAX_S = 31 * 24 * 3600.0
"""A limit that resets later than this is not believed."""
COUNT_MAX = 10**12
_KINDS = ("requests", "tokens", "input-tokens", "output-tokens")
_DURATION = re.compile(
    r"(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m(?!s))?"
    r"(?:(\d{1,7}(?:\.\d{1,9})?)s)?(?:(\d{1,9}(?:\.\d{1,9})?)ms)?",
    re.ASCII,
)
_IDS = ("request-id", "x-request-id", "apim-request-id", "x-amzn-requestid", "x-goog-request-id", "x-ms-request-id")
_ID = re.compile(r"[\x21-\x7e]{1,200}")


class Standing(NamedTuple):
    """How much of one limit is left."""

    what: str
    """`requests`, `tokens`, `input_tokens` or `output_tokens`."""
    limit: int
    """In one window of the provider's; 0 when it does not say."""
    remaining: int
    resets_at: float
    """Seconds UTC, by our clock; when `remaining` is `limit` again, or grows at the latest."""


def limits_of(headers: Mapping[str, str], now: float) -> list[Standing]:
    """The limits that these headers tell of. now: seconds UTC, when they were received. Names are found in any case."""
    found = {low: value for name, value in headers.items() if "ratelimit" in (low := name.lower())}
    if not found:
        return []
    return [*_anthropic(found, now), *_openai(found, now)]


def request_id(headers: Mapping[str, str]) -> str:
    """The provider's name of this request, which its support asks for; empty when there is none."""
    found = {name.lower(): value for name, value in headers.items()}
    return next((value for name in _IDS if _ID.fullmatch(value := found.get(name, ""))), "")


def _anthropic(headers: Mapping[str, str], now: float) -> Iterator[Standing]:
    for kind in _KINDS:
        of = f"anthropic-ratelimit-{kind}"
        until = _instant_s(headers.get(f"{of}-reset"), now)
        yield from _standing(kind, headers.get(f"{of}-limit"), headers.get(f"{of}-remaining"), until, now)


def _openai(headers: Mapping[str, str], now: float) -> Iterator[Standing]:
    for kind in _KINDS:
        limit, remaining, reset = (
            headers.get(f"x-ratelimit-{part}-{kind}") for part in ("limit", "remaining", "reset")
        )
        yield from _standing(kind, limit, remaining, _duration_s(reset), now)


def _standing(
    kind: str, limit: str | None, remaining: str | None, wait_s: float | None, now: float
) -> Iterator[Standing]:
    left, most = _count(remaining), _count(limit)
    if left is not None and wait_s is not None:
        yield Standing(kind.replace("-", "_"), most or 0, left, now + wait_s)


def _count(text: str | None) -> int | None:
    if text is None or not re.fullmatch(r"[0-9]{1,13}", text):
        return None
    return min(int(text), COUNT_MAX)


def _instant_s(text: str | None, now: float) -> float | None:
    """Seconds from now until this time of RFC 3339; 0 when it is past."""
    try:
        at = datetime.fromisoformat(text or "")
        wait_s = at.timestamp() - now if at.tzinfo is not None else math.nan
    except (ValueError, OverflowError, OSError):
        return None
    return max(wait_s, 0.0) if wait_s <= RESET_MAX_S else None


def _duration_s(text: str | None) -> float | None:
    """Seconds of a duration such as `1m30s`, `12ms` or `6.5`, which is in seconds."""
    if text is None or len(text) > 40:
        return None
    found = _DURATION.fullmatch(text if not re.fullmatch(r"[0-9.]+", text) else f"{text}s")
    if not text or found is None:
        return None
    days, hours, minutes, seconds, ms = (float(part or 0) for part in found.groups())
    wait_s = days * 86_400 + hours * 3_600 + minutes * 60 + seconds + ms / 1_000
    return wait_s if wait_s <= RESET_MAX_S else None
