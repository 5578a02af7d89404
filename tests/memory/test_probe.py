"""HTTP checks against a real server that behaves badly. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core.feature import Check
from holdfast.core.verdict import Result
from holdfast.memory.check import perform


class Bad(http.server.BaseHTTPRequestHandler):
    """One behaviour a path."""

    over = threading.Event()

    def do_GET(self) -> None:
        path = self.path[1:]
        if path == "drip-head":
            self._drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000)
        elif path == "drip":
            self._drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"y" * 1_000)
        elif path == "huge":
            self._say(200, b"")
            try:
                while not self.over.is_set():
                    self.wfile.write(b"z" * 65_536)
            except OSError:
                pass
        elif path == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello")
        elif path == "cut-500":
            self.wfile.write(b"HTTP/1.1 500 Broken\r\nContent-Length: 1000\r\n\r\nhello")
        elif path == "nonsense":
            self.wfile.write(b"SSH-2.0-OpenSSH\r\n")
        elif path == "loop":
            self._say(302, b"again", "/loop")
        elif path.startswith("to="):
            self._say(302, b"moved", path[3:])
        elif path.isdigit():
            self._say(int(path), b"status " + path.encode())
        else:
            self._say(200, b"hello \xff world")

    def _say(self, code: int, body: bytes, where: str = "") -> None:
        self.send_response(code)
        if where:
            self.send_header("Location", where)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self, data: bytes) -> None:
        try:
            for byte in data:
                self.wfile.write(bytes([byte]))
                if self.over.wait(0.02):
                    return
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """Its address."""
    Bad.over = threading.Event()
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bad)
    made.daemon_threads = True
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    Bad.over.set()
    made.shutdown()
    made.server_close()
    thread.join()


async def get(url: str, *, status: int = 200, contains: str = "", timeout_s: float = 20) -> Result:
    """A check of that address."""
    return await perform(Check("http", url, timeout_s=timeout_s, status=status, contains=contains), Path(), {})


async def test_status_and_text_decide(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of errors passes for the feature; or a proxy answers in its place."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    done = await get(f"{server}/", contains="hello")
    assert (done.has_run, done.passed) == (True, True) and done.output == "hello \ufffd world" and done.output_sha256
    done = await get(f"{server}/", contains="goodbye")
    assert (done.has_run, done.passed) == (True, False) and "does not contain 'goodbye'" in done.why
    done = await get(f"{server}/500")
    assert not done.passed and done.why == "status 500, and 200 is wanted" and done.output == "status 500"
    assert (await get(f"{server}/404", status=404)).passed


async def test_a_server_that_is_not_there_or_speaks_nonsense(server: str) -> None:
    """A check that could ask nobody counts as one that found a fault, or ends the session."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{free.getsockname()[1]}/"
        for url in (gone, f"{server}/nonsense", f"{server}/cut", f"{server}/cut-500", "https" + server[4:]):
            done = await get(url)
            assert (done.has_run, done.passed) == (False, False) and "no answer" in done.why, url


@pytest.mark.parametrize("path", ["drip", "drip-head"])
async def test_one_that_speaks_byte_by_byte(server: str, path: str) -> None:
    """Each byte comes in time, and the check never ends."""
    before, began = threading.active_count(), time.monotonic()
    done = await get(f"{server}/{path}", timeout_s=0.5)
    assert not done.passed and "had not answered within 0.5 s" in done.why and time.monotonic() - began < 10
    while threading.active_count() > before + 1:  # the server's own may still be there
        await asyncio.sleep(0.01)


async def test_one_that_never_stops(server: str) -> None:
    """An answer without an end takes all memory."""
    assert (await get(f"{server}/huge", contains="zzz")).passed
    done = await get(f"{server}/huge", contains="a")
    assert not done.passed and "within its first 1000000 bytes" in done.why and len(done.output) == 2_000


async def test_where_it_may_be_led(server: str) -> None:
    """A redirect reads a file of this machine, or goes round for ever."""
    assert (await get(f"{server}/to=/", contains="hello")).passed
    for place in ("file:///etc/passwd", "ftp://127.0.0.1/", "https://127.0.0.1/", "data:,hello"):
        done = await get(f"{server}/to={place}", contains="")
        assert not done.passed and "root:" not in done.output, place
    assert not (await get(f"{server}/loop")).passed
    assert (await get(f"{server}/to=/", status=302)).passed, "the redirect itself may be what is wanted"
