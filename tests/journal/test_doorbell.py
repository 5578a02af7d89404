"""The doorbell of a store in a file. What it promises to everybody (J22) is in the conformance suite.

Each test says what would be lost."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from holdfast.journal.doorbell import NAME_MAX, Doorbell

PATIENCE_S = 20.0


def listening(bell: Doorbell, name: str = "one") -> tuple[threading.Event, object]:
    """An event that is set when it rings."""
    rang = threading.Event()
    return rang, bell.listen(name, rang.set)


def directory_of(path: Path) -> Path:
    return path.with_name(path.name + "-bell")


def test_nobody_else_can_reach_it_and_nothing_is_left(tmp_path: Path) -> None:
    """Lost: another user of the machine sees or wakes our processes; a directory full of dead sockets."""
    path = tmp_path / "store.db"
    bell = Doorbell(str(path))
    before = os.umask(0)
    try:
        end = bell.listen("one", lambda: None)
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory_of(path).stat().st_mode) == 0o700
    assert stat.S_IMODE((directory_of(path) / "one").stat().st_mode) == 0o600
    end()
    assert not directory_of(path).exists()


@pytest.mark.parametrize("depth", [1, 4])
def test_a_long_path_is_no_limit(tmp_path: Path, depth: int) -> None:
    """Lost: a store in a deep directory is slow, since a socket's address has room for a hundred bytes."""
    if depth > 1 and not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc/self/fd: this system has no other name for a directory")
    path = tmp_path.joinpath(*["d" * 60] * depth) / "store.db"
    path.parent.mkdir(parents=True)
    listener, caller = Doorbell(str(path)), Doorbell(str(path))
    rang, _ = listening(listener, "n" * NAME_MAX)
    caller.ring()
    assert rang.wait(PATIENCE_S)
    listener.close()


def test_a_link_to_the_store_leads_to_the_same_bell(tmp_path: Path) -> None:
    """Lost: two processes that name one store differently do not hear each other."""
    path, link = tmp_path / "store.db", tmp_path / "link.db"
    path.touch()
    link.symlink_to(path)
    listener = Doorbell(str(path))
    rang, _ = listening(listener)
    Doorbell(str(link)).ring()
    assert rang.wait(PATIENCE_S)
    listener.close()


def test_the_socket_of_a_dead_process_is_removed_and_the_living_are_rung(tmp_path: Path) -> None:
    """Lost: each killed worker leaves a name that all must ring for ever, or the first one stops the ringing."""
    path = tmp_path / "store.db"
    code = "import os, sys; from holdfast.journal.doorbell import Doorbell; bell = Doorbell(sys.argv[1]); "
    code += "bell.listen('dead', lambda: None); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
    assert os.listdir(directory_of(path)) == ["dead"]
    listener = Doorbell(str(path))
    rang, _ = listening(listener, "living")
    Doorbell(str(path)).ring()
    assert rang.wait(PATIENCE_S) and os.listdir(directory_of(path)) == ["living"]
    listener.close()


@pytest.mark.timeout(5)
def test_a_listener_that_does_not_listen_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: one stopped process, whose socket is full, stops all that post."""
    path = tmp_path / "store.db"
    directory_of(path).mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stopped:
        monkeypatch.chdir(directory_of(path))
        stopped.bind("stopped")
        monkeypatch.chdir(tmp_path)
        bell = Doorbell(str(path))
        for _ in range(5_000):
            bell.ring()
    assert os.listdir(directory_of(path)) == ["stopped"]


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_directory_that_others_can_enter_is_not_used(tmp_path: Path, mode: int) -> None:
    """Lost: whoever made the directory first decides who may wake, and see, our processes."""
    path = tmp_path / "store.db"
    directory_of(path).mkdir(mode=0o700)
    directory_of(path).chmod(mode)
    bell = Doorbell(str(path))
    end = bell.listen("one", lambda: None)
    assert os.listdir(directory_of(path)) == []
    bell.ring()
    end()


def test_a_burst_is_heard_and_the_end_comes_after_it(tmp_path: Path) -> None:
    """Lost: an end that waits for a thread that is never told, or a ring after the end."""
    path = tmp_path / "store.db"
    bell = Doorbell(str(path))
    rings: list[int] = []
    came = threading.Event()

    def ring() -> None:
        rings.append(1)
        came.set()

    end = bell.listen("one", ring)
    other = Doorbell(str(path))
    for _ in range(1_000):
        other.ring()
    assert came.wait(PATIENCE_S)
    end()
    heard = len(rings)
    other.ring()
    assert heard == len(rings) <= 1_000


def test_one_who_ends_itself_in_the_ring_ends(tmp_path: Path) -> None:
    """Lost: a thread that waits for itself for ever, or turns without end."""
    bell = Doorbell(str(tmp_path / "store.db"))
    ends: list[object] = []
    over = threading.Event()

    def ring() -> None:
        end()
        over.set()

    end = bell.listen("one", ring)
    ends.append(end)
    Doorbell(str(tmp_path / "store.db")).ring()
    assert over.wait(PATIENCE_S)
    for thread in threading.enumerate():
        if thread.name == "holdfast-doorbell":
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
