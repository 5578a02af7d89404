"""The board of a project: whatever is told to it in whatever order, its laws hold, and its log alone says what it is.

If these fail, two sessions work on one feature, or one passes that no check has seen pass.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.core import accept, order
from holdfast.core.assignment import IDLE_MAX, Halt, next_work, to_recheck
from holdfast.core.board import PASSES_COUNTED, PROJECT, Board, State, fold, key_of
from holdfast.core.budget import Limits
from holdfast.core.events import Event, Kind, meta
from holdfast.core.feature import Feature, digest, features
from holdfast.core.heads import Head, Status
from holdfast.core.project import carried_out

HEAD = Head("run_p", key_of("demo"), PROJECT, "d", Status.SUSPENDED, 1.0, 1.0, why="command")
LIST = features(
    [
        {"id": "add", "description": "adds", "check": "pytest:tests/test_add.py", "priority": 1},
        {"id": "sub", "description": "subtracts", "check": "command:python calc.py 3 1", "after": ["add"]},
        {"id": "page", "description": "has a page", "check": {"http": "http://x/", "pins": ["page.html"]}},
    ]
)
OTHER = [replace(LIST[1], after=()), replace(LIST[2], description="has another page")]
PASSED = {"has_run": True, "passed": True, "why": "", "exit_code": 0, "output_sha256": "a", "took_s": 0.1}
FAILED = {"has_run": True, "passed": False, "why": "1 != 2", "exit_code": 1, "output_sha256": "b", "took_s": 0.1}
DEAD = {"has_run": False, "passed": False, "why": "not found", "exit_code": None, "output_sha256": "", "took_s": 0}
SPECS = {feature.id: digest([feature]) for feature in LIST}


def told(verb: str, **facts: Any) -> dict[str, Any]:
    """A command's facts, as they are stored."""
    message = accept.command(verb, "demo", **{"by": "ann"} | facts)
    posted = accept.accept(HEAD, "run_p", message, 1.0)
    assert posted.is_stored, posted.refused
    return message.facts


def freeze(found: list[Feature] = LIST, **more: Any) -> dict[str, Any]:
    """A person freezes a list."""
    return told("freeze", **{"features": [each.facts() for each in found], "digest": digest(found)} | more)


def begin(run: str, place: str | None = None, number: int = 0) -> dict[str, Any]:
    """A session begins."""
    return told("begin", session=run, place=place or f"host:/{run}", number=number)


def claim(run: str, feature: str) -> dict[str, Any]:
    """It claims a feature."""
    return told("claim", session=run, feature=feature)


def evidence(run: str, name: str, *, passed: bool = True, **more: Any) -> dict[str, Any]:
    """Its check was performed."""
    facts = {"results": [PASSED] if passed else [FAILED, FAILED], "is_flaky": False, "commit": "c1", "tree": "t1"}
    spec = SPECS.get(name, "")
    return told("evidence", **{**facts, "session": run, "feature": name, "passed": passed, "spec": spec} | more)


def ended(run: str, outcome: str = "partial", **more: Any) -> dict[str, Any]:
    """It is over."""
    facts = {"outcome": outcome, "commit": "c1", "branch": "", "record": {"notes": ["x"]}, "revision": 1}
    return told("ended", **{**facts, "session": run} | more)


def board_after(*commands: dict[str, Any], board: Board | None = None) -> tuple[Board, list[Event]]:
    """The board after these commands, with its events. Checks the laws after each of them."""
    board = Board(name="demo") if board is None else board
    events: list[Event] = []
    for at, facts in enumerate(commands, 1):
        before = board
        board, more = carried_out(board, facts, None, float(at))
        assert len(more) == 1 and board == before.after(more[0])
        events += more
        check_laws(before, board, facts, more[0])
    return board, events


def check_laws(before: Board, board: Board, facts: dict[str, Any], event: Event) -> None:
    """What holds after each command."""
    sessions = list(board.sessions.values())
    held = [session.feature for session in sessions if session.feature]
    assert len({session.place for session in sessions}) == len(sessions)
    assert len({session.number for session in sessions}) == len(sessions)
    assert len(held) == len(set(held)) == len(board.held())
    assert board.count == before.count + 1
    if "refused" in event.facts:
        assert replace(board, count=before.count) == before
    for run, session in board.sessions.items():
        was = before.sessions.get(run)
        assert was is None or was.feature in ("", session.feature), "a session has one feature"
    for name, item in board.items.items():
        old = before.items.get(name)
        if item.state is State.PASSING and (old is None or old.state is not State.PASSING):
            assert facts["verb"] == "evidence" and facts["results"] and facts["results"][-1]["passed"]
            assert facts["spec"] == digest([item.feature])
            assert facts["session"] == "" or before.sessions[facts["session"]].feature == name
    if facts["verb"] != "freeze":
        assert [*before.items] == [*board.items] and before.digest == board.digest
    elif "refused" not in event.facts:
        assert digest([item.feature for item in board.items.values()]) == board.digest == facts["digest"]


# --- laws --------------------------------------------------------------------------------------------------------


runs = st.sampled_from(["r1", "r2", "r3"])
ids = st.sampled_from(["add", "sub", "page", "gone"])
outcomes = st.lists(st.sampled_from([PASSED, FAILED, DEAD]), max_size=3)
commands = st.one_of(
    st.sampled_from([freeze(), freeze(), freeze(OTHER), told("go_on"), told("stop", why="enough")]),
    st.builds(begin, runs, st.sampled_from(["host:/a", "host:/b"]), st.integers(0, 4)),
    st.builds(begin, runs),
    st.builds(claim, runs, ids),
    st.builds(
        lambda run, name, passed, results, spec: evidence(
            run, name, passed=passed, results=results, spec=SPECS.get(name, "") if spec else "other"
        ),
        st.one_of(runs, st.just("")), ids, st.booleans(), outcomes, st.integers(0, 4),
    ),
    st.builds(evidence, runs, ids),
    st.builds(ended, runs, st.sampled_from(order.OUTCOMES)),
    st.builds(lambda run, text: told("note", session=run, text=text), runs, st.text(max_size=20)),
    st.builds(lambda run: told("restored", session=run, text="features.json was edited"), runs),
    st.builds(lambda amount: told("raise", caps={"usd_nano": amount, "tokens": None}), st.integers(0, 9)),
)  # fmt: skip


@given(st.lists(commands, max_size=40))
@example([freeze(), begin("r1"), claim("r1", "add"), begin("r2"), claim("r2", "add"), evidence("r2", "add")])
def test_whatever_is_told_in_whatever_order_the_laws_hold_and_the_log_is_the_board(told: list[dict[str, Any]]) -> None:
    """Lost: one claim per feature and session, one open session per place, passing by evidence only; or the log."""
    board, events = board_after(*told)
    assert fold(events, Board(name="demo")) == board
    again = Board.of(board.text())
    assert again == board and again.text() == board.text() and [*again.items] == [*board.items]
    half = len(events) // 2
    assert fold(events[half:], Board.of(fold(events[:half], Board(name="demo")).text())) == board
    assert len(board.ended) <= 10 and len(board.notes) <= 20 and len(board.edited) <= 10
    work = next_work(board, place="host:/a")
    if work.feature is not None:
        holder = board.held().get(work.feature.id)
        assert holder is None or holder.place == "host:/a"
        assert (not board.stopped and not board.lacks(board.items[work.feature.id])) or holder is not None
    assert work.why and work.is_over is (bool(board.items) and len(board.passing) == len(board.items))


def test_the_vacuity_of_that_law() -> None:
    """Lost: a law that holds since nothing ever happens. Each of its commands can be carried out."""
    board, events = board_after(
        freeze(), begin("r1"), claim("r1", "add"), evidence("r1", "add"), told("note", session="r1", text="x"),
        told("restored", session="r1", text="y"), ended("r1", "passed"), told("raise", caps={"usd_nano": 5}),
        told("stop", why="enough"), told("go_on"),
    )  # fmt: skip
    assert [event for event in events if "refused" in event.facts] == []
    assert board.items["add"].state is State.PASSING and not board.sessions and board.caps == Limits(usd_nano=5)
    assert (board.ended[0].outcome, board.ended[0].feature, board.ended[0].digest) == (
        "passed",
        "add",
        {"notes": ["x"]},
    )
    assert (board.notes[0].text, board.edited[0].session, board.stopped) == ("x", 1, "")


def refused(events: list[Event]) -> list[str]:
    """Why each of these was refused."""
    return [event.facts.get("refused", "") for event in events]


# --- claims ------------------------------------------------------------------------------------------------------


def test_the_first_claim_wins_and_the_second_is_told_who_has_it() -> None:
    """Lost: two sessions on one feature."""
    board, events = board_after(freeze(), begin("r1"), begin("r2"), claim("r1", "add"), claim("r2", "add"))
    assert refused(events)[3:] == ["", "held by session 1 at host:/r1"]
    assert board.held()["add"].run == "r1" and board.sessions["r2"].feature == ""
    board, events = board_after(ended("r1"), claim("r2", "add"), board=board)
    assert refused(events) == ["", ""] and board.held()["add"].run == "r2"


def test_a_session_has_one_feature_also_when_it_passes() -> None:
    """Lost: one unit per session."""
    board, events = board_after(
        freeze(), begin("r1"), claim("r1", "add"), claim("r1", "page"), claim("r1", "add"), evidence("r1", "add"),
        claim("r1", "page"),
    )  # fmt: skip
    assert refused(events)[3:] == [
        "session 1 has add, and one session has one feature", "", "",
        "session 1 has add, and one session has one feature",
    ]  # fmt: skip
    assert board.sessions["r1"].feature == "add"


def test_what_comes_after_another_feature_waits_until_that_passes() -> None:
    """Lost: the order in which a project can be built."""
    board, events = board_after(freeze(), begin("r1"), claim("r1", "sub"))
    assert refused(events)[2] == "sub comes after add"
    board, events = board_after(evidence("", "add"), claim("r1", "sub"), board=board)
    assert refused(events) == ["", ""]


def test_a_claim_needs_an_open_session_and_a_feature_that_is_to_be_done() -> None:
    """Lost: a feature held by nobody who works, or work on what is done."""
    board, events = board_after(
        begin("r1"), claim("r1", "add"), freeze(), claim("r9", "add"), claim("r1", "gone"), evidence("", "add"),
        claim("r1", "add"), told("stop", why="enough"), claim("r1", "page"),
    )  # fmt: skip
    assert refused(events) == [
        "", "no list is frozen", "", "it is no open session", "there is no feature gone on the list", "",
        "add passes", "", "stopped: enough",
    ]  # fmt: skip
    assert not board.held()


def test_one_session_at_a_place_and_one_place_for_a_session() -> None:
    """Lost: two sessions that write into one working tree."""
    board, events = board_after(
        begin("r1", "h:/a"), begin("r2", "h:/a"), begin("r1", "h:/b"), begin("r2", "h:/b", 7), begin("r2", "h:/b", 2),
        ended("r1"), begin("r1", "h:/a"), begin("r3", "h:/a", 0), told("stop", why="enough"), begin("r4", "h:/c"),
    )  # fmt: skip
    assert refused(events) == [
        "", "session 1 is open at h:/a", "it is session 1, at h:/a", "session 7 has begun elsewhere", "", "",
        "its run was a session of this project, which has ended", "", "", "stopped: enough",
    ]  # fmt: skip
    assert sorted(session.number for session in board.sessions.values()) == [2, 3] and board.numbered == 3


# --- evidence ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"results": []}, "no check of add was performed"),
        ({"results": [FAILED]}, "has not passed"),
        ({"results": [FAILED, PASSED]}, "has not passed"),
        ({"results": [PASSED, FAILED]}, "has not passed"),
        ({"results": [FAILED, PASSED, DEAD]}, "has not passed"),
        ({"results": [DEAD]}, "has not passed"),
        ({"results": [{**PASSED, "has_run": False}]}, "cannot have ended so"),
        ({"results": [{**PASSED, "exit_code": 1}]}, "cannot have ended so"),
        ({"results": [{**PASSED, "exit_code": None}]}, "cannot have ended so"),
        ({"spec": ""}, "another one"),
        ({"spec": SPECS["sub"]}, "another one"),
        ({"session": "r2"}, "session 2 does not have add"),
        ({"session": "r9"}, "no open session"),
        ({"session": ""}, "held by session 1"),
        ({"feature": "page", "spec": SPECS["page"]}, "session 1 does not have page"),
        ({"feature": "gone"}, "no feature gone"),
    ],
)
def test_a_pass_that_its_results_do_not_bear_out_is_refused_and_kept_on_record(
    facts: dict[str, Any], word: str
) -> None:
    """Lost: an agent that says that it is done, and is believed."""
    board, _ = board_after(freeze(), begin("r1"), begin("r2"), claim("r1", "add"))
    after, events = board_after(evidence("r1", "add", **facts), board=board)
    assert word in refused(events)[0] and not after.passing
    assert events[0].facts["results"] == facts.get("results", [PASSED])
    assert len(board_after(evidence("r1", "add"), board=board)[0].passing) == 1


@pytest.mark.parametrize("run", ["r1", "r2", "r9", ""])
def test_evidence_against_always_counts_and_makes_a_regression(run: str) -> None:
    """Lost: what broke stays done, since the wrong one has noticed."""
    board, _ = board_after(freeze(), begin("r1"), begin("r2"), claim("r1", "add"), evidence("r1", "add"), ended("r1"))
    for results in ([FAILED, FAILED], [DEAD]):
        after, events = board_after(
            evidence(run, "add", passed=False, results=results, why="boom", commit="c2", spec=""), board=board
        )
        item = after.items["add"]
        assert refused(events) == [""] and item.state is State.REGRESSED and item.since == 1.0
        assert item.proof is not None and (item.proof.passed, item.proof.because) == (False, "boom")
        assert item.proof.session == {"r1": 1, "r2": 2}.get(run, 0) and item.proof.event == after.count
        work = next_work(after)
        assert work.feature == LIST[0] and work.why == "it passed once, and does not any more: boom"


def test_evidence_against_a_feature_that_never_passed_leaves_it_open() -> None:
    """Lost: a regression of what never was."""
    board, _ = board_after(freeze(), evidence("", "add", passed=False))
    assert board.items["add"].state is State.OPEN and board.items["add"].since == 1.0


def test_a_session_may_look_again_at_what_passes() -> None:
    """Lost: the start routine, which looks at features that the session does not have."""
    board, events = board_after(freeze(), evidence("", "add"), begin("r1"), evidence("r1", "add", commit="c2"))
    assert refused(events) == [""] * 4
    proof = board.items["add"].proof
    assert proof is not None and proof.commit == "c2" and board.items["add"].since == 2.0


def test_a_later_freeze_opens_what_changed_and_keeps_what_did_not() -> None:
    """Lost: a feature that passes by the check of another one; or work done again because a priority changed."""
    board, _ = board_after(
        freeze(), evidence("", "add"), evidence("", "sub"), evidence("", "page"), begin("r1"), freeze(OTHER)
    )
    assert {name: item.state for name, item in board.items.items()} == {"sub": State.PASSING, "page": State.OPEN}
    assert board.items["sub"].feature.after == () and board.items["page"].proof is None
    again, events = board_after(evidence("", "page"), freeze(), board=board)
    assert refused(events) == ["the check was another one than that of page", ""]
    assert again.items["add"].state is State.OPEN


# --- the end of a session ----------------------------------------------------------------------------------------


def test_a_session_that_ends_without_its_feature_is_a_try_and_says_why() -> None:
    """Lost: what the next agent needs to know: that it was tried, and why it failed."""
    commands = [freeze()]
    for number in range(1, 6):
        run = f"r{number}"
        commands += [begin(run), claim(run, "add")]
        commands += [evidence(run, "add", passed=False, why=f"boom\n{number}")] if number < 5 else []
        commands += [ended(run, "passed", branch=f"wip/{number}")]
    board, _ = board_after(*commands)
    item = board.items["add"]
    assert [(t.session, t.why, t.branch) for t in item.tries] == [
        (3, "boom 3", "wip/3"), (4, "boom 4", "wip/4"), (5, "partial", "wip/5"),
    ]  # fmt: skip
    assert item.tried == 5 and [end.outcome for end in board.ended] == ["partial"] * 5
    board, _ = board_after(begin("r6"), claim("r6", "add"), evidence("r6", "add"), ended("r6", "passed"), board=board)
    assert board.items["add"].tries == () and board.items["add"].tried == 5 and board.ended[-1].outcome == "passed"


def test_an_end_is_told_once_and_a_view_cannot_be_of_the_future() -> None:
    """Lost: a dead session that is settled by two others counts twice; a revision that no view can reach."""
    board, events = board_after(freeze(), begin("r1"), ended("r1", revision=99), ended("r1", "lost"))
    assert refused(events)[3] == "it is no open session"
    assert (board.revision, len(board.ended), board.idle) == (2, 1, 1)
    late = [told("note", session="r1", text="late")]
    assert refused(board_after(*late, board=board)[1]) == ["it is no open session"] and not board.notes


def idle_sessions(count: int, start: int = 1) -> list[dict[str, Any]]:
    """Sessions that change nothing."""
    return [each for n in range(start, start + count) for each in (begin(f"i{n}"), ended(f"i{n}"))]


def test_sessions_in_a_row_that_change_nothing_come_to_an_end() -> None:
    """Lost: a harness that goes on for ever."""
    board, _ = board_after(freeze(), *idle_sessions(IDLE_MAX - 1))
    assert next_work(board).feature == LIST[0]
    board, _ = board_after(*idle_sessions(1, 50), board=board)
    assert next_work(board) == (None, f"no progress in {IDLE_MAX} sessions", Halt.NO_PROGRESS)
    for word in (told("go_on"), evidence("", "add")):
        assert next_work(board_after(word, board=board)[0]).feature is not None
    assert next_work(board_after(freeze(), board=board)[0]).halt is Halt.NO_PROGRESS  # the same list again
    useful, _ = board_after(begin("u"), claim("u", "add"), evidence("u", "add"), ended("u", "passed"), board=board)
    assert useful.idle == 0 and next_work(useful).feature == LIST[1]


def test_a_feature_that_comes_and_goes_is_no_progress() -> None:
    """Lost: two features of which each breaks the other, mended in turn until the money is gone."""
    board, _ = board_after(freeze())
    sessions = 0
    while next_work(board).feature is not None:
        sessions += 1
        run = f"s{sessions}"
        board, _ = board_after(begin(run), claim(run, "add"), evidence(run, "add"), ended(run, "passed"), board=board)
        board, _ = board_after(evidence("", "add", passed=False), board=board)
        assert sessions < 20
    assert sessions == PASSES_COUNTED + IDLE_MAX
    assert next_work(board_after(told("go_on"), board=board)[0]).feature is not None


# --- what comes next ---------------------------------------------------------------------------------------------


def test_what_comes_next_is_by_regression_priority_tries_and_order() -> None:
    """Lost: the harness works on what somebody else has, or on what cannot be done yet."""
    board, _ = board_after()
    assert next_work(board) == (None, "no list is frozen", Halt.NOTHING)
    board, _ = board_after(freeze())
    assert next_work(board) == (LIST[0], "priority 1", None)
    board, _ = board_after(begin("r1", "h:/a"), claim("r1", "add"), board=board)
    assert next_work(board, place="h:/b").feature == LIST[2]
    assert next_work(board, place="h:/a") == (LIST[0], "session 1 has begun it here", None)
    board, _ = board_after(begin("r2", "h:/b"), claim("r2", "page"), board=board)
    whys = "add is held by session 1; sub comes after add; page is held by session 2"
    assert next_work(board, place="h:/c") == (None, f"nothing can begin: {whys}", Halt.NOTHING)
    board, _ = board_after(evidence("r1", "add"), ended("r1"), evidence("r2", "page"), ended("r2"), board=board)
    assert next_work(board).feature == LIST[1]
    assert next_work(board, ["page", "gone"]).feature == LIST[2]
    assert next_work(board, ["add"]).feature == LIST[0], "what it comes after has just been found broken"
    board, _ = board_after(evidence("", "sub"), told("stop", why="enough"), board=board)
    assert next_work(board) == (None, "all 3 features pass", Halt.COMPLETE)
    assert next_work(board, ["sub"]) == (None, "stopped: enough", Halt.STOPPED)


def test_among_equals_what_was_tried_less_comes_first() -> None:
    """Lost: the second feature of a list whose first cannot be done."""
    pair = [replace(LIST[2], id="one"), replace(LIST[2], id="two")]
    board, _ = board_after(freeze(pair), begin("r1"), claim("r1", "one"), ended("r1"))
    assert next_work(board) == (pair[1], "next on the list", None)
    board, _ = board_after(begin("r2"), claim("r2", "two"), ended("r2"), board=board)
    assert next_work(board) == (pair[0], "next on the list, tried 1 time before", None)


def test_what_is_looked_at_again_is_what_changed_and_what_was_not_for_longest() -> None:
    """Lost: a regression that nobody looks for; or one that belongs to another branch."""
    many = [replace(LIST[1], id=f"f{n}", after=()) for n in range(6)] + [replace(LIST[2], id="page")]
    commands = [
        evidence("", each.id, commit="away" if each.id == "f0" else "here", spec=digest([each])) for each in many
    ]
    board, events = board_after(freeze(many), *commands)
    assert refused(events) == [""] * 8
    asked: list[str] = []

    def contained(commit: str) -> bool:
        asked.append(commit)
        return commit == "here"

    def chosen(most: int, changed: tuple[str, ...] = (), draw: float = 0.0) -> list[str]:
        return [each.id for each in to_recheck(board, changed, contained, most, lambda: draw)]

    assert chosen(3) == ["f1", "f2", "f3"] and sorted(asked) == ["away", "here"], "git is asked once a commit"
    assert chosen(3, draw=0.999) == ["f1", "f2", "page"] and chosen(3, draw=0.3) == ["f1", "f2", "f4"]
    assert chosen(3, ("page.html",), 0.999) == ["page", "f1", "f5"]
    assert chosen(2, ("calc.py", "page.html")) == ["f1", "f2"] and chosen(0) == [] and len(chosen(99)) == 6


# --- at the door -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "facts",
    [
        {"verb": "disable"},
        {"verb": ["freeze"]},
        {"verb": "claim", "session": "r1"},
        {"verb": "claim", "session": "", "feature": "add"},
        {"verb": "claim", "session": "r1", "feature": 7},
        {"verb": "begin", "session": "r1", "place": "p", "number": -1},
        {"verb": "begin", "session": "r1", "place": "p"},
        {"verb": "note", "session": "r1", "text": "x" * 501},
        {"verb": "stop", "why": "x" * 1001},
        {"verb": "go_on", "id": 7},
        {"verb": "raise", "caps": {}},
        {"verb": "raise", "caps": {"wall_ms": 1}},
        {"verb": "raise", "caps": {"tokens": -1}},
        {"verb": "freeze", "features": [], "digest": "d"},
        {"verb": "freeze", "features": [LIST[0].facts()], "digest": digest(LIST)},
        {"verb": "freeze", "features": [{"id": "add"}], "digest": "d"},
        {"verb": "freeze", "features": [LIST[0].facts() | {"steps": "x"}], "digest": "d"},
        {"verb": "freeze", "features": ["x" * 2_000_000], "digest": "d"},
        {**ended("r1"), "outcome": "done"},
        {**ended("r1"), "record": {"text": "x" * 9_000}},
        {**ended("r1"), "record": []},
        {**ended("r1"), "revision": True},
        {**evidence("r1", "add"), "passed": "yes"},
        {**evidence("r1", "add"), "results": [{"passed": True}]},
        {**evidence("r1", "add"), "results": [{**PASSED, "took_s": "0"}]},
        {**evidence("r1", "add"), "results": [{**PASSED, "more": 1}]},
        {**evidence("r1", "add"), "results": [PASSED] * 11},
    ],
)
def test_nonsense_is_refused_at_the_door(facts: dict[str, Any]) -> None:
    """Lost: mail over which every process that takes the project stumbles."""
    message = accept.Message(accept.MessageKind.COMMAND, meta(**{"name": "demo", "by": "ann"} | facts))
    posted = accept.accept(HEAD, "run_p", message, 1.0)
    assert (not posted.is_stored and "Nothing was changed" in posted.refused) or "Nothing was done" in posted.refused


def test_a_project_takes_commands_and_nothing_else() -> None:
    """Lost: a project that is cancelled, or another run that believes that it was given a command."""
    for message in [accept.cancel(by="a"), accept.pause(by="a"), accept.resume(by="a"), accept.unwind(by="a")]:
        assert "takes commands" in accept.accept(HEAD, "run_p", message, 1.0).refused
    order_to_desk = accept.command("disable", "refund", by="ann")
    assert "does not know" in accept.accept(HEAD, "run_p", order_to_desk, 1.0).refused
    desk = Head("run_d", "@desk", "@desk", "d", Status.SUSPENDED, 1.0, 1.0)
    stop = accept.Message(accept.MessageKind.COMMAND, json.dumps(told("stop")))
    assert "does not know" in accept.accept(desk, "run_d", stop, 1.0).refused


def test_a_board_of_another_version_is_not_taken_for_one() -> None:
    """Lost: a board whose fields mean something else."""
    found = json.loads(Board().text())
    with pytest.raises(ValueError, match="version"):
        Board.of(json.dumps({**found, "format": 99}))


def test_other_events_only_count() -> None:
    """Lost: the number of events, by which the next append is known to follow the last."""
    begun = Event(Kind.RUN_STARTED, 1.0, meta=meta(run="run_p", agent=PROJECT, key=key_of("demo"), input_digest="d"))
    written = Event(Kind.DECIDED, 1.0, meta=meta(what="board", choice="1", because="x"), body=b"{}")
    assert fold([begun, written]) == Board(name="demo", count=2)
