"""Where a store stands: what it may become, and how that is stored."""

from __future__ import annotations

from itertools import product

import pytest

from holdfast.core.standing import OPEN, Passage, Standing, may_become, shown

STANDINGS = [OPEN, *(Standing(passage, attempt, "u") for passage in list(Passage)[1:] for attempt in "ab")]


def test_of_two_stores_at_most_one_is_ever_open() -> None:
    """Lost: that no two stores go on with the same runs, whatever two attempts do, and in whatever order."""
    empty = Standing(Passage.OPEN, "nothing in it")
    begun, leaving, left_for_good = (OPEN, empty), Standing(Passage.LEAVING, "a", "u"), Standing(Passage.LEFT, "a", "u")
    seen, todo = {begun}, [begun]
    while todo:
        left, filled = todo.pop()
        following = [(after, filled) for after in STANDINGS if may_become(left, after) and after.passage != "filling"]
        if left == leaving and filled == empty:
            following += [(left, Standing(Passage.FILLING, "a", "u"))]
        if left == left_for_good and filled.passage is Passage.FILLING:  # only then is the other one opened
            following += [(left, OPEN)] * may_become(filled, OPEN)
        todo += [pair for pair in following if pair not in seen]
        seen.update(following)
    assert any(filled == OPEN for _, filled in seen)
    assert not [pair for pair in seen if pair[0].is_open and pair[1] == OPEN]


def test_a_store_that_was_left_stays_left() -> None:
    """Lost: that whoever was sent on to another store finds the runs there."""
    assert not [after for after in STANDINGS if may_become(Standing(Passage.LEFT, "a", "u"), after)]


def test_of_another_attempt_nothing_follows() -> None:
    """Lost: that an attempt which was given up does not close the store behind the one that counts."""
    for before, after in product(STANDINGS, STANDINGS):
        if not before.is_open and not after.is_open and before.attempt != after.attempt:
            assert not may_become(before, after)


@pytest.mark.parametrize("standing", STANDINGS)
def test_it_is_stored_as_text(standing: Standing) -> None:
    """Lost: where a store stands, when it is opened anew."""
    assert Standing.of(standing.text()) == standing


def test_no_password_is_kept() -> None:
    """Lost: a password, to everybody who can read the store or an error message."""
    assert shown("postgresql://ada:secret@db:5432/x?schema=s") == "postgresql://ada@db:5432/x?schema=s"
    assert (
        shown("postgres://db/x?user=ada&password=secret&schema=s&sslpassword=s") == "postgres://db/x?user=ada&schema=s"
    )
    for url in ("sqlite:////a/b.db", "b.db", "memory:", "postgresql://ada@db/x", "postgresql:///x?host=/run&a"):
        assert shown(url) == url
    for secret in ("s3#cret", "s3@cret", "[s3cret", "s3:cret"):
        assert shown(f"postgresql://ada:{secret}@db/x") == "postgresql://ada@db/x"
    assert shown("postgresql://db/x?pass%77ord=s3cret") == "postgresql://db/x"
    assert shown("sqlite:////a/me:b@c.db") == "sqlite:////a/me:b@c.db", "a path is a path"
