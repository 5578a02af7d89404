"""The run that keeps it known whether people can be reached. If these fail, `channels status` says old things."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.inbox.conftest import Office
from tests.inbox.test_chain import until
from tests.inbox.test_evidence import known
from tests.runtime.conftest import Crash, Mortal, World

import holdfast as hf
from holdfast.core.heads import Head, Status
from holdfast.core.reach import State
from holdfast.errors import UsageError
from holdfast.inbox import watch
from holdfast.inbox.directory import Directory, Probes
from holdfast.inbox.inbox import Inbox
from holdfast.inbox.routes import all_judged
from holdfast.protocols import Notice, Undeliverable
from holdfast.views import asking


class Probed(Office):
    """An office whose people are asked to confirm."""

    probes = Probes(7 * 86_400.0, 600.0)

    def __init__(self) -> None:
        super().__init__()
        self.chain("finance", ("ada", "mail"), ("bob", "page"))

    @property
    def directory(self) -> Directory:
        """With probes."""
        made = super().directory
        return Directory(made.people, made.channels, made.rotas, made.chains, self.probes)


@pytest.fixture
def office() -> Probed:
    return Probed()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It looks so often that a test can wait for it."""
    monkeypatch.setattr(watch, "LOOK_S", 0.05)
    monkeypatch.setattr(watch, "LOOKS", 4)
    yield


def runs(world: World, name: str) -> list[Head]:
    """All runs of this agent of ours, the newest first."""
    return [head for head in world.store.heads(limit=1_000) if head.agent.partition(".")[0] == name]


def serve(world: World, office: Office, scenario: Callable[[hf.App], Any], **how: Any) -> Any:
    """A process that serves."""
    return world.play(scenario, serves=True, inbox=office.inbox, **how)


async def confirm(app: hf.App, world: World, person: str, by: str | None = None) -> None:
    """They say that it has reached them."""
    [asked] = [item for item in asking.items(world.store) if item.to == person and item.about == "probe"]
    await app.answer(asked.run, asked.id, "confirm", by=person if by is None else by)


def test_each_way_is_asked_about_once_and_who_confirms_is_reachable(world: World, office: Probed) -> None:
    """Lost: the only proof that there is, where nobody happens to be asked anything."""

    async def scenario(app: hf.App) -> None:
        await until(lambda: sorted(office.told) == [("ada", "mail"), ("bob", "page")])
        await until(lambda: len(asking.items(world.store)) == 2)
        await confirm(app, world, "ada")
        await until(lambda: known(world).taken_at is not None)
        await until(lambda: len(runs(world, "@watch")) >= 3)  # it has looked again and again since

    serve(world, office, scenario)
    assert sorted(office.told) == [("ada", "mail"), ("bob", "page")], "once in a week"
    assert known(world, "bob", "page").taken_at is None and known(world, "bob", "page").accepted_at is not None
    [judged] = all_judged(office.directory, world.store, world.store.now())
    assert judged.found.state is State.DEGRADED, "nobody outside watches, and both channels are on one host"
    assert "taken" not in " ".join(judged.found.because) and len(judged.found.because) == 2


def test_a_probe_says_that_it_is_one_and_where_to_confirm_it(world: World, office: Probed) -> None:
    """Lost: people who get used to confirming what they should read."""
    office.base_url = "https://hold.example.com"

    async def scenario(app: hf.App) -> None:
        await until(lambda: len(asking.items(world.store)) == 2)

    serve(world, office, scenario)
    [notice] = office.mail.taken
    [asked] = [item for item in asking.items(world.store) if item.to == "ada"]
    assert notice.kind == "probe" and notice.link == f"https://hold.example.com/q/{asked.run}/{asked.id}"
    assert notice.title == "A test: can questions of agents reach you?" and "Nothing else happens" in notice.lines[0]
    assert (asked.about, asked.options) == ("probe", ("confirm",))


def test_what_somebody_else_confirms_proves_nothing(world: World, office: Probed) -> None:
    """Lost: a colleague clears the list, and a dead mailbox is proven."""

    async def scenario(app: hf.App) -> None:
        await until(lambda: len(asking.items(world.store)) == 2)
        await confirm(app, world, "ada", by="eve")
        await until(lambda: any(head.status.is_end for head in runs(world, "@probe")))

    serve(world, office, scenario)
    assert known(world).taken_at is None


def test_a_refused_probe_is_learned_and_nobody_is_asked(world: World, office: Probed) -> None:
    """Lost: a question that stays open to somebody whom it cannot reach."""

    def gone(notice: Notice) -> None:
        raise Undeliverable("550 no such user")

    office.mail.before = gone

    async def scenario(app: hf.App) -> None:
        await until(lambda: known(world).is_refused)
        await until(lambda: any(head.status.is_end for head in runs(world, "@probe")))

    serve(world, office, scenario)
    assert [item.to for item in asking.items(world.store)] == ["bob"]


def test_a_way_that_failed_is_tried_again_and_found_mended(world: World, office: Probed) -> None:
    """Lost: runs that wait for people who can be reached again, since nothing is sent while they wait."""

    def broken(notice: Notice) -> None:
        raise Undeliverable("relaying denied")

    office.mail.before = broken

    async def breaks(app: hf.App) -> None:
        await until(lambda: known(world).is_refused)

    async def mends(app: hf.App) -> None:
        await until(lambda: not known(world).is_refused)

    serve(world, office, breaks)
    office.mail.before = lambda notice: None
    world.clock.by_s += 86_401
    serve(world, office, mends)
    assert [each.person for each in office.mail.taken] == ["ada"]


def test_who_does_not_confirm_is_asked_again_after_a_week(world: World, office: Probed) -> None:
    """Lost: a probe that nobody confirms, and that is taken for one that somebody did."""

    async def asks(app: hf.App) -> None:
        await until(lambda: len(asking.items(world.store)) == 2)

    async def again(app: hf.App) -> None:
        await until(lambda: len(office.told) == 4)

    serve(world, office, asks)
    world.clock.by_s += 7 * 86_400
    serve(world, office, again)
    assert known(world).taken_at is None
    assert sum(head.status is Status.SUCCEEDED for head in runs(world, "@probe")) == 2, "the old ones have expired"


def test_there_is_one_for_all_processes_and_it_begins_new_chapters(world: World, office: Probed) -> None:
    """Lost: as many probes as there are workers; or one record that grows for years."""

    async def scenario(app: hf.App) -> None:
        await until(lambda: len(runs(world, "@watch")) >= 3)

    for _ in range(3):
        serve(world, office, scenario)
    alive = [head for head in runs(world, "@watch") if not head.status.is_end]
    assert len(alive) == 1 and sorted(office.told) == [("ada", "mail"), ("bob", "page")]
    assert all(len(world.store.events(head.run_id)) < 60 for head in runs(world, "@watch"))


def test_what_only_runs_a_command_begins_none(world: World, office: Probed) -> None:
    """Lost: `holdfast run` writes to everybody in the file."""

    async def scenario(app: hf.App) -> None:
        return None

    world.play(scenario, inbox=office.inbox)
    office.probes = Probes(None)
    serve(world, office, scenario)
    assert runs(world, "@watch") == [] and office.told == []


def test_another_version_goes_on_in_another_chapter(world: World, office: Probed) -> None:
    """Lost: after an upgrade it is blocked, as its record is of other code; and nobody is asked any more."""

    async def first(app: hf.App) -> None:
        await until(lambda: len(office.told) == 2)

    serve(world, office, first)
    [old, *_] = [head for head in runs(world, "@watch") if not head.status.is_end]

    class Newer(watch.Watching):
        """Looks twice."""

        async def _watch(self, run: hf.Run, given: Any) -> None:
            for _ in range(3):
                await run.sleep(0.01, "other")
                await self.look()
                await self.look()
            await run.continue_as(given)

    async def second(app: hf.App) -> None:
        await until(lambda: world.store.head(old.run_id).status is Status.CANCELLED)  # type: ignore[union-attr]
        await until(lambda: any(head.agent != old.agent for head in runs(world, "@watch")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.inbox.inbox.Watching", Newer)
        # a process that knows both gives the old one back its end
        inbox = office.inbox
        older = watch.Watching(office.directory, {}, inbox.probing, None)
        older.journal = world.store
        patch.setattr(Inbox, "agents", property(lambda self: (*_agents(self), older.agent)))
        world.play(second, serves=True, inbox=inbox)
    assert len(office.told) == 2


def _agents(inbox: Inbox) -> tuple[Any, ...]:
    return inbox.agent, inbox.probing.agent, inbox.lasting


@pytest.mark.parametrize("is_written", [False, True], ids=["before", "after"])
def test_killed_at_every_write_it_asks_each_once(is_written: bool) -> None:
    """Lost: a probe that is never sent, since it was decided and then forgotten; or two that nobody can tell apart."""
    kills = 0
    for number in range(1, 40):
        world, office = World(None), Probed()
        office.chain("finance", ("ada", "mail"))

        def prepare(journal: Mortal, number: int = number) -> None:
            journal.die_at(number, is_written=is_written)

        async def scenario(app: hf.App, world: World = world) -> None:
            await until(lambda: any(item.about == "probe" for item in asking.items(world.store)))
            await confirm(app, world, "ada")
            await until(lambda: known(world).taken_at is not None)

        try:
            serve(world, office, scenario, prepare=prepare, may_leak=True)
            died = False
        except Crash:
            died = True

        async def rest(app: hf.App, world: World = world) -> None:
            async with asyncio.timeout(25):
                while known(world).taken_at is None:
                    for item in asking.items(world.store):
                        if item.state == "open":
                            await app.answer(item.run, item.id, "confirm", by="ada")
                    await asyncio.sleep(0.005)

        kills += died
        if died:
            serve(world, office, rest, may_leak=True)
        assert len({notice.id for notice in office.mail.taken}) == 1
        assert len(runs(world, "@probe")) == 1
        if not died:
            break
    assert kills >= 6


def test_nobody_else_may_be_called_so(world: World, office: Probed) -> None:
    """Lost: a user's run under a name of ours."""

    @hf.agent(name="mine")
    async def mine(run: hf.Run, given: Any) -> None:
        """Nothing."""

    with pytest.raises(UsageError, match="holdfast's own"):
        world.run(mine, key="@watch")
