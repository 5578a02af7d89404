"""The shared retry budget of one tool: a token bucket. Pure.

Each retry, by whatever run and process, takes a token; a first attempt takes none. So a tool that is down meets the
first attempts of those who need it and a bounded number of retries, however many processes there are. Tokens come
back with time, and with success: a tenth of the calls that go well may be tried again, so that a busy tool with a few
failures does not run dry (the ratio of "The SRE Book", ch. 21, and of gRPC's retry throttling).

Invariants
1. From any moment on no more is taken than `capacity`, what time has refilled, and a tenth of the successes.
2. A clock that is set back refills nothing; one that is set forward refills at most the capacity, once.
"""

from __future__ import annotations

import json
from typing import NamedTuple

UNIT = 1_000
"""Tokens are counted in thousandths, in whole numbers, so sums are exact."""
PER_SUCCESS = UNIT // 10
REFILL_S = 120.0
"""An empty bucket is full again after so long."""


class Bucket(NamedTuple):
    """What is left, and when that was so."""

    left: int
    """Thousandths of a token."""
    at: float


class Taken(NamedTuple):
    """Whether a retry may be made, and what must be written."""

    is_granted: bool
    bucket: Bucket
    """Without a grant the same one, unless the clock was set back."""
    because: str = ""


def take(bucket: Bucket | None, capacity: int, now: float, successes: int) -> Taken:
    """Take one token at `now`. bucket: None before the first. successes: calls that went well and are not yet told."""
    full = capacity * UNIT
    known = Bucket(full, now) if bucket is None else bucket
    gained = int(full * min(max(0.0, now - known.at), REFILL_S) / REFILL_S) + successes * PER_SUCCESS
    left = min(full, known.left + gained)
    if left >= UNIT:
        return Taken(True, Bucket(left - UNIT, now))
    because = f"all {capacity} shared retries are used up; {capacity * 60.0 / REFILL_S:g} a minute come back"
    return Taken(False, known._replace(at=min(known.at, now)), because)  # what was gained is counted the next time


def to_text(bucket: Bucket) -> str:
    """For its cell."""
    return json.dumps([bucket.left, bucket.at])


def from_text(text: str) -> Bucket | None:
    """The bucket of a cell, None for an empty one; ValueError when this is none."""
    if not text:
        return None
    found = json.loads(text)
    match found:
        case [int(left), int() | float() as at] if left >= 0 and 0 <= at < 1e12:
            return Bucket(left, float(at))
    raise ValueError(f"{text!r} is no bucket")
