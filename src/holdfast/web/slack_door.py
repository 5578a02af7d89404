"""POST /slack: where Slack brings what people have pressed. No page and no cookie lead here: the signature counts.

It is answered at once, as Slack wants it within three seconds; what takes longer is done after that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from holdfast.inbox.slack_sign import verify
from holdfast.inbox.webhook import NotSigned
from holdfast.web.slack_desk import Desk, NotOurs

PATH: Final = "/slack"
BYTES_MAX: Final = 512 * 1024
"""Slack sends the whole message or modal along."""


class Signed(NamedTuple):
    """One app of Slack's, and with what it signs."""

    desk: Desk
    secrets: Sequence[str]


class Door:
    """Lets in what is signed."""

    def __init__(self, apps: Sequence[Signed], now: Callable[[], float]) -> None:
        self._apps = apps
        self._now = now

    async def take(self, request: Request) -> Response:
        """One delivery."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > BYTES_MAX:
                return PlainTextResponse("Too long. Nothing was done.\n", 413)
        desk = self._desk(request, bytes(body))
        if desk is None:
            return PlainTextResponse("It is not signed as it must be. Nothing was done.\n", 401)
        payload = _payload(bytes(body))
        if payload is None:
            return PlainTextResponse("This is no interaction. Nothing was done.\n", 400)
        try:
            answer, then = await run_in_threadpool(desk.heard, payload)
        except NotOurs as not_ours:
            return PlainTextResponse(f"{not_ours}\n", 403)
        later = None if then is None else BackgroundTask(then)
        return JSONResponse(answer, background=later) if answer else Response(status_code=200, background=later)

    def _desk(self, request: Request, body: bytes) -> Desk | None:
        for app in self._apps:
            try:
                verify(app.secrets, dict(request.headers), body, self._now())
            except NotSigned:
                continue
            return app.desk
        return None


def _payload(body: bytes) -> dict[str, Any] | None:
    try:
        [(name, text)] = parse_qsl(body.decode(), strict_parsing=True, max_num_fields=1)
        found = json.loads(text) if name == "payload" else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
