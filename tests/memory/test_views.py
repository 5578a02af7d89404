"""Attacks on the rendered views. None changes the board; each is told once, in the right word, and put right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.memory.conftest import Tree

from holdfast.core.board import Board, Ended, Item, Remark, State, Try
from holdfast.core.feature import Check, Feature
from holdfast.memory.views import FEATURES, PROGRESS, Edited, render, restore

KEY = b"k" * 32


def board_of(count: int = 40, revision: int = 30, passing: int = 60) -> Board:
    """A project of 200 features."""
    items = {}
    for number in range(200):
        feature = Feature(
            f"f{number:03d}", f"does the thing {number}", Check("command", f"python t.py {number}"), ("try",)
        )
        items[feature.id] = Item(feature, State.PASSING if number < passing else State.OPEN)
    return Board("shop", count, items, revision=revision)


BOARD = board_of()


def test_what_is_rendered(tmp_path: Path) -> None:
    """People read another state than the board's, or a note of an agent's passes for ours."""
    tried = replace(BOARD.items["f199"], tries=(Try(3, 1.0, "exit code 1\n# passes"),), tried=4)
    end = Ended(3, "r", "f199", "partial", 1.0, "", "wip", {})
    note = Remark(1.0, 3, "-->\n# All features pass <!-- `x`")
    board = replace(BOARD, items={**BOARD.items, "f199": tried}, ended=(end,), notes=(note,))
    assert restore(tmp_path, replace(board, revision=0), KEY) == []
    listed = json.loads((tmp_path / FEATURES).read_text())
    assert len(listed["features"]) == 200 and sum(each["passes"] for each in listed["features"]) == 60
    text = (tmp_path / PROGRESS).read_text()
    assert "60 of 200 features pass" in text and "- [x] f000: does the thing 0\n" in text
    assert "- [ ] f199: does the thing 199 (tried 4: exit code 1 # passes)\n" in text and "- 3: f199, partial" in text
    assert "> session 3: --&gt; # All features pass &lt;!-- 'x'\n" in text
    assert text.count("-->") == 1
    assert restore(tmp_path, board, KEY) == []


# --- the attacks -------------------------------------------------------------------------------------------------


def on(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """An edit of the bytes, in place."""
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


def whole(path: Path) -> None:
    """As an agent's Write tool does it."""
    path.write_text('{"features": [{"id": "f000", "passes": true}]}')


def reorder(path: Path) -> None:
    listed = json.loads(path.read_text())
    listed["features"].reverse()
    path.write_text(json.dumps(listed, indent=2, ensure_ascii=False) + "\n")


def steps(path: Path) -> None:
    listed = json.loads(path.read_text())
    listed["features"][7]["steps"] = ["nothing"]
    path.write_text(json.dumps(listed, indent=2, ensure_ascii=False) + "\n")


def sed(path: Path) -> None:
    subprocess.run(["sed", "-i", 's/"passes": false/"passes": true/', str(path)], check=True)


def python(path: Path) -> None:
    text = f"import json; p={str(path)!r}; d=json.load(open(p)); d['features'].pop(); json.dump(d, open(p, 'w'))"
    subprocess.run([sys.executable, "-I", "-S", "-c", text], check=True)


def link_to_file(path: Path) -> None:
    os.replace(path, path.with_name("mine.json"))
    path.symlink_to("mine.json")


def link_to_right_file_elsewhere(path: Path) -> None:
    other = path.parent.parent / "elsewhere.json"
    os.replace(path, other)
    path.symlink_to(other)


def link_to_directory(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc")


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "kept.txt").write_text("of worth\n")


def hard_link(path: Path) -> None:
    os.link(path, path.with_name("other-name"))


def older(path: Path) -> None:
    path.write_bytes(render(board_of(count=29, passing=90), KEY)[path.name])


def future(path: Path) -> None:
    path.write_bytes(render(board_of(count=41, passing=200), KEY)[path.name])


def other_project(path: Path) -> None:
    path.write_bytes(render(replace(BOARD, name="bank"), KEY)[path.name])


def forged(path: Path) -> None:
    path.write_bytes(render(board_of(passing=200), b"another key")[path.name])


def swapped(path: Path) -> None:
    path.write_bytes(render(BOARD, KEY)[PROGRESS if path.name == FEATURES else FEATURES])


ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "whole file": (whole, "edited"),
    "delete": (Path.unlink, "deleted"),
    "reorder": (reorder, "edited"),
    "edit steps": (steps, "edited"),
    "spacing": (on(lambda data: data.replace(b"\n", b"\n ", 1)), "edited"),
    "space at its end": (on(lambda data: data + b"\n"), "edited"),
    "sed": (sed, "edited"),
    "python": (python, "edited"),
    "older one": (older, "rolled back"),
    "one of the future": (future, "newer than the board"),
    "one of another project": (other_project, "of another project"),
    "sealed with another key": (forged, "edited"),
    "the other view": (swapped, "edited"),
    "link to a file": (link_to_file, "a symbolic link"),
    "link to the right file": (link_to_right_file_elsewhere, "a symbolic link"),
    "link to a directory": (link_to_directory, "a symbolic link"),
    "dangling link": (dangling, "a symbolic link"),
    "chmod 000": (lambda path: path.chmod(0), "mode"),
    "chmod 444": (lambda path: path.chmod(0o444), "mode"),
    "chmod 777": (lambda path: path.chmod(0o777), "mode"),
    "truncation": (on(lambda data: data[: len(data) // 2]), "edited"),
    "empty": (on(lambda data: b""), "edited"),
    "pipe": (fifo, "a pipe"),
    "directory": (directory, "a directory"),
    "hard link": (hard_link, "a hard link"),
    "line ends": (on(lambda data: data.replace(b"\n", b"\r\n")), "edited"),
    "byte order mark": (on(lambda data: b"\xef\xbb\xbf" + data), "edited"),
    "no text": (on(lambda data: b"\xff\0" * 5_000), "edited"),
    "its seal": (on(lambda data: data[:-20] + b"0" + data[-19:]), "edited"),
}
ONLY_JSON = {"reorder", "edit steps", "sed", "python"}


@pytest.mark.parametrize("name", [FEATURES, PROGRESS])
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_told_once_and_put_right(tmp_path: Path, attack: str, name: str) -> None:
    """An agent that edits its list of features has fewer to do, or makes them pass; or nobody hears of it."""
    if attack in ONLY_JSON and name != FEATURES:
        return
    project = tmp_path / "tree"
    project.mkdir()
    restore(project, BOARD, KEY)
    do, what = ATTACKS[attack]
    before = BOARD.text()
    do(project / name)
    assert restore(project, BOARD, KEY) == [Edited(name, what)]
    assert BOARD.text() == before and len(BOARD.items) == 200
    for each, data in render(BOARD, KEY).items():
        path = project / each
        assert not path.is_symlink() and path.is_file() and path.stat().st_nlink == 1
        assert path.read_bytes() == data and path.stat().st_mode & 0o7777 == 0o644
    assert len(json.loads((project / FEATURES).read_text())["features"]) == 200
    assert restore(project, BOARD, KEY) == []


def test_what_lay_in_the_way_is_not_lost(tmp_path: Path) -> None:
    """To put a view right destroys what it was linked to, or what is in a directory."""
    restore(tmp_path, BOARD, KEY)
    directory(tmp_path / FEATURES)
    os.rename(tmp_path / PROGRESS, tmp_path / "mine.txt")
    (tmp_path / "mine.txt").write_text("mine\n")
    (tmp_path / PROGRESS).symlink_to("mine.txt")
    restore(tmp_path, BOARD, KEY)
    assert (tmp_path / "mine.txt").read_text() == "mine\n"
    assert [path.read_text() for path in tmp_path.glob("*/kept.txt")] == ["of worth\n"]


@pytest.mark.parametrize(
    "copy", ["features-2.json", "features.json.bak.json", "progress (1).md", "Features.json", "PROGRESS.MD"]
)
def test_a_second_copy_is_told_once_and_left_alone(tmp_path: Path, copy: str) -> None:
    """An agent keeps a list of its own beside ours, and people read that one."""
    restore(tmp_path, BOARD, KEY)
    name = FEATURES if "json" in copy.casefold() else PROGRESS
    text = (tmp_path / name).read_text().replace("false", "true")
    (tmp_path / copy).write_text(text)
    found = restore(tmp_path, BOARD, KEY)
    assert found == [Edited(copy, "a copy of a view")]
    recorded = replace(BOARD, edited=(Remark(1.0, 1, found[0].text),))
    assert restore(tmp_path, recorded, KEY) == [] and (tmp_path / copy).read_text() == text
    (tmp_path / "features-of-the-shop.json").write_text("{}")
    assert restore(tmp_path, recorded, KEY) == []


def test_git_checkout_of_an_older_one(tree: Tree) -> None:
    """`git checkout` of last week's list brings features back that pass no more, unseen."""
    restore(tree.path, board_of(count=20, revision=0), KEY)
    tree.commit("old")
    restore(tree.path, BOARD, KEY)
    tree.commit("new")
    tree.git("checkout", "-q", "HEAD~1", "--", FEATURES)
    assert restore(tree.path, BOARD, KEY) == [Edited(FEATURES, "rolled back")]
    assert restore(tree.path, BOARD, KEY) == []


def test_what_a_crash_explains_is_not_told(tmp_path: Path) -> None:
    """Each crash looks like an attack, and people stop reading the reports."""
    first = replace(BOARD, revision=0)
    assert restore(tmp_path, first, KEY) == []
    (tmp_path / FEATURES).unlink()
    assert restore(tmp_path, first, KEY) == [], "before the first session's end it may not have been written"
    restore(tmp_path, board_of(count=35), KEY)
    assert restore(tmp_path, BOARD, KEY) == [], "of a state since the last end"
    (tmp_path / f".{FEATURES}.holdfast").write_text("half")
    (tmp_path / FEATURES).write_bytes(render(board_of(count=31), KEY)[FEATURES])
    assert restore(tmp_path, BOARD, KEY) == []
    assert sorted(os.listdir(tmp_path)) == [FEATURES, PROGRESS]
    (tmp_path / FEATURES).chmod(0o664)
    assert restore(tmp_path, BOARD, KEY) == [], "as git checks it out where the umask is 002"
