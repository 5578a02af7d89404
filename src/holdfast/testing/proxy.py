"""A proxy before a Postgres that cuts connections at the worst moment: around a COMMIT.

    with PostgresServer() as server, Proxy(server.socket, lambda commit: Cut.AFTER) as proxy:
        journal = open_journal(proxy.url("a"), clock=...)

It reads what passes only as far as it must: to know a COMMIT, whether its transaction writes, and the server's word
that it is done. A statement that writes outside of any transaction is its own COMMIT. `decide` is asked about each, and
says whether and how to cut there.

Invariants
1. `BEFORE`: the server never sees that COMMIT. `AFTER`: it has done it, and the client never hears of it. Either way
   both sides then find the connection closed; in a silence both stay connected, and nothing comes any more.
2. What is cut is counted when it has happened: `AFTER` once the server has said that it committed.
3. All else passes unchanged, and each connection by itself.

Never: listens on more than 127.0.0.1, changes a byte, asks `decide` about a transaction that only reads.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_STARTUP = (196_608, 196_610)
"""Protocols 3.0 and 3.2: what follows this message has a letter for its kind."""
_CHUNK = 65_536
_WRITING = ("INSERT INTO", "UPDATE ", "DELETE FROM")
"""What a statement that is its own transaction says when it writes."""
_DONE = (b"COMMIT", b"INSERT", b"UPDATE", b"DELETE")


class Cut(StrEnum):
    """What becomes of the connection."""

    BEFORE = "before"
    AFTER = "after"
    SILENT_BEFORE = "silent before"
    SILENT_AFTER = "silent after"

    @property
    def is_written(self) -> bool:
        """Whether the server commits what the client will not hear of."""
        return self in (Cut.AFTER, Cut.SILENT_AFTER)


class Commit(NamedTuple):
    """A COMMIT that is about to be sent."""

    number: int
    """Of all through this proxy whose transactions write, from 1."""
    statements: tuple[str, ...]
    """What its transaction has sent since its BEGIN."""


Decide = Callable[[Commit], Cut | None]


class Proxy:
    """Listens on a free port of 127.0.0.1, and passes on to the server's socket."""

    def __init__(self, server: Path, decide: Decide = lambda commit: None) -> None:
        self.cuts: Counter[Cut] = Counter()
        """What has happened."""
        self._server = server
        self._decide = decide
        self._lock = threading.Lock()
        self._commits = 0
        self._links: list[_Link] = []
        self._listener: socket.socket | None = None

    def start(self) -> Self:
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def url(self, schema: str, **parameters: object) -> str:
        """The URL of a store behind this proxy; parameters are libpq's."""
        assert self._listener is not None
        more = "".join(f"&{name}={value}" for name, value in parameters.items())
        return f"postgresql://postgres@127.0.0.1:{self._listener.getsockname()[1]}/postgres?schema={schema}{more}"

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # it was closed
                return
            with self._lock:
                link = _Link(client, self)
                self._links = [*(known for known in self._links if not known.is_over), link]
            threading.Thread(target=link.run, args=(self._server,), daemon=True).start()

    def ask(self, statements: tuple[str, ...]) -> Cut | None:
        """A connection is about to send a COMMIT."""
        with self._lock:
            self._commits += 1
            return self._decide(Commit(self._commits, statements))

    def count(self, cut: Cut) -> None:
        """It happens now."""
        with self._lock:
            self.cuts[cut] += 1

    def close(self) -> None:
        """Close it, and whatever is connected through it."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.end()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Link:
    """One connection: two sockets and a thread."""

    def __init__(self, client: socket.socket, proxy: Proxy) -> None:
        self.is_over = False
        self._client = client
        self._upstream: socket.socket | None = None
        self._proxy = proxy
        self._asks, self._answers = _Frames(is_client=True), _Frames(is_client=False)
        self._statements: list[str] = []
        self._names: dict[str, str] = {}
        """Prepared statements, by the names that the client gave them."""
        self._cut: Cut | None = None
        self._is_inside = False
        """A transaction was begun, and not ended."""
        self._is_done = False
        """The server has said that what is to be committed is done."""
        self._is_deaf = False
        """What was to happen has happened: nothing passes any more."""

    def run(self, server: Path) -> None:
        """Pass on until one side ends, or the plan says so."""
        with contextlib.suppress(OSError):
            self._upstream = socket.socket(socket.AF_UNIX)
            self._upstream.connect(str(server))
            with selectors.DefaultSelector() as ready:
                ready.register(self._client, selectors.EVENT_READ, self._from_client)
                ready.register(self._upstream, selectors.EVENT_READ, self._from_server)
                while not self.is_over:
                    for key, _ in ready.select():
                        key.data(key.fileobj)
        self.end()

    def end(self) -> None:
        """Close both sides."""
        self.is_over = True
        for side in (self._client, self._upstream):
            if side is not None:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
                side.close()

    def _from_client(self, side: socket.socket) -> None:
        data = self._received(side)
        for kind, body, whole in [] if self._is_deaf else self._asks.add(data):
            if self._cut is None and self._is_commit(kind, body):
                self._cut = self._proxy.ask(tuple(self._statements))
                if self._cut is not None and not self._cut.is_written:
                    self._happened()
                    return
            assert self._upstream is not None
            self._upstream.sendall(whole)

    def _from_server(self, side: socket.socket) -> None:
        data = self._received(side)
        if self._is_deaf:
            return
        found = self._answers.add(data)
        if self._cut is None:
            self._client.sendall(data)
            return
        for kind, body, _ in found:
            self._is_done = self._is_done or (kind == b"C" and body.startswith(_DONE) and body != b"INSERT 0 0\0")
            if kind == b"Z" and self._is_done:  # a statement by itself is committed only now
                self._happened()
            elif kind == b"Z":
                self.end()  # there was nothing to commit, or the server has taken it back

    def _received(self, side: socket.socket) -> bytes:
        data = side.recv(_CHUNK)
        if not data:
            raise OSError("the other side has closed it")
        return data

    def _happened(self) -> None:
        assert self._cut is not None
        self._is_deaf = True
        self._proxy.count(self._cut)  # first: whoever sees the connection cut may ask how often that was
        if self._cut in (Cut.BEFORE, Cut.AFTER):
            self.end()

    def _is_commit(self, kind: bytes, body: bytes) -> bool:
        """Whether this message has the server commit something that was written."""
        statement = self._statement(kind, body)
        if statement is None:
            return False
        if statement in ("COMMIT", "ROLLBACK"):
            self._is_inside = False
            return statement == "COMMIT" and "READ ONLY" not in "".join(self._statements[:1])
        if not self._is_inside:
            self._statements = []
        self._statements.append(statement)
        self._is_inside = self._is_inside or statement.startswith("BEGIN")
        return not self._is_inside and any(word in statement for word in _WRITING)

    def _statement(self, kind: bytes, body: bytes) -> str | None:
        """The statement that this message performs, if it does."""
        first, _, rest = body.partition(b"\0")
        if kind == b"Q":
            return first.decode()
        if kind == b"P":
            self._names[first.decode()] = rest.partition(b"\0")[0].decode()
        if kind == b"B":
            return self._names.get(rest.partition(b"\0")[0].decode(), "")
        return None


class _Frames:
    """Cuts one direction into messages: kind, body, and the bytes as they came."""

    def __init__(self, *, is_client: bool) -> None:
        self._left = b""
        self._is_greeting = is_client
        self._is_refusal = not is_client
        """The server's first byte may be its answer to a wish for encryption, which is no message."""

    def add(self, data: bytes) -> list[tuple[bytes, bytes, bytes]]:
        """The messages that are whole now."""
        self._left += data
        found = []
        while (size := self._size()) is not None and len(self._left) >= size:
            whole, self._left = self._left[:size], self._left[size:]
            if self._is_greeting:
                self._is_greeting = int.from_bytes(whole[4:8]) not in _STARTUP
                found.append((b"", whole, whole))
            else:
                found.append((whole[:1], whole[5:], whole))
        return found

    def _size(self) -> int | None:
        while self._is_refusal and self._left[:1] in (b"N", b"G"):
            self._left = self._left[1:]
        if self._is_greeting:
            return int.from_bytes(self._left[:4]) if len(self._left) >= 4 else None
        if len(self._left) < 5:
            return None
        self._is_refusal = False
        return 1 + int.from_bytes(self._left[1:5])
