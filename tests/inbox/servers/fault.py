"""What a server does instead of its work, and a server that does so when it is told to.

`server.does(limited(60))` lasts until `mend`; with `times=1` for one request. What came is in `calls` whatever was made
of it. The same server can be asked in this process (`wire`, as `guard.exchange`: nothing waits for real), or on
127.0.0.1 (`listening`: sockets, real time-outs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from holdfast.inbox.guard import LIMIT_S, Reply, Target
from holdfast.protocols import Undelivered
from holdfast.testing.loopback import Answer, Call, Loopback, Pieces


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong.

    answer: this reply, and nothing is done. lost: nothing is done, but the reply is as if it was. unheard: it is done,
    but no reply comes. silent: nothing is done, and no reply comes. cut: nothing is done, the connection ends.
    unknown: the name of the server means nothing. untrusted: its certificate does not count.
    """

    how: Literal["answer", "lost", "unheard", "silent", "cut", "unknown", "untrusted"]
    reply: Reply = field(default_factory=lambda: Reply(500))


def broken(status: int = 503, body: bytes = b"oops", **headers: str) -> Fault:
    """It answers with this status."""
    return Fault("answer", Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body))


def limited(retry_after_s: float) -> Fault:
    """Too many requests; it says when to come again."""
    return broken(429, b'{"ok":false,"error":"ratelimited"}', retry_after=f"{retry_after_s:g}")


def redirects(to: str = "http://169.254.169.254/latest/meta-data/", status: int = 307) -> Fault:
    """It sends us elsewhere."""
    return broken(status, b"", location=to)


LOSES, UNHEARD, SILENT, CUT = (Fault(how) for how in ("lost", "unheard", "silent", "cut"))  # type: ignore[arg-type]
UNKNOWN, UNTRUSTED = Fault("unknown"), Fault("untrusted")
GONE = broken(410)
GARBAGE = broken(200, b"<html>Welcome to the hotel's network</html>")


class Server:
    """One that works until it is told to do otherwise. What it does is `work`, of a subclass."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.calls: list[Call] = []
        self._faults: list[tuple[Fault, int | None, str]] = []

    def work(self, call: Call) -> Reply:
        """What it is there for."""
        raise NotImplementedError

    def pretended(self, call: Call) -> Reply:
        """The reply of a server that has lost what it was given."""
        return Reply(200)

    def does(self, fault: Fault, *, times: int | None = None, path: str = "") -> None:
        """From now on, for so many requests, to paths that begin so; the latest that fits counts."""
        self._faults.append((fault, times, path))

    def mend(self) -> None:
        """It works again."""
        self._faults.clear()

    def fault(self, path: str) -> Fault | None:
        """What goes wrong with this request; one that lasts for a number of requests is used up by it."""
        for at in range(len(self._faults) - 1, -1, -1):
            fault, left, beginning = self._faults[at]
            if not path.startswith(beginning):
                continue
            if left is not None and left <= 1:
                del self._faults[at]
            elif left is not None:
                self._faults[at] = (fault, left - 1, beginning)
            return fault
        return None

    # --- in this process -------------------------------------------------------------------------------------------

    def resolve(self, host: str, port: int) -> list[str]:
        """For `guard.target`."""
        if any(fault.how == "unknown" for fault, _, _ in self._faults):
            raise OSError("no such name")
        return ["93.184.216.34"]

    def wire(self, where: Target, headers: Mapping[str, str], body: bytes, context: Any = None, **how: Any) -> Reply:
        """In place of `guard.exchange`, and with its errors; nothing waits."""
        parts = urlsplit(where.path)
        named = {name.lower(): value for name, value in headers.items()} | {"host": where.netloc}
        call = Call("POST", parts.path, dict(parse_qsl(parts.query)), named, body)
        self.calls.append(call)
        fault = self.fault(call.path)
        reply = self._done(call, fault)
        if fault is None or fault.how in ("answer", "lost"):
            return reply
        said = {
            "cut": "RemoteDisconnected",
            "unknown": "gaierror",
            "untrusted": "certificate has expired",
        }.get(fault.how, f"no answer within {LIMIT_S:g} s")
        raise Undelivered(f"{where.host}: {said}")

    def _done(self, call: Call, fault: Fault | None) -> Reply:
        if fault is None or fault.how == "unheard":
            return self.work(call)
        return self.pretended(call) if fault.how == "lost" else fault.reply

    # --- on a socket -----------------------------------------------------------------------------------------------

    @contextmanager
    def listening(self) -> Iterator[str]:
        """On a port of 127.0.0.1; gives its URL. (Names and certificates do not go wrong there.)"""
        server = Loopback(self._answer)
        try:
            yield server.url
        finally:
            server.close()

    def _answer(self, call: Call) -> Answer | Pieces | None:
        self.calls.append(call)
        fault = self.fault(call.path)
        reply = self._done(call, fault)
        if fault is not None and fault.how in ("unheard", "silent"):
            call.gone(60.0)
        if fault is not None and fault.how not in ("answer", "lost"):
            return None
        return Pieces(reply.status, [reply.body], dict(reply.headers), len(reply.body))
