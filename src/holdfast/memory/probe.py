"""An HTTP check: one GET, with a deadline for all of it, however slowly the other side speaks.

Never: a proxy, a cookie, another scheme than the one that was asked for, more than a megabyte of the answer.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import urllib.error
import urllib.request
from dataclasses import replace
from typing import IO, Any, Final
from urllib.parse import urlsplit

from holdfast.core.feature import Check
from holdfast.core.verdict import Result
from holdfast.memory.bounded import within

BODY_MAX: Final = 1_000_000
SHOWN: Final = 2_000
_CHUNK = 64 * 1024


async def perform(check: Check) -> Result:
    """Ask, and compare the status and the text."""
    open_ones: list[socket.socket] = []
    late = f"had not answered within {check.timeout_s:g} s"
    try:
        return await within(check.timeout_s, "probe", lambda: _asked(check, open_ones), late)
    finally:
        _hang_up(open_ones)


def _hang_up(open_ones: list[socket.socket]) -> None:
    """End what is still open: a thread that reads there comes back."""
    for each in open_ones:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already


def _asked(check: Check, open_ones: list[socket.socket]) -> Result:
    try:
        with _answer(check, open_ones) as answer:
            return _compared(check, answer.status, answer)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return Result(False, False, f"no answer: {reason}"[:200])


def _answer(check: Check, open_ones: list[socket.socket]) -> Any:
    """The answer, whatever its status."""
    headers = {"User-Agent": "holdfast", "Accept-Encoding": "identity"}
    request = urllib.request.Request(check.target, headers=headers)  # noqa: S310 - only http and https have a handler
    try:
        return _opener(check, open_ones).open(request, timeout=check.timeout_s)
    except urllib.error.HTTPError as error:
        return error


def _compared(check: Check, status: int, answer: Any) -> Result:
    body = _body(answer)
    text = body.decode("utf-8", "replace")
    result = Result(True, False, "", None, text[-SHOWN:], hashlib.sha256(body).hexdigest())
    if status != check.status:
        return replace(result, why=f"status {status}, and {check.status} is wanted")
    if check.contains not in text:
        where = f" within its first {BODY_MAX} bytes" if len(body) == BODY_MAX else ""
        return replace(result, why=f"the answer does not contain {check.contains!r:.100}{where}")
    return replace(result, passed=True)


def _body(answer: Any) -> bytes:
    """As much as is looked at. One that the other side has cut off raises."""
    parts, left = list[bytes](), BODY_MAX
    while left and (data := answer.read(min(left, _CHUNK))):
        parts.append(data)
        left -= len(data)
    if left and getattr(answer, "length", None):
        raise http.client.IncompleteRead(b"".join(parts), answer.length)
    return b"".join(parts)


def _opener(check: Check, open_ones: list[socket.socket]) -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        _Http(open_ones),
        _Https(open_ones),
        _Redirects(check),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def __init__(self, check: Check) -> None:
        self._check = check

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if 300 <= self._check.status < 400:
            return None
        if urlsplit(newurl).scheme != urlsplit(self._check.target).scheme:
            raise urllib.error.URLError(f"it redirects to another scheme: {newurl:.100}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Http(urllib.request.HTTPHandler):
    def __init__(self, open_ones: list[socket.socket]) -> None:
        super().__init__()
        self._open_ones = open_ones

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_noted(http.client.HTTPConnection, self._open_ones), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, open_ones: list[socket.socket]) -> None:
        super().__init__()
        self._open_ones = open_ones

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_noted(http.client.HTTPSConnection, self._open_ones), req)


def _noted(kind: type[http.client.HTTPConnection], open_ones: list[socket.socket]) -> Any:
    """Connections of this kind whose sockets are noted, so that another thread can end them."""

    class Noted(kind):  # type: ignore[misc, valid-type]
        def connect(self) -> None:
            super().connect()
            open_ones.append(self.sock)

    return Noted
