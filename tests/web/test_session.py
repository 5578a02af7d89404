"""Sessions and tokens. If these fail, somebody answers who has not signed in, or what they were not shown."""

from __future__ import annotations

import pytest

from holdfast.runtime.clock import SystemClock
from holdfast.web.session import HOURS, NAME_MAX, Session, Sessions


class Ahead(SystemClock):
    """The machine's clock, and how far a test has set it on."""

    by_s = 0.0

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return super().now() + self.by_s


def begun(sessions: Sessions, name: str = "ada") -> tuple[str, Session]:
    """A session and its cookie."""
    cookie = sessions.begin(name)
    session = sessions.read(cookie)
    assert session is not None and session.name == name
    return cookie, session


def test_a_session_ends_in_time_or_when_it_is_ended() -> None:
    """Lost: a browser in a café that stays signed in for ever."""
    clock = Ahead()
    sessions = Sessions(clock)
    cookie, session = begun(sessions)
    other, _ = begun(sessions)
    sessions.end(session)
    assert sessions.read(cookie) is None and sessions.read(other) is not None
    clock.by_s = HOURS * 3600 + 1
    assert sessions.read(other) is None


def test_what_this_process_has_not_signed_is_no_session() -> None:
    """Lost: who answers, to anybody who can write a cookie."""
    sessions = Sessions(SystemClock())
    cookie, _ = begun(sessions)
    forged = [cookie[:at] + chr(ord(cookie[at]) ^ 1) + cookie[at + 1 :] for at in range(len(cookie))]
    payload, _, signature = cookie.rpartition(".")
    for wrong in [*forged, "", ".", payload, f"{payload}.", f".{signature}", "é", f"{payload}.{signature}x"]:
        if wrong != cookie:
            assert sessions.read(wrong) is None, wrong
    assert Sessions(SystemClock()).read(cookie) is None, "another process has another key"


def test_a_token_is_for_one_session_and_one_thing() -> None:
    """Lost: an answer to what the person has not seen, in a form that somebody else has made (CSRF)."""
    sessions = Sessions(SystemClock())
    _, ada = begun(sessions)
    _, bob = begun(sessions, "bob")
    token = sessions.token(ada, "run", "question", "digest")
    assert sessions.is_token(token, ada, "run", "question", "digest")
    assert not sessions.is_token(token, bob, "run", "question", "digest")
    for about in (("run", "question", "other"), ("run", "other", "digest"), ("run", "questiondigest"), ("logout",), ()):
        assert not sessions.is_token(token, ada, *about)
    for wrong in ("", "é", token[:-1], token + "A", None):
        assert not sessions.is_token(wrong, ada, "run", "question", "digest")
    assert not Sessions(SystemClock()).is_token(token, ada, "run", "question", "digest")


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[2K", "a\u202eb", "x" * (NAME_MAX + 1)])
def test_a_proxy_names_somebody_or_nobody(name: str) -> None:
    """Lost: an answer by nobody, or by a name that steers a terminal."""
    assert Sessions(SystemClock()).of_proxy(name) is None
