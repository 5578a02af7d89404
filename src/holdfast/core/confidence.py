"""Measured confidence: whether a score passes its threshold. Pure.

A score is a number from 0 to 1 that somebody else than the agent gave: a check, a test, another model. `True` and
`False` are 1 and 0. Whatever is no such number does not pass, and neither does a scorer that failed; what the agent
claims of itself is recorded and counts for nothing.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Literal, NamedTuple, get_args

from holdfast.errors import PolicyInvalid

Otherwise = Literal["ask", "stop", "tell"]


class Judged(NamedTuple):
    """What a measurement amounts to."""

    passed: bool
    score: float | None
    """None: there is none."""
    because: str


def judged(value: Any, threshold: float) -> Judged:
    """What the scorer gave, against the threshold."""
    if isinstance(value, bool):
        value = float(value)
    if not isinstance(value, (int, float, Decimal)):
        return Judged(False, None, f"the scorer gave {_shown(value)}, which is no number")
    if not Decimal(value).is_finite() or not 0 <= value <= 1:
        return Judged(False, None, f"the scorer gave {_shown(value)}, which is no score from 0 to 1")
    score = float(value)
    compared = "at least" if score >= threshold else "under"
    return Judged(score >= threshold, score, f"measured {score:g}, {compared} {threshold:g}")


def failed(text: str) -> Judged:
    """The scorer raised, or took too long."""
    return Judged(False, None, f"the scorer failed: {text}")


def checked_threshold(name: str, threshold: Any) -> float:
    """The threshold as a number; `PolicyInvalid` when nothing, or everything, would pass it."""
    is_number = isinstance(threshold, (int, float, Decimal)) and not isinstance(threshold, bool)
    if not is_number or not Decimal(threshold).is_finite() or not 0 < threshold <= 1:
        raise PolicyInvalid(f"gate {name!r}: threshold={threshold!r} must be a number over 0 and up to 1.")
    return float(threshold)


def checked_otherwise(name: str, otherwise: Any) -> Otherwise:
    """What follows when it does not pass."""
    if otherwise not in get_args(Otherwise):
        raise PolicyInvalid(f"gate {name!r}: otherwise={otherwise!r} is unknown. Say 'ask', 'stop' or 'tell'.")
    return otherwise  # type: ignore[no-any-return]


def claim(claimed: Any) -> float | str | None:
    """What the agent says of itself, as it is recorded."""
    if claimed is None:
        return None
    is_number = isinstance(claimed, (int, float)) and not isinstance(claimed, bool) and abs(claimed) < math.inf
    return float(claimed) if is_number else _shown(claimed)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:  # the user's own value
        text = f"a {type(value).__name__} whose repr raises {type(error).__name__}"
    return text if len(text) <= 100 else f"{text[:99]}…"
