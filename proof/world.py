"""What the parts that kill processes share: stores of each engine, and receivers that remember what was sent to them.

A receiver's record is the oracle. It is a file that is only ever appended to, by the process that acts, with one write
for each effect: what was written before a SIGKILL is there after it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.core import accept
from holdfast.core.address import run_id
from holdfast.core.events import Event
from holdfast.errors import NotFound
from holdfast.journal.codec import digest, encode
from holdfast.journal.open import open_journal
from holdfast.protocols import Journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.postgres_server import PostgresServer
from proof.part import in_memory

SQLITE, POSTGRES = "sqlite", "postgres"
ENGINES = (SQLITE, POSTGRES)


class Received(NamedTuple):
    """One effect, as its receiver has it."""

    tool: str
    order: str
    """What it is about: of one order each thing happens once."""
    key: str
    epoch: int
    """Which claim of the run it is of."""


class Receiver:
    """All that was sent to the outside."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def take(self, received: Received) -> None:
        """It happens."""
        line = json.dumps(received).encode() + b"\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line)
        finally:
            os.close(file)

    def all(self) -> list[Received]:
        """Everything, in order."""
        text = self.path.read_text("utf-8") if self.path.exists() else ""
        return [Received(*json.loads(line)) for line in text.splitlines()]

    def has(self, tool: str, key: str) -> bool:
        """Whether it happened under this key."""
        return any((received.tool, received.key) == (tool, key) for received in self.all())


class Stores:
    """Where stores of each engine are made."""

    def __init__(self, directory: Path, server: PostgresServer) -> None:
        self.directory = directory
        self._server = server

    def url(self, engine: str, name: str) -> str:
        """A store for the run of this name: a file of its own; in Postgres one for all runs."""
        if engine == SQLITE:
            return str(self.directory / f"{name}.db")
        return self._server.url(self.directory.name.replace("-", "_"))

    def forget(self) -> None:
        """Remove files that were made: thousands would fill the memory."""
        shutil.rmtree(self.directory)
        self.directory.mkdir(0o700)


@contextmanager
def stores(directory: Path) -> Iterator[Stores]:
    """For as long as the block lasts. Processes are killed here, not machines: in memory where that is possible."""
    with in_memory(directory) as made, PostgresServer() as server:
        yield Stores(made, server)


@contextmanager
def opened(url: str) -> Iterator[Journal]:
    """The store, for as long as the block lasts: nobody may fork meanwhile."""
    journal = open_journal(url, clock=SystemClock().now)
    try:
        yield journal
    finally:
        journal.close()


def accept_run(journal: Journal, agent: str, given: Any, key: str) -> None:
    """Start a run that somebody else is to drive."""
    body = encode(given)
    message = accept.start(agent=agent, key=key, input_digest=digest(body), limits=None, body=body)
    assert journal.post(run_id(journal.hash_key, "default", key), f"start {key}", message).is_stored


def log_of(url: str, key: str) -> list[Event]:
    """What is recorded of the run of this key. No connection stays open: others are going to fork."""
    try:
        journal = open_journal(url, clock=SystemClock().now, must_exist=True)
    except NotFound:
        return []
    try:
        heads = journal.heads(key=key, limit=1)
        return journal.events(heads[0].run_id) if heads else []
    finally:
        journal.close()


def repeated(received: Sequence[Received]) -> list[str]:
    """Orders that happened more than once under this tool's name."""
    orders = [each.order for each in received]
    return sorted({order for order in orders if orders.count(order) > 1})
