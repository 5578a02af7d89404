"""Searching past runs by code and by an agent: what is found, when it is found anew, and what is never found.

If these fail, whoever looks for earlier work is told of runs as they were, of runs of others, or of nothing.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest

import holdfast as hf
from holdfast.core import accept
from holdfast.core.document import Found, document
from holdfast.core.events import Event
from holdfast.core.query import Filters, read
from holdfast.core.retention import Retention
from holdfast.core.words import matches
from holdfast.errors import RunFailed, UsageError
from holdfast.journal.collect import collect
from holdfast.journal.lookup import search
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.open import open_journal, upkeep_of
from holdfast.journal.rebuild import rebuild
from holdfast.journal.search import SUFFIX
from holdfast.runtime.clock import SystemClock
from holdfast.testing.conformance_index import ATTACKS

CLOCK = SystemClock()


@hf.tool(effect="read", retry=hf.Retry(attempts=1))
async def look(what: str) -> str:
    """Looks."""
    if what == "lost":
        raise ConnectionError("no route to the warehouse")
    return f"seen {what}"


@hf.agent
async def support(run: hf.Run, what: str) -> str:
    """Looks for it, and says so."""
    await run.note(f"looking for {what}")
    await run.decide("way", "by sea", because=f"{what} is heavy")
    return await look(what)


@hf.agent
async def waits(run: hf.Run, what: str) -> str:
    """Waits for a word."""
    await run.note(f"began with {what}")
    await run.signal("go")
    await run.note("went on to Reykjavik")
    return what


def begin(store: Any, agent: Any, given: Any, key: str, **options: Any) -> None:
    """Run it in this process until it ends or waits."""
    app = hf.App(store, settings=hf.Settings(quiet_s=0.01), **options)
    try:
        app.run_sync(agent, given, key=key, wait=0)
    except (hf.errors.RunWaiting, RunFailed):
        pass


def looked(store: Any, words: str = "", *, tenant: str = "default", **filters: Any) -> list[Found]:
    """As somebody who comes later finds it."""

    async def later() -> list[Found]:
        async with hf.App(store, tenant=tenant, serves=False) as app:
            return await app.search(words, **filters)

    return asyncio.run(later())


def keys(store: Any, words: str = "", **filters: Any) -> list[str]:
    return [found.key for found in looked(store, words, **filters)]


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with two runs in it: one that looked and one that failed."""
    url = f"sqlite:///{tmp_path}/holdfast.db"
    begin(url, support, "a parcel", "ticket-1")
    begin(url, support, "lost", "ticket-2")
    return url


def test_runs_are_found_by_what_they_did(store: str) -> None:
    """Lost: the one way to what earlier runs know."""
    assert keys(store) == ["ticket-2", "ticket-1"], "the newest first"
    assert keys(store, "parcel") == ["ticket-1"] == keys(store, outcome="succeeded") == keys(store, "-warehouse")
    assert keys(store, "warehouse") == ["ticket-2"] == keys(store, error="ConnectionError", tool="look")
    assert keys(store, '"by sea because" heavy') == ["ticket-2", "ticket-1"] or keys(store, "sea heavy")
    assert keys(store, agent="support", since="1h", usd_max=0, key="ticket", limit=1) == ["ticket-2"]
    assert keys(store, until="1h") == [] == keys(store, usd_min=0.01)
    [found] = looked(store, "warehouse")
    assert (found.outcome, found.agent, found.tools) == ("failed", "support", ("look",))
    assert [found.snippet[begin:end] for begin, end in found.marks] == ["warehouse"] * len(found.marks) != []


def test_an_unknown_filter_is_an_error(store: str) -> None:
    """Lost: a misspelt filter that shows everything."""
    with pytest.raises(UsageError, match="usd_max"):
        looked(store, status="failed")
    with pytest.raises(UsageError, match="succeeded"):
        looked(store, outcome="success")


def test_no_text_gets_rows_that_were_not_asked_for(store: str) -> None:
    """Lost: the store, to whoever may type a word into a field. Each engine is tried by the suite of `Index`, too."""
    journal = open_journal(store, clock=CLOCK.now)
    before, tried = journal.facts()["events"], 0
    for attack in ATTACKS:
        for filters in ({"words": attack}, *({name: attack} for name in Filters.__annotations__), {attack: attack}):
            words = filters.pop("words", "")
            try:
                asked = read(words, filters, CLOCK.now())
            except UsageError:
                continue
            tried += 1
            found = search(journal, asked).found
            assert found == [] or words, (attack, filters)
            assert all(matches(text_of(journal, each), asked.parts) for each in found), attack
    assert journal.facts()["events"] == before and journal.facts()["integrity"] == "ok"
    journal.close()
    assert tried > len(ATTACKS) and keys(store) == ["ticket-2", "ticket-1"]


def text_of(journal: Any, found: Found) -> str:
    head = journal.head(found.run_id)
    return document(head, journal.events(found.run_id), "").words


def test_a_run_that_goes_on_is_found_anew(tmp_path: Path) -> None:
    """Lost: what a run did after the first search."""
    url = f"sqlite:///{tmp_path}/holdfast.db"
    begin(url, waits, "boxes", "k")
    assert keys(url, "boxes", outcome="suspended") == ["k"] and keys(url, "reykjavik") == []

    async def go_on() -> None:
        async with hf.App(url, agents=[waits], settings=hf.Settings(quiet_s=0.01)) as app:
            [found] = await app.search("boxes")
            await app.signal(found.run_id, "go")
            await app.run(waits, "boxes", key="k")
            assert [each.outcome for each in await app.search("boxes reykjavik")] == ["succeeded"]

    asyncio.run(go_on())
    assert keys(url, "reykjavik", outcome="succeeded") == ["k"] and keys(url, outcome="suspended") == []


def test_another_tenant_finds_nothing_of_it(tmp_path: Path) -> None:
    """Lost: one customer reads what the runs of another one said."""
    url = f"sqlite:///{tmp_path}/holdfast.db"
    begin(url, support, "a parcel", "theirs", tenant="theirs")
    begin(url, support, "a parcel", "ours", tenant="ours")
    for tenant in ("ours", "theirs", "ours"):
        assert keys(url, "parcel", tenant=tenant) == [tenant] == keys(url, tenant=tenant)
    assert keys(url, "parcel", tenant="nobody") == []


def test_what_is_forgotten_is_found_no_more(store: str, tmp_path: Path) -> None:
    """Lost: retention that leaves in a side file what it has removed from the store."""
    side = tmp_path / f"holdfast.db{SUFFIX}"
    assert keys(store, "parcel") == ["ticket-1"] and b"parcel" in side.read_bytes()
    journal = open_journal(store, clock=CLOCK.now)
    done = collect(journal, upkeep_of(journal), Retention(status=("succeeded",), keep=0))
    journal.close()
    assert len(done.forgotten) == 1
    assert b"parcel" not in side.read_bytes(), "at once, and not at the next search"
    assert keys(store, "parcel") == [] and keys(store) == ["ticket-2"]


def test_to_forget_makes_no_index(store: str, tmp_path: Path) -> None:
    """Lost: files that nobody asked for, beside the store of somebody who never searches."""
    journal = open_journal(store, clock=CLOCK.now)
    collect(journal, upkeep_of(journal), Retention(keep=0))
    rebuild(journal, upkeep_of(journal))
    journal.close()
    assert list(tmp_path.glob("*search*")) == [] and keys(store) == []


def test_rebuilding_the_store_makes_the_index_anew(store: str, tmp_path: Path) -> None:
    """Lost: the way out for whoever does not trust what is found."""
    assert keys(store, "parcel") == ["ticket-1"]
    journal = open_journal(store, clock=CLOCK.now)
    rebuild(journal, upkeep_of(journal))
    journal.close()
    assert b"parcel" not in (tmp_path / f"holdfast.db{SUFFIX}").read_bytes()
    assert keys(store, "parcel") == ["ticket-1"]


def test_a_damaged_run_keeps_nobody_from_finding_the_others(store: str, tmp_path: Path) -> None:
    """Lost: all searches of a store, for one bad sector; or a damaged run that nobody is told of."""
    db = apsw.Connection(str(tmp_path / "holdfast.db"))
    db.execute("UPDATE events SET meta = replace(meta, 'parcel', 'marble') WHERE kind = 'NoteWritten'")
    db.close()
    journal = open_journal(store, clock=CLOCK.now)
    for _ in range(2):
        done = search(journal, read("", {}, CLOCK.now()))
        assert [found.key for found in done.found] == ["ticket-2"] and len(done.unread) == 1
    journal.close()


def test_a_store_in_memory_is_searched_too() -> None:
    """Lost: tests of agents that search."""
    journal = MemoryJournal(clock=CLOCK.now)
    begin(journal, support, "a parcel", "k")
    assert keys(journal, "parcel") == ["k"] and keys(journal, "lost") == []


class Watched(MemoryJournal):
    """Tells whose logs are read."""

    def __init__(self) -> None:
        super().__init__(clock=CLOCK.now)
        self.read: list[str] = []

    def events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        self.read.append(run_id)
        return super().events(run_id, after, limit)


def test_a_thousand_runs() -> None:
    """Lost: what is found among many, and a second search that does not read all of them again."""
    journal = Watched()
    for number in range(1_000):
        start = accept.start(
            agent="support", key=f"k{number}", input_digest="d", limits=None, body=f'"order {number}"'.encode()
        )
        journal.post(f"r{number}", "start", start)
    assert [each.key for each in search(journal, read("order 777", {}, 0.0)).found] == ["k777"]
    assert len(search(journal, read("order", {"limit": 1_000}, 0.0)).found) == 1_000
    journal.read.clear()
    journal.post("r1000", "start", start)
    assert [each.key for each in search(journal, read("order 999", {}, 0.0)).found] == ["k999", "k999"]
    assert journal.read == ["r1000"], "only what has changed is read"


def test_many_who_search_at_once_read_each_run_once() -> None:
    """Lost: a hundred runs that begin together and ask what was before, each reading the whole store."""
    journal = Watched()
    for number in range(200):
        start = accept.start(agent="support", key=f"k{number}", input_digest="d", limits=None, body=b'"order"')
        journal.post(f"r{number}", "start", start)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: len(search(journal, read("order", {"limit": 500}, 0.0)).found), range(8)))
    assert found == [200] * 8 and len(journal.read) == 200


# --- the tool ------------------------------------------------------------------------------------------------------


@hf.agent
async def asks_back(run: hf.Run, arguments: dict[str, Any]) -> dict[str, Any]:
    """Calls the tool as a model would."""
    said = await hf.Toolset(hf.search_runs).use("search_runs", arguments)
    return {"text": said.text, "is_error": said.is_error}


def used(store: str, **arguments: Any) -> str:
    """What a model reads."""
    said = hf.App(store, settings=hf.Settings(quiet_s=0.01)).run_sync(asks_back, arguments)
    assert not said["is_error"], said["text"]
    return str(said["text"])


def test_an_agent_finds_what_earlier_runs_did(store: str) -> None:
    """Lost: an agent that does again what another one has tried."""
    said = used(store, words="warehouse", outcome="failed", tool="look", since="1h")
    assert "ticket-2" in said and "no route to the warehouse" in said and "ticket-1" not in said
    assert "never an instruction" in said
    assert "asks_back" not in used(store, outcome="running"), "the run that asks is none that is found"


def test_a_model_that_asks_for_nonsense_is_told_so(store: str) -> None:
    """Lost: a run that ends because a model wrote a date in words."""
    for arguments in (
        {"since": "yesterday"},
        {"words": "!!!"},
        {"agent": "@desk"},
        {"outcome": "good"},
        {"tenant": "x"},
    ):
        said = hf.App(store, settings=hf.Settings(quiet_s=0.01)).run_sync(asks_back, arguments)
        assert said["is_error"], said


def test_what_a_model_reads_is_bounded(tmp_path: Path) -> None:
    """Lost: a conversation that is full after one search."""
    url = f"sqlite:///{tmp_path}/holdfast.db"
    for number in range(30):
        begin(url, support, "parcel " * 2_000, f"{'k' * 190}-{number}")
    said = used(url, words="parcel", limit=10**9)
    assert said.count("kkk-") <= 20 and len(said) < 20_000


def test_outside_of_every_run_it_refuses(store: str) -> None:
    """Lost: a search of a store that nobody named."""
    with pytest.raises(UsageError, match="outside of every run"):
        asyncio.run(hf.search_runs("parcel"))
