"""Accounts that runs share, against a ledger of what was really sent: drawn schedules of calls, crashes and children.

The record and the scribe are the real ones, so each append is what a run would write. The ledger is kept by the test:
a call is on it from the moment at which its intent was written and nobody refused it. It is the judge.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from holdfast.core import accept
from holdfast.core.accounts import Account
from holdfast.core.books import day_key, day_of, run_key
from holdfast.core.budget import Limits, first_excess
from holdfast.core.charges import rebuilt, shared
from holdfast.core.events import ONE_TOOL_CALL, Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.core.state import State, fold
from holdfast.errors import JournalError, OthersWriting, StoreUnreachable
from holdfast.journal.haste import is_hasty
from holdfast.journal.memory import MemoryJournal
from holdfast.protocols import Append, Lease, Worker
from holdfast.runtime.gate import Gate
from holdfast.runtime.progress import Watchers
from holdfast.runtime.record import Record
from holdfast.runtime.scribe import Scribe
from holdfast.runtime.settings import Services, Settings
from holdfast.testing.clock import ManualClock
from holdfast.testing.conformance import GENTLE

DAY_S = 86_400.0
CAPS = st.sampled_from([None, None, 8, 20, 40])
DIES = st.sampled_from([*[""] * 6, "before", "after"])
SIZES = st.sampled_from([0, 1, 2, 5])


class Died(Exception):
    """The process ended at an append."""


class Fragile(MemoryJournal):
    """Its process ends at the next append, before or after it is written."""

    dies: str = ""
    calls = 0

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        """One transaction."""
        self.calls += 1
        if is_hasty() and self.calls % 5 == 0:
            World.seen["busy"] += 1
            raise OthersWriting("somebody writes")
        if self.dies == "before":
            self.dies = ""
            raise Died
        results = super().append(appends)
        if self.dies == "after":
            self.dies = ""
            raise Died
        return results


async def _watchers() -> Watchers:
    return Watchers(None)


class Run:
    """One run, as its worker sees it now."""

    def __init__(self, world: World, run_id: str, parent: Run | None) -> None:
        self.world, self.id, self.parent = world, run_id, parent
        self.steps = 0
        self.open: dict[Address, tuple[StepKind, Charge]] = {}
        """Calls under way, and what they cost."""
        self.limits = Limits()
        self.record: Record

    @property
    def above(self) -> list[Run]:
        """The runs that it is part of."""
        return [self.parent, *self.parent.above] if self.parent is not None else []


class World(RuleBasedStateMachine):
    """Some runs, some of them parts of others; one tenant; a clock that goes both ways."""

    seen: ClassVar[Counter[str]] = Counter()
    """What happened in all of them, so that a test which saw too little fails."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.clock.jump(20_000 * DAY_S - self.clock.now() + DAY_S / 2)
        self.loop = asyncio.new_event_loop()
        self.journal = Fragile(clock=self.clock.now)
        self.journal.register(Worker("w"), 1e12)
        self.services = Services(
            journal=self.journal,
            clock=self.clock,
            scribe=Scribe(self.journal, self.clock),
            gate=Gate(self.clock, 9),
            tenant="default",
            settings=Settings(),
            watchers=self.loop.run_until_complete(_watchers()),
        )
        self.runs: list[Run] = []
        self.workers = 0
        self.sent: Counter[tuple[str, str]] = Counter()
        """By account and part: what was really sent."""
        self.most: dict[tuple[str, str], int | None] = {}
        """By account and part: the highest cap that was ever in force, None without one."""

    def teardown(self) -> None:
        self.loop.close()

    # --- what a worker does --------------------------------------------------------------------------------------

    def claim(self, run: Run, state: State) -> None:
        """Somebody takes the run over."""
        self.workers += 1
        worker = f"w{self.workers}"
        self.journal.register(Worker(worker), 1e12)
        owner = self.journal.owner(run.id)
        if owner is not None:
            self.journal.retire(owner[0].id)
        [claim] = self.journal.claim(worker, run_ids=[run.id])
        run.record = Record(self.services, Lease(*claim.lease), state)

    def write(self, run: Run) -> bool:
        """False when the process died; the run has another worker then."""
        try:
            is_written = self.loop.run_until_complete(run.record.write())
            assert is_written or isinstance(run.record.refusal, StoreUnreachable), "a thread's death is told so"
            if is_written:
                return True
            raise Died
        except Died:
            self.seen["died"] += 1
            self.take_over(run)
            return False

    def take_over(self, run: Run) -> None:
        """What a worker does that finds the run left behind."""
        self.claim(run, fold(self.journal.events(run.id)))
        run.record.add(Event(Kind.RUN_RESUMED, self.clock.now(), charge=ONE_TOOL_CALL, meta=meta(why="takeover")))
        assert self.loop.run_until_complete(run.record.write())
        slots = run.record.state.slots
        run.open = {address: sent for address, sent in run.open.items() if slots[address].is_in_flight}

    def begin(self, run_id: str, parent: Run | None, limits: Limits, facts: dict[str, Any]) -> None:
        run = Run(self, run_id, parent)
        start = accept.start(agent="a", key=run_id, input_digest="d", limits=list(limits), body=b"1", **facts)
        assert self.journal.post(run_id, "start", start).is_stored
        self.claim(run, State())
        told = meta(run=run_id, seed="s", **start.facts)
        run.record.add(Event(Kind.RUN_STARTED, self.clock.now(), meta=told, body=b"1"))
        assert self.loop.run_until_complete(run.record.write())
        run.limits = limits
        self.runs.append(run)
        self.capped(run_key(run_id), limits)

    def capped(self, account: str, limits: Limits) -> None:
        """Keep the highest cap in mind."""
        for name, cap in zip(Charge._fields, limits, strict=False):
            before = self.most.get((account, name), 0)
            self.most[account, name] = None if cap is None or before is None else max(before, cap)

    def book(self, run: Run, charge: Charge, at: float) -> None:
        """A call was sent that costs this."""
        for name, amount in zip(Charge._fields, charge, strict=True):
            for one in (run, *run.above):
                self.sent[run_key(one.id), name] += amount
            if name != "tool_calls":
                self.sent[day_key(day_of(at)), name] += amount
                self.sent["total", name] += amount

    def is_too_much(self, run: Run, charge: Charge) -> bool:
        """A run that has no account of its own yet is judged by its own record, before it asks (`Calls.excess`)."""
        state = run.record.state
        is_over = not state.books.is_shared and first_excess(state.limits, state.used, charge) is not None
        self.seen["refused by its own record"] += is_over
        return is_over

    # --- what happens --------------------------------------------------------------------------------------------

    @initialize(day=CAPS, total=CAPS)
    def capped_at_first(self, day: int | None, total: int | None) -> None:
        for account, usd in (("day", day), ("total", total)):
            self.journal.cap(account, Limits(usd_nano=usd))
            self.capped(account, Limits(usd_nano=usd))
        self.begin("r0", None, Limits(tool_calls=5, usd_nano=10), {})

    @precondition(lambda self: len(self.runs) < 5)
    @rule(data=st.data(), usd=CAPS, is_part=st.booleans(), dies=DIES)
    def another(self, data: st.DataObject, usd: int | None, is_part: bool, dies: str) -> None:
        name, limits = f"r{len(self.runs)}", Limits(tool_calls=5, usd_nano=usd)
        if not is_part:
            self.begin(name, None, limits, {})
            return
        parent = data.draw(st.sampled_from(self.runs))
        address = Address("", f"child-{name}", "", 0)
        parent.record.note_step(Kind.STEP_INTENDED, address, StepKind.TOOL, Effect.READ, logical=1, attempt=1,
                                meta=meta(shares=True))  # fmt: skip
        self.journal.dies = dies
        if self.write(parent) or address in parent.record.state.slots:
            self.begin(name, parent, limits, shared(parent.record.state))

    @rule(
        data=st.data(),
        sizes=st.lists(SIZES, min_size=1, max_size=3),
        dies=DIES,
    )
    def ask(self, data: st.DataObject, sizes: list[int], dies: str) -> None:
        """Calls that begin at once: of a tool where nothing is reserved in dollars, else of a model."""
        run = data.draw(st.sampled_from(self.runs))
        asked = []
        for usd in sizes:
            run.steps += 1
            kind = StepKind.MODEL if usd else StepKind.TOOL
            again = [address for address, (step, _) in run.open.items() if step is kind]
            is_again = bool(again) and data.draw(st.booleans())
            address = again[0] if is_again else Address("", f"s{run.steps}", "", 0)
            if address not in [one for one, _, _ in asked]:
                charge = Charge(0, 1, 0, usd) if usd else ONE_TOOL_CALL
                if self.is_too_much(run, charge):
                    continue
                asked.append((address, kind, charge))
                effect = Effect.READ if usd else Effect.IDEMPOTENT
                run.record.note_step(Kind.STEP_INTENDED, address, kind, effect, logical=1, attempt=1, charge=charge)
        if not asked:
            return
        at = self.clock.now()
        self.journal.dies = dies
        if not self.write(run):  # a process that died has sent nothing
            return
        for address, kind, charge in asked:
            run.open.pop(address, None)
            refused = run.record.unpaid.pop(address, None)
            self.seen[f"refused by {refused.cap[:3]}" if refused is not None else "sent"] += 1
            if refused is None:
                cost = charge._replace(usd_nano=data.draw(st.integers(0, charge.usd_nano)))
                run.open[address] = (kind, cost)
                self.book(run, cost, at)

    @rule(data=st.data(), has_failed=st.booleans(), dies=DIES)
    def settle(self, data: st.DataObject, has_failed: bool, dies: str) -> None:
        """A call comes to its end."""
        busy = [run for run in self.runs if run.open]
        if busy:
            run = data.draw(st.sampled_from(busy))
            address = data.draw(st.sampled_from(list(run.open)))
            step, cost = run.open[address]
            kind = Kind.ATTEMPT_FAILED if has_failed else Kind.STEP_SUCCEEDED
            effect = run.record.state.slots[address].effect
            run.record.note_step(kind, address, step, effect, logical=1, attempt=1, charge=cost)
            self.journal.dies = dies
            if self.write(run):
                del run.open[address]

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.take_over(data.draw(st.sampled_from(self.runs)))

    @rule(hours=st.sampled_from([1, 13, 24, -1, -13, -24]))
    def time(self, hours: int) -> None:
        self.clock.jump(hours * 3600.0)

    @rule(data=st.data(), usd=st.integers(0, 5))
    def raise_cap(self, data: st.DataObject, usd: int) -> None:
        """`resume --raise`."""
        run = data.draw(st.sampled_from(self.runs))
        run.limits = run.limits.raised(Charge(usd_nano=usd))
        run.record.note(Kind.BUDGET_CHANGED, meta(limits=list(run.limits)))
        self.capped(run_key(run.id), run.limits)
        self.write(run)

    @rule(account=st.sampled_from(["day", "total"]), usd=CAPS)
    def cap(self, account: str, usd: int | None) -> None:
        self.journal.cap(account, Limits(usd_nano=usd))
        self.capped(account, Limits(usd_nano=usd))

    # --- what must hold ------------------------------------------------------------------------------------------

    def accounts(self) -> set[str]:
        return {account for account, _ in self.sent}

    @invariant()
    def the_accounts_are_what_the_records_say(self) -> None:
        logs = [self.journal.events(run.id) for run in self.runs]
        for key, (spent, reserved) in rebuilt(logs).items():
            account = self.journal.account(key) or Account()
            assert (key, account.spent, account.reserved) == (key, spent, reserved)

    @invariant()
    def what_was_sent_is_charged_and_fits(self) -> None:
        for (account, name), amount in self.sent.items():
            found = self.journal.account(account)
            if found is not None:  # a run without children has none of its own
                charged = getattr(found.spent.plus(found.reserved), name)
                assert amount <= charged, f"{account} has {charged} of {name}, and {amount} were sent"
                cap = self.most.get(("day" if account.startswith("day/") else account, name))
                assert cap is None or amount <= cap, f"{amount} of {name} were sent, and the cap of {account} is {cap}"


SAMPLE, MANY = 120, 400
"""With 60, a planted bug passes, a call over midnight; with 200 another one does, a grandchild that charges its parent
only, for which there is a test of its own in core/test_accounts.py."""
SEEN = {"busy": 100, "sent": 300, "died": 100, "refused by run": 20, "refused by day": 20, "refused by tot": 20,
        "refused by its own record": 100}  # fmt: skip
"""At least, in 200 schedules; in a sample, a twentieth of that."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("examples", [SAMPLE, pytest.param(MANY, marks=pytest.mark.proof)])
def test_no_schedule_overshoots_a_cap_or_forgets_a_call(examples: int) -> None:
    """Lost: a budget that holds as long as nothing goes wrong."""
    World.seen.clear()
    phases = (Phase.reuse, Phase.generate)  # add Phase.shrink to see the shortest way to a failure; it takes minutes
    how = settings(GENTLE, max_examples=examples, stateful_step_count=50, phases=phases)
    run_state_machine_as_test(World, settings=how)
    part = examples / 200 * (1 if examples == MANY else 1 / 20)
    least = {what: count * part for what, count in SEEN.items()}
    assert {what: count for what, count in least.items() if World.seen[what] < count} == {}, World.seen
