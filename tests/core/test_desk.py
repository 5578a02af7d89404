"""The operator's desk: which commands make sense, what they become, and what all of them amount to.

If these fail, an operator's order is lost, half done, or done by nobody knows whom.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import accept, desk
from holdfast.core.budget import Limits
from holdfast.core.desk import SWITCHES_MAX, Switches, carried_out, fold, refusal
from holdfast.core.events import Event, Kind
from holdfast.core.heads import Head, Status

DESK = Head("run_d", "@desk", "@desk", "d", Status.SUSPENDED, 1.0, 1.0)
RUN = Head("run_1", "k", "agent", "d", Status.RUNNING, 1.0, 1.0)


def ordered(*commands: dict[str, Any]) -> tuple[Switches, list[Event]]:
    """What these commands amount to, and their events."""
    switches, events = Switches(), list[Event]()
    for at, facts in enumerate(commands):
        switches, more = carried_out(switches, facts, float(at))
        events += more
    return switches, events


def facts(verb: str, name: str = "refund", **more: Any) -> dict[str, Any]:
    """A command's facts."""
    return accept.command(verb, name, **{"by": "ann", "why": "broken"} | more).facts


@pytest.mark.parametrize(
    "command",
    [
        facts("disable"),
        facts("enable"),
        facts("policy", settings={"retry.attempts": 1, "timeout": "5s"}),
        facts("policy", settings={"fallback": ["cached:1h", "ask:ops:1h", "stop"]}),
        facts("policy", settings=None),
        facts("budget", "day", caps={"usd_nano": 5, "tokens": None}),
        facts("about", "run_1 (k)", what="pause"),
    ],
)
def test_commands_that_make_sense(command: dict[str, Any]) -> None:
    """Lost: an operator's lever that does not move."""
    assert refusal(command) == ""
    (event,) = ordered(command)[1]
    assert event.facts["by"] == "ann" and event.facts["because"] == "broken"


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (facts("disable", ""), "no name"),
        (facts("disable", "a\x1b"), "no name"),
        (facts("disable", "x" * 201), "no name"),
        (facts("disable", why="x" * 1001), "longer than"),
        (facts("explode"), "does not know"),
        (facts("policy", settings={}), "Nothing is set"),
        (facts("policy", settings={"retry.attempts": 0}), "no usable bound"),
        (facts("policy", settings={"retry.attempts": None}), "no usable bound"),
        (facts("policy", settings={"timeout": "nan"}), "finite"),
        (facts("policy", settings={"budget": 5}), "no setting"),
        (facts("policy", settings={"fallback": ["rm_rf"]}), "declared in code"),
        (facts("budget", "year", caps={"tokens": 1}), "no account"),
        (facts("budget", "day", caps={"tool_calls": 1}), "tokens and usd are counted"),
        (facts("budget", "day", caps={"tokens": -1}), "no cap"),
        (facts("budget", "day", caps={"tokens": True}), "no cap"),
        (facts("budget", "day", caps={"usd_nano": 1.5}), "no cap"),
        (facts("budget", "day"), "are counted"),
        (facts("about"), "not said"),
    ],
)
def test_nonsense_is_refused_with_the_reason_and_nothing_is_stored(command: dict[str, Any], word: str) -> None:
    """Lost: a policy without a bound, from the one place that no type checker sees."""
    message = accept.Message(accept.MessageKind.COMMAND, accept.meta(**command))
    posted = accept.accept(DESK, "run_d", message, 1.0)
    assert not posted.is_stored and word in posted.refused


def test_the_desk_takes_commands_and_no_other_run_does() -> None:
    """Lost: the desk is cancelled, or a run believes that it was given a command."""
    command = accept.command("disable", "refund", by="ann")
    assert accept.accept(DESK, "run_d", command, 1.0).is_stored
    assert not accept.accept(RUN, "run_1", command, 1.0).is_stored
    others = [accept.cancel(by="a"), accept.pause(by="a"), accept.resume(by="a"), accept.cap({"tokens": 1}, by="a")]
    for message in [*others, accept.answer("q", choice=None, by="a", body=None)]:
        assert "takes commands" in accept.accept(DESK, "run_d", message, 1.0).refused


def test_a_switch_names_who_threw_it_first_and_a_second_changes_nothing() -> None:
    """Lost: whom to ask why a tool is off."""
    switches, events = ordered(facts("disable"), facts("disable", by="bob", why="me too"), facts("enable", "look"))
    assert switches.off == {"refund": desk.Off("ann", "broken", 0.0)}
    assert [event.facts["choice"] for event in events] == ["refund: off", "refund: off already", "look: on already"]
    assert [event.facts["by"] for event in events] == ["ann", "bob", "ann"], "both are recorded"


def test_settings_are_laid_over_one_another_and_reset_together() -> None:
    """Lost: a second change that silently takes the first one back."""
    one = facts("policy", settings={"retry.attempts": 1, "timeout": "5s"})
    two = facts("policy", settings={"timeout": "9s"})
    assert ordered(one, two)[0].policies == {"refund": {"retry.attempts": 1, "timeout": "9s"}}
    assert ordered(one, two, facts("policy", settings=None))[0].policies == {}


def test_a_cap_changes_one_part_and_off_takes_it_away() -> None:
    """Lost: a cap on tokens that is gone because one on money was set."""
    switches, events = ordered(
        facts("budget", "day", caps={"usd_nano": 5}), facts("budget", "day", caps={"tokens": 7, "usd_nano": None})
    )
    assert switches.caps == {"day": Limits(tokens=7)}
    assert [event.kind for event in events] == [Kind.BUDGET_CHANGED] * 2


def test_what_does_not_fit_any_more_is_recorded_and_not_done() -> None:
    """Lost: a desk that no order can be carried out at any more."""
    switches = Switches(off={f"tool {n}": desk.Off("a", "w" * 900, 1.0) for n in range(40)})
    assert len(switches.text()) > SWITCHES_MAX
    after, (event,) = carried_out(switches, facts("disable"), 1.0)
    assert after is switches and event.facts["what"] == "refuse" and "characters" in event.facts["because"]
    assert "tool 1" not in carried_out(switches, facts("enable", "tool 1"), 1.0)[0].off, "what makes room is done"


names = st.sampled_from(["a", "b", "c"])
accounts = st.sampled_from(["day", "total"])
commands = st.one_of(
    st.builds(lambda verb, name: facts(verb, name), st.sampled_from(["disable", "enable"]), names),
    st.builds(lambda name, n: facts("policy", name, settings={"retry.attempts": n}), names, st.integers(1, 9)),
    st.builds(lambda name: facts("policy", name), names),
    st.builds(lambda name, n: facts("budget", name, caps={"tokens": n}), accounts, st.none() | st.integers(0, 9)),
    st.builds(lambda name: facts("about", name, what="pause"), names),
)


@given(st.lists(commands, max_size=12))
def test_the_cell_is_a_fold_over_the_log(orders: list[dict[str, Any]]) -> None:
    """Lost: `doctor` could not compute the switches anew, and a worker would read others than the log says."""
    switches, events = ordered(*orders)
    assert fold(events) == switches == Switches.of(switches.text())
