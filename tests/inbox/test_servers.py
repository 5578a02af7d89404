"""The servers of these tests themselves: where they are wrong, what is tested against them means nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.inbox.servers import fault
from tests.inbox.servers.hook_server import SECRET, URL, HookServer
from tests.inbox.servers.mail_server import MailServer
from tests.inbox.servers.slack_server import ADA, APP_TOKEN, BOT_TOKEN, SlackServer, payload_of, signed

from holdfast.inbox import guard
from holdfast.inbox.directory import Email, FromEnvironment, Webhook
from holdfast.inbox.email import EmailChannel
from holdfast.inbox.guard import Target
from holdfast.inbox.webhook import WebhookChannel
from holdfast.protocols import Notice, Undeliverable, Undelivered

NOW = 1_800_000_000.0
NOTICE = Notice("k1", "run_1/q_1", "created", "ada", "ada@example.com", "T", ("line",), "", False, {"run": "run_1"})


def hook(server: HookServer, url: str = URL, **how: Any) -> WebhookChannel:
    """A channel to it."""
    settings = Webhook(name="hook", url=url, secrets=(FromEnvironment("S"),), **how)
    return WebhookChannel(settings, {"S": SECRET}, lambda: NOW, send=server.wire, resolve=server.resolve)


def call(server: SlackServer, method: str, said: dict[str, Any], token: str = BOT_TOKEN) -> dict[str, Any]:
    """One call of the Web API."""
    where = Target("slack.com", 443, "1.1.1.1", f"/api/{method}", True)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json; charset=utf-8"}
    found: dict[str, Any] = json.loads(server.wire(where, headers, json.dumps(said).encode()).body)
    return found


def test_a_receiver_of_webhooks_takes_each_once() -> None:
    """Lost: a test that counts what came, and not what somebody saw."""
    server = HookServer(lambda: NOW)
    hook(server).send(NOTICE)
    hook(server).send(NOTICE)
    assert server.ids == ["msg_k1", "msg_k1"] and len(server.of("ada")) == 1 and server.forged == 0


@pytest.mark.parametrize(
    ("what", "is_final", "taken"),
    [
        (fault.broken(503), False, 0),
        (fault.limited(3600), False, 0),
        (fault.redirects(), True, 0),
        (fault.GONE, True, 0),
        (fault.SILENT, False, 0),
        (fault.CUT, False, 0),
        (fault.UNHEARD, False, 1),
        (fault.UNKNOWN, False, 0),
        (fault.UNTRUSTED, False, 0),
    ],
)
def test_what_goes_wrong_in_this_process_is_what_goes_wrong(what: fault.Fault, is_final: bool, taken: int) -> None:
    """Lost: a fault that is none."""
    server = HookServer(lambda: NOW)
    server.does(what)
    with pytest.raises(Undelivered) as refused:
        hook(server).send(NOTICE)
    assert isinstance(refused.value, Undeliverable) is is_final and len(server.taken) == taken
    server.mend()
    hook(server).send(NOTICE)
    assert len(server.taken) == 1


def test_it_goes_wrong_on_a_socket_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: errors in this process that no network ever makes."""
    monkeypatch.setattr(guard, "LIMIT_S", 0.3)
    server = HookServer(lambda: NOW)
    with server.listening() as url:
        settings = Webhook(name="hook", url=url, secrets=(FromEnvironment("S"),), allow=(url.removeprefix("http://"),))
        real = WebhookChannel(settings, {"S": SECRET}, lambda: NOW)
        for what in (fault.SILENT, fault.CUT, fault.UNHEARD, fault.broken(500), fault.limited(9)):
            server.does(what, times=1)
            with pytest.raises(Undelivered) as refused:
                real.send(NOTICE)
            assert not isinstance(refused.value, Undeliverable)
        server.does(fault.LOSES, times=1)
        assert real.send(NOTICE).state == "accepted" and len(server.taken) == 1
        assert server.ids == ["msg_k1"]
        real.send(NOTICE)
    assert len(server.ids) == 2 and len(server.taken) == 1


@pytest.mark.parametrize(
    ("command", "said", "is_final"),
    [
        ("CONNECT", "421 too busy", False),
        ("CONNECT", "554 not you", True),
        ("MAIL", "550 not from you", True),
        ("RCPT", "550 no such mailbox", True),
        ("DATA", "452 full", False),
    ],
)
def test_a_mail_server_says_what_it_is_told_to(command: str, said: str, is_final: bool) -> None:
    """Lost: a refusal that never comes."""
    server = MailServer()
    with server.listening() as port:
        mail = EmailChannel(
            Email(name="mail", host="localhost", port=port, sender="a@example.com", tls="none"), {}, lambda: NOW
        )
        server.says[command] = said
        with pytest.raises(Undelivered) as refused:
            mail.send(NOTICE)
        assert isinstance(refused.value, Undeliverable) is is_final and server.of("ada@example.com") == []
        server.says.clear()
        server.loses = True
        mail.send(NOTICE)
        assert server.of("ada@example.com") == [] and server.lost == 1
        server.loses = False
        mail.send(NOTICE)
        assert len(server.of("ada@example.com")) == 1


def test_slack_takes_what_slack_takes() -> None:
    """Lost: a fake that takes what Slack refuses."""
    slack = SlackServer(lambda: NOW)
    assert call(slack, "chat.postMessage", {"channel": ADA, "text": "hi"}, "wrong")["error"] == "invalid_auth"
    assert call(slack, "chat.postMessage", {"channel": ADA, "text": "hi"}, APP_TOKEN)["error"] == "invalid_auth"
    assert call(slack, "chat.postMessage", {"channel": "U0NOBODY", "text": "hi"})["error"] == "channel_not_found"
    assert call(slack, "chat.postMessage", {"channel": ADA})["error"] == "no_text"
    long = [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]
    assert call(slack, "chat.postMessage", {"channel": ADA, "text": "x", "blocks": long})["error"] == "invalid_blocks"
    said = call(slack, "chat.postMessage", {"channel": ADA, "text": "hi"})
    assert said["ok"] and said["channel"] == "D1ADA00001"
    [message] = slack.of(ADA)
    assert call(slack, "chat.update", {"channel": message.channel, "ts": message.ts, "text": "ho"})["ok"]
    assert (message.text, message.edits) == ("ho", 1)
    slack.deleted(message)
    again = {"channel": message.channel, "ts": message.ts, "text": "ho"}
    assert call(slack, "chat.update", again)["error"] == "message_not_found" and slack.of(ADA) == []


def test_slack_goes_wrong_by_what_it_says() -> None:
    """Lost: an error that arrives with status 200 is no error."""
    slack = SlackServer(lambda: NOW)
    slack.says("token_revoked", method="chat.postMessage", times=1)
    assert call(slack, "auth.test", {})["ok"]
    assert call(slack, "chat.postMessage", {"channel": ADA, "text": "hi"}) == {"ok": False, "error": "token_revoked"}
    slack.does(fault.LOSES, times=1)
    assert call(slack, "chat.postMessage", {"channel": ADA, "text": "hi"})["ok"] and slack.messages == []
    assert call(slack, "chat.postMessage", {"channel": ADA, "text": "hi"})["ok"] and len(slack.of(ADA)) == 1


def test_the_published_example_of_a_signature() -> None:
    """Lost: requests that are signed otherwise than Slack signs them. The vector is that of its documentation."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&"
        b"channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&"
        b"response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&"
        b"trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = signed(body, 1531420618, "8f742231b10e8888abcd99yyyzzz85a5")
    wanted = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    assert headers["X-Slack-Signature"] == wanted


def test_a_press_says_who_pressed_what_where() -> None:
    """Lost: interactions that look like none of Slack's."""
    slack = SlackServer(lambda: NOW)
    button = {"type": "button", "action_id": "go", "text": {"type": "plain_text", "text": "Go"}, "value": "v"}
    blocks = [{"type": "actions", "elements": [button]}]
    call(slack, "chat.postMessage", {"channel": ADA, "text": "hi", "blocks": blocks})
    [message] = slack.of(ADA)
    payload = slack.press(ADA, message, "go")
    _, body = slack.request(payload)
    assert payload_of(body) == payload and payload["actions"][0]["value"] == "v"
    view = {"type": "modal", "title": {"type": "plain_text", "text": "T"}, "blocks": []}
    opened = call(slack, "views.open", {"trigger_id": payload["trigger_id"], "view": view})
    assert opened["ok"] and slack.views[0].user == ADA
    again = call(slack, "views.open", {"trigger_id": payload["trigger_id"], "view": view})
    assert again["error"] == "invalid_trigger_id"


def test_a_websocket_takes_and_acknowledges() -> None:
    """Lost: a Socket Mode that nobody speaks."""
    client = pytest.importorskip("websockets.sync.client", reason="needs websockets, for Socket Mode")
    slack = SlackServer(lambda: NOW)
    with slack.listening():
        opened = call(slack, "apps.connections.open", {}, APP_TOKEN)
        with client.connect(opened["url"]) as connection:
            assert json.loads(connection.recv(5))["type"] == "hello"
            while not slack.sockets:
                pass
            assert slack.push({"type": "block_actions"}, wait_s=0.05) is None
            said = json.loads(connection.recv(5))
            connection.send(json.dumps({"envelope_id": said["envelope_id"]}))
            slack.disconnects()
            assert json.loads(connection.recv(5)) == {"type": "disconnect", "reason": "refresh_requested"}
