"""When to ask a person whether a way reaches them: often enough that it stays known, and not at night. Pure.

1. Whoever took something by a way has shown that it reaches them: they are asked again `every_s` after that, or after
   they were asked last. Where nothing is known they are asked at once.
2. A way whose last notice was refused is tried again after `RETRY_S`, and the later the longer nothing has got through:
   after a quarter of that time. Where time changes nothing, and at the latest, it is after `RETRY_FINAL_S`. Or nobody
   would ever learn that it works again, while runs wait for that.
3. A person is asked in working hours, where their zone is known, and never in their quiet hours. What is tried again is
   asked at any time but in quiet hours.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final

from holdfast.core.quiet import Quiet
from holdfast.core.reach import Evidence

BEGINS, ENDS = time(9), time(17)
"""Working hours, Monday to Friday."""
_WEEKEND: Final = 5
RETRY_S: Final = 900.0
RETRY_FINAL_S: Final = 86_400.0
_STEPS_MAX: Final = 64


def due_at(known: Evidence, every_s: float, now: float, hours: tzinfo | None, quiet: Quiet | None) -> float:
    """When to ask about this way: now, or the first moment after it that is right."""
    if known.is_refused:
        last = max(known.refused_at or 0.0, known.probed_at or 0.0)
        return _allowed(max(now, last + _again_s(known, last)), None, quiet)
    last = max(known.taken_at or 0.0, known.probed_at or 0.0)
    return _allowed(max(now, last + every_s if last else now), hours, quiet)


def _again_s(known: Evidence, last: float) -> float:
    good = max(known.accepted_at or 0.0, known.taken_at or 0.0)
    out_s = last - good if good else 4 * RETRY_S
    return RETRY_FINAL_S if known.is_final else min(max(RETRY_S, out_s / 4), RETRY_FINAL_S)


def _allowed(at: float, hours: tzinfo | None, quiet: Quiet | None) -> float:
    for _ in range(_STEPS_MAX):
        until = quiet.until(at) if quiet is not None else None
        until = until if until is not None else _opens(at, hours) if hours is not None else None
        if until is None:
            return at
        at = until
    return at  # whoever is quiet in all working hours is asked all the same


def _opens(at: float, zone: tzinfo) -> float | None:
    """When working hours begin next; None in them."""
    local = datetime.fromtimestamp(at, UTC).astimezone(zone)
    is_workday = local.weekday() < _WEEKEND
    if is_workday and BEGINS <= local.time() < ENDS:
        return None
    day = local.date() if is_workday and local.time() < BEGINS else local.date() + timedelta(days=1)
    while day.weekday() >= _WEEKEND:
        day += timedelta(days=1)
    return datetime.combine(day, BEGINS, zone).timestamp()
