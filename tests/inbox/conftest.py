"""The world of the runtime's tests, with people to ask and channels that do as they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import World

from holdfast.core.heads import Head
from holdfast.core.quiet import Quiet
from holdfast.inbox.directory import Chain, Directory, Email, Person, Step
from holdfast.inbox.inbox import Inbox
from holdfast.protocols import Notice, Receipt


class Line:
    """A channel: keeps what it took, and does before what it is told to do."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failure_domain = name
        self.mark = ""
        self.taken: list[Notice] = []
        self.before: Callable[[Notice], None] = lambda notice: None

    def send(self, notice: Notice) -> Receipt:
        """Take it."""
        self.before(notice)
        self.taken.append(notice)
        return Receipt("accepted", f"{self.name}-{len(self.taken)}")


class Office:
    """Three people, two channels, and the chains that a test sets."""

    def __init__(self) -> None:
        self.mail, self.page = Line("mail"), Line("page")
        self.chains: dict[str, Chain] = {}
        self.chain("finance", ("ada", "mail page"), ("bob", "mail page"))
        self.base_url = ""
        self.quiet: Quiet | None = None
        self.per_hour = 20

    def chain(self, name: str, *levels: tuple[str, str], wait_s: float = 60.0, **more: Any) -> None:
        """Declare one: people and channels of each level."""
        steps = tuple(Step(tuple(to.split()), tuple(by.split()), wait_s) for to, by in levels)
        self.chains[name] = Chain(name, steps, **more)

    @property
    def directory(self) -> Directory:
        """As declared."""
        people = {
            name: Person(name, f"{name}@example.com", quiet=self.quiet, per_hour=self.per_hour)
            for name in ("ada", "bob", "eve")
        }
        channels = {
            name: Email(name=name, host="h", port=25, sender="a@example.com", tls="none") for name in ("mail", "page")
        }
        return Directory(people, channels, {}, self.chains)

    @property
    def inbox(self) -> Inbox:
        """One for the next process."""
        return Inbox(self.directory, {"mail": self.mail, "page": self.page}, base_url=self.base_url)

    @property
    def told(self) -> list[tuple[str, str]]:
        """Who was told, and by what: first all mail."""
        return [(each.person, line.name) for line in (self.mail, self.page) for each in line.taken]


def chains(world: World) -> list[Head]:
    """All runs that tell people of something, the newest first."""
    return [head for head in world.store.heads(limit=1_000) if head.agent == "@chain"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world on a real SQLite file."""
    made = World(tmp_path / "h.db")
    yield made
    made.store.close()


@pytest.fixture
def quick() -> World:
    """A world in memory, where many runs are needed."""
    return World(None)


@pytest.fixture
def office() -> Office:
    """People and channels."""
    return Office()
