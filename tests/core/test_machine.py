"""The replay machine, rule by rule, and as a law over random programs.

If these fail, a resumed run gets another call's answer, does an effect twice, or stops for no reason.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.events import Address, Effect, Event, Kind, StepKind, meta
from holdfast.core.machine import Ask, Call, Execute, Machine, Use, describe
from holdfast.core.state import State, fold

READ, IDEMPOTENT, ONCE = Effect.READ, Effect.IDEMPOTENT, Effect.ONCE
TOOL, MODEL, QUESTION = StepKind.TOOL, StepKind.MODEL, StepKind.QUESTION


# --- words of the dialogues --------------------------------------------------------------------------------------


def call(name: str, digest: str = "d", effect: Effect = READ, step: StepKind = TOOL, scope: str = "") -> Call:
    """What the agent asks for."""
    return Call(scope, name, digest, step, effect, shown=digest.encode())


def at(name: str, digest: str = "d", n: int = 0, scope: str = "") -> Address:
    """Where it is in the log."""
    return Address(scope, name, digest, n)


def started() -> Event:
    """The first event of every log."""
    return Event(Kind.RUN_STARTED, 0.0, meta=meta(run="r", key="k", agent="a", seed="s", input_digest="i"))


def intent(address: Address, effect: Effect = ONCE, step: StepKind = TOOL) -> Event:
    """The step was begun."""
    return Event(Kind.STEP_INTENDED, 1.0, address, step, effect, 1, 1)


def done(address: Address, body: str, effect: Effect = READ, step: StepKind = TOOL) -> Event:
    """The step succeeded."""
    return Event(Kind.STEP_SUCCEEDED, 2.0, address, step, effect, 1, 1, body=body.encode())


def failed(address: Address, effect: Effect = ONCE) -> Event:
    """The step failed for good."""
    return Event(Kind.STEP_FAILED, 2.0, address, TOOL, effect, 1, 1, meta=meta(kind="permanent", error="E"))


def abandoned(address: Address, effect: Effect = READ) -> Event:
    """Its caller gave up."""
    return Event(Kind.STEP_ABANDONED, 2.0, address, TOOL, effect)


def effect_done(address: Address, body: str, effect: Effect = ONCE) -> list[Event]:
    """Intent and outcome."""
    return [intent(address, effect), done(address, body, effect)]


def machine(*events: Event) -> Machine:
    """A machine over the log that begins with RunStarted and goes on so."""
    return Machine(fold([started(), *events]))


def answers(ready: Iterable[tuple[Ask, Use | Execute]]) -> list[tuple[Ask, str]]:
    """What `ready` gave, with `!` for the permission to begin."""
    return [(ask, "!" if isinstance(command, Execute) else _text(command)) for ask, command in ready]


def _text(command: Use | Execute | None) -> str:
    assert isinstance(command, Use) and command.outcome.body is not None, command
    return command.outcome.body.decode()


# --- sequential ---------------------------------------------------------------------------------------------------


def test_sequential_replay_answers_at_once_and_begins_nothing() -> None:
    """Lost: resume itself; a step that was done is done again, or waits although nothing is before it."""
    names = [f"s{i}" for i in range(20)]
    replay = machine(*(done(at(name), f"out {name}") for name in names))
    for name in names:
        assert replay.is_replaying
        _, command = replay.ask(call(name))
        assert _text(command) == f"out {name}"
        assert answers(replay.ready()) == []
    assert not replay.is_replaying
    assert replay.unexplained("it returned") is None
    assert replay.unused_reads() == []


def test_a_recorded_failure_is_an_answer_like_any_other() -> None:
    """Lost: a failure that the agent has dealt with is tried again behind its back on resume."""
    replay = machine(intent(at("pay")), failed(at("pay")))
    _, command = replay.ask(call("pay", effect=ONCE))
    assert isinstance(command, Use) and command.outcome.kind is Kind.STEP_FAILED


def test_a_new_step_begins_and_its_outcome_reaches_the_caller() -> None:
    """Lost: live execution; the first run of anything hangs."""
    live = machine()
    ask, command = live.ask(call("read"))
    assert command == Execute(at("read"))
    live.performing(ask.address, is_performed=True)
    live.state.apply(done(ask.address, "answer"))
    found = live.recorded(ask.address)
    assert found is not None and found[0] is ask and _text(found[1]) == "answer"
    assert live.recorded(ask.address) is None, "the same call was answered twice"


def test_an_intent_without_outcome_is_begun_again_with_what_the_log_knows() -> None:
    """Lost: the driver cannot tell a fresh effect from one that may have happened, and repeats it."""
    replay = machine(intent(at("refund")))
    _, command = replay.ask(call("refund", effect=ONCE))
    assert isinstance(command, Execute) and command.recovered is replay.state.slots[at("refund")]
    assert command.recovered.intent is not None and command.recovered.is_in_flight


# --- rule 1: addresses --------------------------------------------------------------------------------------------


def test_equal_calls_in_a_row_are_n_0_1_2() -> None:
    """Lost: polling; the second call of a loop gets the first one's answer for ever."""
    replay = machine(*(done(at("poll", n=n), f"{n}") for n in range(3)))
    for n in range(3):
        ask, command = replay.ask(call("poll"))
        assert (ask.address.n, _text(command)) == (n, f"{n}")
    assert replay.ask(call("poll"))[1] == Execute(at("poll", n=3))


@pytest.mark.parametrize("first", [0, 1])
def test_equal_calls_in_two_branches_get_their_own_answers_in_recorded_order(first: int) -> None:
    """Lost: two branches that call the same tool swap their answers when the second one was faster."""
    order = [first, 1 - first]
    replay = machine(*(done(at("x", n=n), f"answer {n}") for n in order))
    asks: list[Ask] = []
    given: list[tuple[Ask, str]] = []
    for _branch in range(2):
        ask, command = replay.ask(call("x"))
        asks.append(ask)
        if command is not None:
            given.append((ask, _text(command)))
        given += answers(replay.ready())
    assert [ask.address.n for ask in asks] == [0, 1]
    assert given == [(asks[n], f"answer {n}") for n in order]


def test_other_arguments_another_scope_or_name_are_other_addresses() -> None:
    """Lost: a step takes the answer of the same tool called with other arguments."""
    replay = machine(done(at("x", "1"), "one"))
    for other in (call("x", "2"), call("y", "1"), call("x", "1", scope="sub")):
        assert isinstance(replay.ask(other)[1], Execute)


def test_live_a_call_after_one_that_gave_up_joins_the_effect_under_way() -> None:
    """Lost: a framework's own timeout and retry sends the money twice."""
    live = machine()
    first, command = live.ask(call("refund", effect=ONCE))
    assert isinstance(command, Execute)
    live.performing(first.address, is_performed=True)
    live.state.apply(intent(first.address))
    assert live.gave_up(first), "the log must say that the caller gave up"
    live.state.apply(abandoned(first.address, ONCE))

    second, command = live.ask(call("refund", effect=ONCE))
    assert second.address == first.address
    assert command is None, "begun a second time while it is under way"
    live.state.apply(done(first.address, "paid", ONCE))
    found = live.recorded(first.address)
    assert found is not None and found[0] is second and _text(found[1]) == "paid"


def test_live_a_call_after_one_that_gave_up_takes_the_outcome_that_came_meanwhile() -> None:
    """Lost: the outcome of an abandoned effect is nobody's, and the retry mints a second effect."""
    live = machine()
    first, _ = live.ask(call("refund", effect=ONCE))
    live.performing(first.address, is_performed=True)
    live.state.apply(intent(first.address))
    live.gave_up(first)
    live.state.apply(abandoned(first.address, ONCE))
    live.state.apply(done(first.address, "paid", ONCE))
    assert live.recorded(first.address) is None, "nobody waits"

    second, command = live.ask(call("refund", effect=ONCE))
    assert (second.address, _text(command)) == (first.address, "paid")
    third, command = live.ask(call("refund", effect=ONCE))
    assert (third.address.n, command) == (1, Execute(at("refund", n=1)))


def test_live_a_read_that_was_given_up_begins_again_at_the_same_address() -> None:
    """Lost: the counter moves on for a call that never came back, and every later replay is off by one."""
    live = machine()
    first, _ = live.ask(call("read"))
    live.performing(first.address, is_performed=True)
    live.performing(first.address, is_performed=False)  # reads are cancelled with their caller
    assert live.gave_up(first)
    live.state.apply(abandoned(first.address))
    second, command = live.ask(call("read"))
    assert isinstance(command, Execute) and second.address == first.address


def test_giving_up_twice_is_news_once() -> None:
    """Lost: one abandoned call counts twice, and on replay the call that took the outcome is void too."""
    live = machine()
    ask, _ = live.ask(call("read"))
    assert live.gave_up(ask)
    assert not live.gave_up(ask)


def test_an_answer_that_did_not_reach_its_caller_goes_to_the_next_equal_call() -> None:
    """Lost: an answer handed out in the instant of a timeout is lost, and the step is begun again."""
    replay = machine(*effect_done(at("pay"), "paid"))
    ask, command = replay.ask(call("pay", effect=ONCE))
    assert _text(command) == "paid"
    assert replay.gave_up(ask)
    again, command = replay.ask(call("pay", effect=ONCE))
    assert (again.address, _text(command)) == (ask.address, "paid")


# --- rule 2: order ------------------------------------------------------------------------------------------------


def test_outcomes_wait_until_they_are_next_in_the_log() -> None:
    """Lost: a race that B won live is won by A on replay."""
    replay = machine(done(at("b"), "B"), done(at("a"), "A"))
    first, command = replay.ask(call("a"))
    assert command is None and answers(replay.ready()) == []
    second, command = replay.ask(call("b"))
    assert _text(command) == "B"
    assert answers(replay.ready()) == [(first, "A")]
    assert second.is_answered


def test_at_rest_the_earliest_asked_for_goes_on_and_the_skipped_are_named() -> None:
    """Lost: a run whose code no longer asks for one recorded read waits for ever."""
    replay = machine(*(done(at(name), name.upper()) for name in "abcd"))
    later, _ = replay.ask(call("d"))
    earlier, _ = replay.ask(call("c"))
    found = replay.rest_order()
    assert found is not None
    ask, use, skipped = found
    assert ask is earlier and _text(use) == "C" and skipped == [at("a"), at("b")]
    assert answers(replay.ready()) == [(later, "D")]
    assert replay.rest_order() is None
    assert not replay.is_replaying


def test_an_outcome_that_was_passed_over_is_handed_out_at_once_when_asked_for() -> None:
    """Lost: rest is a guess; without this a slow branch stalls another second for each of its steps."""
    replay = machine(*(done(at(name), name.upper()) for name in "abcd"))
    replay.ask(call("c"))
    assert replay.rest_order() is not None
    assert _text(replay.ask(call("b"))[1]) == "B"
    assert _text(replay.ask(call("a"))[1]) == "A"
    assert _text(replay.ask(call("d"))[1]) == "D"
    assert replay.unexplained("it returned") is None and replay.unused_reads() == []


def test_an_end_that_comes_after_its_beginning_was_passed_over_takes_nobodys_turn() -> None:
    """Lost: a reply had begun to come in and its caller gave it up; made again, its end lets what is recorded next be
    told before as many calls were made as it was heard after."""
    said, look = at("say"), done(at("look"), "seen")._replace(asked=9)
    begun = Event(Kind.STEP_STREAMED, 1.0, said, StepKind.MODEL, READ, body=b"a part")
    m = machine(begun, Event(Kind.STEP_ABANDONED, 1.0, said, StepKind.MODEL, READ), look)
    again, command = m.ask(call("say", step=StepKind.MODEL))
    assert isinstance(command, Execute)
    assert list(m.ready()) == []  # what was given up is passed over now
    m.state.apply(done(said, "all of it", step=StepKind.MODEL))
    assert m.recorded(again.address) is not None
    _, command = m.ask(call("look"))
    assert command is None, "recorded after nine calls, asked for by the second"


def test_at_rest_with_nothing_recorded_left_there_is_nothing_to_pass_over() -> None:
    """Lost: drift is reported where a run only waits for work of its own."""
    live = machine()
    live.ask(call("read"))
    assert live.rest_order() is None and live.rest_block() is None and live.rest_void() is None


def test_a_queued_call_that_is_given_up_no_longer_holds_its_turn() -> None:
    """Lost: the caller is gone, its answer is handed to nobody and the others wait behind it."""
    replay = machine(done(at("a"), "A"), done(at("b"), "B"))
    ask, _ = replay.ask(call("b"))
    assert replay.gave_up(ask)
    replay.state.apply(abandoned(at("b")))
    assert _text(replay.ask(call("a"))[1]) == "A"
    assert answers(replay.ready()) == []
    again, command = replay.ask(call("b"))
    assert again.address == at("b") and _text(command) == "B"


# --- rule 3: no record at the address -----------------------------------------------------------------------------


def test_a_read_without_a_record_runs_and_never_gets_anothers_answer() -> None:
    """Lost: after a change of arguments the agent reads the old customer's invoice."""
    replay = machine(done(at("invoice", "alice"), "of alice"))
    ask, command = replay.ask(call("invoice", "bob"))
    assert command == Execute(at("invoice", "bob"))
    replay.performing(ask.address, is_performed=True)
    assert replay.rest_order() is None
    assert replay.unused_reads() == [at("invoice", "alice")]
    assert replay.unexplained("it returned") is None, "a read that nobody asked for is drift, not a block"


def test_three_parallel_refunds_of_which_one_is_new() -> None:
    """Lost: P10; a refund with other arguments is made while a recorded one is still unexplained."""
    replay = machine(*effect_done(at("refund", "1"), "one"), *effect_done(at("refund", "2"), "two"))
    new, command = replay.ask(call("refund", "3", ONCE))
    assert command is None and answers(replay.ready()) == []
    _, command = replay.ask(call("refund", "1", ONCE))
    assert _text(command) == "one"
    assert answers(replay.ready()) == [], "released while refund 2 is unexplained"
    _, command = replay.ask(call("refund", "2", ONCE))
    assert _text(command) == "two"
    assert answers(replay.ready()) == [(new, "!")]


@pytest.mark.parametrize("step", [TOOL, QUESTION])
def test_a_new_effect_or_question_is_held_and_the_block_names_both_sides(step: StepKind) -> None:
    """Lost: P10's "shows the difference"; a person has nothing to decide on."""
    replay = machine(*effect_done(at("refund", "old"), "one"))
    replay.ask(Call("", "refund", "new", step, ONCE, shown=b"invoice 7, 500 cents"))
    block = replay.rest_block()
    assert block is not None and not block.is_hold
    assert "refund(invoice 7, 500 cents)" in block.asked
    assert block.recorded == ("once refund (old)",)
    assert block.asked in str(block) and block.recorded[0] in str(block)


def test_a_held_call_that_is_given_up_is_not_begun_later() -> None:
    """Lost: an effect that nobody waits for begins when the past is explained."""
    replay = machine(*effect_done(at("old"), "one"))
    ask, command = replay.ask(call("new", effect=ONCE))
    assert command is None and replay.gave_up(ask)
    replay.ask(call("old", effect=ONCE))
    assert answers(replay.ready()) == []
    assert replay.rest_block() is None


def test_a_recorded_question_without_an_answer_holds_new_effects_until_it_is_asked() -> None:
    """Lost: changed code goes past an approval that a person was asked for."""
    asked = Event(
        Kind.QUESTION_ASKED, 1.0, at("ask", ""), QUESTION, READ, meta=meta(id="q1", about="ask", text="Go on?")
    )
    replay = machine(asked)
    held, command = replay.ask(call("refund", effect=ONCE))
    assert command is None
    _, command = replay.ask(call("ask", "", READ, QUESTION))
    assert isinstance(command, Execute) and command.recovered is not None
    assert answers(replay.ready()) == [(held, "!")]


def test_a_question_gets_the_answer_that_closed_it() -> None:
    """Lost: the person's decision does not reach the agent after a restart."""
    asked = Event(
        Kind.QUESTION_ASKED, 1.0, at("ask", ""), QUESTION, READ, meta=meta(id="q1", about="ask", text="Go on?")
    )
    closed = Event(Kind.QUESTION_CLOSED, 2.0, meta=meta(id="q1", outcome="answered", by="ann"), body=b"yes")
    _, command = machine(asked, closed).ask(call("ask", "", READ, QUESTION))
    assert _text(command) == "yes"


# --- rule 3 and 4: model calls ------------------------------------------------------------------------------------


def test_a_new_model_call_waits_only_for_recorded_ones_of_its_own_scope() -> None:
    """Lost: one branch with a changed prompt holds every other branch, or pays twice for its own call."""
    replay = machine(intent(at("m", "old", scope="one"), READ, MODEL), *effect_done(at("pay"), "paid"))
    other, command = replay.ask(call("m", "new", READ, MODEL, scope="two"))
    assert command == Execute(other.address), "held by another scope's record, or by an effect"
    held, command = replay.ask(call("m", "new", READ, MODEL, scope="one"))
    assert command is None
    block = replay.rest_block()
    assert block is not None and block.is_hold and block.recorded == ("model one/m (old)",)
    assert isinstance(replay.ask(call("m", "old", READ, MODEL, scope="one"))[1], Execute)
    assert answers(replay.ready()) == [(held, "!")]


def test_an_unused_model_call_does_not_hold_reads_and_effects() -> None:
    """Lost: a changed prompt stops also what has nothing to do with it."""
    replay = machine(done(at("m", "old"), "said", READ, MODEL))
    assert isinstance(replay.ask(call("read"))[1], Execute)
    assert isinstance(replay.ask(call("pay", effect=ONCE))[1], Execute)


# --- rule 4: at the end -------------------------------------------------------------------------------------------


def test_an_agent_that_ends_with_recorded_effects_unasked_is_blocked() -> None:
    """Lost: P10 at the end; changed code "succeeds" although money was moved that it knows nothing of."""
    replay = machine(*effect_done(at("refund", "1"), "one"), done(at("read"), "r"))
    block = replay.unexplained("nothing more: it returned")
    assert block is not None and not block.is_hold
    assert block.asked == "nothing more: it returned" and block.recorded == ("once refund (1)",)
    replay.ask(call("refund", "1", ONCE))
    assert replay.unexplained("nothing more: it returned") is None


def test_an_agent_that_ends_with_only_model_calls_unasked_is_on_hold() -> None:
    """Lost: a changed prompt looks like moved money, or is not seen at all."""
    block = machine(done(at("m"), "said", READ, MODEL)).unexplained("it returned")
    assert block is not None and block.is_hold


# --- rule 6: abandoned calls --------------------------------------------------------------------------------------


def test_on_replay_an_abandoned_call_does_not_complete_and_the_next_takes_its_outcome() -> None:
    """Lost: on replay the timeout does not happen, and the run takes another path than the recorded one."""
    replay = machine(intent(at("pay")), abandoned(at("pay"), ONCE), done(at("pay"), "paid", ONCE))
    first, command = replay.ask(call("pay", effect=ONCE))
    assert command is None and first.is_void and answers(replay.ready()) == []
    assert not replay.gave_up(first), "it is recorded already"
    second, command = replay.ask(call("pay", effect=ONCE))
    assert (second.address, _text(command)) == (first.address, "paid")


def test_an_abandoned_call_counts_as_asked_for() -> None:
    """Lost: what a timeout left behind blocks the run at its end, or stalls every later answer."""
    replay = machine(
        intent(at("pay")), abandoned(at("pay"), ONCE), done(at("pay"), "paid", ONCE), done(at("read"), "r")
    )
    assert _text(replay.ask(call("read"))[1]) == "r", "its outcome is before, but nobody needs to ask for it"
    assert isinstance(replay.ask(call("new", effect=ONCE))[1], Execute)
    assert replay.unexplained("it returned") is None and not replay.is_replaying


def test_two_abandoned_calls_are_both_void_and_the_third_is_answered() -> None:
    """Lost: a retry loop with timeouts replays with one timeout too few."""
    replay = machine(
        intent(at("pay")), abandoned(at("pay"), ONCE), abandoned(at("pay"), ONCE), done(at("pay"), "paid", ONCE)
    )
    for _ in range(2):
        ask, command = replay.ask(call("pay", effect=ONCE))
        assert command is None and ask.is_void
        assert not replay.gave_up(ask)
    assert _text(replay.ask(call("pay", effect=ONCE))[1]) == "paid"


def test_after_a_long_rest_a_void_call_gets_its_outcome_after_all() -> None:
    """Lost: a call that timed out then and is waited for without a timeout now never comes back."""
    replay = machine(intent(at("pay")), abandoned(at("pay"), ONCE), done(at("pay"), "paid", ONCE))
    ask, _ = replay.ask(call("pay", effect=ONCE))
    assert replay.rest_order() is None
    found = replay.rest_void()
    assert found is not None and found[0] is ask and _text(found[1]) == "paid"
    assert replay.rest_void() is None
    assert replay.ask(call("pay", effect=ONCE))[0].address.n == 1


def test_a_void_call_of_an_interrupted_effect_is_recovered_and_joined() -> None:
    """Lost: an effect in flight whose caller gave up is forgotten by a crash, or begun by each of its calls."""
    replay = machine(intent(at("pay")), abandoned(at("pay"), ONCE))
    first, command = replay.ask(call("pay", effect=ONCE))
    assert isinstance(command, Execute) and command.recovered is not None and first.is_void
    replay.performing(first.address, is_performed=True)
    assert not replay.gave_up(first)
    second, command = replay.ask(call("pay", effect=ONCE))
    assert second.address == first.address and command is None and not second.is_void
    replay.state.apply(done(at("pay"), "paid", ONCE))
    found = replay.recorded(at("pay"))
    assert found is not None and found[0] is second


def test_a_void_call_does_not_hold_a_place_in_the_order() -> None:
    """Lost: everything recorded after an abandoned call waits for a second that never comes."""
    replay = machine(intent(at("pay")), abandoned(at("pay"), ONCE), done(at("pay"), "p", ONCE), done(at("r"), "r"))
    replay.ask(call("pay", effect=ONCE))
    assert _text(replay.ask(call("r"))[1]) == "r"


# --- reopening ----------------------------------------------------------------------------------------------------


def resumed(*addresses: Address) -> Event:
    """A failed run is resumed; these outcomes are taken back."""
    return Event(Kind.RUN_RESUMED, 9.0, meta=meta(why="resume", by="op", reopened=[list(a) for a in addresses]))


def test_reopening_takes_back_one_outcome_and_keeps_the_order_of_the_others() -> None:
    """Lost: after `resume` the failed step fails from the record again, or its neighbours are out of step."""
    replay = machine(done(at("a"), "A"), intent(at("pay")), failed(at("pay")), done(at("b"), "B"), resumed(at("pay")))
    _, command = replay.ask(call("a"))
    assert _text(command) == "A"
    _, command = replay.ask(call("pay", effect=ONCE))
    assert isinstance(command, Execute) and command.recovered is not None and command.recovered.logical == 2
    assert _text(replay.ask(call("b"))[1]) == "B"
    assert not replay.is_replaying


# --- joins --------------------------------------------------------------------------------------------------------


def test_two_waiting_equal_calls_never_share_one_performance() -> None:
    """Lost: two branches that each order a book get one book."""
    live = machine()
    asks = [live.ask(call("order", effect=ONCE)) for _ in range(2)]
    assert [command for _, command in asks] == [Execute(at("order", n=0)), Execute(at("order", n=1))]


def test_describe_shows_the_arguments() -> None:
    """Lost: a person is shown a digest instead of what would be done."""
    assert describe(Call("", "refund", "x", TOOL, ONCE, b"5 cents")) == "once refund(5 cents)"
    assert describe(Call("", "claude", "x", MODEL, READ, b"2 messages")) == "model claude(2 messages)"


# --- the law: what was recorded live is what replay gives ---------------------------------------------------------
# A pure simulator of concurrent branches: no event loop. A branch runs until it asks for something that is not
# answered at once; the outcome to come next is drawn, as the world would draw it.


@dataclass(frozen=True)
class Step:
    """One call; with `follows` its arguments depend on the last answer of its branch."""

    name: str
    effect: Effect
    follows: bool


@dataclass(frozen=True)
class Par:
    """Branches at the same time; goes on when all of them are done."""

    branches: tuple[tuple[Step | Par, ...], ...]


Program = tuple[Step | Par, ...]
Branch = Generator[Call | list[Program], str, None]


@dataclass
class Simulation:
    """Runs a program against a log, until nothing is left to do or to complete."""

    program: Program
    events: list[Event] = field(default_factory=lambda: [started()])
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    seen: dict[str, list[str]] = field(default_factory=dict)
    """What each branch was answered, by its path."""
    under_way: list[tuple[Address, Call]] = field(default_factory=list)
    is_fast: bool = False
    """Calls try `Machine.replay` first, as the driver does."""

    def __post_init__(self) -> None:
        self.state: State = fold(self.events)
        self.machine = Machine(self.state)
        self.begun: list[Address] = []
        self._runnable: deque[tuple[str, Branch, str]] = deque()
        self._waiting: dict[Ask, tuple[str, Branch]] = {}
        self._joins: dict[str, tuple[Branch, int]] = {}
        self._splits: dict[str, int] = {}
        self._start("", self.program)

    def run(self, *, completions: list[int] | None) -> None:
        """Complete what is under way in the drawn order; None completes nothing (a replay)."""
        self._turn()
        for choice in completions or ():
            if not self.under_way:
                return
            self._complete(choice % len(self.under_way))
            self._turn()
        while completions is not None and self.under_way:
            self._complete(0)
            self._turn()

    def _start(self, path: str, program: Program) -> None:
        self.seen[path] = []
        branch = _branch(program, path)
        self._runnable.append((path, branch, ""))

    def _turn(self) -> None:
        while self._runnable:
            path, branch, value = self._runnable.popleft()
            try:
                asked = next(branch) if value == "" else branch.send(value)
            except StopIteration:
                self._ended(path)
                continue
            if isinstance(asked, list):
                self._joins[path] = (branch, len(asked))
                split = self._splits[path] = self._splits.get(path, 0) + 1
                for number, program in enumerate(asked):
                    self._start(f"{path}/{split}.{number}", program)
                continue
            at_once = self.machine.replay(asked) if self.is_fast and not self._waiting else None
            if at_once is not None:
                self.seen[path].append(_text(Use(at_once)))
                self._runnable.append((path, branch, _text(Use(at_once))))
                continue
            ask, command = self.machine.ask(asked)
            self._waiting[ask] = (path, branch)
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
        answer = _text(command)
        self.seen[path].append(answer)
        self._runnable.append((path, branch, answer))

    def _complete(self, index: int) -> None:
        address, asked = self.under_way.pop(index)
        self._append(done(address, f"answer {next(self.numbers)}", asked.effect))
        found = self.machine.recorded(address)
        if found is not None:
            self._tell(*found)
        self._pump()

    def _append(self, event: Event) -> None:
        self.events.append(event)
        self.state.apply(event)


def _branch(program: Program, path: str) -> Branch:
    """The user's code: calls what the program says, one after the other."""
    last = ""
    for item in program:
        if isinstance(item, Par):
            yield list(item.branches)
        else:
            digest = last if item.follows else ""
            last = yield Call("", item.name + path, digest, TOOL, item.effect)


STEPS = st.builds(Step, st.sampled_from("ab"), st.sampled_from([READ, IDEMPOTENT, ONCE]), st.booleans())
PROGRAMS: st.SearchStrategy[Program] = st.recursive(
    st.lists(STEPS, max_size=4).map(tuple),
    lambda inner: st.lists(
        STEPS | st.lists(inner, min_size=1, max_size=4).map(lambda b: Par(tuple(b))), max_size=4
    ).map(tuple),
    max_leaves=8,
)
ORDERS = st.lists(st.integers(0, 50), max_size=40)


@given(PROGRAMS, ORDERS, st.booleans())
def test_law_replay_gives_every_call_what_it_got_live_and_begins_nothing(
    program: Program, order: list[int], is_fast: bool
) -> None:
    """Lost: the promise of the whole project, for some shape of parallel branches and some order of outcomes."""
    live = Simulation(program)
    live.run(completions=order)
    assert live.machine.unexplained("it returned") is None

    replay = Simulation(program, events=list(live.events), is_fast=is_fast)
    replay.run(completions=None)
    assert replay.begun == []
    assert replay.seen == live.seen
    assert not replay.machine.is_replaying
    assert replay.machine.unexplained("it returned") is None and replay.machine.unused_reads() == []
    assert len(replay.events) == len(live.events), "a replay wrote"


@given(PROGRAMS, ORDERS, st.integers(0, 60), ORDERS, st.booleans())
def test_law_after_a_crash_anywhere_nothing_recorded_is_begun_or_lost(
    program: Program, order: list[int], cut: int, order_after: list[int], is_fast: bool
) -> None:
    """Lost: a crash between two events makes one effect happen twice, or gives a branch other answers."""
    live = Simulation(program)
    live.run(completions=order)
    kept = live.events[: 1 + cut % len(live.events)]
    recorded = {address for address, slot in fold(kept).slots.items() if slot.outcome is not None}

    second = Simulation(program, events=list(kept), numbers=live.numbers, is_fast=is_fast)
    second.run(completions=order_after)
    assert not recorded.intersection(second.begun), "a step with an outcome was begun again"
    assert len(second.begun) == len(set(second.begun)), "a step was begun twice in one process"
    assert second.machine.unexplained("it returned") is None

    third = Simulation(program, events=list(second.events), is_fast=is_fast)
    third.run(completions=None)
    assert third.begun == [] and third.seen == second.seen


def test_replay_declines_what_is_special() -> None:
    """Lost: the cheap way would answer a call that was abandoned, is out of turn or came too early."""
    pay = call("pay", effect=ONCE)
    assert machine(done(at("a"), "A"), done(at("b"), "B")).replay(call("b")) is None, "not next"
    assert machine(done(at("a"), "A")._replace(asked=2)).replay(call("a")) is None, "two calls were made before"
    assert machine(abandoned(at("pay")), done(at("pay"), "paid", ONCE)).replay(pay) is None, "given up then"
    assert machine(intent(at("pay"))).replay(pay) is None, "no outcome"
    fast = machine(done(at("a"), "A"), done(at("a", n=1), "A2"))
    assert [_text(Use(found)) for found in (fast.replay(call("a")), fast.replay(call("a"))) if found] == ["A", "A2"]
    assert fast.replay(call("a")) is None and not fast.is_replaying


def test_law_is_not_vacuous() -> None:
    """Lost: the laws above would pass although no branch ever waited for its turn."""
    program: Program = (Par(((Step("a", READ, False),), (Step("b", ONCE, False),))),)
    live = Simulation(program)
    live.run(completions=[1, 0])
    outcomes = [event.address.name[0] for event in live.events if event.kind is Kind.STEP_SUCCEEDED and event.address]
    assert outcomes == ["b", "a"]
    replay = Simulation(program, events=list(live.events))
    replay.run(completions=None)
    assert replay.seen == live.seen and sum(map(len, replay.seen.values())) == 2
