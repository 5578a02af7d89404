"""Who is proven dead. A wrong "yes" lets two workers run the same run, so everything unclear must be a "no"."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

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


IN_A_NAMESPACE = """
import json, os, subprocess, sys
from dataclasses import asdict
from holdfast.journal.process import proven_dead, this_worker
from holdfast.protocols import Worker
show = "import json, sys; from dataclasses import asdict; from holdfast.journal.process import this_worker;"
show += "print(json.dumps(asdict(this_worker('w'))), flush=True); sys.stdin.read()"
other = subprocess.Popen([sys.executable, "-c", show], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
worker = Worker(**json.loads(other.stdout.readline()))
print(json.dumps({"me": asdict(this_worker("me")), "other": asdict(worker), "alive": proven_dead(worker)}), flush=True)
sys.stdin.readline()
other.kill()
other.wait()
print(json.dumps({"killed": proven_dead(worker), "changed": proven_dead(Worker(**{**asdict(worker), "started": "1"}))}))
"""


def in_a_namespace(*options: str) -> subprocess.Popen[str]:
    """Two processes in a pid namespace of their own, as in a container."""
    command = ["unshare", "--pid", "--fork", *options]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a pid namespace: unshare --pid failed")
    return subprocess.Popen(
        [*command, sys.executable, "-c", IN_A_NAMESPACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_in_a_container_the_dead_are_known_and_from_outside_they_are_not() -> None:
    """Otherwise each container's worker 1 would be taken for dead, or alive, by what number 1 is elsewhere; or the runs
    of a worker that was killed beside us would wait for a lease."""
    with in_a_namespace("--mount-proc") as process:
        before = told(process)
        me, other = Worker(**before["me"]), Worker(**before["other"])
        assert me.pid == 1 and me.pid_namespace == other.pid_namespace != this_worker("w").pid_namespace
        assert not before["alive"]
        assert not proven_dead(me) and not proven_dead(other)
        go_on(process)
        assert told(process) == {"killed": True, "changed": True}
        assert not proven_dead(other), "from outside nobody can know: its lease has to expire"


def test_a_proc_of_another_namespace_proves_nothing() -> None:
    """Otherwise the numbers of the container would be looked up among the processes of the machine: a worker that
    lives is "dead" as soon as a stranger of its number ends."""
    with in_a_namespace() as process:
        before = told(process)
        assert before["me"]["pid"] == 1 and before["me"]["pid_namespace"] == before["other"]["pid_namespace"] == ""
        assert not before["alive"]
        go_on(process)
        assert told(process) == {"killed": False, "changed": False}
