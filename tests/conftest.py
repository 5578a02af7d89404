"""What tests of several folders share: a Postgres server, and where their files are."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tests import warm

from holdfast.testing.postgres_server import PostgresServer

MEMORY = Path("/dev/shm")
ROOM = 4 << 30
LONG_S = 120
ANY_SPEED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
"""How fast the machine makes its examples, and what else it does meanwhile, says nothing of a law."""
settings.register_profile("sample", max_examples=50, **ANY_SPEED)
settings.register_profile("many", max_examples=300, **ANY_SPEED)
"""How many examples a law is tried with that says nothing of it: here, and in the proof."""


def pytest_configure(config: pytest.Config) -> None:
    """Certificates are read once, and servers of the test kit start warm. Files of tests lie in memory where there is
    room: what is tested is that a commit is synced, not how long the disk takes. What needs a disk (`make proof`) names
    its place itself. Loading all tests makes no garbage to speak of, and looking for it takes a third of that time."""
    gc.disable()
    if settings.get_current_profile_name() in ("default", "ci"):  # nobody has chosen one
        settings.load_profile("sample")
    warm.share_trust()
    warm.serve_warm()
    if (shared := getattr(config, "workerinput", {}).get("warm")) is not None:
        warm.join(shared)
    if MEMORY.is_dir():
        there = os.statvfs(MEMORY)
        if there.f_bavail * there.f_frsize >= ROOM and not there.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Processes that tests start are forked from one origin, whichever process of the tests starts them."""
    if warm.IS_THERE:
        node.workerinput["warm"] = warm.share()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that may take long are the first of each process: at the end one of them would run alone. They say so by
    the time that they are given."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    times = [item.get_closest_marker("timeout") for item in items]
    long = [item for item, time in zip(items, times, strict=True) if time is not None and time.args[0] >= LONG_S]
    is_long = set(long)
    others = [item for item in items if item not in is_long]
    left, items[:] = len(long) + len(others), []
    for at in range(count):  # as xdist divides them
        size, first = left // (count - at), long[at::count]
        items += first
        items += others[: size - len(first)]
        del others[: size - len(first)]
        left -= size


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
