"""The contract of `Index` as tests, I1 to I6: inherit `IndexConformance`, give the fixture `open_engine`.

    class TestMine(IndexConformance):
        @pytest.fixture
        def open_engine(self, tmp_path):
            return lambda name, *, clock, is_dead, tenant="default": MyJournal(tmp_path / name, clock, tenant)

Never: sleeps, reads a clock, looks into an engine. Needs pytest and hypothesis (`holdfast[test]`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.document import Document
from holdfast.core.events import Charge, Event, Kind, meta
from holdfast.core.heads import Status
from holdfast.core.query import OUTCOMES, Query, fits, read
from holdfast.errors import UsageError
from holdfast.journal.open import index_of, upkeep_of
from holdfast.protocols import Index, Journal, Worker
from holdfast.testing.conformance_engine import GENTLE
from holdfast.testing.conformance_store import Store, step

RUNS = 5
ATTACKS = (
    "' OR 1=1 --",
    '" OR "1"="1',
    "'; DROP TABLE documents; --",
    "x' UNION SELECT * FROM runs --",
    "%",
    "_",
    "*",
    "a* OR b",
    "NOT refund",
    "refund AND",
    "refund OR lost",
    "NEAR(refund lost, 2)",
    "words: refund",
    "{body} : refund",
    "^refund",
    "refund + lost",
    "refund & lost | !lost",
    "refund:* <-> lost",
    "refund:ABCD",
    "(refund",
    "refund)",
    '"refund',
    '"""',
    "\\",
    "\\'",
    "$1",
    "?1",
    ":name",
    "refund\n-- lost",
    "/* refund */",
    "{}[]()<>|&!:*^~",
    "char(0)",
    "refund\u0000",
    "\ud800",
    "\u202erefund",
    "1e309",
    "-" * 50,
    '-"',
    "x" * 900,
)
"""Texts that would be more than texts in some engine's language."""

WORDS = st.sampled_from(["refund", "Refund", "lost", "invoice", "4711", "café", "日本", "don't", "find_invoice", "re"])
LINES = st.lists(WORDS, max_size=8).map(" ".join)
NAMES = st.lists(st.sampled_from(["charge", "look", "find_invoice"]), max_size=2, unique=True).map(tuple)
DOCUMENTS = st.builds(
    Document,
    run_id=st.just(""),
    mark=st.just(""),
    key=LINES,
    agent=st.sampled_from(["support", "billing", "@chain"]),
    outcome=st.sampled_from(OUTCOMES),
    why=LINES,
    tools=NAMES,
    errors=NAMES,
    spent=st.builds(Charge, usd_nano=st.sampled_from([0, 1, 10**9, 2 * 10**9])),
    created_at=st.sampled_from([1.0, 2.0, 3.0]),
    updated_at=st.sampled_from([3.0, 4.0, 5.0]),
    text=LINES,
    is_forgotten=st.sampled_from([False, False, False, True]),
)
PARTS = st.builds(
    lambda sign, quote, text, star: f"{sign}{quote}{text}{quote}{star}",
    st.sampled_from(["", "", "-"]),
    st.sampled_from(["", '"']),
    st.lists(WORDS, min_size=1, max_size=2).map(" ".join),
    st.sampled_from(["", "*"]),
)


FILTERS: dict[str, list[Any]] = {
    "agent": ["support", "billing", "@chain", "nobody"],
    "outcome": list(OUTCOMES),
    "tool": ["charge", "look", "none"],
    "error": ["charge", "find_invoice"],
    "key": ["re", "refund", "lost in", "café"],
    "since": [3.5, 4.0, 6.0],
    "until": [0.5, 1.0, 2.5],
    "usd_min": [0, 1, 1.5],
    "usd_max": [0, 1, 3],
    "sort": ["rank", "newest", "cost"],
    "limit": [1, 2, 50],
}
ONE = st.sampled_from([{}, *({name: value} for name, values in FILTERS.items() for value in values)])
QUERIES = st.builds(lambda first, second: first | second, ONE, ONE)


class OpenTenant(Protocol):
    """How the suite opens a store of the engine under test, for one of its tenants."""

    def __call__(
        self, name: str, *, clock: Callable[[], float], is_dead: Callable[[Worker], bool], tenant: str = "default"
    ) -> Journal: ...


def asked(words: str = "", **filters: object) -> Query:
    """A query, at a time of the suite's own."""
    return read(words, filters, 1_000_000.0)


class IndexConformance:
    """The contract, to be inherited for each engine."""

    not_applicable: ClassVar[Mapping[str, str]] = {}
    """Invariants that this engine cannot have, each with the reason."""

    @pytest.fixture
    def open_engine(self) -> OpenTenant:
        """Override it: a function that opens stores of your engine."""
        raise NotImplementedError("give the class a fixture `open_engine`; see holdfast.testing.conformance_index")

    def damage_index(self, name: str) -> None:
        """Override it: make the index of the closed store `name` unusable."""
        raise NotImplementedError

    def forge_index(self, name: str, before: str, after: str) -> None:
        """Override it: in the index of the closed store `name`, put one text in place of another."""
        raise NotImplementedError

    def need(self, invariant_name: str) -> None:
        """Skip the test if the engine declares that it cannot have the invariant."""
        if invariant_name in self.not_applicable:
            pytest.skip(f"{invariant_name} is not applicable: {self.not_applicable[invariant_name]}")

    @pytest.fixture
    def store(self, open_engine: OpenTenant) -> Iterator[Store]:
        """A new store."""
        store = Store(open_engine, "store")
        yield store
        store.close()

    @pytest.fixture
    def index(self, store: Store) -> Iterator[Index]:
        """Its index."""
        index = index_of(store.journal)
        yield index
        index.close()

    # --- I1: what is behind --------------------------------------------------------------------------------------

    def test_i1_each_run_is_behind_until_it_is_put(self, store: Store, index: Index) -> None:
        """Lost: a run that no search finds."""
        store.start("r1")
        store.start("r2")
        assert [each.run_id for each in index.behind()] == ["r1", "r2"]
        assert put(index, "r1")
        assert [each.run_id for each in index.behind()] == ["r2"]

    def test_i1_a_run_that_goes_on_is_behind_again(self, store: Store, index: Index) -> None:
        """Lost: what a run did after somebody had looked for it."""
        claim = store.hold("r1")
        put(index, "r1")
        assert index.behind() == []
        assert store.write(claim, [step(0)]) is None
        assert [each.run_id for each in index.behind()] == ["r1"]

    def test_i1_a_log_that_is_replaced_is_behind_though_it_is_as_long(self, store: Store, index: Index) -> None:
        """Lost: what retention has forgotten would still be found, since the run has as many events as before."""
        claim = store.hold("r1")
        assert store.write(claim, [step(0), step(1)], status=Status.SUCCEEDED, wake_at=None, releases=True) is None
        put(index, "r1")
        head = store.journal.head("r1")
        assert head is not None
        ended = Event(Kind.RUN_ENDED, 1.0, meta=meta(outcome="succeeded", forgotten=1.0))
        assert upkeep_of(store.journal).condense("r1", 2, [step(0), ended], head)
        assert [each.run_id for each in index.behind()] == ["r1"]

    # --- I2: whole documents ---------------------------------------------------------------------------------------

    def test_i2_what_a_run_said_before_is_not_found_any_more(self, store: Store, index: Index) -> None:
        """Lost: a search that finds a run by words which are not in its record."""
        store.start("r1")
        put(index, "r1", text="refund", tools=("charge",))
        put(index, "r1", text="lost", tools=("look",))
        assert ids(index, "refund") == [] == ids(index, tool="charge")
        assert ids(index, "lost") == ["r1"] == ids(index, tool="look")

    # --- I3: what is found -----------------------------------------------------------------------------------------

    def test_i3_what_is_found_is_what_fits(self, open_engine: OpenTenant) -> None:
        """Lost: a filter that an engine takes in its own way, or leaves out."""
        store = Store(open_engine, "fits")
        for number in range(RUNS):
            store.start(f"r{number}")
        index = index_of(store.journal)
        sides = [0, 0]

        @GENTLE
        @given(st.lists(DOCUMENTS, min_size=1, max_size=RUNS), st.lists(PARTS, max_size=2).map(" ".join), QUERIES)
        def check(documents: list[Document], words: str, filters: dict[str, Any]) -> None:
            query = asked(words, **filters)
            kept = put_all(index, documents)
            found = index.find(query)
            assert found is not None
            matching = [each for each in kept if fits(query, each)]
            assert [each for each in found if each not in matching] == []
            assert len(found) == min(len(matching), query.limit)
            assert in_order(found, query), [(each.run_id, each.updated_at, each.spent) for each in found]
            sides[len(found) > 0] += 1

        try:
            check()
        finally:
            index.close()
            store.close()
        assert min(sides) > 3, "the test must see queries that find something, and queries that do not"

    def test_i3_single_words_are_found_as_they_are_meant(self, store: Store, index: Index) -> None:
        """Lost: what people type first."""
        store.start("r1")
        put(index, "r1", key="ticket-4711", text="The refund of Café Ümlaut failed: find_invoice timed out in 日本語")
        for words in (
            "REFUND",
            "cafe umlaut",
            '"refund of cafe"',
            "find_invoice",
            "invoice",
            "ref*",
            "本語",
            "ticket-4711",
        ):
            assert ids(index, words) == ["r1"], words
        for words in ("refunds", '"of refund"', "-refund", "refund -4711", "find_ticket", "ef*", "語本"):
            assert ids(index, words) == [], words

    def test_i3_what_says_it_more_often_comes_first(self, store: Store, index: Index) -> None:
        """Lost: the run that is about it, behind twenty that mention it."""
        store.start("r1")
        store.start("r2")
        put(index, "r1", text="refund " + "other things of all sorts " * 50, updated_at=9.0)
        put(index, "r2", text="refund refund refund", updated_at=1.0)
        assert ids(index, "refund") == ["r2", "r1"]
        assert ids(index, "refund", sort="newest") == ["r1", "r2"]

    def test_i3_another_tenant_is_never_found(self, open_engine: OpenTenant) -> None:
        """Lost: one customer reads what the runs of another one said."""
        self.need("I3 tenants")
        ours, theirs = (Store(partial(open_engine, tenant=name), "shared") for name in ("ours", "theirs"))
        ours.start("r1")
        theirs.start("r1")
        theirs.start("r2")
        index, other = index_of(ours.journal), index_of(theirs.journal)
        try:
            put(index, "r1", text="refund of ours")
            put(other, "r1", text="refund of theirs")
            put(other, "r2", text="refund of theirs", agent="secret")
            assert index.behind() == [] == other.behind()
            for query in (asked(), asked("refund"), asked("-nothing"), asked(sort="cost"), asked(key="k")):
                assert [each.text for each in index.find(query) or []] == ["refund of ours"]
            assert ids(index, "theirs") == [] == ids(index, agent="secret")
            assert ids(other, "theirs") == ["r1", "r2"]
        finally:
            index.close()
            other.close()
            ours.close()
            theirs.close()

    def test_i3_a_forgotten_run_is_not_found(self, store: Store, index: Index) -> None:
        """Lost: retention that keeps what it says to have forgotten."""
        store.start("r1")
        put(index, "r1", text="refund", is_forgotten=True)
        assert ids(index) == [] == ids(index, "refund") and index.behind() == []

    # --- I4: a query is a value ------------------------------------------------------------------------------------

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_i4_no_text_changes_what_is_asked(self, store: Store, index: Index, attack: str) -> None:
        """Lost: rows that were not asked for, and a door into the database."""
        store.start("r1")
        store.start("r2")
        put(index, "r1", text="refund")
        put(index, "r2", text="lost")
        for name in ("words", "agent", "tool", "error", "key", "outcome", "sort", "since", "limit", "usd_min"):
            filters: dict[str, object] = {} if name == "words" else {name: attack}
            try:
                query = asked(attack if name == "words" else "", **filters)
            except UsageError:
                continue
            found = index.find(query)
            assert found is not None, "a query is never taken for damage"
            assert [each.run_id for each in found if not fits(query, each)] == []
            assert name == "words" or found == []
        assert sorted(ids(index)) == ["r1", "r2"]

    def test_i4_whatever_is_typed_is_answered(self, store: Store, index: Index) -> None:
        """Lost: a search that ends in a traceback, or finds what was not asked for."""
        store.start("r1")
        document = put(index, "r1", text="refund of the lost invoice 4711")

        @GENTLE
        @given(st.text(max_size=40) | st.text("\"'*-:()^{}&|!<>\\ ;%_$?refund4711\0\ud800", max_size=30))
        def check(typed: str) -> None:
            try:
                query = asked(typed)
            except UsageError:
                return
            found = index.find(query)
            assert found is not None
            assert found == ([document] if fits(query, document) else []), query.parts

        check()

    # --- I5: a cache -----------------------------------------------------------------------------------------------

    def test_i5_a_damaged_index_is_made_anew(self, store: Store, index: Index) -> None:
        """Lost: a search that fails for ever, though the runs are all there."""
        self.need("I5")
        store.start("r1")
        put(index, "r1", text="refund")
        index.close()
        store.close()
        self.damage_index("store")
        store.reopen()
        again = index_of(store.journal)
        for _ in range(3):  # what finds it damaged says so, and it is whole the next time
            found = again.find(asked("refund")) if put_quietly(again) else None
            if found is not None:
                break
        assert ids(again, "refund") == ["r1"] and again.behind() == []
        again.close()

    def test_i5_an_entry_that_was_changed_is_never_handed_out(self, store: Store, index: Index) -> None:
        """Lost: people and agents believe of earlier runs what somebody has put there."""
        self.need("I5")
        store.start("r1")
        put(index, "r1", text="refund declined by ada")
        index.close()
        store.close()
        self.forge_index("store", "declined", "approved")
        store.reopen()
        again = index_of(store.journal)
        assert again.find(asked("refund")) is None, "it is made anew"
        assert [each.run_id for each in again.behind()] == ["r1"]
        again.close()

    def test_i5_clear_lets_all_be_behind(self, store: Store, index: Index) -> None:
        """Lost: the one way to have an index made anew on purpose."""
        index.clear()
        before = index.is_made
        store.start("r1")
        put(index, "r1")
        assert [before, index.is_made] == [False, True], "to ask, and to clear, makes none"
        index.clear()
        assert [each.run_id for each in index.behind()] == ["r1"] and index.find(asked()) == []

    # --- I6: several at once ---------------------------------------------------------------------------------------

    def test_i6_what_one_puts_the_other_finds(self, store: Store, index: Index) -> None:
        """Lost: each process would read all runs by itself."""
        self.need("I6")
        store.start("r1")
        other = index_of(store.open())
        assert [each.run_id for each in other.behind()] == ["r1"]
        put(index, "r1", text="refund")
        assert other.behind() == [] and ids(other, "refund") == ["r1"]
        put(other, "r1", text="lost")
        assert ids(index, "lost") == ["r1"] and ids(index, "refund") == []
        other.close()


def put(index: Index, run_id: str, **facts: object) -> Document:
    """Put a document of the run as its log is now."""
    [document] = put_all(index, [Document("", "", **({"agent": "support", "key": "k"} | facts))], [run_id])  # type: ignore[arg-type]
    return document


def put_quietly(index: Index) -> bool:
    """Put it if it is behind, into an index that may have to be made anew; whether it is there."""
    documents = [Document(*each, agent="support", key="k", text="refund") for each in index.behind()]
    return not documents or index.put(documents)


def put_all(index: Index, documents: Sequence[Document], run_ids: Sequence[str] = ()) -> list[Document]:
    """Put each under a run of the store: those that are behind under the mark of its log. No names: in place of all."""
    names = run_ids or [f"r{number}" for number in range(len(documents))]
    if not run_ids:
        index.clear()
    marks = {each.run_id: each.mark for each in index.behind()}
    kept = [
        replace(each, run_id=name, mark=marks.get(name, "another")) for each, name in zip(documents, names, strict=True)
    ]
    assert index.put(kept)
    return kept


def ids(index: Index, words: str = "", **filters: object) -> list[str]:
    """What is found, in order."""
    found = index.find(asked(words, **filters))
    assert found is not None
    return [each.run_id for each in found]


def in_order(found: Sequence[Document], query: Query) -> bool:
    """Whether it is in the order that is asked for; of ranks an engine decides."""
    if query.sort == "rank":
        return True
    is_cost = query.sort == "cost"
    wanted = sorted(found, key=lambda each: (-each.spent.usd_nano * is_cost, -each.updated_at, each.run_id))
    return list(found) == wanted
