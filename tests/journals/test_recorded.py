"""Stores that earlier code has written: read as they were then, and their runs go on to their end.

A failure here means that whoever upgrades holdfast loses something. Never record a store anew to make it pass.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from types import ModuleType
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.accept import MessageKind
from holdfast.core.events import Effect, Kind, StepKind
from holdfast.core.heads import MISMATCHED, PAUSING, Head, Status, Why
from holdfast.errors import MessageRefused, RunForgotten
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Journal
from holdfast.testing.model_server import ModelServer, text
from holdfast.views.show import show

QUICK = hf.Settings(quiet_s=0.02, park_s=0.06, close_s=0.5, poll_s=0.02, settle_s=0.01)
LAST_LIFE = 9
LARGE = 300_000
CHOICES = {"ask": "yes", "stuck": "go_on", "crash_loop": "go_on", "in_doubt": "it_happened", "failed": "try_again"}
SIGNALS = {"never": "now", "go": "now"}
SINCE = {Why.UNREACHABLE, Why.BUDGET}
"""Reasons to wait that none of these stores can hold: no code knew them when they were written."""
BEFORE_RETENTION = ("schema-3", "schema-4")
RESULTS: dict[str, Any] = {
    "asks": "k: yes 8",
    "sleeps": 10,
    "retries": 11,
    "listens": ["now", "early"],
    "plain": "yes",
    "circles": 1,
    "repeats": ["HTTPStatusError", "HTTPStatusError", "yes"],
    "chapters": "yes",
    "parents": [5, 3],
    "told": [5, 4],
    "doubts": 25,
    "degrades": [101, "letter"],
    "shut": 61,
    "paused": "booked 3",
    "unpaused": "booked 4",
    "drifts": 82,
    "unblocked": 82,
    "held": ["It is so. " * 20] * 2,
    "grew": "It is so. " * 20,
    "clock": ["It is so. " * 20, "It is so."],
    "fresh": ["It is so. " * 20, "It is so. " * 20, "yes"],
    "impatient": "yes",
    "loops": ["alive"],
    "flies": [16, "xx"],
    "ready": "ready: yes 8",
    "ready-capped": "less: yes 8",
    "answered": "a: yes 8",
}
"""By key: what its agent returns in the end."""
LEFT_TO_DO = {
    ("pay", 7): 2, ("pay", 8): 4, ("pay", 10): 1, ("pay", 13): 1, ("pay", 42): 2, ("pay", 61): 1, ("put_later", 11): 1,
    ("put", 16): 1, ("send", "letter"): 1, ("unbook", 5): 1, ("look", LARGE): 2, ("look", 1): 2, ("look", 2): 1,
    ("deadly_look", LAST_LIFE): 1,
}  # fmt: skip
"""What had not been done when the stores were recorded, and how often: for so many runs."""


# --- what was recorded ------------------------------------------------------------------------------------------------


def test_the_store_holds_everything_that_a_store_can_hold(recorded: Any) -> None:
    """Lost: a kind of event, step, end or message whose form may change without any test that sees it."""
    journal = SqliteJournal(recorded.path, clock=recorded.clock.now)
    heads = journal.heads(limit=1000)
    events = [event for head in heads for event in journal.events(head.run_id)]
    assert {event.kind for event in events} == set(Kind)
    assert {event.step for event in events} - {None} == set(StepKind)
    assert {event.effect for event in events} - {None} == set(Effect)
    assert {head.status for head in heads} == set(Status)
    suspended = {event.facts["why"] for event in events if event.kind is Kind.RUN_SUSPENDED}
    assert suspended == set(Why) - SINCE
    assert {head.why for head in heads if head.status is Status.SUSPENDED} == set(Why) - SINCE
    assert {question.about for head in heads for question in head.questions} == set(CHOICES)
    assert {mail.message.kind for head in heads for mail in journal.mail(head.run_id)} == set(MessageKind)
    resumed = {event.facts["why"] for event in events if event.kind is Kind.RUN_RESUMED}
    assert resumed == {"takeover", "resume", "unblocked", "unpaused", "unwind"}
    drifts = {event.facts["rule"] for event in events if event.kind is Kind.DRIFT_FOUND}
    assert drifts == {"order", "unused", "tail", "fresh", "abandoned"}
    assert any(event.facts.get("chapter") == 2 for event in events if event.kind is Kind.RUN_STARTED)
    assert any(event.facts.get("parent") for event in events if event.kind is Kind.RUN_STARTED)
    assert recorded.name in BEFORE_RETENTION or any(head.is_forgotten for head in heads)
    assert journal.facts()["blobs"] and journal.cell("lamp") and journal.account("day") and journal.account("total")
    journal.close()


def test_it_folds_to_the_same_states_and_shows_the_same(recorded: Any, picture: Any) -> None:
    """Lost: the meaning of what was recorded. Fields may be added; what was there is there, with the same value."""
    journal = SqliteJournal(recorded.path, clock=recorded.clock.now)
    now = json.loads(json.dumps(picture(journal)))
    facts = journal.facts()
    journal.close()
    assert facts["problems"] == [] and facts["integrity"] == "ok"
    assert list(_missing(recorded.seen["runs"], now["runs"], "")) == []


def _missing(was: Any, now: Any, path: str) -> Any:
    """Where `now` lacks or changes something of `was`."""
    if isinstance(was, dict) and isinstance(now, dict):
        for name in was:
            yield from _missing(was[name], now[name], f"{path}/{name}") if name in now else [f"{path}/{name} is gone"]
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for place, (a, b) in enumerate(zip(was, now, strict=True)):
            yield from _missing(a, b, f"{path}/{place}")
    elif was != now:
        yield f"{path}: {was!r} is {now!r}"


def test_a_change_of_meaning_is_seen(recorded: Any) -> None:
    """The comparison itself: one value that is another, one that is gone, one more in a list."""
    was = {"a": [1, {"b": 2}], "c": None}
    assert list(_missing(was, {"a": [1, {"b": 2, "new": 3}], "c": None, "more": 1}, "")) == []
    for now in ({"a": [1, {"b": 3}], "c": None}, {"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}, 3], "c": None}):
        assert len(list(_missing(was, now, ""))) == 1


# --- and goes on ------------------------------------------------------------------------------------------------------


class People:
    """Whoever answers, resumes and tells the runs what they wait for."""

    def __init__(self, app: hf.App) -> None:
        self._app = app
        self._told: set[tuple[str, str]] = set()

    async def help(self, head: Head) -> None:
        """What is to be done for this run now, each thing once."""
        app, run = self._app, head.run_id
        for question in head.questions:
            if self._is_new(run, question.id):
                result = {"result": 12} if question.about == "in_doubt" else {}
                await self._try(app.answer(run, question.id, CHOICES[question.about], by="eve", **result))
        is_held = head.status is Status.SUSPENDED and (head.why in MISMATCHED or head.why in (Why.PAUSED, PAUSING))
        if is_held and self._is_new(run, f"resume {head.why}"):
            await self._try(app.resume(run, by="eve"))
        for name in SIGNALS if head.why == Why.SIGNAL else ():
            if self._is_new(run, name):
                await self._try(app.signal(run, name, SIGNALS[name], by="eve"))

    def _is_new(self, run: str, what: str) -> bool:
        is_new = (run, what) not in self._told
        self._told.add((run, what))
        return is_new

    async def _try(self, order: Any) -> None:
        try:
            await order
        except MessageRefused:  # somebody was quicker: it is answered in mail that is not read yet
            pass


async def _to_the_end(app: hf.App) -> None:
    people = People(app)
    while True:
        open_heads = [head for head in app.journal.heads(limit=1000) if not head.status.is_end and head.key != "@desk"]
        if not open_heads:
            return
        for head in open_heads:
            await people.help(head)
        await asyncio.sleep(0.02)


async def test_its_open_runs_go_on_to_their_end_and_repeat_nothing(recorded: Any, agents: ModuleType) -> None:
    """Lost: work that is done twice after an upgrade, or runs that nobody can finish."""
    await go_on(f"sqlite:///{recorded.path}", recorded, agents)


async def go_on(store: str | Journal, recorded: Any, agents: ModuleType) -> None:
    """Let all runs of this store, which holds what was recorded, come to their end; and what they must come to."""
    effects = recorded.path.with_name("effects.jsonl")
    effects.write_text("".join(json.dumps(effect) + "\n" for effect in recorded.seen["effects"]))
    with ModelServer(lambda request: text("It is so.")) as server:
        agents.world = agents.World(effects, server.url, LAST_LIFE)
        config = recorded.path.with_name("holdfast.toml")
        config.write_text(agents.CONFIG)
        how = {"agents": agents.AGENTS, "settings": QUICK, "clock": recorded.clock, "config": config}
        async with hf.App(store, **how) as app:
            async with asyncio.timeout(40):
                await _to_the_end(app)
            ends = {head.key: head for head in reversed(app.journal.heads(limit=1000))}
            results = {key: show(ends[key], app.journal.events(ends[key].run_id))["run"]["result"] for key in RESULTS}
            switches = app.journal.cell("switches")
            if recorded.name not in BEFORE_RETENTION:
                with pytest.raises(RunForgotten):
                    await app.run(agents.passing, 300, key="forgotten")
    assert results == RESULTS
    assert ends["ready-cancelled"].status is Status.CANCELLED and ends["failed-resumed"].status is Status.FAILED
    assert ends["to-unwind"].is_unwound
    assert switches is not None and "radio" in switches.value and "telegraph" in switches.value
    _check_effects(agents.world.seen(), recorded.seen["effects"])


def _check_effects(done: list[Any], before: list[Any]) -> None:
    """Exactly what was left to do was done; what may have been done already, under the key that it had."""
    after = done[len(before) :]
    assert Counter((name, argument) for name, argument, *_ in after) == LEFT_TO_DO
    was_put = {effect[2] for effect in before if effect[:2] == ["put", 16]}
    assert was_put == {effect[2] for effect in after if effect[:2] == ["put", 16]}
