"""What tests of several folders share: a Postgres server, and where their files are."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import warm

from holdfast.testing.postgres_server import PostgresServer

MEMORY = Path("/dev/shm")
ROOM = 4 << 30


def pytest_configure(config: pytest.Config) -> None:
    """Certificates are read once, and servers of the test kit start warm. Files of tests lie in memory where there is
    room: what is tested is that a commit is synced, not how long the disk takes. What needs a disk (`make proof`) names
    its place itself. Loading all tests makes no garbage to speak of, and looking for it takes a third of that time."""
    gc.disable()
    warm.share_trust()
    warm.serve_warm()
    if MEMORY.is_dir():
        there = os.statvfs(MEMORY)
        if there.f_bavail * there.f_frsize >= ROOM and not there.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is there now stays to the end: it need not be looked at by each collection, nor copied by each fork."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real Postgres, one for each process of the tests, or the one at HOLDFAST_TEST_POSTGRES. A store is a schema."""
    with PostgresServer(os.environ.get("HOLDFAST_TEST_POSTGRES")) as server:
        yield server
