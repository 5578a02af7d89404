"""What providers tell of their limits; a wrong reading stops every run, or none."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.models.ratelimit import COUNT_MAX, RESET_MAX_S, Standing, limits_of, request_id

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC).timestamp()


def test_anthropic_tells_times() -> None:
    """Four limits, each with its own."""
    headers = {
        "Anthropic-RateLimit-Requests-Limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-11-26T12:00:02Z",
        "anthropic-ratelimit-input-tokens-limit": "30000",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "2026-11-26T13:00:30.500+01:00",
        "anthropic-ratelimit-output-tokens-remaining": "8000",
        "anthropic-ratelimit-output-tokens-reset": "2026-11-26T11:59:00Z",
    }
    assert limits_of(headers, NOW) == [
        Standing("requests", 50, 49, NOW + 2),
        Standing("input_tokens", 30_000, 0, NOW + 30.5),
        Standing("output_tokens", 0, 8_000, NOW),
    ]


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("6s", 6.0),
        ("1m30s", 90.0),
        ("12ms", 0.012),
        ("1s12ms", 1.012),
        ("2h", 7_200.0),
        ("1h2m3.5s", 3_723.5),
        ("1d", 86_400.0),
        ("0.5", 0.5),
        ("60", 60.0),
        ("0s", 0.0),
    ],
)
def test_openai_tells_durations(text: str, wait_s: float) -> None:
    """In its own way of writing, which others have taken over."""
    headers = {
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": text,
    }
    (standing,) = limits_of(headers, NOW)
    assert standing[:3] == ("tokens", 150_000, 149_984)
    assert standing.resets_at == pytest.approx(NOW + wait_s)


@pytest.mark.parametrize(
    "wrong",
    ["", "soon", "-5s", "6 s", "1e9s", "nan", "9" * 50, "999d", "5s6m", ".", "٣s"],
)
def test_a_duration_that_makes_no_sense_is_ignored(wrong: str) -> None:
    """A limit that never ends would stop all work."""
    assert limits_of({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": wrong}, NOW) == []


@pytest.mark.parametrize("wrong", ["", "x", "2026-11-26T12:00:02", "9999-01-01T00:00:00Z", "2026-13-01T00:00:00Z"])
def test_a_time_that_makes_no_sense_is_ignored(wrong: str) -> None:
    """The same; a time without its zone may be hours off."""
    headers = {"anthropic-ratelimit-tokens-remaining": "1", "anthropic-ratelimit-tokens-reset": wrong}
    assert limits_of(headers, NOW) == []


@pytest.mark.parametrize("wrong", [None, "", "-1", "1.5", "many", "٣", "1" * 30])
def test_a_count_that_makes_no_sense_is_ignored(wrong: str | None) -> None:
    """None left is a statement; nothing said is not."""
    headers = {"x-ratelimit-reset-requests": "1s"} | (
        {} if wrong is None else {"x-ratelimit-remaining-requests": wrong}
    )
    assert limits_of(headers, NOW) == []


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"request-id": "req_1"}, "req_1"),
        ({"X-Request-Id": "req_2"}, "req_2"),
        ({"apim-request-id": "a-1"}, "a-1"),
        ({"x-amzn-RequestId": "b-1"}, "b-1"),
        ({"request-id": "", "x-request-id": "req_3"}, "req_3"),
        ({"request-id": "two words\n"}, ""),
        ({"request-id": "x" * 300}, ""),
        ({}, ""),
    ],
)
def test_the_providers_name_of_a_request(headers: dict[str, str], named: str) -> None:
    """Its support asks for it; it goes into the journal, so nothing but a name passes."""
    assert request_id(headers) == named


_kinds = st.sampled_from(["requests", "tokens", "input-tokens", "output-tokens", "images"])
_parts = st.sampled_from(["limit", "remaining", "reset"])
_names = st.one_of(
    st.builds("x-ratelimit-{1}-{0}".format, _kinds, _parts),
    st.builds("anthropic-ratelimit-{0}-{1}".format, _kinds, _parts),
)
_durations = st.from_regex(r"(\d+(\.\d+)?(ms|s|m|h|d))+")
_values = st.one_of(st.text(), st.integers().map(str), _durations, st.datetimes().map("{}Z".format))


@given(st.dictionaries(_names, _values), st.floats(0, 10**10))
def test_whatever_the_headers_say_nothing_raises(headers: dict[str, str], now: float) -> None:
    """They are written by strangers, and read on every answer."""
    for standing in limits_of(headers, now):
        assert 0 <= standing.remaining <= COUNT_MAX and 0 <= standing.limit <= COUNT_MAX
        assert now <= standing.resets_at <= now + RESET_MAX_S
    request_id(headers)
