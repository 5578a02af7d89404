"""Features: a list is read whole or refused, its digest covers all of it, and a check passes only when it has run.

If these fail, a person freezes another list than the one they have seen, or a feature passes that nothing has checked.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.feature import FEATURES_MAX, Feature, digest, features, listed, of_facts
from holdfast.core.verdict import RERUNS, Result, judged, wants_another
from holdfast.errors import UsageError

ADD: dict[str, Any] = {"id": "add", "description": "adds two numbers", "check": "pytest:tests/test_add.py"}
FULL: dict[str, Any] = {
    "id": "page",
    "description": "shows a page",
    "steps": ["open it", "look"],
    "check": {"http": "http://127.0.0.1:8000/", "status": 201, "contains": "sum", "timeout": "5s", "pins": ["a/b.py"]},
    "priority": 5,
    "after": ["add"],
}

names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(lambda text: text.strip())
checks = st.one_of(
    st.builds(lambda path, pins: {"pytest": f"tests/{path}.py", "pins": pins}, names, st.lists(names, max_size=2)),
    st.builds(lambda word, wait: {"command": f"run {word}", "timeout": wait}, names, st.integers(1, 900)),
    st.builds(lambda text, status: {"http": "https://x.y/", "contains": text, "status": status}, texts, st.just(204)),
    st.builds(lambda name: {"python": name}, names),
)


@st.composite
def lists(draw: Any) -> list[dict[str, Any]]:
    """Lists as people write them; what a feature comes after stands before it."""
    ids = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    return [
        {
            "id": name,
            "description": draw(texts),
            "steps": draw(st.lists(texts, max_size=2)),
            "check": draw(checks),
            "priority": draw(st.integers(-3, 3)),
            "after": draw(st.lists(st.sampled_from(ids[:place]), unique=True)) if place else [],
        }
        for place, name in enumerate(ids)
    ]


def test_a_list_is_read_as_it_is_written() -> None:
    """Lost: a field that a person wrote and that nothing looks at."""
    add, page = features({"features": [ADD, FULL]})
    assert (add.check.kind, add.check.target, add.after, add.priority) == ("pytest", "tests/test_add.py", (), 0)
    assert (page.check.kind, page.check.status, page.check.contains, page.check.timeout_s) == ("http", 201, "sum", 5.0)
    assert (page.steps, page.after, page.check.pins) == (("open it", "look"), ("add",), ("a/b.py",))
    assert [each.id for each in features([{**ADD, "id": None}, {**ADD, "id": None}])] == ["001", "002"]


@pytest.mark.parametrize(
    ("check", "kind", "target"),
    [
        ("command:python tool.py 1 2", "command", "python tool.py 1 2"),
        ("python tool.py 1 2", "command", "python tool.py 1 2"),
        ("python:adds", "python", "adds"),
        ("http://127.0.0.1:8000/", "http", "http://127.0.0.1:8000/"),
        ("https://x.y/z", "http", "https://x.y/z"),
        ("make: all", "command", "make: all"),
    ],
)
def test_a_check_in_one_line_is_what_it_looks_like(check: str, kind: str, target: str) -> None:
    """Lost: a URL that is run as a program, or a program that is fetched."""
    (feature,) = features([{**ADD, "check": check}])
    assert (feature.check.kind, feature.check.target) == (kind, target)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ([], "no list"),
        ("add", "no list"),
        ({"feature": []}, "no list"),
        ([["add"]], "no table"),
        ([{**ADD, "id": "Add"}], "an id is"),
        ([{**ADD, "id": "a" * 81}], "an id is"),
        ([{**ADD, "description": " "}], "description"),
        ([{**ADD, "passes": True}], "'passes'"),
        ([{"id": "add", "description": "adds"}], "no check"),
        ([{**ADD, "check": {"pytest": "a", "command": "b"}}], "a check is one of"),
        ([{**ADD, "check": {"command": "say 'x"}}], "cannot be split"),
        ([{**ADD, "check": {"http": "ftp://x/"}}], "no http"),
        ([{**ADD, "check": {"pytest": "--co"}}], "dash"),
        ([{**ADD, "check": {"pytest": "a", "timeout": "soon"}}], "Feature 'add'"),
        ([{**ADD, "check": {"http": "http://x/", "status": True}}], "status"),
        ([{**ADD, "check": {"pytest": "a", "pins": ["../a"]}}], "within the directory"),
        ([{**ADD, "check": {"pytest": "a", "pins": ["/etc/passwd"]}}], "within the directory"),
        ([{**ADD, "check": {"pytest": "a", "keep": ["../a"]}}], "within the directory"),
        ([{**ADD, "check": {"pytest": "a", "keep": [".git/hooks"]}}], "below the top"),
        ([{**ADD, "check": {"pytest": "a", "keep": ["./a"]}}], "below the top"),
        ([{**ADD, "check": {"pytest": "a", "in_tree": "yes"}}], "neither true nor false"),
        ({"features": [ADD], "keep": ["a"]}, "'keep', which is not known"),
        ({"features": [ADD], "checks": {"timeout": "5s"}}, "'timeout', which is not known"),
        ({"features": [ADD], "checks": ["a"]}, "no table"),
        ([{**ADD, "priority": "high"}], "whole number"),
        ([{**ADD, "priority": True}], "whole number"),
        ([{**ADD, "steps": "look"}], "steps"),
        ([ADD, ADD], "called 'add'"),
        ([{**ADD, "after": ["sub"]}], "'sub', which is not there"),
        ([{**ADD, "after": ["add"]}], "circle"),
        ([{**ADD, "after": ["sub"]}, {**ADD, "id": "sub", "after": ["add"]}], "circle"),
        ([{**ADD, "id": None}] * (FEATURES_MAX + 1), "more than"),
    ],
)
def test_what_is_malformed_is_refused_whole_and_says_what_is_wrong(data: Any, word: str) -> None:
    """Lost: a list of which half is taken, or a feature without a check."""
    with pytest.raises(UsageError, match=word):
        features(data)


@given(lists())
def test_facts_are_the_same_feature_and_pass_the_same_reader(data: list[dict[str, Any]]) -> None:
    """Lost: a frozen list that comes back as another one."""
    found = features(data)
    facts = json.loads(json.dumps([feature.facts() for feature in found]))
    assert [of_facts(each) for each in facts] == found == listed(facts)
    assert digest(found) == digest(listed(facts))


@given(lists(), st.data())
def test_a_digest_covers_all_of_a_list_and_its_order(data: list[dict[str, Any]], more: st.DataObject) -> None:
    """Lost: a person agrees to one list, and another one is frozen."""
    found = features(data)
    place = more.draw(st.integers(0, len(found) - 1))
    feature = found[place]
    check = feature.check
    others = [
        replace(feature, description=feature.description + "!"),
        replace(feature, steps=(*feature.steps, "x")),
        replace(feature, priority=feature.priority + 1),
        replace(feature, after=(*feature.after, "zz")),
        replace(feature, pinned={"a": "b"}),
        replace(feature, check=replace(check, target=check.target + "x")),
        replace(feature, check=replace(check, timeout_s=check.timeout_s + 1)),
        replace(feature, fixed={"a": ""}),
        replace(feature, check=replace(check, pins=(*check.pins, "x"))),
        replace(feature, check=replace(check, keep=("x",))),
        replace(feature, check=replace(check, in_tree=not check.in_tree)),
    ]
    digests = {digest([*found[:place], other, *found[place + 1 :]]) for other in others} | {digest(found)}
    assert len(digests) == len(others) + 1
    assert digest(found[::-1]) != digest(found) or len(found) == 1
    assert digest(found[:-1]) != digest(found)


def test_what_holds_for_all_checks_holds_unless_one_says_otherwise() -> None:
    """Lost: dependencies that a person has declared, or a check that is to do without them."""
    own = {**ADD, "id": "own", "check": {"pytest": "a", "keep": []}}
    first, second = features({"features": [ADD, own], "checks": {"keep": [".venv/"], "in_tree": True}})
    assert (first.check.keep, first.check.in_tree) == ((".venv",), True)
    assert (second.check.keep, second.check.in_tree) == ((), True)


def test_a_list_that_was_frozen_before_there_were_checkouts_is_read() -> None:
    """Lost: every project that was begun before."""
    facts = features([ADD])[0].facts()
    del facts["fixed"], facts["check"]["keep"], facts["check"]["in_tree"]
    assert of_facts(facts) == features([ADD])[0]


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../x"},
        {"description": ""},
        {"description": " padded "},
        {"priority": 1.5},
        {"steps": "no list"},
        {"check": None},
        {"check": {"kind": "shell", "target": "x"}},
        {"pinned": {"other.py": "b"}},
        {"pinned": {"a/b.py": 1}},
        {"fixed": {"../conftest.py": ""}},
        {"fixed": {"conftest.py": None}},
        {"after": ["nobody"]},
        {"more": 1},
    ],
)
def test_facts_that_no_reader_wrote_are_refused(change: dict[str, Any]) -> None:
    """Lost: what a program with a mistake stores, and every other process stumbles over."""
    facts = features([ADD, FULL])[1].facts() | {"after": []}
    assert listed([facts])[0].id == "page"
    with pytest.raises(UsageError):
        listed([facts | change])
    with pytest.raises(UsageError):
        listed([facts["check"]])


# --- what a check found ------------------------------------------------------------------------------------------


results = st.sampled_from([Result(True, True), Result(True, False, why="1 != 2"), Result(False, False, why="gone")])


def performed(outcomes: list[Result]) -> list[Result]:
    """What is performed of these, when each is what the next performance gives."""
    done = outcomes[:1]
    while wants_another(done) and len(done) < len(outcomes):
        done.append(outcomes[len(done)])
    return done


@given(st.lists(results, min_size=RERUNS + 1, max_size=RERUNS + 1))
def test_a_check_passes_by_what_it_said_last_and_never_without_having_run(outcomes: list[Result]) -> None:
    """Lost: one lucky run of three is taken for done, or nothing that ran is."""
    done = performed(outcomes)
    verdict = judged(done)
    assert not wants_another(done) and 1 <= len(done) <= RERUNS + 1
    if verdict.passed:
        assert verdict.has_run and all(result.has_run for result in done)
        assert len(done) == 1 or (done[-1].passed and done[-2].passed)
        assert verdict.is_flaky is (len(done) > 1)
    if not all(result.has_run for result in done):
        assert not verdict.passed
    assert verdict.because


def test_all_outcomes_of_a_check() -> None:
    """Lost: the rules that the docstring states."""
    passes, fails, dead = Result(True, True), Result(True, False, why="1 != 2"), Result(False, False, why="gone")
    said = {}
    for outcomes in product([passes, fails, dead], repeat=3):
        done = performed(list(outcomes))
        verdict = judged(done)
        said["".join("+" if r.passed else "-" if r.has_run else "0" for r in done)] = (
            verdict.passed,
            verdict.has_run,
            verdict.is_flaky,
        )
    assert said == {
        "+": (True, True, False),
        "--": (False, True, False),
        "-++": (True, True, True),
        "-+-": (False, True, True),
        "-+0": (False, False, True),
        "-0": (False, False, False),
        "0": (False, False, False),
    }
    assert judged([passes]).because == "passed" and judged([dead]).because == "gone"
    assert "1 != 2, 2 times" in judged([fails, fails]).because and "2 of 3" in judged([fails, passes, passes]).because


def test_a_feature_is_frozen_all_the_way() -> None:
    """Lost: code that changes a feature behind the back of its digest."""
    feature: Feature = features([ADD])[0]
    with pytest.raises(AttributeError):
        feature.check = feature.check  # type: ignore[misc]
