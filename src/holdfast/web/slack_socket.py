"""Socket Mode: what people press in Slack, heard by a connection that we open; nothing has to reach us from outside.

1. Each delivery is acknowledged at once, as Slack wants it within three seconds; the answer to a modal goes with that.
2. A connection that ends, or that Slack wants to be made anew, is made anew: after a second, and after failures with
   pauses that grow to a minute. It never ends by itself.
3. The address that Slack gives for it is looked at as every other one (`inbox.guard`).

The package websockets is optional, and loaded when a connection is made.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from holdfast.errors import PolicyInvalid
from holdfast.inbox.guard import LIMIT_S
from holdfast.inbox.slack_api import SlackApi
from holdfast.protocols import Undelivered
from holdfast.web.slack_desk import Desk, NotOurs

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

PAUSE_MAX_S: Final = 60.0
BYTES_MAX: Final = 1024 * 1024
_AT_ONCE: Final = 4
"""Deliveries that are worked on side by side."""


class Socket:
    """Hears what is pressed, on threads of its own, from `start` until `close`."""

    def __init__(self, desk: Desk, api: SlackApi, say: Callable[[str], None]) -> None:
        """api: with the app's token. say: called on another thread when the connection cannot be had, and when it can
        again."""
        try:
            import websockets.sync.client  # optional
        except ImportError as error:
            raise PolicyInvalid(
                f"Socket Mode needs more packages ({error}). Nothing was started. Install them: "
                "pip install 'holdfast[slack]'"
            ) from None
        self._connect = websockets.sync.client.connect
        self._desk = desk
        self._api = api
        self._say = say
        self._over = threading.Event()
        self._now: ClientConnection | None = None
        self._pool = ThreadPoolExecutor(_AT_ONCE, "slack")
        self._thread = threading.Thread(target=self._run, name="slack", daemon=True)
        self._failures = 0

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Hear nothing more; what was heard is finished."""
        self._over.set()
        now = self._now
        if now is not None:
            now.close()
        if self._thread.is_alive():
            self._thread.join(10.0)
        self._pool.shutdown()

    def _run(self) -> None:
        from websockets.exceptions import WebSocketException  # optional; it was there a moment ago

        while not self._over.is_set():
            try:
                self._listen()
            except (Undelivered, OSError, WebSocketException, ValueError) as error:
                if not self._over.is_set():
                    self._failed(error)
            self._over.wait(min(PAUSE_MAX_S, 2.0**self._failures))

    def _failed(self, error: Exception) -> None:
        if not self._failures:
            self._say(f"Slack cannot be heard now ({error or type(error).__name__}); it is tried again until it can.")
        self._failures = min(self._failures + 1, 10)

    def _listen(self) -> None:
        """One connection, until it ends or is to be made anew."""
        with self._opened() as connection:
            self._now = connection
            if self._over.is_set():
                return
            for text in connection:
                if not self._take(connection, json.loads(text)):
                    return

    def _opened(self) -> ClientConnection:
        url = self._api.call("apps.connections.open", {}).get("url")
        if not isinstance(url, str) or not url.startswith(("wss://", "ws://")):
            raise Undelivered("Slack gave no address to connect to")
        where = self._api.where(url.replace("ws", "http", 1))
        plain = socket.create_connection((where.address, where.port), timeout=LIMIT_S)
        how: dict[str, Any] = {"open_timeout": 2 * LIMIT_S, "close_timeout": 1.0, "max_size": BYTES_MAX, "proxy": None}
        if where.is_tls:
            how |= {"ssl": ssl.create_default_context(), "server_hostname": where.host}
        opened: ClientConnection = self._connect(url, sock=plain, compression=None, **how)
        return opened

    def _take(self, connection: ClientConnection, said: Any) -> bool:
        """One message; whether the connection goes on after it."""
        kind, envelope = (said.get(name) for name in ("type", "envelope_id")) if isinstance(said, dict) else ("", None)
        if kind == "hello":
            if self._failures:
                self._say("Slack is heard again.")
            self._failures = 0
        elif kind == "disconnect":
            if said.get("reason") == "link_disabled":
                raise Undelivered("Socket Mode is turned off for this app")
            if said.get("reason") == "too_many_websockets":
                raise Undelivered("other processes hold all connections that this app may have")
            return False
        elif kind == "interactive" and envelope and isinstance(said.get("payload"), dict):
            work = self._pool.submit(self._answer, connection, envelope, said["payload"])
            work.add_done_callback(self._worked)
        elif envelope:  # nothing of ours: heard, so that it does not come again
            connection.send(json.dumps({"envelope_id": envelope}))
        return True

    def _answer(self, connection: ClientConnection, envelope: str, payload: dict[str, Any]) -> None:
        try:
            answer, then = self._desk.heard(payload)
        except NotOurs:
            answer, then = {}, None
        connection.send(json.dumps({"envelope_id": envelope} | ({"payload": answer} if answer else {})))
        if then is not None:
            then()

    def _worked(self, work: Future[None]) -> None:
        """What could not be acknowledged is sent again by Slack; all else that goes wrong is told."""
        error = work.exception()
        if error is not None:
            self._say(f"What was pressed in Slack could not be taken: {type(error).__name__}. It may come again.")
