"""Which process a worker is, and whether it is proven dead.

Invariant: `proven_dead` is true only when this very machine, since its last start, in this very namespace, says
that the process is gone. Whatever is unclear (another machine or container, no /proc, no right to look) is "no":
then the worker's lease has to expire.
"""

from __future__ import annotations

import os

from holdfast.protocols import Journal, Worker


def this_worker(worker_id: str) -> Worker:
    """A worker that is this process."""
    pid = os.getpid()
    return Worker(
        id=worker_id,
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        pid_namespace=_namespaces(),
        pid=pid,
        started=_started(_stat(pid)),
        host=os.uname().nodename,
    )


def proven_dead(worker: Worker) -> bool:
    """Whether that process cannot do anything any more."""
    here = (_read("/proc/sys/kernel/random/boot_id"), _namespaces())
    if not all(here) or here != (worker.boot_id, worker.pid_namespace) or worker.pid <= 0 or not worker.started:
        return False
    try:
        os.kill(worker.pid, 0)  # asks only; /proc may hide the processes of others, this does not
    except ProcessLookupError:
        return True
    except OSError:
        return False
    stat = _stat(worker.pid)
    if not stat:
        return False
    return _started(stat) != worker.started or (_state(stat) in ("Z", "X") and _has_one_task(worker.pid))


def holder(journal: Journal, run_id: str) -> Worker | None:
    """The process that holds the run, unless its lease is over or it is proven dead."""
    owner = journal.owner(run_id)
    if owner is None or owner[1] <= journal.now() or proven_dead(owner[0]):
        return None
    return owner[0]


def _namespaces() -> str:
    """The namespaces in which a pid and a start time mean something; empty where the system has none, or where /proc is
    that of another one: its numbers are other processes than those that we can signal."""
    if _numbers() != [str(os.getpid())]:
        return ""
    try:
        return f"{os.readlink('/proc/self/ns/pid')} {os.readlink('/proc/self/ns/time')}"
    except OSError:
        return ""


def _numbers() -> list[str]:
    """Our number in the namespace of /proc, and in each below it down to our own."""
    lines = _read("/proc/self/status").splitlines()
    return next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; the second, the name, may hold spaces and brackets."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _state(stat: list[str]) -> str:
    return stat[0] if stat else ""


def _started(stat: list[str]) -> str:
    """Field 22: clock ticks from the start of the machine to that of the process."""
    return stat[19] if len(stat) > 19 else ""


def _has_one_task(pid: int) -> bool:
    """Whether a zombie is dead as a whole: its first thread can end while others still run."""
    try:
        return os.listdir(f"/proc/{pid}/task") == [str(pid)]
    except OSError:
        return False


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
