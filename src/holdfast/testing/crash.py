"""The crash sweep: an agent dies before and after every journal write and every effect, and again in recovery.

The scenario's own code runs in forked children of one warm process; a child really dies (SIGKILL), the next one
really recovers from the same store. First one child runs through and reports every point that it passed; then each
point is a trial of its own.

    class Mine(Scenario):
        def prepare(self, trial): ...            # parent: a fresh store for this trial
        def run(self, place, journal): ...       # child: open the app on journal(...) and run to the end
        def check(self, place, kills): ...       # parent: what is wrong now? an empty list is a pass

    report = sweep(Mine(), seconds=2)
    report.require(kills=100, windows=("intent:", "refund:sent"))

It never runs two children at once, and never forks with an event loop or a thread of its own.

Invariants
1. A trial counts only when its child died by the planned kill. A point that was not reached, because this time less
   happened (a timer that was quicker than the kill), is tried again in a fresh place, and then fails the sweep.
2. Points are known by their number, and windows by their name: in which place one comes may differ from life to life.
3. A report without a kill in a window that was asked for fails (`require`): killing nothing proves nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from holdfast.core.accept import Message, Posted
from holdfast.errors import JournalError
from holdfast.protocols import Append, Claim, Journal, Lease, Post
from holdfast.testing.warm import load, loaded_since

TRIES = 3
"""A planned kill that was not reached is tried so often in all."""
_LOADED = "\0loaded "
_At = int | str
"""A point, by its number from 1, or the first one whose label contains this."""


class _Points:
    """In a child: counts the points it passes, and dies at one of them."""

    def __init__(self, die_at: _At | None, pipe: int) -> None:
        self._die_at = die_at
        self._pipe = pipe
        self._count = 0

    def reach(self, label: str) -> None:
        self._count += 1
        self.tell([label])
        at = self._die_at
        if (at in label) if isinstance(at, str) else (at == self._count):
            os.kill(os.getpid(), signal.SIGKILL)

    def tell(self, lines: Iterable[str]) -> None:
        os.write(self._pipe, "".join(line + "\n" for line in lines).encode())


_points: _Points | None = None


def reach(label: str) -> None:
    """A point at which a sweep may kill this process. Outside a sweep it does nothing."""
    if _points is not None:
        _points.reach(label)


@contextmanager
def effect(name: str) -> Iterator[None]:
    """The block is an effect: points before it and after it, when its outcome is not yet written."""
    reach(f"{name}:before")
    yield
    reach(f"{name}:after")


class CrashingJournal:
    """Any engine, with a point before and after each of its writes. Reading passes through."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def post(self, run_id: str, message_id: str, message: Message) -> Posted:
        """See `Journal.post`."""
        reach(f"post:before:{message.kind}")
        posted = self._journal.post(run_id, message_id, message)
        reach(f"post:after:{message.kind}")
        return posted

    def post_all(self, posts: Sequence[Post]) -> list[Posted]:
        """See `Journal.post_all`."""
        what = "+".join(str(post.message.kind) for post in posts)
        reach(f"post:before:{what}")
        posted = self._journal.post_all(posts)
        reach(f"post:after:{what}")
        return posted

    def claim(self, worker_id: str, **which: Any) -> list[Claim]:
        """See `Journal.claim`."""
        reach("claim:before")
        claims = self._journal.claim(worker_id, **which)
        reach("claim:after")
        return claims

    def release(self, lease: Lease, wake_at: float | None) -> None:
        """See `Journal.release`."""
        reach("release:before")
        self._journal.release(lease, wake_at)
        reach("release:after")

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        """See `Journal.append`."""
        what = "+".join(_named(append) for append in appends)
        reach(f"append:before:{what}")
        results = self._journal.append(appends)
        reach(f"append:after:{what}")
        return results

    def swap(self, name: str, version: int, value: str) -> bool:
        """See `Journal.swap`."""
        reach(f"swap:before:{name}")
        is_done = self._journal.swap(name, version, value)
        reach(f"swap:after:{name}")
        return is_done

    def put_blob(self, data: bytes) -> str:
        """See `Journal.put_blob`."""
        reach("put_blob:before")
        ref = self._journal.put_blob(data)
        reach("put_blob:after")
        return ref


def _named(append: Append) -> str:
    """What is appended, by name: `StepIntended(refund)`."""
    return ",".join(f"{e.kind}({e.address.name})" if e.address else str(e.kind) for e in append.events)


class Scenario(ABC):
    """What is swept."""

    limit_s: int = 60
    """A child that takes longer is ended, and its trial has failed."""
    spare: int = 0
    """Points after the end, which no kill is planned at. Where runs in parallel may share a commit, one life has a few
    points less than another; with some to spare it still reaches the last one that was planned."""

    @abstractmethod
    def prepare(self, trial: str) -> Any:
        """In the parent: a fresh place for a trial of this name."""

    @abstractmethod
    def run(self, place: Any, journal: Callable[[Journal], Journal]) -> None:
        """In a child: run the agent to its end on this place; pass the store's engine through `journal`."""

    @abstractmethod
    def check(self, place: Any, kills: Sequence[str]) -> list[str]:
        """In the parent, after the run came to its end: everything that is wrong."""

    def after_kill(self, place: Any, passed: Sequence[str]) -> None:  # noqa: B027 - few scenarios need it
        """In the parent: wait until the world has taken in what the dead child had sent.

        passed: every point that the children of this trial have passed, in order; it died at the last one.
        """


@dataclass(frozen=True, slots=True)
class Trial:
    """One store, its kills in order, and what was wrong in the end."""

    name: str
    kills: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """What a sweep saw."""

    points: list[str]
    """Labels of an undisturbed run, in order."""
    trials: list[Trial] = field(default_factory=list)

    @property
    def kills(self) -> Counter[str]:
        """How often each point was the place of a kill."""
        return Counter(label for trial in self.trials for label in trial.kills)

    @property
    def problems(self) -> list[str]:
        """What went wrong, with the kills that led to it."""
        return [f"{trial.name} killed at {trial.kills}: {p}" for trial in self.trials for p in trial.problems]

    def in_window(self, part: str) -> int:
        """Kills at points whose label contains `part`."""
        return sum(count for label, count in self.kills.items() if part in label)

    def require(self, *, kills: int, windows: Iterable[str] = ()) -> None:
        """Fail when anything went wrong, or when the sweep did not see enough to mean something."""
        problems = self.problems
        if problems:
            raise AssertionError(f"{len(problems)} problems in {len(self.trials)} trials:\n" + "\n".join(problems[:20]))
        if sum(self.kills.values()) < kills:
            raise AssertionError(f"only {sum(self.kills.values())} kills in {len(self.trials)} trials; {kills} wanted")
        for window in windows:
            if not self.in_window(window):
                raise AssertionError(f"no kill in the window {window!r}: this sweep proves nothing about it")


def sweep(
    scenario: Scenario,
    *,
    every: int = 1,
    offset: int = 0,
    seconds: int = 1,
    windows: Iterable[str] = (),
    stops_early: bool = False,
) -> Report:
    """Kill at every `every`-th point from `offset` on; in each recovery kill again at up to `seconds` points of it.

    With every=1 and a large `seconds` it covers each pair of points. A sweep of n points forks about
    (n / every) · (2 + 3 · seconds) children. `windows`: also at the first point whose label contains each of these;
    with every=0 only there. `stops_early`: at the first problem.
    """
    through, labels = trial(scenario, "through")
    report = Report(labels, [through])
    numbers = range(1 + offset, len(_own(scenario, labels)) + 1, every) if every else ()
    plans: list[tuple[str, _At]] = [(f"at{number}", number) for number in numbers]
    plans += [(f"in{place}", window) for place, window in enumerate(windows, 1)]
    for turn, (name, first) in enumerate(plans):
        if stops_early and report.problems:
            break
        _sweep_one(scenario, report, name, first, seconds, turn)
    return report


def _own(scenario: Scenario, labels: list[str]) -> list[str]:
    """Without those to spare."""
    return labels[: max(len(labels) - scenario.spare, 0)]


def _sweep_one(scenario: Scenario, report: Report, name: str, first: _At, seconds: int, turn: int) -> None:
    single, labels = trial(scenario, name, first)
    report.trials.append(single)
    for second in _spread(len(_own(scenario, labels)), seconds, turn):
        report.trials.append(trial(scenario, f"{name}then{second}", first, second)[0])


def _spread(count: int, wanted: int, turn: int) -> list[int]:
    """Up to `wanted` of the points 1…count, evenly spread, shifted by `turn` so that trials differ."""
    if wanted >= count:
        return list(range(1, count + 1))
    return sorted({(turn + index * count // wanted) % count + 1 for index in range(wanted)})


def trial(scenario: Scenario, name: str, *ats: _At) -> tuple[Trial, list[str]]:
    """One child killed at each of these points, counted anew in each life, and one that lives to the end; and the
    points that the last one passed. AssertionError when a point was not reached in several tries."""
    for again in range(TRIES):
        place = scenario.prepare(f"{name}{'x' * again}")
        passed: list[str] = []
        kills: list[str] = []
        labels: list[str] = []
        for at in (*ats, None):
            labels, end = _child(scenario, place, at)
            passed += labels
            if at is None or end not in (0, -signal.SIGKILL):  # to its end, or ended otherwise than planned
                return Trial(name, tuple(kills), tuple(_problems(scenario, place, tuple(kills), end))), labels
            if end == 0:
                break
            scenario.after_kill(place, passed)
            kills.append(labels[-1])
    raise AssertionError(f"{name}: a kill was planned at {ats}, and was not reached in {TRIES} tries")


def _problems(scenario: Scenario, place: Any, kills: tuple[str, ...], end: int) -> list[str]:
    if end != 0:
        return [f"a child ended by itself with {end}, not 0"]
    return scenario.check(place, kills)


def _child(scenario: Scenario, place: Any, die_at: _At | None) -> tuple[list[str], int]:
    """Run in a forked child; the labels that it passed, and its exit code (negative: the signal that killed it)."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():  # a test runner's own threads hold nothing that the child needs
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        os._exit(_live(scenario, place, _Points(die_at, writing)))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode().splitlines()
    labels = [line for line in told if not line.startswith(_LOADED)]
    load(line.removeprefix(_LOADED) for line in told if line.startswith(_LOADED))
    return labels, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _live(scenario: Scenario, place: Any, points: _Points) -> int:
    global _points
    _points = points
    signal.alarm(scenario.limit_s)
    modules = len(sys.modules)
    try:
        scenario.run(place, lambda journal: CrashingJournal(journal))
        for _ in range(scenario.spare):
            reach("spare")
        points.tell(_LOADED + name for name in loaded_since(modules))
    except BaseException:  # the top of a child: the parent must see a code, never a second test run
        traceback.print_exc()
        return 1
    return 0
