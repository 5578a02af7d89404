"""Unfinished work is put aside and nothing of it is lost, also when everything is killed in between."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.memory.conftest import Tree
from tests.memory.test_git import conflict

from holdfast.errors import UsageError
from holdfast.memory.git import Git
from holdfast.memory.message import trailers_of, written

KEY = {"Holdfast-Key": "shop/session-4", "Holdfast-Outcome": "partial"}
APART = ("view.md",)
Scene = Callable[[Tree], dict[str, bytes]]


# --- scenes: each leaves work in the tree, and gives what must not be lost ----------------------------------------


def plain(tree: Tree) -> dict[str, bytes]:
    """Changed, removed, new and staged files."""
    tree.write("a.txt", "changed\n")
    (tree.path / "sub/b.txt").unlink()
    tree.write("new/deep.txt", "new\n")
    tree.write("new/-odd\n.txt", "odd\n")
    tree.write("staged.txt", "staged\n")
    tree.git("add", "staged.txt")
    return {"a.txt": b"changed\n", "new/deep.txt": b"new\n", "new/-odd\n.txt": b"odd\n", "staged.txt": b"staged\n"}


def ignored_by_a_new_rule(tree: Tree) -> dict[str, bytes]:
    """Files that only the rules of the unfinished work ignore: they come to light when those have gone."""
    tree.write(".gitignore", "build/\n*.log\nsecret.txt\n")
    tree.write("secret.txt", "of worth\n")
    tree.write("a.txt", "changed\n")
    return {"secret.txt": b"of worth\n", "a.txt": b"changed\n", ".gitignore": b"build/\n*.log\nsecret.txt\n"}


def rebase(tree: Tree) -> dict[str, bytes]:
    """A rebase that stopped at a conflict."""
    conflict(tree, "rebase")
    return {"a.txt": (tree.path / "a.txt").read_bytes()} | plain_new(tree)


def merge(tree: Tree) -> dict[str, bytes]:
    """A merge that stopped at a conflict."""
    conflict(tree, "merge")
    return {"a.txt": (tree.path / "a.txt").read_bytes()} | plain_new(tree)


def plain_new(tree: Tree) -> dict[str, bytes]:
    """One new file."""
    tree.write("new.txt", "new\n")
    return {"new.txt": b"new\n"}


# --- the promise --------------------------------------------------------------------------------------------------


def put_aside(tree: Tree) -> str:
    """As a session does it."""
    return Git(tree.path, APART).quarantine("holdfast/wip/4", "Unfinished: adds", KEY)


def check(tree: Tree, name: str, kept: dict[str, bytes], main: str) -> None:
    """Everything is on that branch, nothing else is there, and the tree is that of main."""
    files = tree.files(name)
    assert {path: files.get(path) for path in kept} == kept
    assert trailers_of(tree.git("log", "-1", "--format=%B", name)) == KEY
    assert Git(tree.path, APART).dirty() == [] and Git(tree.path).under_way() == ""
    assert tree.git("symbolic-ref", "HEAD") == "refs/heads/main" and tree.git("rev-parse", "HEAD") == main
    branches = tree.git("for-each-ref", "--format=%(refname:short)", "refs/heads/holdfast").split()
    assert branches == [name]
    assert (tree.path / "view.md").read_text() == "rendered\n" and (tree.path / "build/x").read_text() == "x\n"


def prepared(tree: Tree, scene: Scene) -> tuple[dict[str, bytes], str]:
    """The scene, beside an ignored file and a rendered view that HEAD has in an older form."""
    tree.write("view.md", "older\n")
    tree.commit("with a view")
    kept = scene(tree)
    tree.write("view.md", "rendered\n")
    tree.write("build/x")
    return kept, tree.git("rev-parse", "main")


@pytest.mark.parametrize("scene", [plain, ignored_by_a_new_rule, rebase, merge])
def test_work_is_put_aside(tree: Tree, scene: Scene) -> None:
    """The work of a session is lost, or the next one begins in the middle of it."""
    kept, main = prepared(tree, scene)
    name = put_aside(tree)
    assert name == "holdfast/wip/4"
    check(tree, name, kept, main)
    assert put_aside(tree) == name, "called again it names the same branch"
    commits = tree.git("rev-list", f"main..{name}").split()
    assert len(commits) == (2 if scene in (ignored_by_a_new_rule, rebase) else 1)
    said = tree.git("log", "--format=%B", f"main..{name}")
    assert (f"A {scene.__name__} was under way" in said) == (scene in (rebase, merge))


SCENES = (plain, ignored_by_a_new_rule, rebase, merge)
SOME = [pytest.param(scene, 1 + at % 3, 3, id=scene.__name__) for at, scene in enumerate(SCENES)]
EACH = [pytest.param(scene, 1, 1, id=f"{scene.__name__}-each", marks=pytest.mark.proof) for scene in SCENES]


@pytest.mark.parametrize(("scene", "first", "every"), [*SOME, *EACH])
def test_killed_between_any_two_commands_nothing_is_lost(
    tree: Tree, tmp_path: Path, scene: Scene, first: int, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash while a tree is cleaned loses what was in it, makes a second branch, or leaves half of it for ever."""
    kept, main = prepared(tree, scene)
    start = tmp_path / "start"
    shutil.copytree(tree.path, start, symlinks=True)
    killer = Killer(tmp_path / "bin", monkeypatch)
    for number in range(first, 400, every):
        is_over = killer.at(number, lambda: put_aside(tree))
        name = put_aside(tree)
        check(tree, name, kept, main)
        size = len(tree.git("rev-list", f"main..{name}").split())
        assert size <= (2 if scene in (ignored_by_a_new_rule, rebase) else 1), number
        if is_over:
            assert number > 6, number
            return
        shutil.rmtree(tree.path)
        shutil.copytree(start, tree.path, symlinks=True)
    raise AssertionError("it never came to its end")


def test_a_commit_that_is_killed_between_any_two_commands(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash at the end of a session makes its commit twice, or never."""
    first, killer = tree.git("rev-parse", "HEAD"), Killer(tmp_path / "bin", monkeypatch)
    for number in range(1, 100):
        tree.git("reset", "-q", "--hard", first)
        kept = plain(tree)
        is_over = killer.at(number, lambda: Git(tree.path).commit("m", KEY))
        made = Git(tree.path).commit("m", KEY)
        files = tree.files(made)
        assert {path: files.get(path) for path in kept} == kept
        assert tree.git("rev-list", f"{first}..HEAD").split() == [made]
        assert tree.git("status", "--porcelain") == ""
        if is_over:
            assert number > 3, number
            return
    raise AssertionError("it never came to its end")


CHANGING = "*:commit-tree|*:update-ref|*:symbolic-ref|*:reset|*:rebase|:read-tree|:update-index"
"""What else is called reads, or works on a temporary index: to be killed there is to be killed before or after it."""


class Killer:
    """A `git` in PATH that kills whoever calls it to change something, the nth time, before it does."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self._at, self._count = folder / "at", folder / "count"
        real = shutil.which("git")
        script = folder / "git"
        script.write_text(
            f'#!/bin/sh\ncase "$GIT_INDEX_FILE:$1" in\n{CHANGING}) ;;\n*) exec {real} "$@";;\nesac\n'
            f"read n < {self._count}\nread at < {self._at}\nn=$((n+1))\necho $n > {self._count}\n"
            f'[ $n = $at ] && kill -9 $PPID && exit 1\nexec {real} "$@"\n'
        )
        script.chmod(0o755)
        self._path, self._patch = f"{folder}:{os.environ['PATH']}", monkeypatch

    def at(self, number: int, call: Callable[[], object]) -> bool:
        """Call in a process that is killed there; whether it came to its end before."""
        self._at.write_text(f"{number}\n")
        self._count.write_text("0\n")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.environ["PATH"] = self._path
                call()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, -signal.SIGKILL), code
        return code == 0


# --- what may be in the way ---------------------------------------------------------------------------------------


def test_a_clean_tree_is_left_alone(tree: Tree) -> None:
    """Each session that ended well leaves an empty branch behind."""
    tree.write("view.md", "rendered\n")
    tree.write("build/x")
    assert put_aside(tree) == ""
    assert tree.git("for-each-ref", "refs/heads/holdfast") == ""
    assert (tree.path / "view.md").exists()


def test_what_only_the_index_has_is_kept_too(tree: Tree) -> None:
    """What was staged, and changed again in the file, is gone with the index."""
    tree.write("a.txt", "staged\n")
    tree.write("gone.txt", "staged, and removed\n")
    tree.git("add", "-A")
    tree.write("a.txt", "then this\n")
    (tree.path / "gone.txt").unlink()
    name = put_aside(tree)
    assert tree.files(name)["a.txt"] == b"then this\n" and "gone.txt" not in tree.files(name)
    before = tree.files(f"{name}~1")
    assert before["a.txt"] == b"staged\n" and before["gone.txt"] == b"staged, and removed\n"
    assert tree.git("status", "--porcelain") == ""


def test_a_name_that_is_taken(tree: Tree) -> None:
    """The work of another session is overwritten, or the session cannot end."""
    tree.git("branch", "holdfast/wip/4")
    tree.write("new.txt", "1\n")
    assert put_aside(tree) == "holdfast/wip/4-2"
    tree.write("new.txt", "2\n")
    git, other = Git(tree.path), {"Holdfast-Key": "shop/session-5"}
    assert git.quarantine("holdfast/wip/4", "m", other) == "holdfast/wip/4-3"
    tree.write("new.txt", "3\n")
    assert git.quarantine("main/wip", "m", other) == "main-wip", "main is a branch, so it cannot be a folder"
    assert tree.files("main-wip")["new.txt"] == b"3\n"
    with pytest.raises(UsageError, match="no name of a branch"):
        git.quarantine("a..b", "m", KEY)


def test_a_detached_head(tree: Tree) -> None:
    """A brief of a tree on no branch cannot put anything aside, or moves a branch."""
    tree.git("checkout", "-q", "--detach")
    tree.write("new.txt", "1\n")
    head = tree.git("rev-parse", "HEAD")
    name = put_aside(tree)
    assert tree.files(name)["new.txt"] == b"1\n" and tree.git("rev-parse", "HEAD") == head
    assert tree.git("symbolic-ref", "-q", "HEAD", ok=False) == "" and Git(tree.path).dirty() == []


@pytest.mark.parametrize("verb", ["cherry-pick", "revert"])
def test_what_else_may_be_under_way(tree: Tree, verb: str) -> None:
    """The next session begins in the middle of a cherry-pick."""
    conflict(tree, verb)
    name = put_aside(tree)
    assert b"<<<<<<<" in tree.files(name)["a.txt"]
    assert Git(tree.path).under_way() == "" and Git(tree.path).dirty() == []
    assert f"A {verb} was under way" in tree.git("log", "-1", "--format=%B", name)


def test_a_rebase_that_stopped_in_a_clean_tree_keeps_what_it_has_rewritten(tree: Tree) -> None:
    """Commits that a rebase has made are on no branch when it is given up."""
    conflict(tree, "rebase")
    tree.write("a.txt", "both\n")
    tree.git("add", "a.txt")
    tree.git("-c", "core.editor=:", "commit", "-q", "-m", "rewritten")
    rewritten = tree.git("rev-parse", "HEAD")
    name = put_aside(tree)
    assert rewritten in tree.git("rev-list", name).split()
    assert tree.git("symbolic-ref", "HEAD") == "refs/heads/main" and Git(tree.path).under_way() == ""


def test_nested_repositories_are_left_as_they_are(tree: Tree) -> None:
    """A clone within the tree is removed with its history, or a commit points at one that nobody has."""
    for nested in ("empty", "full"):
        (tree.path / nested).mkdir()
        Tree(tree.path / nested).git("init", "-q")
    full = Tree(tree.path / "full")
    full.write("inner.txt", "theirs\n")
    full.commit()
    tree.write("new.txt", "1\n")
    assert Git(tree.path).dirty() == ["new.txt"]
    name = put_aside(tree)
    assert tree.files(name).keys() == {".gitignore", "a.txt", "new.txt", "run.sh", "sub/b.txt"}
    assert (full.path / "inner.txt").exists() and full.git("status", "--porcelain") == ""
    assert Git(tree.path).dirty() == []


def test_an_ignored_file_in_the_way_is_renamed_and_stays(tree: Tree) -> None:
    """Files that git ignores are overwritten, since HEAD has a file or a folder there."""
    tree.git("rm", "-q", "a.txt", "sub/b.txt")
    tree.write(".gitignore", "build/\n*.log\na.txt\nsub\n")
    tree.write("a.txt/inner", "ignored folder\n")
    tree.write("sub", "ignored file\n")
    put_aside(tree)
    assert (tree.path / "a.txt").read_text() == "one\n" and (tree.path / "sub/b.txt").read_text() == "two\n"
    found = {path.read_text() for path in tree.path.rglob("*") if path.is_file() and ".git" not in path.parts}
    stored = b"".join(tree.files("holdfast/wip/4").values()).decode()
    for text in ("ignored folder\n", "ignored file\n"):
        assert text in found or text in stored
    assert Git(tree.path).dirty() == []


def test_the_executable_bit(tree: Tree) -> None:
    """A script that was made executable comes back without it, or the tree never becomes clean."""
    (tree.path / "run.sh").chmod(0o644)
    tree.write("new.sh").chmod(0o755)
    name = put_aside(tree)
    assert tree.git("ls-tree", name, "run.sh", "new.sh").split()[::4] == ["100755", "100644"]
    assert os.access(tree.path / "run.sh", os.X_OK)


def test_somebody_who_goes_on_writing(tree: Tree) -> None:
    """A process of the agent that outlived it writes while the tree is cleaned, and what it wrote is lost."""
    over, written_ones = threading.Event(), []

    def write() -> None:
        for number in range(100_000):
            if over.is_set():
                return
            tree.write("a.txt", f"{number}\n")
            tree.write(f"more/{number % 50}.txt", f"{number}\n")
            written_ones.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        put_aside(tree)
    except OSError as told:
        assert "writing into" in str(told) or "ended with code" in str(told)
    finally:
        over.set()
        writer.join()
    name = put_aside(tree)
    assert Git(tree.path).dirty() == [] and tree.files(name)


def test_a_damaged_index_is_made_anew(tree: Tree) -> None:
    """A power cut that took the index with it ends all sessions of the project."""
    tree.write("new.txt", "1\n")
    (tree.path / ".git/index").write_bytes(b"DIRC garbage")
    assert Git(tree.path).dirty() == ["new.txt"]
    name = put_aside(tree)
    assert tree.files(name)["new.txt"] == b"1\n" and tree.git("status", "--porcelain") == ""


def test_trailers_are_read_as_they_are_written() -> None:
    """A quarantine does not know its own branch, or takes that of an agent which only writes about it."""
    text = written("Subject\n\nHoldfast-Key: forged", {"Holdfast-Key": "a\n b", "X-Y": "é"})
    assert trailers_of(text) == {"Holdfast-Key": "a b", "X-Y": "é"}
    assert trailers_of("x\n\nHoldfast-Key: a\nand text") == {}
    assert trailers_of("Holdfast-Key: a\n\nlast") == {} == trailers_of("")
    with pytest.raises(UsageError, match="no name of a trailer"):
        written("x", {"a: b": "c"})
