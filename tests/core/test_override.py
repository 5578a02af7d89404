"""Policies as text: one meaning in holdfast.toml, on the command line and at the desk."""

from __future__ import annotations

import tomllib

import pytest

from holdfast.core.breaker import Breaker
from holdfast.core.override import laid_over, merged, parse_flag, parse_table
from holdfast.core.policy import Policy, Retry
from holdfast.core.rung import Ask, Cached, Other, Stop
from holdfast.errors import PolicyInvalid


def test_a_setting_means_the_same_as_table_and_as_flag() -> None:
    """Lost: a command line that sets something else than the file does."""
    table = tomllib.loads(
        'timeout = "20s"\nfallback = ["copy", "cached:1h", "ask:oncall:30m", "stop"]\n'
        '[retry]\nattempts = 2\n[classify]\n503 = "rate_limited"\nNoSuchCustomer = "permanent"\n'
    )
    flags = (
        "find.timeout=20s",
        'find.fallback=["copy", "cached:1h", "ask:oncall:30m", "stop"]',
        "find.retry.attempts=2",
        "find.classify.503=rate_limited",
        "find.classify.NoSuchCustomer=permanent",
    )
    declared = Policy(retry=Retry(attempts=5, wait=9), fallback=(Other("copy", "the tool"),))
    by_table = laid_over(declared, parse_table("find", table), tool="find")
    by_flags = laid_over(declared, merged(*({n: s} for n, s in map(parse_flag, flags)))["find"], tool="find")
    assert by_table == by_flags
    assert by_table == Policy(
        retry=Retry(attempts=2, wait=9),
        timeout_s=20,
        fallback=(Other("copy", "the tool"), Cached(max_age="1h"), Ask("oncall", within="30m"), Stop()),
        classify={"503": "rate_limited", "NoSuchCustomer": "permanent"},
    )


def test_a_tool_whose_name_has_dots() -> None:
    """Lost: an operator's grip on a tool of a namespace."""
    assert parse_flag("crm.find.retry.attempts=2") == ("crm.find", {"retry.attempts": 2})


def test_a_breaker_is_set_in_part_and_switched_off() -> None:
    """Lost: an operator who wants a dead tool asked less often, or a healthy one at all, needs a deploy."""
    declared = Policy(breaker=Breaker(calls=3))
    by_flag = laid_over(declared, parse_flag("find.breaker.wait=5m")[1], tool="find")
    assert by_flag.breaker == Breaker(calls=3, wait="5m")
    assert laid_over(declared, parse_table("find", {"breaker": {"wait": "5m"}}), tool="find") == by_flag
    for settings in (parse_flag("find.breaker=false")[1], parse_table("find", {"breaker": False})):
        assert laid_over(declared, settings, tool="find").breaker is None
    assert laid_over(Policy(breaker=None), {"breaker.calls": 5}, tool="find").breaker == Breaker(calls=5)
    assert laid_over(declared, parse_flag("find.retry.shared=5")[1], tool="find").retry.shared == 5


def test_later_layers_stand_above_earlier_ones_number_by_number() -> None:
    """Lost: the file's other numbers when the desk sets one."""
    file = {"find": {"retry.attempts": 2, "timeout": "20s"}}
    assert merged(file, {"find": {"retry.attempts": 1}}) == {"find": {"retry.attempts": 1, "timeout": "20s"}}


@pytest.mark.parametrize(
    "table",
    [
        {"retry": {"attempts": 0}},
        {"retry": {"attempts": None}},
        {"retry": {"attempts": float("inf")}},
        {"retry": {"tries": 2}},
        {"retry": 3},
        {"retry": False},
        {"retry": {"shared": 0}},
        {"breaker": 3},
        {"breaker": True},
        {"breaker": {"timeouts": 0}},
        {"breaker": {"wait": "2h"}},
        {"breaker": {"limit": 3}},
        {"timeout": -1},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"within": "soon"},
        {"speed": 3},
        {"fallback": "stop"},
        {"fallback": ["stop", "cached:1h"]},
        {"fallback": ["cached:1h", "cached:2h"]},
        {"fallback": ["cached:-1"]},
        {"fallback": ["ask:oncall", "cached:1h"]},
        {"classify": {"503": "whatever"}},
        [],
    ],
)
def test_what_has_no_bound_or_no_meaning_is_refused(table: object) -> None:
    """Lost: a start with a policy that nobody can keep."""
    with pytest.raises(PolicyInvalid):
        parse_table("find", table)


@pytest.mark.parametrize("flag", ["", "find", "find.speed=3", "retry.attempts=2", "find.retry=2", "=", "find.timeout"])
def test_a_flag_that_says_nothing_is_refused(flag: str) -> None:
    """Lost: a typo that changes nothing, and nobody is told."""
    with pytest.raises(PolicyInvalid):
        parse_flag(flag)


def test_an_operator_cannot_name_a_tool_that_the_declaration_does_not() -> None:
    """Lost: a fallback to a function that takes something else."""
    with pytest.raises(PolicyInvalid, match="copy"):
        laid_over(Policy(), {"fallback": ["copy"]}, tool="find")


def test_a_limit_is_taken_off_with_false() -> None:
    """Lost: the way back from a time limit."""
    assert laid_over(Policy(timeout_s=3), {"timeout": False}, tool="find").timeout_s is None
