"""What channels have asked for is kept, and what was sent is changed when it is over: through processes that die."""

from __future__ import annotations

from typing import Any

import pytest
from tests.inbox.conftest import Line, Office, chains
from tests.inbox.test_chain import asker, play, until
from tests.runtime.conftest import World

import holdfast as hf
from holdfast.core.heads import Status
from holdfast.errors import RunWaiting
from holdfast.protocols import Gone, Notice, Undelivered


class Board(Line):
    """A channel that can change what it has sent."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.changed: list[Notice] = []
        self.failures = 0

    def amend(self, notice: Notice) -> None:
        """Change it, but for the first few times."""
        if self.failures:
            self.failures -= 1
            raise Undelivered("busy")
        self.changed.append(notice)


@pytest.fixture
def board(office: Office) -> Board:
    """In place of the page of the office."""
    office.page = Board("page")
    office.chain("finance", ("ada", "page"), wait_s=0.05, repeat=50)
    return office.page


def busy(after_s: float) -> Any:
    """What a channel says that wants nothing for so long."""

    def says(notice: Notice) -> None:
        raise Undelivered("too many", after_s=after_s)

    return says


def test_what_was_sent_is_changed_once_the_question_is_closed(world: World, office: Office, board: Board) -> None:
    """Lost: people look into what others have answered, and press buttons for nothing."""
    assert play(world, office, told=3) == "answered yes"
    assert [each.earlier for each in board.changed] == [f"page-{n + 1}" for n in range(len(board.taken))]
    assert {each.kind for each in board.changed} == {"closed"}
    assert board.changed[0].lines[0].startswith("Answered by ada at ")
    assert board.changed[0].title == "Closed: A question: asker · k"


def test_what_follows_says_what_it_follows(quick: World, office: Office, board: Board) -> None:
    """Lost: a reminder that stands apart from what it reminds of."""
    play(quick, office, told=3)
    assert [each.earlier for each in board.taken[:3]] == ["", "page-1", "page-1"]


@pytest.mark.parametrize("failures", [1, 99])
def test_what_cannot_be_changed_does_no_harm(
    quick: World, office: Office, board: Board, failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: a chain that fails, or never ends, for a message that somebody has deleted."""
    monkeypatch.setattr("holdfast.inbox.chain.Retry", lambda **declared: hf.Retry(attempts=2, wait=0, wait_max=0))
    board.failures = failures
    assert play(quick, office) == "answered yes"
    assert [head.status for head in chains(quick)] == [Status.SUCCEEDED]
    assert len(board.changed) == (1 if failures == 1 else 0)


def test_a_channel_that_wants_time_gets_it_and_the_next_one_is_tried_at_once(world: World, office: Office) -> None:
    """Lost: a step that sleeps for an hour while nobody is told; or a limit that is run into again and again."""
    tries: list[str] = []
    office.mail.before = lambda notice: (tries.append(notice.id), busy(3_600.0)(notice))[0]
    assert play(world, office) == "answered yes"
    assert office.told == [("ada", "page")] and len(tries) == 1
    office.page.taken.clear()
    with pytest.raises(RunWaiting):  # another process, another question, within the hour
        _ask(world, office, "other")
    assert office.told == [("ada", "page")] and len(tries) == 1
    world.clock.by_s += 3_700
    with pytest.raises(RunWaiting):
        _ask(world, office, "third")
    assert len(tries) == 2


def test_what_is_busy_for_a_moment_is_waited_for(quick: World, office: Office) -> None:
    """Lost: whoever has said "in a second" is passed over."""
    office.mail.before = _once(busy(0.01))
    assert play(quick, office) == "answered yes"
    assert office.told == [("ada", "mail")]


def _once(does: Any) -> Any:
    calls: list[Notice] = []

    def before(notice: Notice) -> None:
        calls.append(notice)
        if len(calls) == 1:
            does(notice)

    return before


def test_who_wants_nothing_ever_again_gets_nothing_from_any_process(world: World, office: Office) -> None:
    """Lost: a receiver that has said 410 and gets each notice of each later process; or its successor gets none."""
    tries: list[str] = []

    def gone(notice: Notice) -> None:
        tries.append(notice.id)
        raise Gone("410", "receiver-1")

    office.mail.before = gone
    office.mail.mark = "receiver-1"
    assert play(world, office) == "answered yes"
    office.page.taken.clear()
    with pytest.raises(RunWaiting):
        _ask(world, office, "other")
    assert len(tries) == 1 and office.told == [("ada", "page")]
    world.clock.by_s += 90 * 86_400
    with pytest.raises(RunWaiting):
        _ask(world, office, "later")
    assert len(tries) == 1
    office.mail.mark = "receiver-2"
    world.play(lambda app: app.cancel(world.id("later")), inbox=office.inbox)  # of what is alike nobody is told twice
    with pytest.raises(RunWaiting):
        _ask(world, office, "new")
    assert len(tries) == 2


def _ask(world: World, office: Office, key: str) -> None:
    """One process that asks, and tells somebody."""
    before = len(office.told)

    async def scenario(app: hf.App) -> None:
        try:
            await app.run(asker, "finance", key=key, wait=0.2)
        finally:
            await until(lambda: len(office.told) > before)
            await until(lambda: all(head.status is not Status.RUNNING for head in chains(world)))

    world.play(scenario, agents=[asker], serves=True, inbox=office.inbox)
