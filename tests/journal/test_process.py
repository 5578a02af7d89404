"""Who is proven dead. A wrong "yes" lets two workers run the same run, so everything unclear must be a "no"."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.journal.process import proven_dead, this_worker
from holdfast.protocols import Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")

SHOW_WORKER = (
    "import json, sys; from dataclasses import asdict; from holdfast.journal.process import this_worker;"
    "print(json.dumps(asdict(this_worker('w'))), flush=True); sys.stdin.read()"
)
LEADER_ENDS = """
import ctypes, json, sys, threading
from dataclasses import asdict
from holdfast.journal.process import this_worker
worker = json.dumps(asdict(this_worker("w")))
threading.Thread(target=lambda: (print(worker, flush=True), sys.stdin.read())).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def child(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def worker_of(process: subprocess.Popen[str]) -> Worker:
    assert process.stdout is not None
    return Worker(**json.loads(process.stdout.readline()))


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    with child(SHOW_WORKER) as process:
        yield process
        process.kill()


def test_a_living_process_is_not_dead(process: subprocess.Popen[str]) -> None:
    """Otherwise work would be taken from under a worker."""
    assert not proven_dead(this_worker("me"))
    assert not proven_dead(worker_of(process))


def test_a_killed_process_is_dead_before_and_after_it_is_waited_for(process: subprocess.Popen[str]) -> None:
    """Otherwise a worker whose parent does not look after it would block its runs for the length of a lease."""
    worker = worker_of(process)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert proven_dead(worker), "a zombie can do nothing any more"
    process.wait()
    assert proven_dead(worker)


def test_a_reused_pid_is_another_process(process: subprocess.Popen[str]) -> None:
    """Otherwise a new process with the old number would keep the dead worker's runs."""
    worker = worker_of(process)
    assert proven_dead(replace(worker, started=str(int(worker.started) - 1)))


def test_what_is_unclear_is_not_proven() -> None:
    """Otherwise a worker on another machine or in another container would lose its runs while it works."""
    gone = replace(this_worker("w"), started="1")
    assert proven_dead(gone)
    for unclear in (
        replace(gone, boot_id="another machine"),
        replace(gone, boot_id=""),
        replace(gone, pid_namespace="pid:[1] time:[1]"),
        replace(gone, pid_namespace=""),
        replace(gone, pid=0),
        replace(gone, pid=-1),
        replace(gone, started=""),
        Worker("w"),
    ):
        assert not proven_dead(unclear), unclear


def test_a_zombie_whose_threads_go_on_is_alive() -> None:
    """Otherwise a process whose first thread has ended would lose its runs while another thread acts."""
    with child(LEADER_ENDS) as process:
        worker = worker_of(process)
        stat = Path(f"/proc/{process.pid}/stat")
        while " Z " not in stat.read_text():
            os.sched_yield()
        assert not proven_dead(worker)
        process.kill()
        process.wait()
        assert proven_dead(worker)


def test_where_there_is_no_proc_nothing_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise macOS would have workers that all look alike."""
    gone = replace(this_worker("w"), started="1")

    def no_link(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", no_link)
    assert this_worker("w").pid_namespace == ""
    assert not proven_dead(gone)
    assert not proven_dead(replace(gone, pid_namespace="")), "two systems without /proc are not the same one"
