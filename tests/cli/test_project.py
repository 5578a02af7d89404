"""`holdfast project` as a person types it: init, run, and a list that an agent drafts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import warm
from tests.memory.sessions import git, repository

from holdfast.testing.postgres_server import PostgresServer

AGENTS = """
import holdfast as hf

def there(directory):
    return (directory / "one.txt").exists()

checks = {"there": there}

@hf.agent
async def build(run: hf.Run, session: hf.Session) -> None:
    (session.directory / "one.txt").write_text("one")

@hf.agent
async def idle(run: hf.Run, session: hf.Session) -> None:
    pass

@hf.agent
async def plan(run: hf.Run, wish: str) -> list:
    return [{"id": "one", "description": wish, "check": {"python": "there", "in_tree": wish == "in the tree"}}]
"""


def holdfast(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One command."""
    return warm.run([sys.executable, "-m", "holdfast.cli", *words], cwd=tree, timeout=60)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository, and beside it an agent and a list."""
    (tmp_path / "agent.py").write_text(AGENTS, "utf-8")
    (tmp_path / "spec.json").write_text(
        json.dumps([{"id": "one", "description": "a", "check": "python:there"}]), "utf-8"
    )
    (tmp_path / "shell.json").write_text('[{"id": "one", "description": "a", "check": "test -f one.txt"}]', "utf-8")
    return repository(tmp_path / "tree")


def test_init_run_and_run_again(tree: Path) -> None:
    """Lost otherwise: the two minutes that a reader gives it."""
    made = holdfast(tree, "project", "init", "../spec.json", "--by", "ada")
    assert made.returncode == 0 and "1 features, frozen by ada" in made.stderr and "one  a" in made.stdout
    assert git(tree, "status", "--porcelain") == ""
    done = holdfast(tree, "project", "run", "../agent.py:build", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["end"], told["sessions"], told["features"]) == ("complete", 1, {"passing": 1, "all": 1})
    assert "[####################] 1 of 1 pass · session 1 · one passed" in done.stderr
    again = json.loads(holdfast(tree, "project", "run", "../agent.py:build", "--json").stdout)
    assert (again["end"], again["sessions"], again["exit"]) == ("complete", 0, 0)
    assert (
        "1 of 1" in holdfast(tree, "project", "status").stdout or "All 1" in holdfast(tree, "project", "status").stdout
    )


def test_what_a_check_may_need_is_named_and_kept_where_it_is_declared(tree: Path) -> None:
    """Lost otherwise: an hour, by everyone whose check is a program of node_modules."""
    program = tree / "node_modules" / "tool"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\ntest -f one.txt\n", "utf-8")
    program.chmod(0o755)
    (tree / ".gitignore").write_text("node_modules\n", "utf-8")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "ignored")
    listed = {"features": [{"id": "one", "description": "a", "check": {"command": "node_modules/tool"}}]}
    (tree.parent / "list.json").write_text(json.dumps(listed), "utf-8")
    made = holdfast(tree, "project", "init", "../list.json")
    assert "keep = [...]" in made.stderr and "node_modules" in made.stderr, made.stderr
    listed["checks"] = {"keep": ["node_modules"]}  # type: ignore[assignment]
    (tree.parent / "list.json").write_text(json.dumps(listed), "utf-8")
    assert "keep" not in holdfast(tree, "project", "init", "../list.json").stderr
    assert 'beside "node_modules" of the working tree' in holdfast(tree, "project", "brief").stdout
    done = holdfast(tree, "project", "run", "../agent.py:build")
    assert done.returncode == 0, done.stderr


def test_what_is_wrong_is_said_with_what_to_do(tree: Path, tmp_path: Path) -> None:
    """Lost otherwise: whoever makes a mistake in the first minute."""
    none = holdfast(tree, "project", "run", "../agent.py:build")
    assert none.returncode == 3 and "holdfast project init" in none.stderr
    bare = tmp_path / "bare"
    bare.mkdir()
    outside = holdfast(bare, "project", "init", "../spec.json")
    assert outside.returncode == 3 and "git" in outside.stderr
    git(bare, "init", "-q")
    empty = holdfast(bare, "project", "init", "../spec.json")
    assert empty.returncode == 2 and "no commit yet" in empty.stderr
    assert not (bare / ".git" / "holdfast" / "project.json").exists()
    (tmp_path / "bad.json").write_text('[{"id": "one", "description": "a"}]', "utf-8")
    bad = holdfast(tree, "project", "init", "../bad.json")
    assert bad.returncode == 2 and "has no check" in bad.stderr
    (tree / "features.json").write_text("[]", "utf-8")
    taken = holdfast(tree, "project", "init", "../spec.json")
    assert taken.returncode == 2 and "features.json" in taken.stderr and (tree / "features.json").read_text() == "[]"
    (tree / "features.json").unlink()
    assert holdfast(tree, "project", "init", "../spec.json").returncode == 0
    nobody = holdfast(tree, "project", "run")
    assert nobody.returncode == 2 and "Who is to work" in nobody.stderr


def test_without_progress_it_exits_with_5_and_says_how_to_go_on(tree: Path) -> None:
    """Lost otherwise: the loop that the bill stops."""
    holdfast(tree, "project", "init", "../spec.json")
    stuck = holdfast(tree, "project", "run", "../agent.py:idle", "--json", "--wait", "0s")
    told = json.loads(stuck.stdout)
    assert (stuck.returncode, told["end"], told["sessions"]) == (5, "no_progress", 3), stuck.stderr
    answer = next(line.split("holdfast ", 1)[1] for line in stuck.stderr.splitlines() if "'go on'" in line)
    words = [*answer.replace("'go on'", "go_on").split()]
    words[words.index("go_on")] = "stop"
    answered = holdfast(tree, *words)
    assert answered.returncode == 0, (words, answered.stderr)
    stopped = holdfast(tree, "project", "run", "../agent.py:build", "--wait", "0s")
    assert stopped.returncode == 6 and "stopped" in stopped.stderr
    assert "stopped" in holdfast(tree, "project", "brief").stdout and "holdfast project resume" in stopped.stderr
    assert holdfast(tree, "project", "resume", "--by", "ada").returncode == 0
    assert holdfast(tree, "project", "run", "../agent.py:build").returncode == 0
    assert holdfast(tree, "project", "stop", "--why", "enough").returncode == 0


def test_a_command_that_is_not_there_begins_nothing(tree: Path) -> None:
    """Lost otherwise: a typo that becomes a question about what may have happened."""
    holdfast(tree, "project", "init", "../shell.json")
    typo = holdfast(tree, "project", "run", "--", "no-such-agent", "--x")
    assert typo.returncode == 2 and "no program 'no-such-agent'" in typo.stderr
    assert json.loads(holdfast(tree, "project", "status", "--json").stdout)["sessions"] == []
    python = holdfast(tree, "project", "init", "../spec.json")
    assert python.returncode == 0
    lacking = holdfast(tree, "project", "run", "--", "true")
    assert lacking.returncode == 2 and "python:there" in lacking.stderr


def test_a_shells_words_in_a_check_are_refused(tree: Path, tmp_path: Path) -> None:
    """Lost otherwise: a check that always passes, since `&&` is only a word to echo."""
    (tmp_path / "bad.json").write_text('[{"id": "a", "description": "b", "check": "echo hi && false"}]', "utf-8")
    refused = holdfast(tree, "project", "init", "../bad.json")
    assert refused.returncode == 2 and "without a shell" in refused.stderr


def test_a_drafted_list_is_frozen_by_a_person_and_not_before(tree: Path) -> None:
    """Lost otherwise: an agent writes its own exam, and commands that nobody has read run on this machine."""
    asked = holdfast(tree, "project", "init", "--draft", "../agent.py:plan", "a file")
    assert asked.returncode == 5 and "Freeze this list of 1 features" in asked.stderr, asked.stderr
    before = holdfast(tree, "project", "run", "../agent.py:build")
    assert before.returncode == 75 and "no list is frozen" in before.stderr
    answer = next(
        line.split("holdfast ", 1)[1].split() for line in asked.stderr.splitlines() if line.endswith(" freeze")
    )
    assert holdfast(tree, *answer, "--by", "ada").returncode == 0
    assert "one: a file [python: there]" in asked.stderr
    frozen = holdfast(tree, "project", "init", "--draft", "../agent.py:plan", "a file")
    assert frozen.returncode == 0 and "frozen by ada" in frozen.stderr, frozen.stderr
    assert holdfast(tree, "project", "run", "../agent.py:build").returncode == 0


def test_what_a_drafted_check_is_to_see_is_shown_to_the_person_who_freezes_it(tree: Path) -> None:
    """Lost otherwise: an agent that drafts its own list has its checks look at what no commit has."""
    asked = holdfast(tree, "project", "init", "--draft", "../agent.py:plan", "in the tree")
    told = " ".join(asked.stderr.split())
    assert "[python: there, in the working tree with all that git ignores]" in told, told
    [question] = json.loads(holdfast(tree, "inbox", "--json").stdout)["questions"]
    shown = " ".join(holdfast(tree, "inbox", "show", question["id"]).stdout.split())
    assert "in the working tree" in shown, shown


LONG_AGO = "2020-01-01T00:00:00Z"


def test_old_unfinished_work_is_named_with_how_it_goes_and_nothing_removes_it(tree: Path) -> None:
    """Lost otherwise: a branch of each failed session, for ever; or work that somebody wanted."""
    holdfast(tree, "project", "init", "../shell.json", "--by", "ada")
    chosen = "x;touch${IFS}done"
    for name, at in (("session-7", LONG_AGO), ("session-8", ""), (chosen, LONG_AGO)):
        tip = git(tree, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "x", at=at)
        git(tree, "branch", f"holdfast/wip/{name}", tip)
    told = " ".join(holdfast(tree, "project", "status").stdout.split())
    assert f"git branch -D -- holdfast/wip/session-7 'holdfast/wip/{chosen}'" in told, "an agent may choose a name"
    assert "session-8" not in told
    listed = json.loads(holdfast(tree, "project", "status", "--json").stdout)["put_aside"]
    assert [(each["branch"], each["is_old"]) for each in listed] == [
        ("holdfast/wip/session-7", True),
        ("holdfast/wip/session-8", False),
        (f"holdfast/wip/{chosen}", True),
    ]
    assert "session-7" in git(tree, "branch", "--list", "holdfast/wip/*")


# --- on Postgres -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Path:
    """A project whose record is in Postgres: one feature passes, of the other one a session has come to nothing."""
    home = tmp_path_factory.mktemp("postgres")
    (home / "agent.py").write_text(AGENTS, "utf-8")
    listed = [
        {"id": name, "description": f"makes {name}", "check": f"command:test -f {name}.txt"} for name in ("one", "two")
    ]
    (home / "list.json").write_text(json.dumps(listed), "utf-8")
    tree = repository(home / "tree")
    url = postgres.url(f"project_{os.getpid()}")
    assert holdfast(tree, "project", "init", "../list.json", "--by", "ada", "--store", url).returncode == 0
    done = holdfast(tree, "project", "run", "../agent.py:build", "--sessions", "2")
    assert done.returncode == 75 and "1 of 2 features pass" in done.stderr, done.stderr
    return tree


def test_the_brief_of_a_project_on_postgres(on_postgres: Path) -> None:
    """Lost otherwise: what the next session is told, for everyone whose store is a server."""
    told = holdfast(on_postgres, "project", "brief")
    assert told.returncode == 0, told.stderr
    for said in (
        "1 of 2 features pass, 1 open",
        "feature two",
        "- two, session 2",
        "exit code 1",
        "this working tree is",
    ):
        assert said in told.stdout, told.stdout
    short = holdfast(on_postgres, "project", "brief", "--tokens", "300").stdout
    assert len(short.encode()) <= 900 and "Left out, for want of room" in short


def test_the_status_of_a_project_on_postgres(on_postgres: Path) -> None:
    """Lost otherwise: the same for whoever looks at it, and for programs."""
    told = holdfast(on_postgres, "project", "status")
    assert told.returncode == 0 and "1 of 2 features pass" in told.stdout and "passing" in told.stdout, told.stderr
    listed = json.loads(holdfast(on_postgres, "project", "status", "--json").stdout)
    assert [(each["id"], each["state"], each["tried"]) for each in listed["features"]] == [
        ("one", "passing", 0),
        ("two", "open", 1),
    ]
    assert listed["project"]["spent"]["tool_calls"] > 10 and listed["project"]["next"] == "two"
    assert [each["outcome"] for each in listed["ended"]] == ["passed", "failed"] and listed["sessions"] == []
