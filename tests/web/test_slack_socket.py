"""Socket Mode against a real WebSocket: what is pressed is heard and acknowledged at once, also after an outage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.inbox.servers import fault
from tests.inbox.servers.slack_server import ADA, APP_TOKEN, BOT_TOKEN, TEAM, SlackServer
from tests.web.conftest import Site
from tests.web.test_slack import PEOPLE, SETTINGS, number

from holdfast.inbox.directory import FromEnvironment
from holdfast.inbox.slack import SlackChannel
from holdfast.inbox.slack_api import SlackApi
from holdfast.protocols import Notice
from holdfast.web.slack_desk import Desk

pytest.importorskip("websockets", reason="needs websockets, for Socket Mode")

from holdfast.web.slack_socket import Socket


class Office:
    """A workspace on real sockets, and our connection to it."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        (home / "holdfast.toml").write_text(PEOPLE)
        self.site = Site(home)
        stack.callback(self.site.close)
        self.slack = SlackServer(self.site.clock.now)
        self.url = f"{stack.enter_context(self.slack.listening())}/api"
        self.places = [self.url.split("/")[2], self.slack.socket_url.split("/")[2]]
        settings = replace(SETTINGS, signing=(), app_token=FromEnvironment("APP_TOKEN"), url=self.url)
        self.settings = replace(settings, allow=tuple(self.places))
        self.said: list[str] = []
        self.socket = self.connected()
        stack.callback(self.socket.close)

    def api(self, token: str) -> SlackApi:
        """Calls with this token."""
        return SlackApi(token, url=self.url, allow=self.places)

    def connected(self) -> Socket:
        """A connection to be started."""
        desk = Desk(self.site.journal, self.site.roll, self.settings, self.api(BOT_TOKEN))
        return Socket(desk, self.api(APP_TOKEN), self.said.append)

    def told(self, asked: Any) -> Any:
        """What ada has got of it."""
        channel = SlackChannel(self.settings, {"TOKEN": BOT_TOKEN})
        facts = {"run": asked.run, "question": asked.id, "about": asked.about}
        channel.send(Notice("k", "t", "created", "ada", ADA, "T", ("l",), "", False, facts))
        return self.slack.of(ADA)[-1]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """All of it."""
    with ExitStack() as stack:
        yield Office(tmp_path, stack)


def until(is_so: Callable[[], Any], within_s: float = 20.0) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end, "it did not come to be so"
        time.sleep(0.005)


def test_an_approval_by_a_connection_of_ours(office: Office) -> None:
    """Lost: what Socket Mode is for."""
    asked = office.site.begin("pays", ["K-17", 4200])
    office.socket.start()
    until(lambda: office.slack.sockets)
    pressed = office.slack.push(office.slack.press(ADA, office.told(asked), "look"))
    assert pressed is not None and "payload" not in pressed
    until(lambda: office.slack.views)
    view = office.slack.views[-1]
    payload = office.slack.submit(view, {"choice": number(view, "Approve")})
    answered = office.slack.push(payload, envelope="e-1")
    assert answered is not None and answered["payload"]["response_action"] == "update"
    assert office.slack.push(payload, envelope="e-1") is not None  # it comes again, as Slack does it
    item = office.site.item(asked)
    assert (item.state, item.choice, item.by, item.via) == ("posted", "approve", "ada", "slack")
    assert len(office.site.journal.mail(asked.run)) == 1
    assert office.site.run("pays", ["K-17", 4200]) == "refunded K-17"


def test_a_button_is_acknowledged_before_anything_is_done(office: Office) -> None:
    """Lost: "this app did not respond", and the same once more."""
    asked = office.site.begin("pays", ["K-17", 4200])
    office.socket.start()
    until(lambda: office.slack.sockets)
    office.slack.does(fault.broken(500), path="/actions")
    assert office.slack.push(office.slack.press(ADA, office.told(asked), "decline")) is not None
    until(lambda: office.site.item(asked).state == "posted")


def test_other_workspaces_are_nobody_here_too(office: Office) -> None:
    """Lost: the check that stands at the other way in."""
    asked = office.site.begin("pays", ["K-17", 4200])
    office.socket.start()
    until(lambda: office.slack.sockets)
    message = office.told(asked)
    for wrong in ({"team": {"id": "T9OTHER01"}}, {"user": {"id": ADA, "team_id": "T9OTHER01"}}, {"api_app_id": "A9"}):
        heard = office.slack.push(office.slack.press(ADA, message, "decline") | wrong)
        assert heard is not None and "payload" not in heard
    for nothing in ({}, {"type": "block_actions", "team": {"id": TEAM}}):
        assert office.slack.push(nothing) is not None
    assert office.site.item(asked).state == "open"


def test_it_is_made_anew_when_slack_wants_that_and_after_an_outage(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: a worker that hears nothing from the first refresh on, and nobody knows."""
    monkeypatch.setattr("holdfast.web.slack_socket.PAUSE_MAX_S", 0.02)
    asked = office.site.begin("pays", ["K-17", 4200])
    office.slack.says("internal_error", method="apps.connections.open", times=2)
    office.socket.start()
    until(lambda: office.slack.sockets)
    assert office.said[0].startswith("Slack cannot be heard now") and APP_TOKEN not in office.said[0]
    until(lambda: len(office.said) == 2)
    assert office.said[1] == "Slack is heard again."
    for end in (office.slack.disconnects, lambda: office.slack.sockets[0].connection.close()):
        before = office.slack.sockets[0]
        end()
        until(lambda before=before: office.slack.sockets and office.slack.sockets[0] is not before)
    assert office.slack.push(office.slack.press(ADA, office.told(asked), "decline")) is not None
    until(lambda: office.site.item(asked).state == "posted")


def test_what_is_no_word_of_slack_ends_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: one message that cannot be read, and nothing is heard from then on."""
    monkeypatch.setattr("holdfast.web.slack_socket.PAUSE_MAX_S", 0.02)
    office.socket.start()
    until(lambda: office.slack.sockets)
    [first] = office.slack.sockets
    first.connection.send("not json")
    until(lambda: office.slack.sockets and first not in office.slack.sockets)  # it began anew
    for text in ("[]", "7", '{"type": "interactive"}', '{"type": "interactive", "envelope_id": "x"}'):
        office.slack.sockets[0].connection.send(text)
    until(lambda: [one for one in office.slack.acknowledged if one.get("envelope_id") == "x"])
    asked = office.site.begin("pays", ["K-17", 4200])
    office.slack.push(office.slack.press(ADA, office.told(asked), "decline"))
    until(lambda: office.site.item(asked).state == "posted")


@pytest.mark.parametrize("url", ["ws://169.254.169.254/link", "wss://127.0.0.1:9/x", "http://slack.com", "", None, 7])
def test_it_goes_nowhere_else(office: Office, url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: a connection into our own network, because an answer names it."""
    monkeypatch.setattr("holdfast.web.slack_socket.PAUSE_MAX_S", 0.02)
    good, office.slack.socket_url = office.slack.socket_url, url
    office.socket.start()
    until(lambda: office.said)
    assert office.slack.sockets == []
    office.slack.socket_url = good
    until(lambda: office.slack.sockets)


def test_it_ends_when_it_is_told_to(office: Office) -> None:
    """Lost: a worker that hangs at its end; or one that ends before it was connected."""
    office.connected().close()
    office.socket.start()
    until(lambda: office.slack.sockets)
    begun = time.monotonic()
    office.socket.close()
    assert time.monotonic() - begun < 5
    until(lambda: not office.slack.sockets)
