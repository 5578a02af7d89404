"""Workers are killed again and again, at any moment of their work, until all runs have ended all the same.

Several processes of `holdfast worker` share a store; their effects go to the parent, which remembers each, answers, and
kills whom it likes: when an effect is about to be sent, when it has happened and nobody was told, when it was told and
is not recorded, or a moment after its answer, wherever the process is by then. A few are told to end instead (SIGTERM).
In between somebody answers what is in doubt, by what the parent has received.

A kill counts when `waitpid` says so. In which window it was is read from the journal afterwards.
"""

from __future__ import annotations

import io
import logging
import os
import random
import signal
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

import holdfast as hf
from holdfast.cli.work import until_over
from holdfast.core import accept
from holdfast.core.heads import Head
from holdfast.core.state import fold
from holdfast.journal.codec import encode
from holdfast.protocols import Journal
from proof import shop
from proof.crew import Child, Crew, Line
from proof.part import Plan, Seen
from proof.world import POSTGRES, SQLITE, Received, accept_run, opened, stores

STORES = 100
KILLS = 20
"""In each of them."""
WANTED = {
    "process_kills": STORES * KILLS,
    "process_kills_sqlite": STORES * KILLS * 3 // 4,
    "process_kills_postgres": STORES * KILLS // 4,
    "kills_before_the_effect": 1_000,
    "kills_under_way": 1_000,
    "kills_after_the_effect": 1_000,
    "takeovers": 5_000,
    "doubts_settled": 1_000,
    "asked_a_person": 1_000,
    "ended_in_order": 50,
    "runs": 600,
}
COST = 130
WAITS = True
TURN = (SQLITE, SQLITE, SQLITE, POSTGRES)
WORKERS = 3
OPEN_MAX = 5
"""Runs at a time."""
ROUNDS = 2
KILLED, TOLD_TO_END = 0.11, 0.015
"""How often, at each word from a worker."""
SETTINGS = hf.Settings(settle_s=0.0, poll_s=0.05, quiet_s=0.02)
WORDS = ("begins", "sent", "told")
IDLE_MAX = 100
"""Workers that end one after the other, without anything that was sent."""


class Asked:
    """The way outside, by way of the parent: three words for each effect."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def act(self, tool: str, order: str, key: str, epoch: int) -> None:
        """It happens at the second word."""
        for word in WORDS:
            await self._line.request(word=word, effect=[tool, order, key, epoch])

    async def has(self, tool: str, key: str) -> bool:
        """Whether it has happened."""
        return bool((await self._line.request(word="has", effect=[tool, "", key, 0]))["has"])


def worker(url: str) -> Callable[[Line], int]:
    """What a worker process does: `holdfast worker --until-idle`, with times that are short."""

    def work(line: Line) -> int:
        logging.getLogger("holdfast").addHandler(logging.NullHandler())
        agent = shop.shop(Asked(line))
        with redirect_stderr(io.StringIO()):
            return until_over(hf.App(url, agents=[agent], settings=SETTINGS), [agent], 0.0)

    return work


class Storm:
    """One store, its workers, and what came from them."""

    def __init__(self, crew: Crew, url: str, name: str, chance: random.Random, seen: Seen) -> None:
        self.url = url
        self.name = name
        self._crew = crew
        self._chance = chance
        self._seen = seen
        self._received: list[Received] = []
        self._words: dict[Child, dict[tuple[str, str], str]] = {}
        """Of each worker: the latest word about each effect that it had under way."""
        self._dying: set[Child] = set()
        self._told: set[Child] = set()
        """Those that were told to end."""
        self._doubtful: set[tuple[str, str]] = set()
        """What was in flight at a death."""
        self._keys: list[str] = []
        self._idle = 0
        self.kills = 0
        self.is_over = False
        self._go_on({})

    # --- workers -----------------------------------------------------------------------------------------------

    def _hear(self, child: Child, what: dict[str, Any]) -> None:
        word, effect = what["word"], Received(*what["effect"])
        is_dead = child in self._dying
        if word == "has":
            has = any((each.tool, each.key) == (effect.tool, effect.key) for each in self._received)
            child.answer(number=what["number"], has=has)
            return
        self._words[child][effect.tool, effect.order] = word
        roll = 1.0 if is_dead else self._chance.random()
        is_struck = self.kills < KILLS and roll < KILLED
        if is_struck and roll < KILLED / 3:  # with the request on its way
            self._kill(child)
        if word == "sent":
            self._received.append(effect)
            self._idle = 0
        if is_struck and KILLED / 3 <= roll < KILLED * 2 / 3:
            self._kill(child)
        child.answer(number=what["number"])
        if is_struck:
            self._kill(child)
        elif KILLED <= roll < KILLED + TOLD_TO_END and child not in self._told:
            self._told.add(child)
            os.kill(child.pid, signal.SIGTERM)

    def _kill(self, child: Child) -> None:
        if child in self._dying:
            return
        self._dying.add(child)
        self.kills += 1
        child.kill()

    def _over(self, child: Child, code: int) -> None:
        words = self._words.pop(child)
        if child in self._dying:
            self.kills -= code != -signal.SIGKILL  # another one is to die
        had_ended = child in self._told and code == 128 + signal.SIGTERM  # before it was killed
        if child in self._dying and not had_ended:
            self._ended(code, -signal.SIGKILL, "process_kills", f"process_kills_{self.name.partition('-')[0]}")
        elif child in self._told:
            self._ended(code, 128 + signal.SIGTERM, "ended_in_order")
        elif code:
            self._seen.problems.append(f"{self.name}: a worker ended by itself with {code}")
        self._go_on(words if child in self._dying else {})

    def _ended(self, code: int, expected: int, *counts: str) -> None:
        if code == expected:
            for count in counts:
                self._seen.count(count)
        elif code:  # it may have been done before it heard of it
            self._seen.problems.append(f"{self.name}: a worker ended with {code}, not {expected}")

    # --- the store, when nobody forks --------------------------------------------------------------------------

    def _go_on(self, words: dict[tuple[str, str], str]) -> None:
        """See what a death has left, answer what is asked, start more runs, and workers for them."""
        with opened(self.url) as journal:
            self._see_windows(journal, words)
            heads = [head for head in journal.heads(limit=10_000) if head.key in self._keys]
            for head in heads:
                if head.questions:
                    self._answer(journal, head)
            unfinished = sum(not head.status.is_end for head in heads)
            while self.kills < KILLS and unfinished < OPEN_MAX:
                self._keys.append(f"{self.name}-{len(self._keys)}")
                accept_run(journal, shop.NAME, ROUNDS, self._keys[-1])
                unfinished += 1
            self._idle += 1
            if self._idle > IDLE_MAX:
                self._seen.problems.append(f"{self.name}: nothing goes on, with {unfinished} runs that have not ended")
            self.is_over = not self._words and (not unfinished or self._idle > IDLE_MAX)
            if self.is_over:
                self._check(journal)
        while unfinished and not self.is_over and len(self._words) < WORKERS:
            self._words[self._crew.start(worker(self.url), self._hear, self._over)] = {}

    def _see_windows(self, journal: Journal, words: dict[tuple[str, str], str]) -> None:
        """Where each effect was that the dead had under way, as the journal shows it."""
        for (tool, order), word in words.items():
            [head] = journal.heads(key=order.partition("/")[0], limit=1)
            if (tool, order) in shop.in_flight(fold(journal.events(head.run_id))):
                is_done = any((each.tool, each.order) == (tool, order) for each in self._received)
                where = "before_the_effect" if not is_done else "under_way" if word == "sent" else "after_the_effect"
                self._seen.count(f"kills_{where}")
                self._doubtful.add((tool, order))

    def _answer(self, journal: Journal, head: Head) -> None:
        question, state = head.questions[0], fold(journal.events(head.run_id))
        if question.id not in state.questions:  # it was answered meanwhile
            return
        about = question.about
        choice, result = shop.ruling(state, self._received) if about == "in_doubt" else ("go_on", None)
        body = None if result is None else encode(result)
        journal.post(
            head.run_id, f"answer {question.id}", accept.answer(question.id, choice=choice, by="ann", body=body)
        )

    def _check(self, journal: Journal) -> None:
        for key in self._keys:
            [head] = journal.heads(key=key, limit=1)
            events = journal.events(head.run_id)
            self._seen.problems += [
                f"{key}: {wrong}" for wrong in shop.wrong(events, self._received, ROUNDS, self._doubtful)
            ]
            self._seen.count("runs")
            self._seen.count("takeovers", shop.takeovers(events))
            self._seen.count("doubts_settled", shop.doubts(events))
            self._seen.count("asked_a_person", shop.answers(events))


def run(plan: Plan) -> Seen:
    """One store after the other."""
    seen = Seen()
    with stores(plan.directory) as made, Crew() as crew:
        for number in plan.trials(STORES):
            engine = TURN[number % len(TURN)]
            name = f"{engine}-{number}"
            storm = Storm(crew, made.url(engine, name), name, plan.random(number), seen)
            crew.run(lambda: storm.is_over)  # noqa: B023 - it is this one's
            made.forget()
    return seen
