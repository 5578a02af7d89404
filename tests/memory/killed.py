"""`holdfast` in a process that kills itself (SIGKILL) at its N-th point: before and after each write of the journal and
each git command. `python killed.py N project run …`; 0: never. A text instead: at the first point that has it. Its
points are counted into the file KILLED_POINTS."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from holdfast.cli.__main__ import main
from holdfast.journal.sqlite import SqliteJournal
from holdfast.memory import repository

AT = sys.argv.pop(1)
points: list[str] = []


def point(name: str) -> None:
    """One more; the last one."""
    points.append(name)
    if str(len(points)) == AT or (not AT.isdigit() and AT in name):
        with open(os.environ["KILLED_POINTS"], "a", encoding="utf-8") as file:
            file.write(name + "\n")
        os.kill(os.getpid(), signal.SIGKILL)


def around(fn: Callable[..., Any], named: Callable[..., str]) -> Callable[..., Any]:
    """The same with a point before and after it."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        name = named(*args)
        if not name:
            return fn(*args, **kwargs)
        point(f"before {name}")
        try:
            return fn(*args, **kwargs)
        finally:
            point(f"after {name}")

    return wrapped


def git(*args: Any) -> str:
    """The git command, without its options."""
    words = args[0] if args and isinstance(args[0], list) else []
    if not words or os.path.basename(str(words[0])) != "git":
        return ""
    return "git " + next(
        (w for w in map(str, words[1:]) if w.isalpha() or (w.replace("-", "").isalpha() and w[0] != "-")), ""
    )


def append(journal: Any, appends: Any) -> str:
    """What is written, by its events."""
    events = [event for each in appends for event in each.events]
    return "append " + "; ".join(f"{e.kind} {e.address.name if e.address else ''}".strip() for e in events)


SqliteJournal.append = around(SqliteJournal.append, append)  # type: ignore[method-assign]
SqliteJournal.post_all = around(SqliteJournal.post_all, lambda *args: "post")  # type: ignore[method-assign]
repository._run = around(repository._run, git)  # type: ignore[attr-defined]
sys.argv[0] = "holdfast"
try:
    main()
finally:
    with open(os.environ["KILLED_POINTS"], "a", encoding="utf-8") as file:
        file.write(f"{len(points)} points\n")
