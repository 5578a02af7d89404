"""Sequences that once broke the machine: borrowed and swapped answers, second beginnings, deadlocks."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.core.events import NOTHING, Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.core.machine import Ask, Call, Execute, Machine, Use
from holdfast.core.state import fold

READ, ONCE, TOOL, QUESTION = Effect.READ, Effect.ONCE, StepKind.TOOL, StepKind.QUESTION


def call(name: str, digest: str = "d", effect: Effect = READ, step: StepKind = TOOL) -> Call:
    return Call("", name, digest, step, effect, digest.encode())


def at(name: str, digest: str = "d", n: int = 0) -> Address:
    return Address("", name, digest, n)


def started() -> Event:
    return Event(Kind.RUN_STARTED, 0.0, meta=meta(run="r", key="k", agent="a", seed="s", input_digest="i"))


def intent(address: Address, effect: Effect = ONCE) -> Event:
    return Event(Kind.STEP_INTENDED, 1.0, address, TOOL, effect, 1, 1)


def done(address: Address, body: str, effect: Effect = READ) -> Event:
    return Event(Kind.STEP_SUCCEEDED, 2.0, address, TOOL, effect, 1, 1, body=body.encode())


def failed(address: Address, effect: Effect = ONCE) -> Event:
    return Event(Kind.STEP_FAILED, 2.0, address, TOOL, effect, 1, 1, meta=meta(kind="permanent", error="E"))


def abandoned(address: Address, effect: Effect = READ) -> Event:
    return Event(Kind.STEP_ABANDONED, 2.0, address, TOOL, effect)


def resumed(*addresses: Address) -> Event:
    return Event(Kind.RUN_RESUMED, 9.0, meta=meta(why="resume", by="op", reopened=[list(a) for a in addresses]))


def machine(*events: Event) -> Machine:
    return Machine(fold([started(), *events]))


def text(command: object) -> str:
    assert isinstance(command, Use) and command.outcome.body is not None, command
    return command.outcome.body.decode()


# M1 ---------------------------------------------------------------------------------------------------------------


def test_m1_void_call_still_waiting_does_not_mint_a_second_effect() -> None:
    """Live: branch X asks refund (n=0), its own timer fires, branch Z asks refund: the same step, one refund.
    Replay: Z asks before X's timer fires again; n=0 is held by X's void call, so Z becomes n=1: a second refund."""
    log = [intent(at("refund")), abandoned(at("refund"), ONCE), done(at("refund"), "paid", ONCE)]
    replay = machine(*log)
    _, command = replay.ask(call("refund", effect=ONCE))
    assert command is None
    _, command = replay.ask(call("refund", effect=ONCE))
    assert not isinstance(command, Execute), f"money sent twice: {command}"
    assert text(command) == "paid"


# M2 ---------------------------------------------------------------------------------------------------------------


def test_m2_held_effect_given_up_and_asked_again_stays_held() -> None:
    """A new effect is held; its caller's timeout fires; StepAbandoned makes a slot; the retry then begins at once."""
    replay = machine(intent(at("old")), done(at("old"), "one", ONCE))
    ask, command = replay.ask(call("new", effect=ONCE))
    assert command is None
    assert replay.gave_up(ask)
    replay.state.apply(abandoned(at("new"), ONCE))
    _, command = replay.ask(call("new", effect=ONCE))
    assert command is None, "a new effect was begun while `old` is unexplained"


def test_m2_the_same_after_a_restart() -> None:
    replay = machine(intent(at("old")), done(at("old"), "one", ONCE), abandoned(at("new"), ONCE))
    _, command = replay.ask(call("new", effect=ONCE))
    assert command is None, "a new effect was begun while `old` is unexplained"


# M3 ---------------------------------------------------------------------------------------------------------------


def test_m3_an_outcome_recorded_during_replay_waits_for_those_before_it() -> None:
    """Y: a, x. Z: was in flight at the crash. Z's step is done again while Y still replays, and gets its answer
    first; its next call `x` takes n=0, which is Y's recorded answer."""
    replay = machine(intent(at("z")), done(at("a"), "A"), done(at("x"), "Y's answer"))
    z, command = replay.ask(call("z", effect=ONCE))
    assert isinstance(command, Execute)
    replay.performing(z.address, is_performed=True)
    replay.state.apply(done(at("z"), "Z", ONCE))
    assert replay.recorded(z.address) is None, "handed out before a and x, which are before it in the log"
    assert text(replay.ask(call("a"))[1]) == "A"
    assert text(replay.ask(call("x"))[1]) == "Y's answer"
    assert [(ask, text(use)) for ask, use in replay.ready()] == [(z, "Z")]


def test_m3_an_answer_may_arrive_before_the_question_is_asked_for_again() -> None:
    """Mail is read while the agent still replays: recorded() of an address that nobody asked for yet."""
    asked = Event(Kind.QUESTION_ASKED, 1.0, at("ask", ""), QUESTION, READ, meta=meta(id="q", about="ask", text="?"))
    replay = machine(done(at("a"), "A"), asked)
    replay.state.apply(Event(Kind.QUESTION_CLOSED, 2.0, meta=meta(id="q", outcome="answered"), body=b"yes"))
    assert replay.recorded(at("ask", "")) is None  # KeyError as it is


# M4 ---------------------------------------------------------------------------------------------------------------
# Equal calls in parallel branches swap their answers. Live: T1 asks a, T2 asks x (n=0), a is done, T1 asks x (n=1).
# Replay: T1's task runs first, `a` is answered at once without a turn of the loop, T1 asks x: n=0, T2's answer.


def test_m4_a_branch_that_replays_faster_does_not_take_the_other_branchs_turn() -> None:
    live = machine()
    t1, _ = live.ask(call("a"))
    t2, _ = live.ask(call("x"))
    live.state.apply(done(at("a"), "A"))
    assert live.recorded(t1.address) is not None
    t1_second, _ = live.ask(call("x"))
    assert (t2.address.n, t1_second.address.n) == (0, 1)

    first = done(at("a"), "A")
    first = first._replace(asked=2)  # two calls were made when it was recorded
    replay = machine(first, done(at("x"), "T2's"), done(at("x", n=1), "T1's"))
    _, command = replay.ask(call("a"))
    assert command is None, "T2 has not asked yet, as it had when `a` was recorded"


@dataclass(frozen=True)
class Step:
    name: str
    effect: Effect


@dataclass(frozen=True)
class Par:
    branches: tuple[tuple[Step | Par, ...], ...]


Program = tuple[Step | Par, ...]
Branch = Generator[Call | list[Program], str, None]
IS_EAGER = True
"""As the driver: a call that is answered at once goes on without a turn of the loop."""


@dataclass
class Simulation:
    program: Program
    events: list[Event] = field(default_factory=lambda: [started()])
    first: int = 0

    def __post_init__(self) -> None:
        self.seen: dict[str, list[str]] = {}
        self.under_way: list[tuple[Address, Call]] = []
        self.state = fold(self.events)
        self.machine = Machine(self.state)
        self.begun: list[Address] = []
        self._runnable: deque[tuple[str, Branch, str]] = deque()
        self._waiting: dict[Ask, tuple[str, Branch]] = {}
        self._joins: dict[str, tuple[Branch, int]] = {}
        self._splits: dict[str, int] = {}
        self._start("", self.program)

    def run(self, *, completions: list[int] | None, is_racing: bool = False) -> None:
        if is_racing and completions:  # what is under way may be done before the other branches have replayed
            for choice in completions:
                self._turn(1)
                if self.under_way and choice % 2:
                    self._complete(choice % len(self.under_way))
        self._turn()
        for choice in completions or ():
            if not self.under_way:
                break
            self._complete(choice % len(self.under_way))
            self._turn()
        while completions is not None and self.under_way:
            self._complete(0)
            self._turn()

    def _start(self, path: str, program: Program) -> None:
        self.seen[path] = []
        self._runnable.append((path, _branch(program), ""))

    def _turn(self, turns: int = 1_000_000) -> None:
        while self._runnable and turns:
            turns -= 1
            path, branch, value = self._runnable.popleft()
            self._advance(path, branch, value)

    def _advance(self, path: str, branch: Branch, value: str) -> None:
        try:
            asked = next(branch) if value == "" else branch.send(value)
        except StopIteration:
            self._ended(path)
            return
        if isinstance(asked, list):
            self._joins[path] = (branch, len(asked))
            split = self._splits[path] = self._splits.get(path, 0) + 1
            for number, program in enumerate(asked):
                self._start(f"{path}/{split}.{number}", program)
            return
        ask, command = self.machine.ask(asked)
        self._waiting[ask] = (path, branch)
        is_alone = len(self._waiting) == 1
        if isinstance(command, Use) and IS_EAGER and is_alone:
            self._waiting.pop(ask)
            answer = text(command)
            self.seen[path].append(answer)
            self._advance(path, branch, answer)
            return
        if command is not None:
            self._tell(ask, command)
        self._pump()

    def _ended(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if path and parent in self._joins:
            branch, left = self._joins.pop(parent)
            if left == 1:
                self._runnable.append((parent, branch, "joined"))
            else:
                self._joins[parent] = (branch, left - 1)

    def _pump(self) -> None:
        for ask, command in self.machine.ready():
            self._tell(ask, command)

    def _tell(self, ask: Ask, command: Use | Execute) -> None:
        if isinstance(command, Execute):
            self.begun.append(command.address)
            self.machine.performing(command.address, is_performed=True)
            if ask.call.effect.is_write:
                self._append(intent(command.address, ask.call.effect))
            self.under_way.append((command.address, ask.call))
            return
        path, branch = self._waiting.pop(ask)
        answer = text(command)
        self.seen[path].append(answer)
        self._runnable.append((path, branch, answer))

    def _complete(self, index: int) -> None:
        address, asked = self.under_way.pop(index)
        event = done(address, f"answer {self.first + len(self.events)}", asked.effect)
        if "asked" in Event._fields:  # the proposed column
            event = event._replace(asked=self.machine.asked)
        self._append(event)
        found = self.machine.recorded(address)
        if found is not None:
            self._tell(*found)
        self._pump()

    def _append(self, event: Event) -> None:
        self.events.append(event)
        self.state.apply(event)


def _branch(program: Program) -> Branch:
    for item in program:
        if isinstance(item, Par):
            yield list(item.branches)
        else:
            yield Call("", item.name, "", TOOL, item.effect)


STEPS = st.builds(Step, st.sampled_from("ab"), st.just(READ)) | st.builds(Step, st.sampled_from("pq"), st.just(ONCE))
PROGRAMS: st.SearchStrategy[Program] = st.recursive(
    st.lists(STEPS, max_size=4).map(tuple),
    lambda inner: st.lists(
        STEPS | st.lists(inner, min_size=1, max_size=4).map(lambda b: Par(tuple(b))), max_size=4
    ).map(tuple),
    max_leaves=8,
)
ORDERS = st.lists(st.integers(0, 50), max_size=40)


@given(PROGRAMS, ORDERS)
@example((Par(((Step("a", READ), Step("x", READ)), (Step("x", READ),))),), [0, 0, 0])
def test_m4_law_equal_calls_in_branches_never_swap(program: Program, order: list[int]) -> None:
    live = Simulation(program)
    live.run(completions=order)
    replay = Simulation(program, events=list(live.events))
    replay.run(completions=None)
    assert replay.begun == []
    assert replay.seen == live.seen


@given(PROGRAMS, ORDERS, st.integers(0, 60), ORDERS)
def test_m3_m4_law_with_a_crash_in_between(program: Program, order: list[int], cut: int, after: list[int]) -> None:
    """M3 and M4 together: what the second process gave is what the third gives."""
    live = Simulation(program)
    live.run(completions=order)
    second = Simulation(program, events=live.events[: 1 + cut % len(live.events)], first=1000)
    second.run(completions=after)
    third = Simulation(program, events=list(second.events))
    third.run(completions=None)
    assert third.begun == []
    assert third.seen == second.seen


# M5 ---------------------------------------------------------------------------------------------------------------


def test_m5_resume_forgets_what_was_abandoned_because_of_the_failure() -> None:
    """TaskGroup(pay, fetch): pay fails, the group cancels fetch, the run fails. Resumed, pay succeeds, and the group
    waits for fetch, whose call is void for ever: 60 s of rest at each replay."""
    log = [intent(at("pay")), failed(at("pay")), abandoned(at("fetch")), resumed(at("pay"))]
    replay = machine(*log)
    replay.ask(call("pay", effect=ONCE))
    fetch, command = replay.ask(call("fetch"))
    assert isinstance(command, Execute) and not fetch.is_void
    replay.performing(fetch.address, is_performed=True)
    replay.state.apply(done(at("fetch"), "F"))
    assert replay.recorded(fetch.address) is not None


def test_m5_resume_does_not_block_on_what_the_agent_did_because_of_the_failure() -> None:
    """try: pay() except: undo(); raise. Resumed, pay succeeds and nobody asks for undo: the run can never end, and
    a new effect after pay is held for ever."""
    log = [intent(at("pay")), failed(at("pay")), intent(at("undo")), done(at("undo"), "u", ONCE), resumed(at("pay"))]
    replay = machine(*log)
    _, command = replay.ask(call("pay", effect=ONCE))
    assert isinstance(command, Execute)
    _, command = replay.ask(call("ship", effect=ONCE))
    assert isinstance(command, Execute), "held behind undo, which only the failure led to"
    assert replay.unexplained("it returned") is None


# M6 ---------------------------------------------------------------------------------------------------------------


def test_m6_given_up_counts_as_asked_for_before_the_log_says_so() -> None:
    """StepAbandoned comes "with the next append"; until then the order, and is_replaying, hang on the gone caller."""
    live = machine()
    ask, _ = live.ask(call("pay", effect=ONCE))
    live.performing(ask.address, is_performed=True)
    live.state.apply(intent(at("pay")))
    live.gave_up(ask)
    live.state.apply(done(at("pay"), "paid", ONCE))
    live.recorded(at("pay"))
    assert not live.is_replaying


# M7 ---------------------------------------------------------------------------------------------------------------


def test_m7_a_void_call_given_its_outcome_at_rest_is_not_void_at_the_next_replay() -> None:
    """rest_void gives a void call its outcome (DriftFound rule=abandoned); the next replay waits 60 s again."""
    drift = Event(Kind.DRIFT_FOUND, 9.0, at("pay"), meta=meta(rule="abandoned"))
    replay = machine(intent(at("pay")), abandoned(at("pay"), ONCE), done(at("pay"), "paid", ONCE), drift)
    _, command = replay.ask(call("pay", effect=ONCE))
    assert text(command) == "paid"


# M8 ---------------------------------------------------------------------------------------------------------------


def test_m8_a_void_read_without_outcome_is_begun_at_rest() -> None:
    """A read was cancelled with its caller and never recorded; now nobody cancels it. It is neither begun nor given
    anything, at no rest: the run closes, waiting for nothing that could ever come."""
    replay = machine(abandoned(at("fetch")))
    _, command = replay.ask(call("fetch"))
    assert command is not None or replay.rest_order() or replay.rest_block() or replay.rest_void()


# S1 ---------------------------------------------------------------------------------------------------------------


def test_s1_a_second_outcome_does_not_replace_the_first() -> None:
    """Invariant 2 of state.py. A person says "it happened", then the thread that would not end returns."""
    log = [started(), intent(at("pay")), done(at("pay"), "a person's", ONCE), done(at("pay"), "late", ONCE)]
    state = fold(log)
    assert len(state.order) == 1
    outcome = state.slots[at("pay")].outcome
    assert outcome is not None and outcome.body == b"a person's"


# S3 ---------------------------------------------------------------------------------------------------------------


def test_s3_a_question_open_at_the_end_is_open_again_or_closed_after_resume() -> None:
    """RunEnded clears state.questions but not slot.doubt; resumed, the doubt is "open" and nobody can answer it."""
    asked = Event(Kind.QUESTION_ASKED, 3.0, at("pay"), TOOL, ONCE, meta=meta(id="q", about="in_doubt", text="?"))
    ended = Event(Kind.RUN_ENDED, 4.0, meta=meta(outcome="failed"))
    state = fold([started(), intent(at("pay")), asked, failed(at("other")), ended, resumed(at("other"))])
    assert (state.slots[at("pay")].doubt is not None) == ("q" in state.questions)


# S4 ---------------------------------------------------------------------------------------------------------------


def test_s4_a_definite_failure_after_an_unknown_one_leaves_the_step_in_flight() -> None:
    """idempotent: attempt 1 times out (unknown), attempt 2 gets HTTP 429 (definite: *it* did nothing). The state
    says nothing is in flight, and after_failure says GiveUp: "failed for sure", though attempt 1 may have happened."""
    unknown = Event(
        Kind.ATTEMPT_FAILED,
        2.0,
        at("pay"),
        TOOL,
        Effect.IDEMPOTENT,
        1,
        1,
        meta=meta(kind="transient", error="T", is_definite=False),
    )
    definite = unknown._replace(attempt=2, meta=meta(kind="rate_limited", error="S", is_definite=True))
    state = fold([started(), intent(at("pay"), Effect.IDEMPOTENT), unknown, definite])
    assert state.slots[at("pay")].is_in_flight


# E1 ---------------------------------------------------------------------------------------------------------------


def test_e1_meta_can_always_be_written_as_utf8() -> None:
    """A lone surrogate (os.fsdecode of a bad file name, in an exception's text) breaks the append."""
    assert json.loads(meta(text="\udcff").encode()) == {"text": "\udcff"}


_ = (NOTHING, Charge)
