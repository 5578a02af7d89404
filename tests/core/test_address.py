"""Ids and idempotency keys: the same on every worker, different for different things.

If these fail, a retry has a new key and the effect happens twice, or two effects share one key and one is lost.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.address import idempotency_key, question_id, run_id
from holdfast.core.events import Address

KEY = bytes(range(32))
ADDRESS = Address("agent/sub", "refund", "abc", 2)
TEXTS = st.text(alphabet='a"/\\,[]#0 é\x00', max_size=4)
RUN = "tw2gw3de82mxz96p"
QUESTION = "9vfjg99add"
EFFECT = "7d9494b7aa8b6cb348ece7a321c2def3491bd364"


def test_ids_are_what_they_always_were() -> None:
    """Lost: after an upgrade every run in flight mints new keys. These values never change."""
    assert run_id(KEY, "tenant", "ticket-4711") == "run_" + RUN
    assert question_id(KEY, "run_1", ADDRESS, 1) == "q_" + QUESTION
    assert idempotency_key(KEY, "tenant", "run_1", ADDRESS, 1) == "hf_" + EFFECT


def test_ids_are_plain_enough_to_type_and_to_send() -> None:
    """Lost: an id that a shell, a header or a provider's length limit does not take."""
    assert re.fullmatch(r"run_[0-9a-hjkmnp-tv-z]{16}", run_id(KEY, "t", "k é\n"))
    assert re.fullmatch(r"q_[0-9a-hjkmnp-tv-z]{10}", question_id(KEY, "r", ADDRESS, 0))
    assert re.fullmatch(r"hf_[0-9a-f]{40}", idempotency_key(KEY, "t", "r", ADDRESS, 1))


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_law_no_two_runs_share_an_id_by_framing(tenant: str, key: str, other_tenant: str, other_key: str) -> None:
    """Lost: tenant "a" with key "bc" is tenant "ab" with key "c"."""
    is_same = (tenant, key) == (other_tenant, other_key)
    assert (run_id(KEY, tenant, key) == run_id(KEY, other_tenant, other_key)) is is_same


ADDRESSES = st.builds(Address, TEXTS, TEXTS, TEXTS, st.integers(0, 12))


@given(ADDRESSES, st.integers(1, 12), ADDRESSES, st.integers(1, 12))
def test_law_no_two_effects_share_a_key_by_framing(a: Address, logical: int, b: Address, other_logical: int) -> None:
    """Lost: n=1, attempt 12 is n=11, attempt 2; the second effect is deduplicated away."""
    is_same = (a, logical) == (b, other_logical)
    assert (idempotency_key(KEY, "t", "r", a, logical) == idempotency_key(KEY, "t", "r", b, other_logical)) is is_same
    assert (question_id(KEY, "r", a, logical) == question_id(KEY, "r", b, other_logical)) is is_same


@pytest.mark.parametrize(
    "other",
    [
        idempotency_key(b"x" * 32, "t", "r", ADDRESS, 1),
        idempotency_key(KEY, "u", "r", ADDRESS, 1),
        idempotency_key(KEY, "t", "s", ADDRESS, 1),
        idempotency_key(KEY, "t", "r", ADDRESS._replace(scope=""), 1),
        idempotency_key(KEY, "t", "r", ADDRESS._replace(name="pay"), 1),
        idempotency_key(KEY, "t", "r", ADDRESS._replace(digest=""), 1),
        idempotency_key(KEY, "t", "r", ADDRESS._replace(n=3), 1),
        idempotency_key(KEY, "t", "r", ADDRESS, 2),
    ],
)
def test_every_part_counts(other: str) -> None:
    """Lost: two different effects, or two stores, share a key."""
    assert other != idempotency_key(KEY, "t", "r", ADDRESS, 1)


def test_a_run_a_question_and_an_effect_of_the_same_parts_differ() -> None:
    """Lost: an id of one kind tells one of another."""
    digests = {run_id(KEY, "a", "b")[4:14], question_id(KEY, "a", Address("b", "", "", 0), 0)[2:]}
    assert len(digests) == 2


def test_an_address_reads_as_a_path() -> None:
    """Lost: the line by which a person finds a step."""
    assert str(ADDRESS) == "agent/sub/refund#2"
    assert str(Address("", "refund", "abc", 0)) == "refund"
