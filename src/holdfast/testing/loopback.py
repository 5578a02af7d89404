"""HTTP on 127.0.0.1 for the test kit: a server, a process to run one in, and a client to ask it.

`ledger` and `model_server` are built from these pieces.

Invariants
1. A body above `BODY_BYTES_MAX`, or of a length not announced, is refused unread.
2. An `Answer` is JSON with a content-length; `Pieces` are sent one by one, as slowly and as far as they say;
   `None` in their place closes the connection without a byte.
3. Whoever answers is told once how it ended: the client hung up before the end, or it did not. A server that is
   closed in between says nothing.
4. `Loopback.close` ends the listener and every connection; `Child.close` returns when the process is gone.
5. A `Child` has its own session: killing the process group of whoever started it does not reach it.
6. `canonical`, and so `digest`, depends on the value alone, not on the order of its keys.

Never: listens beyond 127.0.0.1, knows what a request means, retries, or reads a clock.
"""

import hashlib
import json
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

BODY_BYTES_MAX = 32 * 1024 * 1024
"""Largest request body taken, as at the Messages API; more is answered 413."""
WAIT_S_MAX = 600.0


def _unheard(hung_up: bool) -> None:
    pass


def _stays(seconds: float) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request: header names are lower case, `path` is still percent-encoded."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    gone: Callable[[float], bool] = field(default=_stays, compare=False, repr=False)
    """Waits so many seconds; at once true when the client hangs up, or the server is closed."""

    def json(self) -> Any:
        """The body as JSON; ValueError when it is not (NaN and Infinity are not)."""
        return json.loads(self.body, parse_constant=_refuse_constant)

    def segments(self) -> list[str]:
        """The decoded parts of the path: `/effects/a%2Fb` is `["effects", "a/b"]`."""
        return [unquote(part) for part in self.path.strip("/").split("/")]


@dataclass(frozen=True, slots=True)
class Pieces:
    """An answer that is sent piece by piece, or not to its end."""

    status: int
    pieces: Sequence[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    """The content-length that is announced; None: chunked."""
    every_s: float = 0.0
    """Time between two pieces."""
    ending: Literal["end", "cut", "stall"] = "end"
    """After the last piece: the answer ends, the connection is closed without an end, or nothing more comes while
    the connection stays open until the client hangs up."""
    told: Callable[[bool], None] = _unheard
    """Called at the end with whether the client hung up before it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer; `None` in its place closes the connection without a byte."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    def pieces(self) -> Pieces:
        """The answer as one piece."""
        body = json.dumps(self.body).encode()
        return Pieces(self.status, [body], {"content-type": "application/json", **self.headers}, len(body))


class Loopback(ThreadingHTTPServer):
    """An HTTP/1.1 server on 127.0.0.1 which puts each request to one function, a thread per connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[Call], Answer | Pieces | None], port: int = 0) -> None:
        """Listen on `port` (0: any free one) and serve at once, until `close`."""
        self.answer = answer
        self.used = threading.Event()
        self.closing = threading.Event()
        self._open: dict[threading.Thread, socket.socket] = {}
        super().__init__(("127.0.0.1", port), _Connection)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._acceptor = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._acceptor.start()

    def server_bind(self) -> None:
        """Bind without the parent's reverse DNS look-up, which can take seconds."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection in a thread that `close` can find and end."""
        thread = threading.Thread(target=self._serve, args=(request, client_address), daemon=True)
        self._open[thread] = request
        thread.start()

    def _serve(self, request: Any, client_address: Any) -> None:
        self.process_request_thread(request, client_address)
        del self._open[threading.current_thread()]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client killed in the middle of a request is expected here; any other error is printed."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """End every connection and thread; nothing stays open."""
        self.closing.set()
        self.shutdown()
        self._acceptor.join()
        for thread, connection in list(self._open.items()):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)
        self.server_close()

    def serve_until_idle(self, idle_s: float) -> None:
        """The life of a server process: print `{"url": …}`, return after `idle_s` without any request."""
        print(json.dumps({"url": self.url}), flush=True)
        idle = 0.0
        while idle < idle_s:
            wait_s = min(idle_s - idle, 0.5)  # a signal that comes just before a wait is handled at its end only
            if self.used.wait(wait_s):
                self.used.clear()
                idle = 0.0
            else:
                idle += wait_s
        self.close()


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Loopback

    def _serve(self) -> None:
        self.server.used.set()
        answer = self._refusal() or self.server.answer(self._call())
        if answer is None:
            self.close_connection = True
        else:
            self._send(answer.pieces() if isinstance(answer, Answer) else answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve

    def _refusal(self) -> Answer | None:
        length = self.headers.get("content-length", "0")
        known = length.isdecimal() and "transfer-encoding" not in self.headers
        if known and int(length) <= BODY_BYTES_MAX:
            return None
        return Answer(413 if known else 411, {"error": "send a content-length"}, {"connection": "close"})

    def _call(self) -> Call:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        return Call(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body, self._gone)

    def _send(self, answer: Pieces) -> None:
        try:
            hung_up = not self._sent(answer)
        except ConnectionError:
            hung_up = True
        self.close_connection |= hung_up or answer.ending != "end"
        if not (hung_up and self.server.closing.is_set()):
            answer.told(hung_up)

    def _sent(self, answer: Pieces) -> bool:
        """Whether it was sent as far as it goes: False when the client hung up before."""
        self._send_head(answer)
        chunked = answer.length is None
        for number, piece in enumerate([] if self.command == "HEAD" else answer.pieces):
            if self._gone(answer.every_s if number else 0.0):
                return False
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                self.wfile.flush()
        if answer.ending == "stall":
            self.wfile.flush()
            return not self._gone(None)
        if answer.ending == "end" and chunked and self.command != "HEAD":
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
        return True

    def _send_head(self, answer: Pieces) -> None:
        self.send_response_only(answer.status)
        chunked = answer.length is None
        framing = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(answer.length)}
        for name, value in {**framing, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _gone(self, seconds: float | None) -> bool:
        """Wait so long, None for ever, for the client to hang up or the server to close; whether that was so."""
        watch = select.poll()  # `select.select` knows no descriptor above 1023
        watch.register(self.connection, select.POLLIN)
        if not watch.poll(None if seconds is None else seconds * 1000):
            return False
        try:
            if not self.connection.recv(1, socket.MSG_PEEK):
                return True
        except ConnectionError:
            return True
        return self.server.closing.wait(seconds)  # it sent its next request already

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass(slots=True)
class Child:
    """A loopback server in a process and a session of its own."""

    process: subprocess.Popen[bytes]
    url: str

    @classmethod
    def spawn(cls, module: str, *options: str, ready_s: float = 30.0) -> "Child":
        """Start `python -m module` and wait for its `{"url": …}` line; RuntimeError if none comes."""
        # runpy warns when the package has imported the module already; harmless, and fatal under -W error
        command = [sys.executable, "-W", "ignore::RuntimeWarning:runpy", "-m", module, *options]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            assert process.stdout is not None
            with process.stdout as out:
                line = out.readline() if select.select([out], [], [], ready_s)[0] else b""
            if line:
                return cls(process, json.loads(line)["url"])
            process.kill()
            process.wait()
            errors.seek(0)
            raise RuntimeError(f"{module} did not start: {errors.read().decode(errors='replace')}")

    def close(self) -> None:
        """End the process and wait until it is gone."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def ask(url: str, method: str, path: str, body: Any = None, *, timeout_s: float = 10.0) -> tuple[int, Any]:
    """One JSON request to a loopback server, past any proxy: (status, parsed answer)."""
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=timeout_s)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def canonical(value: Any) -> bytes:
    """The canonical JSON of `value`: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def digest(value: Any) -> str:
    """SHA-256 in hex of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
