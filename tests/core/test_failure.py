"""What a failure means (R3), and whether the effect may have happened.

If these fail, a run retries what cannot work, or takes an effect that happened for one that did not.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.events import Effect, meta
from holdfast.core.failure import BILLING_CODES, Facts, Failure, FailureKind, classify, is_definite, kind_of

READ, IDEMPOTENT, ONCE = Effect.READ, Effect.IDEMPOTENT, Effect.ONCE
K = FailureKind
NOT_DEFINITE = {408, 409, 425}


def facts(**known: Any) -> Facts:
    """What was read off an exception."""
    return Facts(**{"error": "E", "text": "t", "repr": "E('t')", "ancestors": ("E", "Exception")} | known)


@pytest.mark.parametrize(
    ("status", "kind", "is_retryable"),
    [
        (400, K.INVALID, False),
        (401, K.UNAUTHORISED, False),
        (402, K.UNAUTHORISED, False),
        (403, K.UNAUTHORISED, False),
        (404, K.PERMANENT, False),
        (408, K.TRANSIENT, True),
        (409, K.TRANSIENT, True),
        (410, K.PERMANENT, False),
        (413, K.INVALID, False),
        (422, K.INVALID, False),
        (425, K.TRANSIENT, True),
        (429, K.RATE_LIMITED, True),
        (500, K.TRANSIENT, True),
        (502, K.TRANSIENT, True),
        (503, K.TRANSIENT, True),
        (504, K.TRANSIENT, True),
        (529, K.TRANSIENT, True),
    ],
)
def test_statuses(status: int, kind: FailureKind, is_retryable: bool) -> None:
    """Lost: R3; a bad key is retried, a rate limit is not."""
    found, because = kind_of(facts(status=status, ancestors=("HTTPStatusError", "ValueError", "Exception")))
    assert (found, found.is_retryable) == (kind, is_retryable)
    assert str(status) in because


@pytest.mark.parametrize("code", sorted(BILLING_CODES))
@pytest.mark.parametrize("status", [None, 400, 403, 429])
def test_no_money_is_not_retried_whatever_the_status(code: str, status: int | None) -> None:
    """Lost: an empty account, which says 429, is asked again and again."""
    kind, because = kind_of(facts(status=status, code=code))
    assert kind is K.UNAUTHORISED and not kind.is_retryable and code in because


@pytest.mark.parametrize(
    ("ancestors", "kind"),
    [
        (("ValidationError", "ValueError", "Exception"), K.PERMANENT),
        (("KeyError", "LookupError", "Exception"), K.PERMANENT),
        (("TypeError", "Exception"), K.PERMANENT),
        (("ZeroDivisionError", "ArithmeticError"), K.PERMANENT),
        (("FileNotFoundError", "OSError"), K.PERMANENT),
        (("TimeoutError", "OSError"), K.TRANSIENT),
        (("ConnectionResetError", "ConnectionError", "OSError"), K.TRANSIENT),
        (("OddTimeout", "TimeoutError", "ValueError"), K.TRANSIENT),
        (("Mystery", "Exception"), K.TRANSIENT),
    ],
)
def test_exceptions_without_a_status(ancestors: tuple[str, ...], kind: FailureKind) -> None:
    """Lost: a programming error is retried, or a broken connection is final."""
    found, because = kind_of(facts(ancestors=ancestors))
    assert found is kind and because


def test_not_done_is_final_before_all_else() -> None:
    """Lost: a tool that says "it did not happen, and will not" is asked again."""
    kind, because = kind_of(facts(is_not_done=True, status=503, code="billing_error"))
    assert kind is K.PERMANENT and "did not happen" in because


# --- did it happen? -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [IDEMPOTENT, ONCE])
@pytest.mark.parametrize("status", [None, 200, 302, 400, 401, 404, 408, 429, 500, 503])
@pytest.mark.parametrize("is_unsent", [False, True])
def test_an_exception_after_the_effect_began_is_unknown(effect: Effect, status: int | None, is_unsent: bool) -> None:
    """Lost: P4. Planted bug: an exception after the effect counted as a no, so that it is done again."""
    found = classify(facts(status=status, is_unsent=is_unsent), effect)
    assert not found.is_definite


@pytest.mark.parametrize("effect", [IDEMPOTENT, ONCE])
@pytest.mark.parametrize("says", [{"is_not_done": True}, {"is_declared": True}])
@pytest.mark.parametrize("is_one_request", [False, True])
def test_the_tool_may_say_that_it_did_not_happen(effect: Effect, says: dict[str, bool], is_one_request: bool) -> None:
    """Lost: every refusal of a tool becomes a question to a person."""
    assert classify(facts(status=500, **says), effect, is_one_request=is_one_request).is_definite


def test_a_read_that_failed_did_nothing() -> None:
    """Lost: failed reads are put in doubt."""
    assert classify(facts(), READ).is_definite


@given(st.integers(100, 599), st.booleans())
def test_law_one_request_believes_its_status(status: int, is_unsent: bool) -> None:
    """Lost: `ONE_REQUEST` takes a 409, a timeout of the server or a 500 after the work for "not done"."""
    expected = 400 <= status < 500 and status not in NOT_DEFINITE
    assert is_definite(facts(status=status, is_unsent=is_unsent), is_one_request=True) is expected


@pytest.mark.parametrize("is_unsent", [False, True])
def test_one_request_without_a_response(is_unsent: bool) -> None:
    """Lost: a connection that broke after the request was sent counts as refused before a byte."""
    assert is_definite(facts(is_unsent=is_unsent), is_one_request=True) is is_unsent
    assert not is_definite(facts(is_unsent=is_unsent), is_one_request=False)


# --- as it is written ---------------------------------------------------------------------------------------------

FAILURES = st.builds(
    Failure,
    st.sampled_from(list(FailureKind)),
    st.text(min_size=1),
    st.text(),
    st.text(),
    st.booleans(),
    st.none() | st.integers(100, 599),
    st.none() | st.floats(0, 1e9),
    st.none() | st.integers(0, 9),
    st.text(),
)


@given(FAILURES)
def test_law_a_failure_survives_the_journal(failure: Failure) -> None:
    """Lost: on replay the agent sees another error than it saw live, or "unknown" becomes "definite"."""
    assert Failure.from_facts(json.loads(meta(**failure.facts()))) == failure
    assert json.loads(json.dumps(failure.facts())) == failure.facts()


def test_facts_that_are_not_known_are_ignored_and_missing_ones_have_defaults() -> None:
    """Lost: a journal of a newer holdfast, or an older one, cannot be read."""
    found = Failure.from_facts({"kind": "transient", "error": "E", "retry_at": 4.0, "later": True})
    assert found == Failure(K.TRANSIENT, "E", "", "")


def test_classify_keeps_what_was_read() -> None:
    """Lost: Retry-After, the status or the declared class on the way to the journal."""
    found = classify(facts(status=429, retry_after_s=7.0, raised=0), READ)
    assert found == Failure(K.RATE_LIMITED, "E", "t", "E('t')", True, 429, 7.0, 0, "HTTP 429")


# --- answers that say no, and what a tool says of its own failures ------------------------------------------------


@pytest.mark.parametrize(
    ("known", "kind", "is_retryable"),
    [
        ({"is_answer": True}, K.REFUSED, False),
        ({"is_answer": True, "code": "ratelimited"}, K.RATE_LIMITED, True),
        ({"is_answer": True, "code": "insufficient_quota"}, K.UNAUTHORISED, False),
        ({"code": "too_many_requests"}, K.RATE_LIMITED, True),
    ],
)
def test_an_answer_that_says_no(known: dict[str, Any], kind: FailureKind, is_retryable: bool) -> None:
    """Lost: R3; `{"ok": false}` in an HTTP 200 is taken for a result, or asked for again and again."""
    found, because = kind_of(facts(**known))
    assert (found, found.is_retryable) == (kind, is_retryable) and because


@pytest.mark.parametrize("is_one_request", [False, True])
def test_an_answer_that_says_no_is_believed_of_the_one_request(is_one_request: bool) -> None:
    """Lost: a refused payment is in doubt; or one that was made before something else was refused is not."""
    assert is_definite(facts(is_answer=True), is_one_request=is_one_request) is is_one_request


@pytest.mark.parametrize(
    ("known", "entry"),
    [
        ({"status": 503}, "503"),
        ({}, "E"),
        ({"ancestors": ("E", "OddError", "Exception")}, "OddError"),
        ({"code": "no_such_user"}, "no_such_user"),
    ],
)
@pytest.mark.parametrize("kind", list(FailureKind))
def test_the_tools_own_table_overrides(known: dict[str, Any], entry: str, kind: FailureKind) -> None:
    """Lost: what the author of a tool knows about its errors."""
    found, because = kind_of(facts(**known), {entry: str(kind)})
    assert found is kind and entry in because


def test_a_table_is_read_from_the_particular_to_the_general() -> None:
    """Lost: one code of a status that means something else."""
    table = {"503": "permanent", "E": "invalid", "busy": "rate_limited"}
    assert kind_of(facts(status=503, code="busy"), table)[0] is K.RATE_LIMITED
    assert kind_of(facts(status=503), table)[0] is K.INVALID
    assert kind_of(facts(status=503, error="X", ancestors=("X",)), table)[0] is K.PERMANENT
    assert kind_of(facts(status=500, error="X", ancestors=("X",)), table)[0] is K.TRANSIENT


def test_an_operators_table_stands_above_the_tools_predicate() -> None:
    """Lost: the way to mend a predicate without a deploy."""
    said = facts(status=503, kind="permanent")
    assert kind_of(said)[0] is K.PERMANENT
    assert kind_of(said, {"503": "transient"})[0] is K.TRANSIENT


def test_a_predicate_that_failed_is_named_and_decides_nothing() -> None:
    """Lost: a bug in a predicate that nobody sees, as everything is retried."""
    kind, because = kind_of(facts(status=400, remark="classify= raised KeyError: 'x'"))
    assert kind is K.INVALID and "KeyError" in because
