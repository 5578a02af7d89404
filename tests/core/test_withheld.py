"""Approvals that are not asked for while nobody can be reached. If these fail, a run waits for ever, or asks a void."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.approval import Refused
from holdfast.core.events import Event, Kind, meta
from holdfast.core.withheld import LOOK_MAX_S, LOOK_MIN_S, OUTCOME, Ask, Withhold, facts, ruled

NOW = 1_000_000_000.0


def decided(found: Withhold) -> Event:
    """As it is recorded."""
    return Event(Kind.DECIDED, NOW, meta=meta(**facts(found, "finance")))


def withheld(
    held: Event | None = None, because: str = "no way", within_s: float | None = 600.0, at: float = NOW
) -> Withhold:
    found = ruled(held, because, within_s, None, at)
    assert isinstance(found, Withhold)
    return found


def test_who_can_be_reached_is_asked() -> None:
    """Lost: every approval."""
    assert ruled(None, "", 600.0, None, NOW) == Ask()
    held = decided(withheld())
    assert ruled(held, "", 600.0, None, NOW + 599.9) == Ask(), "and once they can be again"


def test_its_time_counts_from_the_first_look_and_is_not_begun_anew() -> None:
    """Lost: a crash, or another reason, that gives it its whole time again: it would wait for ever."""
    first = withheld()
    assert first.until == NOW + 600.0 and first.is_news
    again = withheld(decided(first), "another reason", at=NOW + 300)
    assert again.until == NOW + 600.0 and again.since == NOW and again.is_news
    assert not withheld(decided(first), at=NOW + 1).is_news, "the same is no news"
    assert withheld(decided(first), within_s=86_400.0, at=NOW + 1).until == NOW + 600.0, "nor a deploy"


def test_when_its_time_is_over_the_default_is_taken() -> None:
    """Lost: the end. Also when somebody can be reached again by then: its time was over while nobody looked."""
    held = decided(withheld())
    for because in ("no way", ""):
        found = ruled(held, because, 600.0, None, NOW + 600.0)
        assert isinstance(found, Refused) and found.outcome == OUTCOME and not found.stops
        assert "for 10 min nobody could be reached (no way); by default: declined" in found.because
    stopped = ruled(held, "x", 600.0, "stop", NOW + 600.0)
    assert isinstance(stopped, Refused) and stopped.stops and "the run is stopped" in stopped.because


def test_without_an_end_it_waits_until_somebody_is_there() -> None:
    """Lost: a run that is given up although nobody said how long it may wait."""
    held = decided(withheld(within_s=None))
    assert isinstance(ruled(held, "no way", None, None, NOW + 1e9), Withhold)


@given(st.floats(0, 1e7), st.none() | st.floats(1, 1e7))
def test_it_looks_again_neither_all_the_time_nor_too_late(age_s: float, within_s: float | None) -> None:
    """Lost: a thousand waiting runs that are read from the store each second; or a default that is taken hours late."""
    found = ruled(decided(withheld(within_s=within_s)), "no way", within_s, None, NOW + age_s)
    if isinstance(found, Withhold):
        wait_s = found.look_at - (NOW + age_s)
        assert 0 < wait_s <= LOOK_MAX_S and (found.until is None or found.look_at <= found.until)
        assert wait_s >= LOOK_MIN_S or found.look_at == found.until
    else:
        assert within_s is not None and NOW + age_s >= NOW + within_s
