"""Planted bugs: each breaks one promise in a line or two, and a check must see it.

A check that passes with the bug proves nothing, and one that fails without it is wrong; either fails the test.

name                    what is broken                                              check
======================  ==========================================================  ==========================
no_fence                the store lets a stale epoch write                          two_workers
no_intent               an effect begins without an intent                          killed_in_a_charge
early_acknowledgement   an intent counts as written before its commit               killed_in_a_charge
blind_commit            a commit whose outcome is unknown is repeated unseen        torn_commits
forgotten_reservation   what an interrupted attempt reserved is given back          killed_in_a_mail
exception_means_no      an exception after the effect counts as "it did not happen" charges_then_raises
clamped_settlement      spending over the cap is written as the cap                 dearer_than_the_worst_case
context_is_cause        a failure that was handled counts as the cause of the end   handled_failure
reopens_all             resume reopens every failed step                            handled_failure
as_soon_as_asked        recorded outcomes are handed out in the order of asking     equal_calls
key_per_attempt         each attempt has a key of its own                           lost_answer
first_no_believed       the first "not done" of `verify` is believed                late_arrival
no_subject              a question takes a second answer                            two_answers
deaf_end                a run ends over unread mail                                 cancelled_at_the_end
no_self_fence           a worker does not know when its own lease has run out       stopped_too_long
======================  ==========================================================  ==========================
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.core import accept, doubt, failure
from holdfast.core.events import NOTHING, Kind, StepKind, meta
from holdfast.core.machine import Machine
from holdfast.core.state import State, fold
from holdfast.errors import LeaseLost, MailWaiting
from holdfast.journal import mailbox, refusal
from holdfast.journal.database import Database
from holdfast.journal.process import this_worker
from holdfast.journal.sqlite import SqliteJournal
from holdfast.runtime import agent as runtime_agent
from holdfast.runtime.attempts import Attempts
from holdfast.runtime.driver import Driver
from holdfast.runtime.record import Record
from holdfast.runtime.worker import Worker
from holdfast.testing.clock import ManualClock
from holdfast.testing.crash import sweep
from holdfast.testing.ledger import Ledger
from holdfast.testing.model_server import ModelServer, text

QUICK = hf.Settings(quiet_s=0.02, park_s=0.06, poll_s=0.02, settle_s=0.02)
BUDGET = hf.Budget(tool_calls=100)
Patch = pytest.MonkeyPatch


class Yard:
    """Where checks do their work: stores on disk, a ledger, a shop to sweep."""

    def __init__(self, directory: Path, ledger: Ledger, make_shop: Any, post: Any) -> None:
        self.ledger = ledger
        self.make_shop = make_shop
        self.post = post
        self.stores: list[SqliteJournal] = []
        self._directory = directory
        self._numbers = itertools.count(1)

    def name(self, what: str) -> str:
        """A name that no check has used."""
        return f"{what}{next(self._numbers)}"

    def store(self, kind: type[SqliteJournal] = SqliteJournal, **options: Any) -> SqliteJournal:
        """A new store."""
        self.stores.append(kind(self._directory / f"{self.name('store')}.db", **{"clock": time.time} | options))
        return self.stores[-1]

    def sweep(self, *windows: str) -> list[str]:
        """What a shop finds wrong that is killed at these points."""
        shop = self.make_shop(rounds=1, prefix=self.name("sweep"))
        shop.limit_s = 3
        report = sweep(shop, every=0, seconds=0, windows=windows, stops_early=True)
        if not report.problems:
            report.require(kills=len(windows), windows=windows)
        return report.problems


class Bug(NamedTuple):
    """`seen` is a part of what the check says of it, so that no other failure passes for having caught it."""

    plant: Callable[[Patch], None]
    check: Callable[[Yard], list[str]]
    seen: str


def play(store: Any, scenario: Callable[[hf.App], Awaitable[Any]], *, limit_s: float = 10, **options: Any) -> Any:
    """One process that plays this on the store."""

    async def main() -> Any:
        async with asyncio.timeout(limit_s), hf.App(store, settings=QUICK, serves=False, **options) as app:
            return await scenario(app)

    return asyncio.run(main())


def ended(store: Any, agent: Any, **options: Any) -> str:
    """What a process that starts or goes on with the run comes to, in words. A time is waited for, a person is not."""
    try:
        return str(play(store, lambda app: app.run(agent, None, key="k", wait=5), **options))
    except (hf.RunError, hf.JournalError, hf.InternalError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}"


def resume(store: Any) -> None:
    """Another process reopens the run."""
    play(store, lambda app: app.resume(store.heads()[0].run_id))


def record(store: Any) -> State:
    """The one run of the store, folded."""
    return fold(store.events(store.heads()[0].run_id))


def paying(paid: list[int], between: Callable[[], Awaitable[None]] | None = None) -> Any:
    """An agent that pays twice, and may do something in between."""

    @hf.tool(effect="once")
    async def pay(item: int) -> int:
        paid.append(item)
        return item

    @hf.agent(name="shop", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> int:
        first = await pay(1)
        if between is not None:
            await between()
        return first + await pay(2)

    return agent


# --- the store -------------------------------------------------------------------------------------------------


def no_fence(patch: Patch) -> None:
    real = refusal.refuse_append
    patch.setattr(refusal, "refuse_append", lambda a, worker, epoch, *rest: real(a, *a.lease[1:], *rest))


def two_workers(yard: Yard) -> list[str]:
    """A second worker takes the run over while the first is between two payments."""
    dead: set[str] = set()
    paid: list[int] = []
    store = yard.store(is_dead=lambda worker: worker.id in dead)

    async def taken_over() -> None:
        run = store.heads()[0].run_id
        owner = store.owner(run)
        assert owner is not None
        dead.add(owner[0].id)
        store.register(this_worker("second"), 30)
        assert len(store.claim("second", run_ids=[run])) == 1

    said = ended(store, paying(paid, taken_over))
    wrong = [] if said.startswith(LeaseLost.__name__) else [f"the first worker was told {said!r}, not LeaseLost"]
    return wrong + ([] if paid == [1] else [f"paid without the run: {paid[1:]}"])


def blind_commit(patch: Patch) -> None:
    real = Database.write
    patch.setattr(Database, "write", lambda self, work, stands=None, **more: real(self, work, None, **more))


class Torn(SqliteJournal):
    """One of its commits is written and fails all the same."""

    torn = 0
    commits = 0

    def _commit(self) -> None:
        super()._commit()
        self.commits += 1
        if self.commits == self.torn:
            raise apsw.IOError("planned: written, and not told")


def torn_commits(yard: Yard) -> list[str]:
    """Each commit of a run in turn is written and fails all the same; the run must not notice."""
    wrong = []
    for number in itertools.count(1):
        store, paid = yard.store(Torn), list[int]()
        assert isinstance(store, Torn)
        store.torn, store.commits = number, 0
        said = ended(store, paying(paid), limit_s=2)
        if store.commits < number:
            assert number > 6, "a start, a claim, two steps and an end were not torn"
            return wrong
        events = [event.kind for event in store.events(store.heads()[0].run_id) if event.step is StepKind.TOOL]
        if (said, paid, events) != ("3", [1, 2], [Kind.STEP_INTENDED, Kind.STEP_SUCCEEDED] * 2):
            wrong.append(f"commit {number} was torn: {said}; paid {paid}, recorded {events}")
    raise AssertionError("unreachable")


def no_subject(patch: Patch) -> None:
    real = accept.accept
    patch.setattr(mailbox, "accept", lambda *given: replace(real(*given), subject=None))


def two_answers(yard: Yard) -> list[str]:
    """Two people answer the same question before the run reads its mail."""
    store = yard.store()

    @hf.agent(name="shop", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> Any:
        return (await run.ask("Pay?", options=("yes", "no"))).value

    assert ended(store, agent).startswith("RunWaiting")
    head = store.heads()[0]
    for by, choice in (("ann", "no"), ("bob", "yes")):
        message = accept.answer(head.questions[0].id, choice=choice, by=by, body=None)
        posted = store.post(head.run_id, f"from {by}", message)
        if posted.is_stored is not (by == "ann"):
            return [f"stored both answers; bob was told {posted.refused!r}"]
    said = ended(store, agent)
    return [] if said == "no" else [f"the second answer counted: {said}"]


def deaf_end(patch: Patch) -> None:
    real = refusal.refuse_append
    patch.setattr(refusal, "refuse_append", lambda *a: None if isinstance(no := real(*a), MailWaiting) else no)


def cancelled_at_the_end(yard: Yard) -> list[str]:
    """A cancel arrives when the agent has done its last step and is about to return."""
    store = yard.store()

    @hf.agent(name="shop", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> str:
        store.post(run.id, "cancel", accept.cancel(by="ann"))
        return "done"

    said = ended(store, agent)
    return [] if said.startswith("RunCancelled") and "ann" in said else [f"the cancel was swallowed: {said}"]


# --- steps -----------------------------------------------------------------------------------------------------


def no_intent(patch: Patch) -> None:
    patch.setattr(Attempts, "needs_intent", property(lambda self: self.call.step is StepKind.MODEL))


def early_acknowledgement(patch: Patch) -> None:
    real = Record.write

    async def write(self: Record) -> bool:
        append = self.take()
        only_intents = append is not None and {event.kind for event in append.events} == {Kind.STEP_INTENDED}
        return only_intents or await real(self)

    patch.setattr(Record, "write", write)


def killed_in_a_charge(yard: Yard) -> list[str]:
    """SIGKILL while a charge is under way, and when it is done but not recorded."""
    return yard.sweep("charge:sent", "charge:after")


def exception_means_no(patch: Patch) -> None:
    patch.setattr(failure, "is_definite", lambda facts, *, is_one_request: True)


def charges_then_raises(yard: Yard) -> list[str]:
    """A `once` tool that charges and then fails, with a policy that allows three attempts."""
    store, name = yard.store(), yard.name("charge")

    @hf.tool(effect="once", retry=hf.Retry(attempts=3, wait=0))
    async def charge(item: int, *, idempotency_key: str = hf.INJECTED) -> None:
        yard.post(yard.ledger.url, name, idempotency_key, {"item": item}, dedupe=False)
        raise ConnectionError("the answer was lost")

    @hf.agent(name="shop", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> None:
        await charge(1)

    said = ended(store, agent)
    wrong = [] if said.startswith("RunBlocked") and "in_doubt" in said else [f"not in doubt: {said}"]
    count = yard.ledger.count(name)
    return wrong if count == 1 else [*wrong, f"charged {count} times"]


def key_per_attempt(patch: Patch) -> None:
    real, attempts = Driver.key_for, itertools.count(1)
    patch.setattr(Driver, "key_for", lambda self, address, logical: real(self, address, next(attempts)))


def lost_answer(yard: Yard) -> list[str]:
    """The receiver of an idempotent effect acts, and its answer is lost on the way."""
    store, name = yard.store(), yard.name("mail")
    yard.ledger.fault(name, 1, "drop_after")

    @hf.tool(effect="idempotent", retry=hf.Retry(attempts=3, wait=0))
    async def mail(item: int, *, idempotency_key: str = hf.INJECTED) -> str:
        yard.post(yard.ledger.url, name, idempotency_key, {"item": item}, dedupe=True)
        return "sent"

    @hf.agent(name="shop", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> str:
        return await mail(1)

    said, effects = ended(store, agent), yard.ledger.effects(name)
    wrong = [] if said == "sent" and len(effects) == 2 else [f"not sent again: {said}, {len(effects)} received"]
    happened = sum(effect.first for effect in effects)
    return wrong if happened == 1 else [*wrong, f"happened {happened} times under {len({e.key for e in effects})} keys"]


def first_no_believed(patch: Patch) -> None:
    real = doubt.decide

    def decide(verdicts: Any, **more: Any) -> doubt.Decision:
        is_no = bool(verdicts) and verdicts[-1].facts.get("verdict") == doubt.SAID_NOT_DONE
        return doubt.Repeat("verify") if is_no else real(verdicts, **more)

    patch.setattr(doubt, "decide", decide)


def late_arrival(yard: Yard) -> list[str]:
    """The request of an attempt that failed is still on its way when `verify` is asked first."""
    store, arrived, sent = yard.store(), list[str](), list[int]()

    async def verify(key: str, item: int) -> Any:
        if arrived:
            return hf.Done("moved")
        arrived.append("late")
        return hf.NotDone()

    @hf.tool(effect="once", verify=verify)
    async def transfer(item: int) -> str:
        sent.append(item)
        if len(sent) == 1:
            raise ConnectionError("lost, and it will still arrive")
        arrived.append("again")
        return "moved"

    @hf.agent(name="shop", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> str:
        return await transfer(1)

    said = ended(store, agent)
    wrong = [] if said == "moved" else [f"ended with {said}"]
    return wrong if arrived == ["late"] else [*wrong, f"moved twice: {arrived}"]


def no_self_fence(patch: Patch) -> None:
    patch.setattr(Worker, "_is_fenced", lambda self, lease: False)


def stopped_too_long(yard: Yard) -> list[str]:
    """The process stands still for longer than its lease between two payments."""
    clock, paid = ManualClock(), list[int]()

    async def stopped() -> None:
        clock.jump(QUICK.lease_s + 1)

    said = ended(yard.store(clock=clock.now), paying(paid, stopped), clock=clock)
    wrong = [] if said.startswith(LeaseLost.__name__) else [f"it was told {said!r}, not LeaseLost"]
    return wrong + ([] if paid == [1] else [f"paid after its lease had run out: {paid[1:]}"])


# --- budgets ---------------------------------------------------------------------------------------------------


def forgotten_reservation(patch: Patch) -> None:
    real = State.apply

    def apply(self: State, event: Any) -> None:
        slot = self.slots.get(event.address)
        if event.kind is Kind.STEP_INTENDED and slot is not None and slot.is_in_flight:
            self.reserved, slot.reservation = self.reserved.minus(slot.reservation), NOTHING
        real(self, event)

    patch.setattr(State, "apply", apply)


def killed_in_a_mail(yard: Yard) -> list[str]:
    """SIGKILL while a mail is under way: it is sent again, and both are to be paid for."""
    return yard.sweep("mail:sent", "mail:after")


def clamped_settlement(patch: Patch) -> None:
    real = State.apply

    def apply(self: State, event: Any) -> None:
        real(self, event)
        if self.limits.usd_nano is not None:
            self.spent = self.spent._replace(usd_nano=min(self.spent.usd_nano, self.limits.usd_nano))

    patch.setattr(State, "apply", apply)


def dearer_than_the_worst_case(yard: Yard) -> list[str]:
    """A provider counts more tokens than the request allowed for, and so exceeds the cap."""
    store = yard.store()
    prices = Path(store.path).with_suffix(".toml")
    prices.write_text('[prices."claude-test"]\ninput = 0\noutput = 10000\n')  # one cent a token

    @hf.agent(name="shop", budget=hf.Budget(usd=1.0))
    async def agent(run: hf.Run, given: Any) -> None:
        client = AsyncAnthropic(base_url=server.url, api_key="none", http_client=hf.http_client())
        for asked in ("one", "two"):
            said = [{"role": "user", "content": asked}]
            await client.messages.create(model="claude-test", max_tokens=10, messages=said)  # type: ignore[arg-type]

    with ModelServer(lambda request: text("hi", usage={"input_tokens": 1, "output_tokens": 130})) as server:
        said, count = ended(store, agent, config=prices), server.count
    state = record(store)
    wrong = [] if said.startswith("BudgetExceeded") and count == 1 else [f"{count} calls were sent: {said}"]
    if state.spent.usd_nano != 1_300_000_000:
        wrong.append(f"$1.30 were spent, and the record says ${state.spent.usd_nano / 1e9:.2f}")
    warned = [event for event in store.events(state.run_id) if event.kind is Kind.BUDGET_WARNED]
    return wrong if warned else [*wrong, "nobody was warned of the overshoot"]


# --- replay ----------------------------------------------------------------------------------------------------


def context_is_cause(patch: Patch) -> None:
    real = runtime_agent.causes
    patch.setattr(runtime_agent, "causes", lambda e: real(e) or (real(e.__context__) if e.__context__ else []))


def reopens_all(patch: Patch) -> None:
    real = State.apply

    def apply(self: State, event: Any) -> None:
        if event.kind is Kind.RUN_RESUMED:
            failed = [s for s in self.slots.values() if s.outcome is not None and s.outcome.kind is Kind.STEP_FAILED]
            event = event._replace(meta=meta(**event.facts | {"reopened": [list(s.address) for s in failed]}))
        real(self, event)

    patch.setattr(State, "apply", apply)


def handled_failure(yard: Yard) -> list[str]:
    """The first supplier says no, the second delivers, then something else fails; later the first is open again."""
    store, orders, is_open = yard.store(), list[str](), set[str]()

    @hf.tool(effect="once")
    async def order(supplier: str) -> str:
        if supplier == "primary" and not is_open:
            raise hf.NotDone("closed")
        orders.append(supplier)
        return supplier

    @hf.agent(name="shop", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> str:
        try:
            return await order("primary")
        except hf.ToolFailed:
            ordered = await order("secondary")
            if not is_open:
                raise ValueError("no stamps left")  # noqa: B904 - as users write it
            return ordered

    first = ended(store, agent)
    is_open.add("primary")
    resume(store)
    second = ended(store, agent)
    wrong = [] if (first.split(":")[0], second) == ("RunFailed", "secondary") else [f"ended with {first}, {second}"]
    return wrong if orders == ["secondary"] else [*wrong, f"ordered from {orders}"]


def as_soon_as_asked(patch: Patch) -> None:
    patch.setattr(Machine, "_is_turn", lambda self, slot: True)


def equal_calls(yard: Yard) -> list[str]:
    """Two branches make equal calls; on replay each is to get its own answer again."""
    store, drawn, lives = yard.store(), itertools.count(1), list[Any]()

    @hf.tool(effect="once")
    async def draw(pot: str) -> int:
        return next(drawn)

    @hf.tool(effect="read")
    async def think(name: str, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    async def branch(name: str, turns: int) -> tuple[str, int, int]:
        await think(name, turns)
        return name, await draw("pot"), await draw("pot")

    @hf.agent(name="shop", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> str:
        lives.append(await asyncio.gather(branch("a", 60), branch("b", 3)))
        if len(lives) == 1:
            raise RuntimeError("the first life is over")
        return "done"

    ended(store, agent)
    resume(store)
    said = ended(store, agent)
    wrong = [] if said == "done" else [f"ended with {said}"]
    return wrong if len(lives) == 2 and lives[0] == lives[1] else [*wrong, f"branches swapped their answers: {lives}"]


# --- the test --------------------------------------------------------------------------------------------------

BUGS = {
    bug.plant.__name__: bug
    for bug in (
        Bug(no_fence, two_workers, "paid without the run: [2]"),
        Bug(no_intent, killed_in_a_charge, "charges [0, 0]: lost or repeated"),
        Bug(early_acknowledgement, killed_in_a_charge, "charges [0, 0]: lost or repeated"),
        Bug(blind_commit, torn_commits, "was torn"),
        Bug(forgotten_reservation, killed_in_a_mail, "under-counted"),
        Bug(exception_means_no, charges_then_raises, "charged 3 times"),
        Bug(clamped_settlement, dearer_than_the_worst_case, "the record says $1.00"),
        Bug(context_is_cause, handled_failure, "ordered from ['secondary', 'primary']"),
        Bug(reopens_all, handled_failure, "ordered from ['secondary', 'primary']"),
        Bug(as_soon_as_asked, equal_calls, "branches swapped their answers"),
        Bug(key_per_attempt, lost_answer, "happened 2 times under 2 keys"),
        Bug(first_no_believed, late_arrival, "moved twice"),
        Bug(no_subject, two_answers, "stored both answers"),
        Bug(deaf_end, cancelled_at_the_end, "the cancel was swallowed"),
        Bug(no_self_fence, stopped_too_long, "paid after its lease had run out: [2]"),
    )
}


@pytest.fixture(scope="module")
def yard(directory: Path, ledger: Ledger, make_shop: Any, post: Any) -> Iterator[Yard]:
    """Shared by all checks: each takes fresh names and stores."""
    yard = Yard(directory, ledger, make_shop, post)
    yield yard
    for store in yard.stores:
        store.close()


@pytest.fixture(scope="module")
def sound() -> dict[str, list[str]]:
    """What each check found without a bug."""
    return {}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(yard: Yard, sound: dict[str, list[str]], name: str) -> None:
    """Lost: the right to say that the checks would notice."""
    plant, check, seen = BUGS[name]
    if check.__name__ not in sound:
        sound[check.__name__] = check(yard)
    assert sound[check.__name__] == [], "the check fails without the bug"
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        found = check(yard)
    assert any(seen in problem for problem in found), f"{check.__name__} did not see it, but said: {found}"


def test_the_table_above_is_true() -> None:
    """Lost: a list of planted bugs that nobody could trust."""
    rows = [line.split() for line in (__doc__ or "").splitlines()]
    listed = {row[0]: row[-1] for row in rows if row and row[0] in BUGS}
    assert listed == {name: bug.check.__name__ for name, bug in BUGS.items()}
