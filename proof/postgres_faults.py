"""Postgres that fails under real runs: connections cut around a COMMIT, and a server that is restarted at once.

Cuts: an app goes through a proxy of its own that cuts at one COMMIT, in one of four ways. Whatever call met it must
come back with what was really written, without an error; the run ends as if nothing had been, each step recorded once.

Restarts: the server is stopped without a checkpoint, again and again, while runs are under way. A life of an app may
end of it; the next one goes on. What the tools did is the oracle: a `once` effect at most once, an `idempotent` one
always under its key, each run ended with its result.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import holdfast as hf
from holdfast.core.events import Event, Kind, StepKind
from holdfast.errors import JournalError, RunError
from holdfast.journal.postgres.engine import PostgresJournal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.proxy import Commit, Cut, Proxy
from proof.part import Plan, Seen

CUTS, RESTARTS = 200, 40
WANTED = {
    "cuts": CUTS,
    "cut before": 40,
    "cut after": 40,
    "cut silent before": 40,
    "cut silent after": 40,
    "resolved as written": 80,
    "resolved as not written": 80,
    "cut in append": 100,
    "cut in post_all": 2,
    "cut in claim": 5,
    "restarts": RESTARTS,
    "runs through restarts": 40,
    "lives that a restart came upon": 40,
}
COST = 40
SHARDS = 4
WAITS = True
AT_ONCE = 8
WORKERS = 6
SILENCE_MS = 1_000
COMMITS = 12
TRIES = 8
"""Among the first so many commits of a run one is cut; a run has about so many."""
LIVES_MAX = 200
QUICK = hf.Settings(quiet_s=0.05, park_s=0.2, poll_s=0.05, settle_s=0.01, lease_s=3.0)
WRITES = ("post_all", "claim", "append", "release", "swap", "cap", "put_blob")


# --- the world, and the agent that acts on it ----------------------------------------------------------------------


@dataclass(slots=True)
class World:
    """What the tools have done, by run."""

    done: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    keys: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def act(self, run: str, tool: str, number: int, key: str = "") -> None:
        """Something happened."""
        with self.lock:
            self.done[run, tool, number] += 1
            if key:
                self.keys.setdefault((run, number), set()).add(key)

    def wrong(self, run: str) -> list[str]:
        """What must not have been done like that."""
        paid = [self.done[run, "pay", number] for number in (1, 2)]
        put = [len(self.keys.get((run, number), ())) for number in (1, 2)]
        return [f"a payment was made {paid} times"] * (paid != [1, 1]) + [f"keys of one effect: {put}"] * (
            put != [1, 1]
        )


world = World()


async def was_paid(key: str, run: str, number: int) -> Any:
    """The receiver knows."""
    return hf.Done(number) if world.done[run, "pay", number] else hf.NotDone()


@hf.tool(effect="once", verify=was_paid)
async def pay(run: str, number: int) -> int:
    """At most once."""
    world.act(run, "pay", number)
    await asyncio.sleep(0.01)
    return number


@hf.tool(effect="idempotent")
async def put(run: str, number: int, *, idempotency_key: str = hf.INJECTED) -> int:
    """Always under the same key."""
    world.act(run, "put", number, idempotency_key)
    return number


@hf.tool(effect="read")
async def look(number: int) -> int:
    """As often as need be."""
    return number


@hf.agent(budget=hf.Budget(tool_calls=100))
async def order(run: hf.Run, name: str) -> list[int]:
    """Some steps, one after the other and side by side."""
    done = [await look(1), await pay(name, 1), await put(name, 1)]
    await run.note("half of it")
    done += await asyncio.gather(pay(name, 2), put(name, 2), look(2))
    return done


RESULT = [1, 1, 1, 2, 2, 2]


async def live(journal: Any, name: str) -> Any:
    """One life of an app."""
    async with hf.App(journal, settings=QUICK) as app:
        return await app.run(order, name, key=name)


def log_of(url: str, tenant: str, name: str) -> list[Event]:
    """What is recorded of a run."""
    journal = PostgresJournal(url, clock=SystemClock().now, tenant=tenant)
    try:
        return journal.events(journal.heads(key=name)[0].run_id)
    finally:
        journal.close()


def repeated(events: list[Event]) -> list[str]:
    """Steps that are recorded more than once; whether an effect has happened may have been asked more often."""
    done = [event for event in events if event.kind is Kind.STEP_SUCCEEDED and event.step is not StepKind.VERIFY]
    outcomes = Counter(f"{event.address} {event.address.digest}" for event in done if event.address is not None)
    return [f"{step} is recorded {times} times" for step, times in outcomes.items() if times != 1]


# --- cuts -------------------------------------------------------------------------------------------------------------


class Watched:
    """A journal behind a proxy: sees which call met a cut, and what came of it."""

    def __init__(self, journal: PostgresJournal, proxy: Proxy, cut: Cut) -> None:
        self.journal, self._proxy, self._cut = journal, proxy, cut
        self.seen = Seen()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.journal, name)
        return found if name not in WRITES else lambda *given, **how: self._call(name, found, *given, **how)

    def _call(self, name: str, method: Callable[..., Any], *given: Any, **how: Any) -> Any:
        before = self._proxy.cuts.total()
        try:
            result = method(*given, **how)
        except JournalError as error:
            if self._proxy.cuts.total() > before:
                self.seen.problems.append(f"{name} was cut {self._cut} and told {error}")
            raise
        if self._proxy.cuts.total() > before:
            self.seen.count("cuts")
            self.seen.count(f"cut {self._cut}")
            self.seen.count(f"cut in {name}")
            self.seen.count(f"resolved as {'' if self._cut.is_written else 'not '}written")
        return result


def cut_one(server: PostgresServer, plan: Plan, trial: int) -> Seen:
    """One run, one cut; another run when it had ended before that."""
    cut, chance = list(Cut)[trial % len(Cut)], plan.random(trial)
    seen = Seen()
    for again in range(TRIES):
        seen.add(_cut_at(server, f"cut-{plan.seed}-{trial}-{again}", cut, chance.randint(1, COMMITS)))
        if seen.counts["cuts"] or seen.problems:
            break
    return seen


def _cut_at(server: PostgresServer, name: str, cut: Cut, at: int) -> Seen:
    commits = iter(range(1, 10_000))

    def decide(commit: Commit) -> Cut | None:
        if any("INTO workers" in told or "DELETE FROM workers" in told for told in commit.statements):
            return None  # a lease is renewed when its time comes, not when the run does something
        return cut if next(commits) == at else None

    url = server.url("cuts")
    with Proxy(server.socket, decide) as proxy:
        journal = PostgresJournal(proxy.url("cuts", tcp_user_timeout=SILENCE_MS), clock=SystemClock().now, tenant=name)
        watched = Watched(journal, proxy, cut)
        try:
            result: Any = asyncio.run(live(watched, name))
        except (JournalError, RunError) as error:
            result = error
        finally:
            journal.close()
    wrong = [f"its result is {result!r}"] * (result != RESULT) + world.wrong(name) + repeated(log_of(url, name, name))
    watched.seen.problems += [f"{name}, cut {cut} at commit {at}: {told}" for told in wrong]
    return watched.seen


# --- restarts ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Restarts:
    """How many restarts of the server have begun and how many are done, and whether that was all."""

    begun: int = 0
    done: int = 0
    is_over: bool = False


def keep_running(url: str, who: str, restarts: Restarts, names: list[tuple[str, str]]) -> Seen:
    """Runs one after the other, each to its end, whatever the server does."""
    seen = Seen()
    for number in range(10_000):
        if restarts.is_over:
            return seen
        name = f"{who}-{number}"
        result = to_end(url, name, seen, restarts)
        seen.count("runs through restarts")
        names.append((who, name))
        seen.problems += [f"run {name}: its result is {result!r}"] * (result != RESULT)
    return seen


def to_end(url: str, name: str, seen: Seen, restarts: Restarts) -> Any:
    """The result, of as many lives as it takes."""
    error: Exception | None = None
    for _ in range(LIVES_MAX):
        before = restarts.begun
        try:
            journal = PostgresJournal(url, clock=SystemClock().now, tenant=name.rpartition("-")[0])
        except JournalError as failed:
            error = failed
            time.sleep(0.1)
            continue
        try:
            return asyncio.run(live(journal, name))
        except JournalError as failed:
            error = failed
            seen.count("lives ended by a restart")
        except RunError as failed:
            return failed
        finally:
            journal.close()
            if restarts.done > before:
                seen.count("lives that a restart came upon")
    return error


def restart(server: PostgresServer, trials: Iterator[int], plan: Plan) -> Seen:
    """Restart as often as there are trials, while runs are under way."""
    seen, restarts, names = Seen(), Restarts(), list[tuple[str, str]]()
    url = server.url("restarts")
    PostgresJournal(url, clock=SystemClock().now).close()
    with ThreadPoolExecutor(WORKERS) as pool:
        work = [
            pool.submit(keep_running, url, f"w{plan.seed}x{plan.shard}x{n}", restarts, names) for n in range(WORKERS)
        ]
        try:
            for trial in trials:
                time.sleep(0.2 + plan.random(trial).random())
                restarts.begun += 1
                server.restart()
                restarts.done += 1
                seen.count("restarts")
        finally:
            restarts.is_over = True
        for done in work:
            seen.add(done.result())
    for who, name in names:
        wrong = world.wrong(name) + repeated(log_of(url, who, name))
        seen.problems += [f"run {name}: {told}" for told in wrong]
    return seen


def run(plan: Plan) -> Seen:
    """Cuts, then restarts, on one server."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it tells of each connection that breaks
    seen = Seen()
    with PostgresServer() as server:
        PostgresJournal(server.url("cuts"), clock=SystemClock().now).close()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for one in pool.map(lambda trial: cut_one(server, plan, trial), plan.trials(CUTS)):
                seen.add(one)
        seen.add(restart(server, plan.trials(RESTARTS), plan))
    return seen
