"""The Retry-After header, in its three forms: `retry-after-ms`, seconds (whole or not), and an HTTP date.

RFC 9110 §10.2.3 for seconds and dates; the millisecond form is what OpenAI and Azure send. A date is read against
the response's own Date header, so the machine's clock does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait at least, None when the header is absent or makes no sense. Names are found in any case."""
    found = {name.lower(): value for name, value in headers.items()}
    if (ms := _number(found.get("retry-after-ms"))) is not None:
        return ms / 1000.0
    text = found.get("retry-after")
    if text is None:
        return None
    number = _number(text)
    return number if number is not None else _until(text, found.get("date"))


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _until(text: str, date: str | None) -> float | None:
    try:
        if date is None:
            return None
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError):
        return None
