"""Slack as its documentation has it: the Web API that we call, and people who press buttons.

    slack = SlackServer(clock.now)
    slack.says("token_revoked")                   # ok:false, until `slack.mend()`
    slack.does(limited(3600)); slack.does(SILENT) # and every other fault of `fault.py`
    [message] = slack.of("U1")                    # what ada has in her direct messages
    payload = slack.press("U1", message, "look")  # what Slack would send us for that click …
    headers, body = slack.request(payload)        # … by HTTP, signed; by Socket Mode: `slack.push(payload)`
    slack.edited(message), slack.deleted(message) # by somebody else in the chat

It refuses what Slack refuses: blocks beyond its limits, an update of a message that is not there, a trigger that is too
old, tokens that are not its own.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tests.inbox.servers.fault import Fault, Server

from holdfast.inbox.guard import Reply
from holdfast.testing.loopback import Call

TEAM, APP = "T0TEAM001", "A0APP0001"
BOT_TOKEN, APP_TOKEN = "xoxb-test-bot", "xapp-test-app"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
ADA, BOB, EVE = "U1ADA00001", "U2BOB00001", "U3EVE00001"
TRIGGER_S = 3.0


@dataclass(slots=True)
class Message:
    """One in a conversation, as people see it now."""

    channel: str
    ts: str
    to: str
    text: str
    blocks: list[dict[str, Any]]
    thread_ts: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    """All that was said when it was posted."""
    edits: int = 0
    is_deleted: bool = False

    @property
    def elements(self) -> dict[str, dict[str, Any]]:
        """What can be pressed, by its action."""
        found = [one for block in self.blocks if block["type"] == "actions" for one in block["elements"]]
        return {one["action_id"]: one for one in found}

    @property
    def shown(self) -> str:
        """All text in it."""
        return "\n".join([self.text, *_texts(self.blocks)])


@dataclass(slots=True)
class View:
    """A modal that one person has open."""

    id: str
    user: str
    view: dict[str, Any]
    hash: str = "1"

    @property
    def shown(self) -> str:
        """All text in it."""
        return "\n".join(_texts(self.view))


class SlackServer(Server):
    """One workspace with one app in it: ours."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.people = {ADA, BOB, EVE}
        self.channels = {"C0SHARED01"}
        self.messages: list[Message] = []
        self.views: list[View] = []
        self.replies: list[tuple[str, dict[str, Any]]] = []
        """What was sent to a `response_url`: the user who had pressed, and what they are told."""
        self.sockets: list[_Socket] = []
        self.socket_url = ""
        self.acknowledged: list[dict[str, Any]] = []
        self._count = itertools.count(1)
        self._triggers: dict[str, tuple[float, str]] = {}

    def says(self, error: str, *, times: int | None = None, method: str = "") -> None:
        """From now on every call of this method gets 200 and `ok: false` with this error."""
        reply = _json({"ok": False, "error": error})
        self.does(Fault("answer", reply), times=times, path=f"/api/{method}")

    def pretended(self, call: Call) -> Reply:
        """A message that nobody will ever see."""
        return _json({"ok": True, "channel": "D0LOST0001", "ts": self._ts(), "message": {}})

    def of(self, user: str) -> list[Message]:
        """What this person has got, and nobody has deleted."""
        return [each for each in self.messages if each.to == user and not each.is_deleted]

    def edited(self, message: Message) -> None:
        """Somebody has changed it: only its own app can in Slack; here it shows that nobody believes what it says."""
        message.text, message.blocks, message.edits = "edited", [], message.edits + 1

    def deleted(self, message: Message) -> None:
        """Somebody has removed it."""
        message.is_deleted = True

    # --- the Web API -----------------------------------------------------------------------------------------------

    def work(self, call: Call) -> Reply:
        """One call."""
        kind, _, method = call.path.strip("/").partition("/")
        if kind == "actions":
            self.replies.append((method, call.json()))
            return Reply(200, {}, b"ok")
        said = call.headers.get("authorization", "").removeprefix("Bearer ")
        wanted = APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN
        if said != wanted:
            return _json({"ok": False, "error": "invalid_auth" if said else "not_authed"})
        if not call.headers.get("content-type", "").startswith("application/json"):
            return _json({"ok": False, "error": "invalid_post_type"})
        does: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "views.open": self._open,
            "views.update": self._change,
            "apps.connections.open": lambda said: {"url": self.socket_url},
            "auth.test": lambda said: {"team_id": TEAM, "user_id": "U0BOT", "bot_id": "B0BOT"},
        }
        if method not in does:
            return _json({"ok": False, "error": "unknown_method"})
        try:
            return _json({"ok": True, **does[method](call.json() if call.body else {})})
        except _Refused as refused:
            return _json({"ok": False, "error": str(refused)})

    def _post(self, said: dict[str, Any]) -> dict[str, Any]:
        to = said.get("channel", "")
        if to not in self.people and to not in self.channels:
            raise _Refused("channel_not_found")
        channel = f"D{to[1:]}" if to in self.people else to
        _check(said, said.get("blocks", []), blocks_max=50)
        thread = said.get("thread_ts", "")
        if thread and not any(each.ts == thread and each.channel == channel for each in self.messages):
            raise _Refused("thread_not_found")
        message = Message(channel, self._ts(), to, said.get("text", ""), said.get("blocks", []), thread, said)
        self.messages.append(message)
        return {"channel": channel, "ts": message.ts, "message": {"text": message.text}}

    def _update(self, said: dict[str, Any]) -> dict[str, Any]:
        named = (said.get("channel"), said.get("ts"))
        found = next((each for each in self.messages if (each.channel, each.ts) == named), None)
        if found is None or found.is_deleted:
            raise _Refused("message_not_found")
        _check(said, said.get("blocks", []), blocks_max=50)
        found.text, found.blocks, found.edits = said.get("text", ""), said.get("blocks", []), found.edits + 1
        return {"channel": found.channel, "ts": found.ts, "text": found.text}

    def _open(self, said: dict[str, Any]) -> dict[str, Any]:
        at, user = self._triggers.pop(said.get("trigger_id", ""), (0.0, ""))
        if not user:
            raise _Refused("invalid_trigger_id")
        if self.now() - at > TRIGGER_S:
            raise _Refused("expired_trigger_id")
        _check_view(said["view"])
        view = View(f"V{next(self._count):08d}", user, said["view"])
        self.views.append(view)
        return {"view": {"id": view.id, "hash": view.hash}}

    def _change(self, said: dict[str, Any]) -> dict[str, Any]:
        found = next((each for each in self.views if each.id == said.get("view_id")), None)
        if found is None:
            raise _Refused("not_found")
        _check_view(said["view"])
        found.view = said["view"]
        return {"view": {"id": found.id}}

    def _ts(self) -> str:
        return f"{int(self.now())}.{next(self._count):06d}"

    # --- people ----------------------------------------------------------------------------------------------------

    def press(self, user: str, message: Message, action: str, *, team: str = TEAM, app: str = APP) -> dict[str, Any]:
        """What Slack sends when this person presses that button."""
        element = message.elements[action]
        trigger = f"{next(self._count)}.{user}"
        self._triggers[trigger] = (self.now(), user)
        return {
            "type": "block_actions",
            "team": {"id": team, "domain": "example"},
            "user": {"id": user, "username": user.lower(), "team_id": team},
            "api_app_id": app,
            "trigger_id": trigger,
            "container": {"type": "message", "message_ts": message.ts, "channel_id": message.channel},
            "channel": {"id": message.channel, "name": "directmessage"},
            "message": {"ts": message.ts, "text": message.text, "blocks": message.blocks},
            "response_url": f"https://hooks.slack.com/actions/{user}",
            "actions": [
                {
                    "type": element["type"],
                    "action_id": action,
                    "block_id": "b1",
                    "value": element.get("value"),
                    "action_ts": self._ts(),
                }
            ],
        }

    def submit(
        self, view: View, values: Mapping[str, Any], *, user: str = "", team: str = TEAM, app: str = APP
    ) -> dict[str, Any]:
        """What Slack sends when this person sends off a modal. values: by block, what was chosen or written there."""
        who = user or view.user
        state = {}
        for block in view.view["blocks"]:
            if block["type"] == "input" and block["block_id"] in values:
                element = block["element"]
                state[block["block_id"]] = {element["action_id"]: _chosen(element, values[block["block_id"]])}
        return {
            "type": "view_submission",
            "team": {"id": team, "domain": "example"},
            "user": {"id": who, "username": who.lower(), "team_id": team},
            "api_app_id": app,
            "trigger_id": f"{next(self._count)}.{who}",
            "view": {
                "id": view.id,
                "type": "modal",
                "hash": view.hash,
                "callback_id": view.view.get("callback_id", ""),
                "private_metadata": view.view.get("private_metadata", ""),
                "blocks": view.view["blocks"],
                "state": {"values": state},
            },
        }

    def request(
        self, payload: dict[str, Any], *, at: float | None = None, secret: str = SIGNING_SECRET
    ) -> tuple[dict[str, str], bytes]:
        """The request by HTTP for it: its headers and its body, signed."""
        body = urlencode({"payload": json.dumps(payload)}).encode()
        return signed(body, self.now() if at is None else at, secret), body

    # --- Socket Mode -----------------------------------------------------------------------------------------------

    @contextmanager
    def listening(self) -> Iterator[str]:
        """With a WebSocket beside the API."""
        from websockets.sync.server import serve

        with serve(self._connected, "127.0.0.1", 0) as server, super().listening() as url:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            self.socket_url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/link/?ticket=1&app_id={APP}"
            yield url
            for socket in list(self.sockets):
                socket.connection.close()
            server.shutdown()
            thread.join(5)

    def _connected(self, connection: Any) -> None:
        socket = _Socket(connection)
        connection.send(json.dumps({"type": "hello", "num_connections": 1, "connection_info": {"app_id": APP}}))
        self.sockets.append(socket)
        try:
            for text in connection:
                said = json.loads(text)
                self.acknowledged.append(said)
                if (waiting := socket.waiting.get(said.get("envelope_id", ""))) is not None:
                    waiting.set()
        finally:
            self.sockets.remove(socket)

    def push(self, payload: dict[str, Any], *, envelope: str = "", wait_s: float = 5.0) -> dict[str, Any] | None:
        """Send it by Socket Mode; what it was acknowledged with, None: it was not. envelope: one sent before."""
        [socket, *_] = self.sockets
        name = envelope or f"e{next(self._count)}"
        waiting = socket.waiting[name] = threading.Event()
        before = len(self.acknowledged)
        said = {"envelope_id": name, "type": "interactive", "accepts_response_payload": True, "payload": payload}
        socket.connection.send(json.dumps(said))
        if not waiting.wait(wait_s):
            return None
        return next(each for each in self.acknowledged[before:] if each["envelope_id"] == name)

    def disconnects(self, reason: str = "refresh_requested") -> None:
        """It wants the connection to be made anew."""
        [socket, *_] = self.sockets
        socket.connection.send(json.dumps({"type": "disconnect", "reason": reason}))


@dataclass(slots=True)
class _Socket:
    connection: Any
    waiting: dict[str, threading.Event] = field(default_factory=dict)


def signed(body: bytes, at: float, secret: str = SIGNING_SECRET) -> dict[str, str]:
    """The headers of a request that Slack makes."""
    stamp = str(int(at))
    mac = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={mac}",
    }


def payload_of(body: bytes) -> dict[str, Any]:
    """What a signed request says."""
    found: dict[str, Any] = json.loads(dict(parse_qsl(body.decode()))["payload"])
    return found


# --- what Slack takes -------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """With an error of Slack's."""


def _json(said: dict[str, Any]) -> Reply:
    return Reply(200, {"content-type": "application/json; charset=utf-8"}, json.dumps(said).encode())


def _chosen(element: dict[str, Any], value: Any) -> dict[str, Any]:
    if element["type"] == "plain_text_input":
        return {"type": element["type"], "value": value}
    if element["type"] == "checkboxes":
        taken = [each for each in element["options"] if each["value"] in value]
        return {"type": element["type"], "selected_options": taken}
    option = next(each for each in element["options"] if each["value"] == value)
    return {"type": element["type"], "selected_option": option}


def _texts(value: Any) -> list[str]:
    """All text in it that people see."""
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    if not isinstance(value, dict):
        return []
    own = [value["text"]] if isinstance(value.get("text"), str) else []
    return own + [text for name, each in value.items() if name != "text" or not own for text in _texts(each)]


def _check(said: dict[str, Any], blocks: Any, *, blocks_max: int) -> None:
    if not said.get("text") and not blocks:
        raise _Refused("no_text")
    if len(said.get("text", "")) > 40_000:
        raise _Refused("msg_too_long")
    _check_blocks(blocks, blocks_max)


def _check_view(view: dict[str, Any]) -> None:
    titles = [view.get(name) for name in ("title", "submit", "close") if view.get(name) is not None]
    has_input = any(block["type"] == "input" for block in view["blocks"])
    if view.get("type") != "modal" or any(len(each["text"]) > 24 for each in titles) or not view.get("title"):
        raise _Refused("invalid_arguments")
    if has_input and view.get("submit") is None:
        raise _Refused("invalid_arguments")
    if len(view.get("private_metadata", "")) > 3_000 or len(view.get("callback_id", "")) > 255:
        raise _Refused("invalid_arguments")
    if len(json.dumps(view)) > 250_000:
        raise _Refused("view_too_large")
    _check_blocks(view["blocks"], 100)


_LIMITS = {"header": 150, "section": 3_000, "context": 3_000}


def _check_blocks(blocks: Any, blocks_max: int) -> None:
    if not isinstance(blocks, list) or len(blocks) > blocks_max:
        raise _Refused("invalid_blocks")
    for block in blocks:
        if len(block.get("block_id", "")) > 255:
            raise _Refused("invalid_blocks")
        match block["type"]:
            case "header" | "section":
                _check_text(block["text"], _LIMITS[block["type"]], is_plain=block["type"] == "header")
            case "context":
                if not 1 <= len(block["elements"]) <= 10:
                    raise _Refused("invalid_blocks")
                for each in block["elements"]:
                    _check_text(each, 3_000)
            case "actions":
                if not 1 <= len(block["elements"]) <= 25:
                    raise _Refused("invalid_blocks")
                for each in block["elements"]:
                    _check_button(each)
            case "input":
                _check_text(block["label"], 2_000, is_plain=True)
                _check_input(block["element"])
            case "divider" | "rich_text":
                pass
            case _:
                raise _Refused("invalid_blocks")


def _check_text(text: dict[str, Any], most: int, *, is_plain: bool = False) -> None:
    kinds = ("plain_text",) if is_plain else ("plain_text", "mrkdwn")
    if text["type"] not in kinds or not 1 <= len(text["text"]) <= most:
        raise _Refused("invalid_blocks")


def _check_button(button: dict[str, Any]) -> None:
    _check_text(button["text"], 75, is_plain=True)
    if len(button.get("value", "")) > 2_000 or len(button["action_id"]) > 255 or len(button.get("url", "")) > 3_000:
        raise _Refused("invalid_blocks")
    if button.get("style") not in (None, "primary", "danger"):
        raise _Refused("invalid_blocks")


def _check_input(element: dict[str, Any]) -> None:
    match element["type"]:
        case "radio_buttons" | "static_select" | "checkboxes":
            most = 100 if element["type"] == "static_select" else 10
            if not 1 <= len(element["options"]) <= most:
                raise _Refused("invalid_blocks")
            for each in element["options"]:
                _check_text(each["text"], 75)
                if len(each["value"]) > 150:
                    raise _Refused("invalid_blocks")
        case "plain_text_input":
            if element.get("max_length", 1) > 3_000:
                raise _Refused("invalid_blocks")
        case _:
            raise _Refused("invalid_blocks")
