"""Sessions in real repositories: what an agent says of its work counts for nothing, and nothing is left half done."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests import warm
from tests.memory.sessions import QUICK, Built, git, listed, repository, writes

import holdfast as hf
from holdfast.core.board import State
from holdfast.core.feature import features
from holdfast.memory import views
from holdfast.memory.commanded import commanded
from holdfast.memory.git import Git
from holdfast.memory.harness import End, drive, working
from holdfast.memory.project import Project
from holdfast.memory.routine import Routine
from holdfast.runtime.clock import SystemClock


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A working tree with one commit."""
    return repository(tmp_path / "tree")


async def claims(run: hf.Run, session: hf.Session) -> None:
    """An agent that declares victory."""
    (session.directory / "half.txt").write_text("half", "utf-8")
    evidence = await session.done()
    assert not evidence and evidence.commit == ""


def test_all_features_one_session_each_and_then_none(tree: Path) -> None:
    """Lost otherwise: the end. A harness that runs for ever at 100 %, or does two features in one session."""
    project = Built(tree, listed("one", "two", "three"))
    outcome = project.drive(writes)
    assert (outcome.end, outcome.sessions) == (End.COMPLETE, 3)
    assert set(project.states().values()) == {"passing"}
    assert [ended.feature for ended in project.board.ended] == ["one", "two", "three"]
    subjects = git(tree, "log", "--format=%s").splitlines()
    assert subjects == [f"{n}: the file {n}.txt" for n in ("three", "two", "one")] + ["begin"]
    again = project.drive(writes)
    assert (again.end, again.sessions, project.board.numbered) == (End.COMPLETE, 0, 3)


def test_a_claim_whose_check_fails_stays_false_and_its_work_is_put_aside(tree: Path) -> None:
    """Lost otherwise: what "passes" means, and a clean tree for the next session."""
    project = Built(tree, listed("one"))
    outcome = project.drive(claims, sessions_max=1)
    assert outcome.end is End.ENOUGH and project.states() == {"one": "open"}
    assert git(tree, "status", "--porcelain") == "" and git(tree, "log", "--format=%s") == "begin"
    [ended] = project.board.ended
    assert (ended.outcome, ended.branch) == ("partial", "holdfast/wip/session-1")
    assert git(tree, "show", f"{ended.branch}:half.txt") == "half"
    assert "Holdfast-Partial: yes" in git(tree, "log", "-1", "--format=%B", ended.branch)
    [tried] = project.board.items["one"].tries
    assert tried.branch == ended.branch and "code 1" in tried.why


def test_the_brief_of_the_next_session_says_what_was_tried(tree: Path) -> None:
    """Lost otherwise: the second session tries the same again."""
    project = Built(tree, listed("one"))
    seen = []

    async def reads(run: hf.Run, session: hf.Session) -> None:
        seen.append(session.brief)
        await session.note("the first try was wrong")
        await claims(run, session)

    project.drive(reads, sessions_max=2)
    assert "holdfast/wip/session-1" in seen[1] and "the first try was wrong" in seen[1]
    assert "holdfast/wip/session-1" not in seen[0]


def test_a_feature_that_was_broken_between_sessions_is_the_next_ones_work(tree: Path) -> None:
    """Lost otherwise: what worked. The model would build on what is broken."""
    project = Built(tree, listed("one", "two"))
    project.drive(writes, sessions_max=1)
    git(tree, "rm", "-q", "one.txt")
    git(tree, "commit", "-qm", "a person breaks it")
    worked_on = []

    async def notes(run: hf.Run, session: hf.Session) -> None:
        assert session.feature is not None
        worked_on.append((session.feature.id, list(session.regressions)))
        await writes(run, session)

    project.drive(notes)
    assert worked_on == [("one", ["one"]), ("two", [])]
    assert set(project.states().values()) == {"passing"}


def test_a_feature_that_broke_after_all_passed_is_found_before_it_is_said_that_all_pass(tree: Path) -> None:
    """Lost otherwise: "all features pass" on a tree in which they do not."""
    project = Built(tree, listed("one"))
    project.drive(writes)
    git(tree, "rm", "-q", "one.txt")
    git(tree, "commit", "-qm", "a person breaks it")
    outcome = project.drive(writes)
    assert (outcome.end, outcome.sessions) == (End.COMPLETE, 1) and (tree / "one.txt").exists()


def test_sessions_that_change_nothing_stop_and_a_person_is_asked(tree: Path) -> None:
    """Lost otherwise: the money, session after session."""
    project = Built(tree, listed("one"))
    outcome = project.drive(claims)
    assert (outcome.end, outcome.sessions, project.board.idle) == (End.NO_PROGRESS, 3, 3)
    again = project.drive(claims)
    assert (again.end, again.sessions, again.run) == (End.NO_PROGRESS, 0, outcome.run)

    async def answer(project: Project, value: str) -> None:
        head = project.journal.head(outcome.run)
        assert head is not None and head.questions[0].options == ("go on", "stop")
        assert isinstance(project._app, hf.App)
        await project._app.answer(outcome.run, head.questions[0].id, value, by="ada")

    project.alone(lambda project: answer(project, "go on"))
    gone_on = project.drive(writes)
    assert (gone_on.end, gone_on.sessions) == (End.COMPLETE, 1)


def test_a_person_who_says_stop_is_obeyed(tree: Path) -> None:
    """Lost otherwise: the only brake."""
    project = Built(tree, listed("one"))
    project.alone(lambda project: project.record.stop("ada", "enough money was spent"))
    outcome = project.drive(writes)
    assert outcome.end is End.STOPPED and "enough money" in outcome.why and outcome.sessions == 0


def test_an_agent_that_raises_ends_its_session_and_the_next_one_begins(tree: Path) -> None:
    """Lost otherwise: the feature that it held, or its half work in the next one's commit."""
    project = Built(tree, listed("one"))
    lives = []

    async def raises(run: hf.Run, session: hf.Session) -> None:
        lives.append(session.number)
        if session.number == 1:
            (session.directory / "half.txt").write_text("half", "utf-8")
            raise ValueError("no idea")
        await writes(run, session)

    outcome = project.drive(raises)
    assert (outcome.end, lives) == (End.COMPLETE, [1, 2])
    first, second = project.board.ended
    assert (first.outcome, first.branch, second.outcome) == ("partial", "holdfast/wip/session-1", "passed")
    assert "no idea" in str(first.digest) and not (tree / "half.txt").exists()


def test_a_session_at_its_cap_is_settled_and_a_cap_of_all_stops_the_project(tree: Path) -> None:
    """Lost otherwise: one budget for all sessions; a cap that each session has anew is no cap."""
    project = Built(tree, listed("one", "two", "three"))
    outcome = project.drive(writes, budget=hf.Budget(tool_calls=20))
    assert outcome.end is End.BUDGET and outcome.sessions < 3
    used = project.alone(lambda project: project.journal.account("project/sample").spent.tool_calls)
    assert 0 < used <= 20
    assert project.drive(writes, budget=hf.Budget(tool_calls=20)).end is End.BUDGET
    assert project.drive(writes, budget=hf.Budget(tool_calls=500)).end is End.COMPLETE


def test_a_session_cap_ends_the_session_and_not_the_project(tree: Path) -> None:
    """Lost otherwise: the rest of the list, for one feature that was too much."""
    project = Built(tree, listed("one"))

    async def wastes(run: hf.Run, session: hf.Session) -> None:
        for number in range(10):
            await run.step("waste", int, number, effect="read")

    outcome = project.drive(wastes, session_budget=hf.Budget(tool_calls=14))
    assert outcome.end is End.NO_PROGRESS
    assert {ended.outcome for ended in project.board.ended} <= {"stopped", "failed"}  # it may answer a refusal
    with pytest.raises(hf.UsageError, match="routine"):
        project.drive(wastes, session_budget=hf.Budget(tool_calls=4))


def test_a_plain_agent_works_in_the_same_way(tree: Path) -> None:
    """Lost otherwise: everyone whose agent is no coroutine."""
    project = Built(tree, listed("one"))

    def plain(run: hf.Run, session: hf.Session) -> None:
        (session.directory / "one.txt").write_text("one", "utf-8")
        assert run.wait(session.done())

    assert project.drive(plain).end is End.COMPLETE


def test_without_the_harness_a_session_is_a_block_in_any_run(tree: Path) -> None:
    """Lost otherwise: those who have a loop of their own."""
    Built(tree, listed("one"))

    async def main() -> dict[str, object]:
        app = hf.App(hf.Project.store_of(tree))

        @hf.agent
        async def mine(run: hf.Run, given: str) -> dict[str, object]:
            async with hf.Project(app, tree).session(run) as session:
                assert session.number == 1 and "the file one.txt" in session.task
                await writes(run, session)
            return session.facts()

        async with app:
            return await app.run(mine, "x", key="mine")

    assert asyncio.run(main()) == {
        "session": 1,
        "feature": "one",
        "why": "next on the list",
        "passed": True,
        "regressions": [],
    }


def test_a_second_session_in_the_same_tree_is_refused(tree: Path) -> None:
    """Lost otherwise: whose change is whose."""
    project = Built(tree, listed("one", "two"))

    async def twice(run: hf.Run, session: hf.Session) -> None:
        with pytest.raises(hf.UsageError, match="session 1 is open at"):
            session._project.record.begin(session._project.place.id, message_id="x", by="me", run="run_other")

    project.drive(twice, sessions_max=1)
    assert project.board.numbered == 1


def test_what_a_person_has_changed_is_not_taken_for_the_agents(tree: Path) -> None:
    """Lost otherwise: a person's work, in a commit of the agent's or on a branch that nobody looks for."""
    project = Built(tree, listed("one"))
    (tree / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(hf.UsageError, match=r"mine\.txt.*git stash"):
        project.drive(writes)
    assert (tree / "mine.txt").read_text("utf-8") == "mine" and project.board.numbered == 0
    branch = project.alone(lambda project: project.put_aside())
    assert git(tree, "show", f"{branch}:mine.txt") == "mine"
    assert project.drive(writes).end is End.COMPLETE


def test_on_no_branch_no_session_begins(tree: Path) -> None:
    """Lost otherwise: commits that no branch has."""
    project = Built(tree, listed("one"))
    git(tree, "checkout", "-q", "--detach")
    with pytest.raises(hf.UsageError, match=r"HEAD is detached.*git switch -c"):
        project.drive(writes)
    assert project.board.numbered == 0


def test_a_flaky_check_is_marked(tree: Path) -> None:
    """Lost otherwise: an hour on a feature that works, or trust in one that does not."""
    flaky = f"sh -c 'n=$(cat {tree}/../n 2>/dev/null || echo 0); echo $((n+1)) > {tree}/../n; test $n -gt 0'"
    project = Built(tree, [{"id": "one", "description": "shaky", "check": {"command": flaky}}])
    outcome = project.drive(writes)
    item = project.board.items["one"]
    assert outcome.end is End.COMPLETE and item.is_flaky and item.proof is not None
    assert "2 of 3" in item.proof.because


def test_a_check_in_python_is_one_of_the_file_and_passes_by_true_alone(tree: Path) -> None:
    """Lost otherwise: checks that no command line can do; or one that passes since it is not there."""
    project = Built(tree, [{"id": "one", "description": "a", "check": "python:there"}])
    missing = project.drive(writes, sessions_max=1)
    assert missing.end is End.ENOUGH and project.states() == {"one": "open"}
    found = project.drive(writes, checks={"there": lambda directory: (directory / "one.txt").exists()})
    assert found.end is End.COMPLETE


def test_a_check_that_the_agent_edits_is_put_back_and_told(tmp_path: Path) -> None:
    """Lost otherwise: everything. The agent makes its own exam easy."""
    tree = repository(tmp_path / "tree", **{"check.sh": "test -f one.txt\n"})
    feature = {"id": "one", "description": "a", "check": {"command": "sh check.sh", "pins": ["check.sh"]}}
    project = Built(tree, [feature])

    async def cheats(run: hf.Run, session: hf.Session) -> None:
        (session.directory / "check.sh").write_text("exit 0\n", "utf-8")
        assert not await session.done()

    project.drive(cheats, sessions_max=1)
    assert project.states() == {"one": "open"} and (tree / "check.sh").read_text("utf-8") == "test -f one.txt\n"
    assert any("check.sh" in remark.text for remark in project.board.edited)


def test_an_init_that_fails_is_told_to_the_agent(tmp_path: Path) -> None:
    """Lost otherwise: why nothing works there."""
    tree = repository(tmp_path / "tree", **{"init.sh": "echo no compiler >&2; exit 3\n"})
    project = Built(tree, listed("one"))
    seen = []

    async def reads(run: hf.Run, session: hf.Session) -> None:
        seen.append(session.brief)
        await writes(run, session)

    project.drive(reads)
    assert "init.sh ended with code 3: no compiler" in seen[0]


def test_views_that_the_agent_edits_are_written_anew_and_it_is_recorded(tree: Path) -> None:
    """Lost otherwise: the list, to whoever can write a file."""
    project = Built(tree, listed("one", "two"))

    async def edits(run: hf.Run, session: hf.Session) -> None:
        (session.directory / "features.json").write_text("[]", "utf-8")
        await writes(run, session)

    outcome = project.drive(edits)
    assert outcome.end is End.COMPLETE and len(project.board.items) == 2
    assert '"two"' in (tree / "features.json").read_text("utf-8")
    assert any("features.json" in remark.text for remark in project.board.edited)
    assert "features.json" not in git(tree, "log", "--all", "--name-only", "--format=")


def test_a_command_line_is_an_agent_and_its_words_count_for_nothing(tree: Path) -> None:
    """Lost otherwise: coding agents, which are programs."""
    project = Built(tree, listed("one", "two"))
    work = (
        "import sys, re; t = sys.stdin.read(); n = re.search('no other: (.*)[.]', t)[1]; open(n + '.txt', 'w').write(t)"
    )

    async def driven() -> object:
        app = hf.App(project.store, serves=False)
        async with app:
            opened = Project(app, tree)
            return await drive(app, opened, commanded(opened, [sys.executable, "-c", work], "30s"))

    outcome = asyncio.run(driven())
    assert outcome.end is End.COMPLETE  # type: ignore[attr-defined]
    assert "the file two.txt" in (tree / "two.txt").read_text("utf-8")


def test_a_command_line_that_hangs_is_ended_with_all_that_it_started(tree: Path) -> None:
    """Lost otherwise: the night, and a process that writes into the next session's tree."""
    project = Built(tree, listed("one"))
    says = f"echo thinking; echo the key is sk-ant-{'x' * 40}; echo tried three ways"
    hangs = f"(trap '' TERM; sleep 5; echo late > late.txt) & echo half > half.txt; {says}; wait"

    async def driven() -> object:
        app = hf.App(project.store, serves=False)
        async with app:
            opened = Project(app, tree)
            agent = commanded(opened, ["sh", "-c", hangs], "1s")
            return await drive(app, opened, agent, sessions_max=1)

    assert asyncio.run(driven()).end is End.ENOUGH  # type: ignore[attr-defined]
    [ended] = project.board.ended
    assert ended.outcome == "partial" and not (tree / "late.txt").exists()
    [note] = [remark.text for remark in project.board.notes if "deadline" in remark.text]
    log = (tree / ".git/holdfast/session-1.log").read_text("utf-8")
    assert "tried three ways" in note and "thinking" in log and "tried three ways" in log
    [work] = [step for step in project.steps("sample/session-1") if step.get("end")]
    assert work["code"] is None and work["end"].startswith("thinking") and work["end"].endswith("three ways\n")
    assert "xxxx" not in note + log + work["end"], "what it says is kept without credentials"


def test_a_cancelled_session_gives_its_feature_back(tree: Path) -> None:
    """Lost otherwise: a feature that nobody may take any more."""
    project = Built(tree, listed("one"))

    async def cancels(run: hf.Run, session: hf.Session) -> None:
        assert isinstance(session._project._app, hf.App)
        (session.directory / "half.txt").write_text("half", "utf-8")
        if session.number == 1:
            await session._project._app.cancel(run.id, by="ada", why="wrong feature")
            await run.sleep("1h")
        await writes(run, session)

    outcome = project.drive(cancels)
    assert outcome.end is End.CANCELLED
    [ended] = project.board.ended
    assert (ended.outcome, project.board.held()) == ("partial", {})
    assert project.drive(cancels).end is End.COMPLETE
    assert project.board.items["one"].state is State.PASSING


def test_a_command_that_was_cut_off_begins_on_a_clean_tree(tree: Path, tmp_path: Path) -> None:
    """Lost otherwise: half of what a killed coding agent did, under the work of the next one."""
    project = Built(tree, listed("one"))
    os.mkfifo(tmp_path / "begun")
    finishes = "test -f ../once && { echo one > one.txt; exit; }"
    work = f"{finishes}; touch ../once; echo half > half.txt; echo > ../begun; sleep 60"
    command = [sys.executable, "-m", "holdfast.cli", "project", "run", "--", "sh", "-c", work]
    first = warm.start(command, cwd=tree, stderr=subprocess.PIPE)
    (tmp_path / "begun").read_text("utf-8")  # comes back when the command has written its half
    first.kill()
    first.communicate(timeout=30)
    again = warm.run(command, cwd=tree, timeout=60)
    assert again.returncode == 0, again.stderr
    assert git(tree, "show", "holdfast/wip/cut-off-1:half.txt") == "half" and not (tree / "half.txt").exists()
    assert any("holdfast/wip/cut-off-1" in remark.text for remark in project.board.notes)
    assert git(tree, "log", "--format=%s").splitlines() == ["one: the file one.txt", "begin"]


@pytest.mark.parametrize("also", ["", "git checkout -q -b mine && ", "git checkout -q --detach && "])
def test_what_an_agent_committed_by_itself_is_put_aside_too(tree: Path, also: str) -> None:
    """Lost otherwise: the branch. Coding agents commit on their own, and half a feature would be on it for good."""
    project = Built(tree, listed("one"))
    begin = git(tree, "rev-parse", "HEAD")

    async def commits(run: hf.Run, session: hf.Session) -> None:
        shell = f"{also}echo half > half.txt && git add -A && git commit -qm mine && echo more > more.txt"
        await hf.command(["sh", "-c", shell], timeout="20s", cwd=session.directory, check=True)

    assert project.drive(commits, sessions_max=1).end is End.ENOUGH
    assert (git(tree, "rev-parse", "HEAD"), git(tree, "branch", "--show-current")) == (begin, "main")
    assert git(tree, "status", "--porcelain") == ""
    [ended] = project.board.ended
    assert (ended.outcome, ended.branch) == ("partial", "holdfast/wip/session-1")
    assert git(tree, "show", f"{ended.branch}:half.txt") == "half" and git(tree, "show", f"{ended.branch}:more.txt")


@pytest.mark.parametrize("also", ["", "git checkout -q -b mine && "])
def test_what_an_agent_committed_by_itself_stays_when_the_check_passes(tree: Path, also: str) -> None:
    """Lost otherwise: work that is done, or the branch that the project is on."""
    project = Built(tree, listed("one"))

    async def commits(run: hf.Run, session: hf.Session) -> None:
        shell = f"{also}echo one > one.txt && git add -A && git commit -qm mine"
        await hf.command(["sh", "-c", shell], timeout="20s", cwd=session.directory, check=True)

    assert project.drive(commits).end is End.COMPLETE
    assert git(tree, "branch", "--show-current") == "main" and git(tree, "log", "--format=%s").splitlines()[0] == "mine"
    assert project.board.items["one"].proof.commit == git(tree, "rev-parse", "HEAD")  # type: ignore[union-attr]


def test_an_agent_that_raises_after_its_own_commits_leaves_none_on_the_branch(tree: Path) -> None:
    """Lost otherwise: the same, when nobody was left to end the session."""
    project = Built(tree, listed("one"))
    begin = git(tree, "rev-parse", "HEAD")

    async def raises(run: hf.Run, session: hf.Session) -> None:
        (session.directory / "half.txt").write_text("half", "utf-8")
        git(session.directory, "add", "-A")
        git(session.directory, "commit", "-qm", "mine")
        raise ValueError("no idea")

    project.drive(raises, sessions_max=1)
    [ended] = project.board.ended
    assert git(tree, "rev-parse", "HEAD") == begin and ended.branch == "holdfast/wip/session-1"
    assert git(tree, "show", f"{ended.branch}:half.txt") == "half"


def test_what_was_proven_stays_when_the_agent_raises_after_it(tree: Path) -> None:
    """Lost otherwise: a feature that passes without its code, or code that passed."""
    project = Built(tree, listed("one"))

    async def raises(run: hf.Run, session: hf.Session) -> None:
        await writes(run, session)
        assert await session.done()
        (session.directory / "half.txt").write_text("half", "utf-8")
        raise ValueError("one too many")

    assert project.drive(raises).end is End.COMPLETE
    assert git(tree, "log", "--format=%s").splitlines() == ["one: the file one.txt", "begin"]
    [ended] = project.board.ended
    assert git(tree, "show", f"{ended.branch}:half.txt") == "half" and git(tree, "status", "--porcelain") == ""


def test_code_that_is_gone_is_found_and_built_again(tree: Path) -> None:
    """Lost otherwise: "all features pass", of code that a reset has thrown away."""
    project = Built(tree, listed("one", "two"))
    project.drive(writes)
    git(tree, "reset", "-q", "--hard", "HEAD~2")
    outcome = project.drive(writes)
    assert (outcome.end, outcome.sessions) == (End.COMPLETE, 2) and (tree / "two.txt").exists()


def test_a_check_that_a_person_has_changed_is_frozen_again_before_it_counts(tmp_path: Path) -> None:
    """Lost otherwise: a better check, undone without a word."""
    tree = repository(tmp_path / "tree", **{"check.sh": "test -f one.txt\n"})
    project = Built(
        tree, [{"id": "one", "description": "a", "check": {"command": "sh check.sh", "pins": ["check.sh"]}}]
    )
    project.drive(writes)
    (tree / "check.sh").write_text("test -s one.txt\n", "utf-8")
    git(tree, "commit", "-qam", "a better check")
    with pytest.raises(hf.UsageError, match=r"check\.sh.*Freeze the list again"):
        project.drive(writes)
    assert git(tree, "status", "--porcelain") == ""
    project.alone(lambda opened: opened.freeze([opened.feature("one")], by="ada"))
    assert project.drive(writes).end is End.COMPLETE


def test_a_person_who_let_it_go_on_is_asked_again_in_the_same_process(tree: Path) -> None:
    """Lost otherwise: the second question, to an error of ours."""
    project = Built(tree, listed("one"))
    first = project.drive(claims)

    async def go_on(opened: Project) -> None:
        head = opened.journal.head(first.run)
        assert head is not None and "code 1" in head.questions[0].text and isinstance(opened._app, hf.App)
        await opened._app.answer(first.run, head.questions[0].id, "go on", by="ada")

    project.alone(go_on)
    second = project.drive(claims)
    assert (second.end, second.sessions) == (End.NO_PROGRESS, 3) and second.run != first.run


def test_the_brief_of_a_session_does_not_speak_of_it_as_another_one(tree: Path) -> None:
    """Lost otherwise: an agent that waits for itself, or starts the harness within the harness."""
    project = Built(tree, listed("one"))
    seen = []

    async def reads(run: hf.Run, session: hf.Session) -> None:
        seen.append(session.brief)
        await writes(run, session)

    project.drive(reads)
    assert "this is session 1: it holds one" in seen[0] and "project run AGENT" not in seen[0]


def test_a_project_that_was_moved_is_where_it_is(tmp_path: Path) -> None:
    """Lost otherwise: its record, to a path that is not there any more."""
    tree = repository(tmp_path / "tree")
    store = f"sqlite:///{tree / '.git' / 'holdfast' / 'holdfast.db'}"
    (tree / ".git" / "holdfast").mkdir()
    hf.Project.init(store, features(listed("one")), by="ada", directory=tree)
    tree.rename(tmp_path / "moved")
    assert hf.Project.store_of(tmp_path / "moved") == store.replace("/tree/", "/moved/")


def test_what_a_person_has_changed_stays_when_a_session_was_refused_for_it(tree: Path) -> None:
    """Lost otherwise: their work, put on a branch of the session's, right after "they are as they were"."""
    project = Built(tree, listed("one"))
    (tree / "mine.txt").write_text("mine", "utf-8")

    async def refused() -> None:
        app = hf.App(project.store)

        @hf.agent
        async def mine(run: hf.Run, given: str) -> None:
            async with hf.Project(app, tree).session(run):
                pass

        async with app:
            with pytest.raises(hf.RunError, match=r"mine\.txt"):
                await app.run(mine, "x", key="mine")

    asyncio.run(refused())
    with pytest.raises(hf.UsageError, match=r"mine\.txt"):
        project.drive(writes)
    assert (tree / "mine.txt").read_text("utf-8") == "mine" and git(tree, "branch", "--list", "holdfast/*") == ""


def test_a_session_of_somebody_elses_run_is_waited_for_and_not_begun_again(tree: Path) -> None:
    """Lost otherwise: a processor, and the log, to a loop."""
    project = Built(tree, listed("one"))

    async def waits() -> str:
        app = hf.App(project.store)

        @hf.agent
        async def mine(run: hf.Run, given: str) -> None:
            async with hf.Project(app, tree).session(run):
                await run.ask("May I?", options=["yes"])

        async with app:
            with pytest.raises(hf.RunError):
                await app.run(mine, "x", key="mine", wait="0s")
            return app.journal.heads(key="mine")[0].run_id

    run = asyncio.run(waits())
    outcome = project.drive(writes)
    assert (outcome.end, outcome.run, outcome.sessions) == (End.WAITING, run, 0)


def test_a_session_that_was_settled_touches_the_tree_no_more(tree: Path) -> None:
    """Lost otherwise: the next session's half work, in a commit of the one that is over."""
    project = Built(tree, listed("one", "two"))
    fails = [True]

    async def shaky(run: hf.Run, session: hf.Session) -> None:
        if fails.pop() if fails else False:
            raise ValueError("once")
        (session.directory / "one.txt").write_text("late", "utf-8")
        await session.done()

    first = project.drive(shaky, sessions_max=1)
    assert first.end is End.ENOUGH
    [ended] = project.board.ended

    async def again() -> None:
        app = hf.App(project.store, settings=QUICK, serves=False)
        async with app:
            agent = hf.agent(name="builder", budget=hf.Budget(tool_calls=500))(shaky)
            opened = Project(app, tree)
            await app.resume(ended.run, by="ada")
            with pytest.raises(hf.RunError, match="was ended"):
                await app.run(working(opened, agent), {"project": "sample", "session": 1}, key="sample/session-1")

    asyncio.run(again())
    assert project.states() == {"one": "open", "two": "open"} and git(tree, "log", "--format=%s") == "begin"


def test_nothing_of_a_settled_session_is_done_any_more(tree: Path) -> None:
    """Lost otherwise: the same, whichever of its steps it comes to first."""
    project = Built(tree, listed("one"))
    project.drive(claims, sessions_max=1)
    [ended] = project.board.ended

    def goes_on(opened: Project) -> None:
        routine, facts = Routine(opened, ended.run), opened.feature("one").facts()
        (tree / "one.txt").write_text("late", "utf-8")
        began = {"commit": ended.commit, "branch": "main"}
        for step in (
            routine.look,
            lambda: routine.ready(facts),
            lambda: routine.commit(1, facts, began, opened.git.tree(), idempotency_key="k1"),
            lambda: routine.end(1, True, "main", ended.commit, idempotency_key="k2"),
        ):
            with pytest.raises(hf.UsageError, match="was ended"):
                step()

    project.alone(goes_on)
    assert git(tree, "log", "--format=%s") == "begin" and (tree / "one.txt").read_text("utf-8") == "late"


def test_nobody_else_settles_while_one_does(tree: Path) -> None:
    """Lost otherwise: a tree that one puts aside while another one begins to work in it."""
    project = Built(tree, listed("one"))

    async def fails(run: hf.Run, session: hf.Session) -> None:
        (session.directory / "half.txt").write_text("half", "utf-8")
        raise ValueError("no idea")

    held = []

    class Looks(Git):
        def take_back(self, *given: Any, **more: Any) -> str:
            with (tree / ".git/holdfast/settling.lock").open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    held.append(True)
            return super().take_back(*given, **more)

    async def left() -> None:
        app = hf.App(project.store, settings=QUICK, serves=False)
        async with app:
            opened = Project(app, tree)
            opened.record.begin(opened.place.id, message_id="m", by="test")
            agent = working(opened, hf.agent(name="builder", budget=hf.Budget(tool_calls=500))(fails))
            with pytest.raises(hf.RunError, match="no idea"):
                await app.run(agent, {"project": "sample", "session": 1}, key="sample/session-1")
            opened.git = Looks(tree, views.NAMES)
            assert opened.settle() == [1]

    asyncio.run(left())
    assert held == [True] and not (tree / "half.txt").exists()


def test_views_of_two_trees_are_each_as_old_as_their_own_last_session(tree: Path) -> None:
    """Lost otherwise: "rolled back" is said of views that nobody has touched, until nobody believes it any more."""
    project = Built(tree, listed("one", "two", "three"))
    git(tree, "worktree", "add", "-q", "-b", "other", str(tree.parent / "second"))
    second = Built.of(tree.parent / "second", project)
    for each in (project, second, project):
        each.drive(writes, sessions_max=1)
    second.alone(lambda opened: opened.settle())
    assert len(set(project.board.revisions.values())) == 2
    second.drive(writes, sessions_max=1)
    assert [ended.outcome for ended in project.board.ended] == ["passed"] * 3 and project.board.edited == ()


def ended_from_elsewhere(tree: Path, body: Callable[[hf.Session], None]) -> tuple[Built, Path]:
    """A project with a second working tree, in which a session has failed that the first one has then settled."""
    project = Built(tree, listed("one", "two"))
    second = tree.parent / "second"
    git(tree, "worktree", "add", "-q", "-b", "other", str(second))

    async def fails(run: hf.Run, session: hf.Session) -> None:
        body(session)
        raise ValueError("no idea")

    async def in_the_second() -> None:
        app = hf.App(project.store, settings=QUICK, serves=False, clock=project.clock)
        async with app:
            opened = Project(app, second)
            opened.record.begin(opened.place.id, message_id="m", by="test")
            agent = working(opened, hf.agent(name="builder", budget=hf.Budget(tool_calls=500))(fails))
            with pytest.raises(hf.RunError, match="no idea"):
                await app.run(agent, {"project": "sample", "session": 1}, key="sample/session-1")

    asyncio.run(in_the_second())
    assert project.alone(lambda opened: opened.settle()) == [1]
    assert [left.number for left in project.board.left.values()] == [1] and not project.board.sessions
    return project, second


def test_what_a_session_has_left_in_another_tree_is_put_aside_there(tree: Path) -> None:
    """Lost otherwise: every further session in that tree, until a person finds out whose changes these are."""

    def half(session: hf.Session) -> None:
        (session.directory / "half.txt").write_text("half", "utf-8")
        git(session.directory, "rm", "-q", "readme.txt")
        git(session.directory, "commit", "-qm", "of the agent's own")

    project, second = ended_from_elsewhere(tree, half)
    there = Built.of(second, project)
    assert "session 1 was ended from elsewhere" in there.alone(lambda opened: opened.brief())
    outcome = there.drive(writes, sessions_max=1)
    assert outcome.end is End.ENOUGH, outcome
    first, last = project.board.ended
    assert (first.branch, last.outcome) == ("holdfast/wip/session-1", "passed") and not project.board.left
    assert git(tree, "show", f"{first.branch}:half.txt") == "half" and not (second / "half.txt").exists()
    assert git(second, "log", "--format=%s") == "two: the file two.txt\nbegin", "its own commits, too"


class Ahead(SystemClock):
    """Of a store on a machine whose clock is an hour ahead of ours."""

    def now(self) -> float:
        return super().now() + 3_600


AHEAD = "a store that is ahead"


CHANGES = ("a new file", "a file that is gone", "a commit", "another one's file moved here", AHEAD)


@pytest.mark.parametrize("how", CHANGES)
def test_what_a_person_has_changed_since_is_not_taken_for_that_sessions(
    tree: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost otherwise: an hour of theirs, on a branch that says that a session has left it unfinished."""

    def half(session: hf.Session) -> None:
        (session.directory / "half.txt").write_text("half", "utf-8")

    old = tree.parent / "old.txt"
    old.write_text("old", "utf-8")
    if how == AHEAD:
        monkeypatch.setattr(Built, "clock", Ahead())
    project, second = ended_from_elsewhere(tree, half)
    before = (second / "half.txt").stat().st_mtime
    match how:
        case "a new file" | "a store that is ahead":
            (second / "mine.txt").write_text("mine", "utf-8")
        case "a file that is gone":
            (second / "readme.txt").unlink()
        case "another one's file moved here":
            old.rename(second / "mine.txt")
        case _:
            git(second, "add", "-A")
            later = {**os.environ, "GIT_COMMITTER_DATE": f"{before + 5:.0f} +0000"}
            subprocess.run(["git", "commit", "-qm", "mine"], cwd=second, env=later, check=True)
    seen = (git(second, "status", "--porcelain"), git(second, "log", "--format=%s"))
    there = Built.of(second, project)
    if how == "a commit":
        assert there.drive(writes, sessions_max=1).end is End.ENOUGH
        assert git(second, "log", "--format=%s").splitlines()[1:] == ["mine", "begin"]
        return
    with pytest.raises(hf.UsageError, match="no session has made"):
        there.drive(writes, sessions_max=1)
    assert (git(second, "status", "--porcelain"), git(second, "log", "--format=%s")) == seen


def test_a_program_of_a_session_gives_no_orders(tree: Path) -> None:
    """Lost otherwise: a coding agent freezes an easier list, or the same one so that nobody is asked."""
    project = Built(tree, listed("one"))
    (tree.parent / "easy.json").write_text('[{"id": "one", "description": "a", "check": "true"}]', "utf-8")
    orders = (
        f"{sys.executable} -m holdfast.cli project init ../easy.json; {sys.executable} -m holdfast.cli project resume"
    )
    command = [sys.executable, "-m", "holdfast.cli", "project", "run", "--sessions", "1", "--", "sh", "-c", orders]
    done = warm.run(command, cwd=tree, timeout=60)
    assert done.returncode == 75, done.stderr
    assert project.board.items["one"].feature.check.target == "test -f one.txt" and project.board.idle == 1
    log = (tree / ".git" / "holdfast" / "session-1.log").read_text("utf-8")
    assert log.count("is not its own to change") == 2


def test_the_same_list_again_is_no_progress(tree: Path) -> None:
    """Lost otherwise: the end of a loop that freezes what is frozen."""
    project = Built(tree, listed("one"))
    project.drive(claims, sessions_max=2)
    project.alone(lambda opened: opened.freeze(features(listed("one")), by="ada"))
    assert project.board.idle == 2
    project.alone(lambda opened: opened.freeze(features(listed("one", "two")), by="ada"))
    assert project.board.idle == 0


def test_what_init_makes_is_the_agents_to_have(tmp_path: Path) -> None:
    """Lost otherwise: what was made ready, put aside as half of an attempt that never was."""
    tree = repository(tmp_path / "tree", **{"init.sh": "echo ready > made.txt\n"})
    project = Built(tree, listed("one"))
    command = [sys.executable, "-m", "holdfast.cli", "project", "run", "--", "sh", "-c", "cp made.txt one.txt"]
    done = warm.run(command, cwd=tree, timeout=60)
    assert done.returncode == 0, done.stderr
    assert git(tree, "branch", "--list", "holdfast/*") == "" and (tree / "one.txt").read_text("utf-8") == "ready\n"
    assert project.states() == {"one": "passing"}


def test_a_list_that_changes_while_a_session_waits_does_not_change_its_record(tree: Path) -> None:
    """Lost otherwise: the session, which would hang on a check that is not the recorded one."""
    project = Built(tree, listed("one"))

    async def asks(run: hf.Run, session: hf.Session) -> None:
        await session.done()
        await run.ask("May I?", options=["yes"])
        await writes(run, session)

    waiting = project.drive(asks)
    assert waiting.end is End.WAITING
    other = [{"id": "one", "description": "another", "check": "command:test -s one.txt"}]
    project.alone(lambda opened: opened.freeze(features(other), by="ada"))

    async def answer(opened: Project) -> None:
        head = opened.journal.head(waiting.run)
        assert head is not None and isinstance(opened._app, hf.App)
        await opened._app.answer(waiting.run, head.questions[0].id, "yes", by="ada")

    project.alone(answer)
    outcome = project.drive(asks, sessions_max=1)
    assert outcome.end is End.ENOUGH and project.board.ended[-1].outcome == "partial"  # its check was another one
