"""Whether a request is Slack's: by the published example, and by nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.inbox.servers.slack_server import signed

from holdfast.inbox.slack_sign import TOLERANCE_S, verify
from holdfast.inbox.webhook import NotSigned

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
AT = 1_531_420_618.0
BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&"
    b"channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&"
    b"response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&"
    b"trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
HEADERS = {
    "x-slack-request-timestamp": "1531420618",
    "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
}


def test_the_published_example() -> None:
    """Lost: requests that Slack signs, and that are refused here. The vector is that of its documentation."""
    for at in (AT, AT + TOLERANCE_S, AT - TOLERANCE_S):
        verify([SECRET], HEADERS, BODY, at)
    verify(["a newer one", SECRET], HEADERS, BODY, AT)
    for at in (AT + TOLERANCE_S + 1, AT - TOLERANCE_S - 1):
        with pytest.raises(NotSigned):
            verify([SECRET], HEADERS, BODY, at)


@given(st.binary(max_size=200), st.binary(max_size=200), st.text(max_size=40))
def test_only_the_same_bytes_and_the_same_secret(body: bytes, other: bytes, secret: str) -> None:
    """Lost: a body that was changed on the way; or a secret that is empty, by which anybody signs."""
    headers = signed(body, AT, "the secret")
    verify(["the secret"], headers, body, AT)
    if other != body:
        with pytest.raises(NotSigned):
            verify(["the secret"], headers, other, AT)
    with pytest.raises(NotSigned):
        verify([""], signed(body, AT, ""), body, AT)
    if secret != "the secret":
        with pytest.raises(NotSigned):
            verify([secret], headers, body, AT)


@pytest.mark.parametrize("stamp", ["", "soon", "-1", "1.5", "1e9", "٣", "9" * 40])
def test_what_says_no_time_is_not_of_now(stamp: str) -> None:
    """Lost: an error in the place of a refusal."""
    with pytest.raises(NotSigned):
        verify([SECRET], HEADERS | {"x-slack-request-timestamp": stamp}, BODY, AT)
