"""Quiet hours of a person: when what is not urgent waits for the morning. Pure.

They are hours of the wall clock where the person lives: at the end of summer time a night is an hour longer, and quiet
for an hour longer. The zone is an argument (a `tzinfo`): whoever calls has read it from the system's files.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo


@dataclass(frozen=True, slots=True)
class Quiet:
    """From `begins` to `ends`, each day; over midnight when `ends` is earlier."""

    begins: time
    ends: time
    zone: tzinfo

    def until(self, at: float) -> float | None:
        """When the quiet hours that this moment is in are over; None when it is in none."""
        local = datetime.fromtimestamp(at, UTC).astimezone(self.zone)
        if not self._holds(local.time().replace(fold=0)):
            return None
        days = (local.date() + timedelta(days=day) for day in (0, 1))
        ends = (datetime.combine(day, self.ends, self.zone).replace(fold=fold) for day in days for fold in (0, 1))
        return min(end.timestamp() for end in ends if end.timestamp() > at)

    def _holds(self, clock: time) -> bool:
        if self.begins < self.ends:
            return self.begins <= clock < self.ends
        return clock >= self.begins or clock < self.ends
