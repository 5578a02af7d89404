"""Files that a check is made of are what they were when it runs. Each test says what would be lost."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from tests.memory.conftest import Tree

from holdfast.errors import UsageError
from holdfast.memory.git import Git
from holdfast.memory.pins import pinned, put_back

PINS = ("sub/b.txt", "run.sh")


def folder_is_a_link(tree: Tree, outside: Path) -> None:
    shutil.copytree(tree.path / "sub", outside)
    (outside / "b.txt").write_text("easy\n")
    shutil.rmtree(tree.path / "sub")
    (tree.path / "sub").symlink_to(outside)


def folder_is_a_file(tree: Tree, outside: Path) -> None:
    shutil.rmtree(tree.path / "sub")
    tree.write("sub", "file\n")


def is_a_link(tree: Tree, outside: Path) -> None:
    outside.write_text("two\n")
    (tree.path / "sub/b.txt").unlink()
    (tree.path / "sub/b.txt").symlink_to(outside)


def is_a_pipe(tree: Tree, outside: Path) -> None:
    (tree.path / "sub/b.txt").unlink()
    os.mkfifo(tree.path / "sub/b.txt")


def is_a_directory(tree: Tree, outside: Path) -> None:
    (tree.path / "sub/b.txt").unlink()
    tree.write("sub/b.txt/kept", "x")


ATTACKS = {
    "edited": lambda tree, outside: tree.write("sub/b.txt", "easy\n"),
    "removed": lambda tree, outside: shutil.rmtree(tree.path / "sub"),
    "a link": is_a_link,
    "a pipe": is_a_pipe,
    "a directory": is_a_directory,
    "its folder a link": folder_is_a_link,
    "its folder a file": folder_is_a_file,
    "executable": lambda tree, outside: (tree.path / "sub/b.txt").chmod(0o755),
    "another name of it": lambda tree, outside: os.link(tree.path / "sub/b.txt", outside),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_pinned_file_is_put_back(tree: Tree, tmp_path: Path, attack: str) -> None:
    """An agent makes a test easy instead of the program right."""
    git = Git(tree.path)
    pins = pinned(PINS, git)
    assert put_back(pins, git) == []
    ATTACKS[attack](tree, tmp_path / "outside")
    assert put_back(pins, git) == ["sub/b.txt"]
    path = tree.path / "sub/b.txt"
    assert path.read_text() == "two\n" and not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o644
    assert not (tree.path / "sub").is_symlink()
    assert put_back(pins, git) == []


def test_a_script_stays_executable(tree: Tree) -> None:
    """A check that is a script cannot be started after it was put back."""
    git = Git(tree.path)
    pins = pinned(PINS, git)
    (tree.path / "run.sh").chmod(0o644)
    assert put_back(pins, git) == ["run.sh"] and os.access(tree.path / "run.sh", os.X_OK)


def test_what_cannot_be_pinned_or_put_back_is_said(tree: Tree) -> None:
    """A check runs although nobody knows what it was."""
    git = Git(tree.path)
    (tree.path / "link").symlink_to("a.txt")
    for name, what in (("nowhere", "missing"), ("sub", "a directory"), ("link", "a symbolic link")):
        with pytest.raises(UsageError, match=what):
            pinned([name], git)
    with pytest.raises(UsageError, match="is gone from the repository"):
        put_back({"a.txt": "0" * 40}, git)
