"""A process is stopped past its lease, another one takes its run over, and the first one wakes up.

It is stopped in each window: before and in an effect, with its append in hand, at the end. When the second has ended
the run, the first one is continued with whatever it was about to do. The journal must not change any more; an effect
that it had begun carries the epoch of its claim, so that a receiver which looks at it can refuse it; no other effect
begins.

Beside these, the ways in which a process can be gone: killed, where the kernel proves it and where nobody can, and with
a loop that hangs while its other threads live.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from typing import Any
from unittest.mock import patch

import holdfast as hf
from holdfast.core.events import Event
from holdfast.errors import JournalError, LeaseLost
from holdfast.journal.open import open_journal
from holdfast.protocols import Append, Claim, Journal, Worker
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.pace import Pace
from proof import shop
from proof.crew import Child, Crew, Line
from proof.part import Plan, Seen
from proof.world import ENGINES, Received, Receiver, Stores, log_of, stores


class How(StrEnum):
    """What becomes of the first process."""

    STOPPED = "stopped"
    HANGS = "hangs"
    """Its loop does; its threads go on."""
    KILLED = "killed"
    """On this machine, so that its death is proven."""
    ELSEWHERE = "elsewhere"
    """Killed, and nobody here can know."""


TURN = (How.STOPPED, How.STOPPED, How.HANGS, How.STOPPED, How.STOPPED, How.KILLED, How.STOPPED, How.ELSEWHERE)
TRIALS = 480
"""Five of eight are stopped."""
WINDOWS = {
    "claimed": "claim:after",
    "intent_in_hand": "append:before:StepIntended({tool})",
    "intent_written": "append:after:StepIntended({tool})",
    "in_its_body": "{tool}:before",
    "under_way": "{tool}:under way",
    "outcome_in_hand": "append:before:StepSucceeded({tool})",
    "outcome_written": "append:after:StepSucceeded({tool})",
    "end_in_hand": "append:before:RunEnded",
}
"""Where it is stopped."""
BEGUN = "in_its_body"
"""The one in which nobody can keep the effect from being sent any more."""
WANTED = {
    "fencing_trials": 300,
    "stale_writes_refused": 100,
    "stale_effects_refused": 30,
    "takeovers_in_time": 450,
    "proven_dead_taken_over_at_once": 60,
    "never_proven_dead": 60,
    "hung_loops_replaced": 60,
    "fencing_trials_sqlite": 150,
    "fencing_trials_postgres": 150,
} | {f"stopped_{window}": 30 for window in WINDOWS}
COST = 60
SHARDS = 1
WAITS = True
CREW = 16
"""Trials at once: they wait most of the time. The first one is alone; after it children need not load anything."""
LEASE_S = 1.0
SETTINGS = hf.Settings(lease_s=LEASE_S, poll_s=0.15, settle_s=0.0, quiet_s=0.02)
LATEST_S = {
    How.STOPPED: LEASE_S + 1.0,
    How.ELSEWHERE: LEASE_S + 1.0,
    How.KILLED: 1.0,
    How.HANGS: LEASE_S * 5 / 3 + 1.0,  # a loop counts as alive for two thirds of a lease after its last turn
}
TRIES = 3
"""A machine may be too busy for a lease of a second: a trial that was late, or lost its own, is made again."""


class Watched:
    """Any engine, which tells of claims and appends, and stands still where it is to be stopped."""

    def __init__(self, journal: Journal, line: Line, at: str = "", *, is_elsewhere: bool = False) -> None:
        self._journal = journal
        self._line = line
        self._at = at
        self._is_elsewhere = is_elsewhere

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def reach(self, label: str) -> None:
        """Stand still here, if this is the place."""
        if label == self._at:
            self._at = ""
            self._line.ask(at=label)

    def register(self, worker: Worker, ttl_s: float) -> None:
        """See `Journal.register`."""
        self._journal.register(replace(worker, boot_id="of another machine") if self._is_elsewhere else worker, ttl_s)

    def claim(self, worker_id: str, **which: Any) -> list[Claim]:
        """See `Journal.claim`."""
        claims = self._journal.claim(worker_id, **which)
        at, now = time.monotonic(), self._journal.now()
        for claim in claims:
            self._line.tell(
                claimed=claim.lease.epoch, is_takeover=claim.is_takeover, until=claim.held_until, at=at, now=now
            )
            self.reach("claim:after")
        return claims

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        """See `Journal.append`."""
        names = [f"{e.kind}({e.address.name})" if e.address else str(e.kind) for a in appends for e in a.events]
        for name in names:
            self.reach(f"append:before:{name}")
        results = self._journal.append(appends)
        for result in results:
            self._line.tell(appended=None if result is None else type(result).__name__)
        for name in names:
            self.reach(f"append:after:{name}")
        return results


class Sent:
    """The way outside."""

    def __init__(self, receiver: Receiver, journal: Watched) -> None:
        self._receiver = receiver
        self._journal = journal

    async def act(self, tool: str, order: str, key: str, epoch: int) -> None:
        """It happens between two places where it may be stopped."""
        self._journal.reach(f"{tool}:before")
        self._receiver.take(Received(tool, order, key, epoch))
        self._journal.reach(f"{tool}:under way")

    async def has(self, tool: str, key: str) -> bool:
        """Whether it has happened."""
        return self._receiver.has(tool, key)


@dataclass(slots=True)
class Told:
    """What one of the two processes has said."""

    claims: list[dict[str, Any]] = field(default_factory=list)
    appended: list[str | None] = field(default_factory=list)
    """None for what was written, else why it was not."""
    ended: str = "nothing"

    def hear(self, what: dict[str, Any]) -> None:
        """Take it in."""
        if "claimed" in what:
            self.claims.append(what)
        elif "appended" in what:
            self.appended.append(what["appended"])
        elif "ended" in what:
            self.ended = what["ended"]


class Trial:
    """Two processes and one run."""

    def __init__(self, crew: Crew, made: Stores, number: int, chance: random.Random, tries: int = 0) -> None:
        self.number = number
        self.tries = tries
        self.how = TURN[number % len(TURN)]
        self.engine = ENGINES[number // len(TURN) % len(ENGINES)]
        turn = number // len(TURN) * TURN.count(How.STOPPED) + TURN[: number % len(TURN)].count(How.STOPPED)
        self.window = list(WINDOWS)[turn % len(WINDOWS)]
        self.key = f"{self.engine}-{number}-{tries}"
        self.url = made.url(self.engine, self.key)
        self.receiver = Receiver(made.directory / f"{self.key}.received")
        self.first, self.second = Told(), Told()
        self.is_over = False
        self._at = WINDOWS[self.window].format(tool=chance.choice(shop.WRITES))
        self._crew = crew
        self._struck_at = 0.0
        self._is_second_over = False
        self._before: list[Event] = []
        self._sent: list[Received] = []
        """What the receiver had when the second process had ended."""
        self._late_from = 0
        self._process = crew.start(self._drives(self._at), self._hear_first, self._first_over)

    def __str__(self) -> str:
        return f"trial {self.number} ({self.engine}, {self.how} at {self._at})"

    def _drives(self, at: str) -> Any:
        is_elsewhere = bool(at) and self.how is How.ELSEWHERE

        def work(line: Line) -> int:
            clock = SystemClock()
            journal = Watched(open_journal(self.url, clock=clock.now), line, at, is_elsewhere=is_elsewhere)
            app = hf.App(journal, settings=SETTINGS, clock=clock, serves=False)
            ended = "succeeded"
            try:
                with _on_the_loop() if at and self.how is How.HANGS else nullcontext():
                    asyncio.run(shop.lived(app, shop.shop(Sent(self.receiver, journal)), self.key, self.receiver))
            except (hf.JournalError, hf.RunError, TimeoutError) as error:
                ended = type(error).__name__
            line.tell(ended=ended)
            return 0

        return work

    def _hear_first(self, child: Child, what: dict[str, Any]) -> None:
        self.first.hear(what)
        if "at" in what and "claimed" not in what:
            self._strike()

    def _strike(self) -> None:
        self._struck_at = time.monotonic()
        if self.how is How.STOPPED:
            self._process.stop()
        elif self.how is not How.HANGS:
            self._process.kill()
        self._late_from = len(self.first.appended)
        self._crew.start(self._drives(""), lambda child, what: self.second.hear(what), self._second_over)

    def _second_over(self, child: Child, code: int) -> None:
        self._before, self._sent = log_of(self.url, self.key), self.receiver.all()
        self._is_second_over = True
        self._process.answer()
        if self.how is How.STOPPED:
            self._process.go_on()
        self.is_over = self._process.is_over

    def _first_over(self, child: Child, code: int) -> None:
        self.is_over = self._is_second_over or not self._struck_at

    # --- what came of it ---------------------------------------------------------------------------------------

    @property
    def took_s(self) -> float:
        """From the blow to the takeover."""
        return float(self.second.claims[0]["at"]) - self._struck_at if self.second.claims else inf

    def void(self) -> str:
        """Why it proves nothing; empty when it does."""
        if not self._struck_at:
            return f"the first process ended with {self.first.ended} before it was there"
        if self.second.ended != "succeeded":
            return f"the second process ended with {self.second.ended}"
        latest_s = LATEST_S[self.how]
        return f"taken over after {self.took_s:.2f} s, not {latest_s:.2f}" if self.took_s > latest_s else ""

    def wrong(self) -> list[str]:
        """What is wrong with it."""
        late, after = self._late(), log_of(self.url, self.key)
        is_to_wake = self.how in (How.STOPPED, How.HANGS)
        found = shop.wrong(after, shop.accepted(self.receiver.all()), 1)
        if after != self._before:
            found.append(f"a stale write: {len(self._before)} events became {len(after)}")
        if None in self.first.appended[self._late_from :]:
            found.append("a stale append was accepted")
        if is_to_wake and self.first.ended not in self._fates:
            found.append(f"the first process was told {self.first.ended}, not {LeaseLost.__name__}")
        if late and (self.window != BEGUN or len(late) > 1):
            found.append(f"begun after its lease had run out: {late}")
        if any(each.epoch >= self.second.claims[0]["claimed"] for each in late):
            found.append(f"an old effect looks new: {late}")
        return found + self._too_early()

    @property
    def _fates(self) -> tuple[str, ...]:
        """What the first process may be told: one that had begun nothing is given the end that is recorded."""
        return (LeaseLost.__name__, "succeeded") if self.window == "claimed" else (LeaseLost.__name__,)

    def _too_early(self) -> list[str]:
        claim = self.second.claims[0]
        if not claim["is_takeover"]:
            return ["the second process did not know that it took the run over"]
        is_early = self.how is not How.KILLED and (claim["until"] is None or claim["now"] < claim["until"])
        return [f"taken over at {claim['now']}, before the lease ended at {claim['until']}"] if is_early else []

    def _late(self) -> list[Received]:
        """What the first process did when it had been replaced."""
        return self.receiver.all()[len(self._sent) :]

    def count(self, seen: Seen) -> None:
        """What was seen in it."""
        seen.count("takeovers_in_time")
        seen.counts["slowest_takeover_ms"] = max(seen.counts["slowest_takeover_ms"], round(self.took_s * 1000))
        match self.how:
            case How.STOPPED:
                seen.count("fencing_trials")
                seen.count(f"fencing_trials_{self.engine}")
                seen.count(f"stopped_{self.window}")
                seen.count("stale_writes_refused", self.first.appended[self._late_from :].count(LeaseLost.__name__))
                seen.count("stale_effects_refused", len(self._late()))
            case How.HANGS:
                seen.count("hung_loops_replaced")
            case How.KILLED:
                seen.count("proven_dead_taken_over_at_once")
            case How.ELSEWHERE:
                seen.count("never_proven_dead")


def _on_the_loop() -> Any:
    """On a busy machine appends are written on a thread, which would stand still in the place of the loop."""
    return patch.object(Pace, "is_slow", lambda pace, now: False)


def run(plan: Plan) -> Seen:
    """Many trials at once."""
    seen = Seen()
    todo = deque((number, 0) for number in plan.trials(TRIALS))
    with stores(plan.directory) as made, Crew() as crew:
        under_way: list[Trial] = []
        crew_max = 1
        while todo or under_way:
            while todo and len(under_way) < crew_max:
                number, tries = todo.popleft()
                under_way.append(Trial(crew, made, number, plan.random(number), tries))
            crew.run(lambda: any(trial.is_over for trial in under_way))
            crew_max = CREW
            for trial in [trial for trial in under_way if trial.is_over]:
                under_way.remove(trial)
                if (void := trial.void()) and trial.tries + 1 < TRIES:
                    todo.append((trial.number, trial.tries + 1))
                    seen.count("made_again")
                    continue
                problems = [void] if void else trial.wrong()
                seen.problems += [f"{trial}: {problem}" for problem in problems]
                if not problems:
                    trial.count(seen)
    return seen
