"""What the samples share: the Postgres server that all tests use."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from proof import world

from holdfast.testing.postgres_server import PostgresServer


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer) -> None:
    """Parts that kill processes take this server instead of one of their own."""
    monkeypatch.setattr(world, "PostgresServer", lambda: nullcontext(postgres))
