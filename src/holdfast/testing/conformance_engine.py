"""What an engine gives to the contract suite: how its stores are opened, damaged and made to fail.

Never: tests anything. Needs pytest and hypothesis (`holdfast[test]`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import pytest
from hypothesis import HealthCheck, settings

from holdfast.protocols import Journal
from holdfast.testing.conformance_store import OpenEngine, Store

Damage = Literal["body", "meta", "kind", "missing", "swapped", "tail", "head", "mail", "mail missing",
    "blob", "blob missing", "cell", "account"]  # fmt: skip
"""What is changed: of event 2 the body, meta or kind; event 2 removed, or swapped with 3; the last event removed;
the head; the oldest unread message, or its place in the store; a bit of the run's only blob, or all of it gone;
the value of the cell `a`; what the account `a` holds."""
Moment = Literal["before", "after"]
"""A commit that fails before it has written anything, or after it has written everything."""
GENTLE = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


class EngineUnderTest:
    """What the suite needs to know of an engine; each method that it cannot have stays as it is."""

    not_applicable: ClassVar[Mapping[str, str]] = {}
    """Invariants that this engine cannot have, each with the reason."""
    model_runs: ClassVar[int] = 40
    """How many sequences of calls are compared with the model; fewer where each call crosses to a server."""

    @pytest.fixture
    def open_engine(self) -> OpenEngine:
        """Override it: a function that opens stores of your engine."""
        raise NotImplementedError("give the class a fixture `open_engine`; see holdfast.testing.conformance")

    def damage(self, name: str, damage: Damage) -> None:
        """Override it: change run `r1` of the closed store `name`, as a bad disk would."""
        raise NotImplementedError

    def fail_commits(self, journal: Journal, moments: Sequence[Moment]) -> None:
        """Override it: let the next commits fail, each at its moment."""
        raise NotImplementedError

    def make_newer(self, name: str) -> None:
        """Override it: let the closed store `name` be of a schema that nobody knows yet."""
        raise NotImplementedError

    def make_foreign(self, name: str) -> None:
        """Override it: let there be something else at the place of the store `name`."""
        raise NotImplementedError

    def fingerprint(self, name: str) -> object:
        """Override it: all bytes at the place of the store `name`."""
        raise NotImplementedError

    def need(self, invariant_name: str) -> None:
        """Skip the test if the engine declares that it cannot have the invariant."""
        if invariant_name in self.not_applicable:
            pytest.skip(f"{invariant_name} is not applicable: {self.not_applicable[invariant_name]}")

    @pytest.fixture
    def store(self, open_engine: OpenEngine) -> Iterator[Store]:
        """A new store."""
        store = Store(open_engine, "store")
        yield store
        store.close()
