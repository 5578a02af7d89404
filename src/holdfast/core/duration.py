"""Spans of time as people write them."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from holdfast.errors import PolicyInvalid

Duration = float | int | str | timedelta
"""Seconds, "250ms", "20s", "30m", "2h", "7d", or a timedelta."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(duration: Any, what: str = "duration") -> float:
    """`duration` in seconds; `PolicyInvalid` when it is no finite number ≥ 0 with a known unit."""
    if isinstance(duration, timedelta):
        return seconds(duration.total_seconds(), what)
    if isinstance(duration, str):
        text = duration.strip()
        unit = next((u for u in ("ms", "s", "m", "h", "d") if text.endswith(u)), "")
        number = text[: -len(unit)] if unit else text
        try:
            value = float(number) * _UNITS.get(unit, 1.0)
        except ValueError:
            raise PolicyInvalid(
                f'{what} {duration!r} is not understood. Write seconds, or "250ms", "20s", "30m", "2h", "7d".'
            ) from None
    elif isinstance(duration, (int, float)) and not isinstance(duration, bool):
        value = float(duration) if abs(duration) < 1e300 else math.inf
    else:
        raise PolicyInvalid(f'{what} {duration!r} is no duration. Write seconds, or "20s", "30m".')
    if not math.isfinite(value) or value < 0:
        raise PolicyInvalid(f"{what} {duration!r} must be finite and not negative.")
    return value


def span(length_s: float) -> str:
    """A span as people read it: "45 s", "10 min", "3.5 h", "2 d"."""
    for unit_s, name in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if length_s >= unit_s:
            return f"{length_s / unit_s:.3g} {name}"
    return f"{length_s:.3g} s"
