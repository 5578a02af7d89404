"""A user's directory, with `holdfast` in it as a process, and a ledger that records what its agents do."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from tests import warm

from holdfast.testing.ledger import Ledger
from holdfast.testing.model_server import ModelServer

STORE = "sqlite:///holdfast.db"
"""What is used when nothing is said."""
PREAMBLE = """
import asyncio
import http.client
import json
import os

import holdfast as hf

def call(method, path, body=None, key=""):
    connection = http.client.HTTPConnection(os.environ["LEDGER"], timeout=30)
    try:
        connection.request(method, path, body, {"Idempotency-Key": key})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()

async def send(path, args, key):
    status, answer = await asyncio.to_thread(call, "POST", "/effects/" + path, json.dumps({"args": args}), key)
    if status >= 300:
        raise RuntimeError(status)
    return answer["id"]
"""


class Said(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


class Desk:
    """The directory; its agents know the ledger as `LEDGER`."""

    def __init__(self, home: Path, ledger: Ledger, store: str) -> None:
        self.home = home
        self.ledger = ledger
        self.store = store
        self.environment = {"LEDGER": ledger.url.removeprefix("http://")}
        if store != STORE:
            self.environment["HOLDFAST_STORE"] = store
        self._started: list[subprocess.Popen[str]] = []

    def write(self, agents: str, name: str = "agents.py") -> None:
        """Put a file of agents there, which may use `send` and `call`."""
        (self.home / name).write_text(PREAMBLE + agents)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """`holdfast COMMAND`, still running."""
        dropped = ("HOLDFAST_", "ANTHROPIC_", "OPENAI_", "PYTHONWARNINGS")
        ours = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        process = warm.start(
            [sys.executable, "-m", "holdfast.cli", *command],
            cwd=self.home,
            env=ours | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._started.append(process)
        return process

    def run(self, *command: str) -> Said:
        """`holdfast COMMAND`, to its end."""
        process = self.start(*command)
        out, err = process.communicate(timeout=40)
        return Said(process.returncode, out, err)

    def serves(self, model: ModelServer) -> None:
        """The SDKs of the agents speak to this provider."""
        self.environment |= {"ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": model.url}
        self.environment |= {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{model.url}/v1"}

    def go(self, agent: str, given: str = "x") -> subprocess.Popen[str]:
        """Start or go on with the one run."""
        return self.start("run", f"agents.py:{agent}", given, "--key", "k")

    def to_end(self, agent: str, given: str = "x") -> Said:
        """The same, to the end of its process."""
        return self.run("run", f"agents.py:{agent}", given, "--key", "k")

    def show(self) -> Any:
        """`holdfast show --json` of the one run."""
        said = self.run("show", "k", "--json")
        assert said.code == 0, said.err
        return json.loads(said.out)

    def journal(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        """What the store says to any tool of its database."""
        if self.store != STORE:
            return query_postgres(self.store, query, given)
        with closing(sqlite3.connect(self.home / "holdfast.db")) as store:
            return store.execute(query, given).fetchall()

    def recorded(self, name: str) -> list[tuple[Any, ...]]:
        """The outcomes of this step, so far."""
        return self.journal("SELECT number FROM journal WHERE name = ? AND kind = 'StepSucceeded'", name)

    def end(self) -> None:
        """End what is left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def query_postgres(url: str, query: str, given: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The same of a store in Postgres, with the question marks of SQLite."""
    server, _, schema = url.partition("&schema=")
    with psycopg.connect(server, options=f"-c search_path={schema}") as db:
        return db.execute(query.replace("?", "%s").encode(), given).fetchall()


@pytest.fixture
def store() -> str:
    """Where the runs are; a module may try more than one."""
    return STORE


@pytest.fixture
def desk(tmp_path: Path, store: str) -> Iterator[Desk]:
    """A directory and a ledger of its own."""
    with Ledger() as ledger:
        desk = Desk(tmp_path, ledger, store)
        yield desk
        desk.end()
