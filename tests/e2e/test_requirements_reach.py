"""R35, on a real store of each engine: what one process has found out of the ways to people, the others know."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_requirements_people import QUICK, STORES, paying
from tests.inbox.conftest import Office
from tests.inbox.test_chain import until

import holdfast as hf
from holdfast.core.reach import State
from holdfast.errors import RunWaiting
from holdfast.inbox import watch
from holdfast.inbox.directory import Directory, Probes
from holdfast.inbox.routes import all_judged
from holdfast.protocols import Notice, Undeliverable
from holdfast.testing.postgres_server import PostgresServer
from holdfast.views import asking


class Probed(Office):
    """Each of whom is asked to confirm."""

    @property
    def directory(self) -> Directory:
        """With probes."""
        made = super().directory
        return Directory(made.people, made.channels, made.rotas, made.chains, Probes(7 * 86_400.0))


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store of each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/h.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url(f"reach_{next(STORES)}")


def process(url: str, office: Office, does: Callable[[hf.App], Awaitable[Any]], *, serves: bool = True) -> Any:
    """A process with an inbox."""

    async def main() -> Any:
        async with hf.App(url, settings=QUICK, serves=serves, inbox=office.inbox) as app:
            return await does(app)

    return asyncio.run(main())


def test_a_dead_way_keeps_the_next_run_from_asking(store: str) -> None:
    """Lost: the preflight. A dead address is found out by one process, and the others ask into the same void."""
    done: list[str] = []
    agent, office = paying(done), Office()
    office.chain("finance", ("ada", "mail"))

    def dead(notice: Notice) -> None:
        raise Undeliverable("550 no such user")

    office.mail.before = dead

    async def asks(app: hf.App) -> None:
        with pytest.raises(RunWaiting):
            await app.run(agent, None, key="first", wait=0.1)
        await until(lambda: state_of(office, app) is State.UNREACHABLE)

    async def waits(app: hf.App) -> str:
        with pytest.raises(RunWaiting, match="nobody can be reached"):
            await app.run(agent, None, key="second", wait=0)
        [head] = app.journal.heads(key="second")
        return head.why

    process(store, office, asks)
    assert process(store, office, waits, serves=False) == "unreachable" and done == []


def test_who_confirms_a_probe_is_reachable_for_all(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: the proof, with the process that had it; or one for each process that looks."""
    monkeypatch.setattr(watch, "LOOK_S", 0.05)
    office = Probed()
    office.chain("finance", ("ada", "mail"))

    async def confirms(app: hf.App) -> None:
        await until(lambda: asking.items(app.journal))
        [asked] = asking.items(app.journal)
        await app.answer(asked.run, asked.id, "confirm", by="ada")

    async def looks(app: hf.App) -> None:
        await until(lambda: state_of(office, app) is State.DEGRADED)  # one level, and nobody outside

    process(store, office, confirms)
    process(store, office, looks)
    assert office.told == [("ada", "mail")]


def state_of(office: Office, app: hf.App) -> State:
    """What is known of the one chain."""
    [judged] = all_judged(office.directory, app.journal, app.journal.now())
    return judged.found.state
