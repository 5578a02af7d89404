"""Where a project is: found by looking at files, in each working tree that git can make.

If these fail, a session works on another project than the one that somebody stands in, or nobody finds it.
"""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import NotFound, UsageError
from holdfast.memory import project
from holdfast.memory.place import Named, claim_name, named, place_of, write_name


def git(directory: Path, *arguments: str) -> None:
    """Run git there."""
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *who, *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A working tree with a commit."""
    made = tmp_path / "tree"
    made.mkdir()
    git(made, "init", "-q")
    git(made, "commit", "-q", "--allow-empty", "-m", "first")
    return made


def test_a_directory_below_and_a_link_to_it_are_the_same_place(tree: Path, tmp_path: Path) -> None:
    """Lost: one session per working tree: two of them would stand in one, under two names."""
    (tree / "src" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tree)
    place = place_of(tree)
    assert place.directory == tree and place.common == tree / ".git" and place.id.endswith(f":{tree}")
    assert place_of(tree / "src" / "deep") == place_of(tmp_path / "link") == place


def test_working_trees_of_one_repository_are_places_of_one_project(tree: Path, tmp_path: Path) -> None:
    """Lost: sessions side by side."""
    git(tree, "worktree", "add", "-q", str(tmp_path / "other"))
    one, two = place_of(tree), place_of(tmp_path / "other")
    assert one.common == two.common and one.config == two.config and one.id != two.id
    write_name(two, "calc", "sqlite:////x/h.db")
    assert named(one) == Named("calc", "sqlite:////x/h.db")


def test_a_submodule_is_a_place_of_its_own(tree: Path, tmp_path: Path) -> None:
    """Lost: a project inside another one's tree, taken for that one."""
    git(tmp_path, "init", "-q", "outer")
    git(tmp_path / "outer", "submodule", "add", "-q", str(tree), "inner")
    place = place_of(tmp_path / "outer" / "inner")
    assert place.directory == tmp_path / "outer" / "inner"
    assert place.common == tmp_path / "outer" / ".git" / "modules" / "inner"


def test_no_repository_no_project_and_no_directory_say_what_to_do(tree: Path, tmp_path: Path) -> None:
    """Lost: the first minute of somebody new."""
    for missing in (tmp_path, tree):
        with pytest.raises(NotFound, match="holdfast project init"):
            named(place_of(missing))
    with pytest.raises(NotFound, match="no directory"):
        place_of(tmp_path / "none")
    (tmp_path / ".git").write_text("nonsense")
    with pytest.raises(NotFound, match="no git repository"):
        place_of(tmp_path)


def test_git_touches_nothing_of_it(tree: Path) -> None:
    """Lost: the project, with a reset or a clean of an agent."""
    place = place_of(tree)
    write_name(place, "calc", "sqlite:////x/h.db")
    (tree / "a").write_text("a")
    for command in ("add -A", "commit -qm x", "reset -q --hard HEAD~1", "clean -qffdx", "gc -q --prune=now"):
        git(tree, *command.split())
    assert named(place).name == "calc"


def test_a_second_name_is_refused_and_another_store_of_the_same_is_not(tree: Path) -> None:
    """Lost: a project that is taken over by a typing mistake."""
    place = place_of(tree)
    write_name(place, "calc", "sqlite:////x/h.db")
    with pytest.raises(UsageError, match="'calc' already"):
        write_name(place, "clac", "sqlite:////x/h.db")
    write_name(place, "calc", "postgresql://db/x")
    assert named(place).store == "postgresql://db/x" and len([*place.config.parent.iterdir()]) == 1
    for name in ("", "Calc", "../calc", "a b", "a" * 81):
        with pytest.raises(UsageError, match="names no project"):
            write_name(place, name, "x")


def test_of_two_first_ones_at_once_one_names_the_project(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: the list of whoever was first: it is in a store that nothing names any more."""
    place = place_of(tree)
    mine, theirs = f"sqlite:///{tree.parent}/mine.db", f"sqlite:///{tree.parent}/theirs.db"
    was_open = project.open_journal

    def slow(url: str, **options: Any) -> Any:
        """Between the look and the name, somebody else is faster."""
        claim_name(place, "theirs", theirs)
        return was_open(url, **options)

    monkeypatch.setattr(project, "open_journal", slow)
    with pytest.raises(UsageError, match="Somebody else"), project.Project.opened(mine, tree, name="mine"):
        pytest.fail("it has another name")
    assert named(place) == Named("theirs", theirs)
    with project.Project.opened(theirs, tree, name="theirs") as same:
        assert same.name == "theirs"


def test_of_many_at_once_one_wins(tree: Path) -> None:
    """Lost: the same, within the moment in which the name is written."""
    place, begin = place_of(tree), threading.Barrier(8)
    won, lost = list[str](), list[str]()

    def claims(name: str) -> None:
        begin.wait()
        try:
            claim_name(place, name, "sqlite:////x/h.db")
            won.append(name)
        except UsageError:
            lost.append(name)

    threads = [threading.Thread(target=claims, args=(f"p{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(lost) == 7 and named(place).name == won[0]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "calc"}', '{"name": "../x", "store": "y"}', '{"name": 1}'])
def test_a_file_that_is_not_ours_is_said_so(text: str, tree: Path) -> None:
    """Lost: a traceback in place of a sentence."""
    place = place_of(tree)
    place.config.parent.mkdir()
    place.config.write_text(text)
    with pytest.raises(UsageError, match="names no project and store"):
        named(place)
