"""What tests of several folders share: a Postgres server."""

import os
from collections.abc import Iterator

import pytest

from holdfast.testing.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real Postgres, one for each process of the tests, or the one at HOLDFAST_TEST_POSTGRES. A store is a schema."""
    with PostgresServer(os.environ.get("HOLDFAST_TEST_POSTGRES")) as server:
        yield server
