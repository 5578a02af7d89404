"""What an error says, in the many forms in which one comes; a form that is missed looks like another error."""

from typing import Any

import pytest

from holdfast.models.fault import MESSAGE_MAX, fault


@pytest.mark.parametrize(
    "body", [{}, {"error": None}, {"error": []}, {"error": 7}, {"message": "hello"}, {"object": "list"}]
)
def test_what_is_no_error_with_status_200_is_none(body: Any) -> None:
    """The Responses API sends `"error": null` with each success."""
    assert fault(200, body) is None


@pytest.mark.parametrize("body", [{}, {"error": None}, {"error": {}}, {"message": "hello"}, {"choices": []}])
def test_with_a_status_of_failure_everything_is_an_error(body: Any) -> None:
    """Also one that says nothing."""
    found = fault(503, body)
    assert found is not None and found.status == 503 and found.is_object


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"type": "overloaded_error"}, 529),
        ({"code": "429"}, 429),
        ({"code": 404}, 404),
        ({"code": 99}, 500),
        ({"code": "4040"}, 500),
        ({"code": True, "type": "invalid_request_error"}, 400),
        ({"status": "RESOURCE_EXHAUSTED"}, 429),
        ({"code": "new", "type": "rate_limit_error"}, 429),
        ({"type": "new"}, 500),
        ({}, 500),
    ],
)
def test_an_error_with_status_200_has_the_status_that_it_stands_for(error: Any, status: int) -> None:
    """By a code that is one, else by the first name that is known; a new name is a fault of the server."""
    found = fault(200, {"error": error})
    assert found is not None and found.status == status


@pytest.mark.parametrize(
    ("details", "wait_s"),
    [
        ([{"retryDelay": "38s"}], 38.0),
        ([{"reason": "x"}, {"retryDelay": "0.25s"}], 0.25),
        ([{"retryDelay": "38"}], None),
        ([{"retryDelay": -1}], None),
        ([{"retryDelay": "9" * 30 + "s"}], None),
        ({"retryDelay": "38s"}, None),
        (None, None),
    ],
)
def test_google_says_in_the_body_how_long_to_wait(details: Any, wait_s: float | None) -> None:
    """Without it, the next try comes too early, and the one after that."""
    found = fault(429, {"error": {"status": "RESOURCE_EXHAUSTED", "details": details}})
    assert found is not None and found.retry_after_s == wait_s


def test_that_no_money_is_left_is_the_most_telling_code() -> None:
    """Wherever it stands among the others."""
    for error in (
        {"type": "insufficient_quota", "code": "new_code"},
        {"type": "new_type", "code": "insufficient_quota"},
        {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}},
        {"status": "PERMISSION_DENIED", "details": [{"reason": "BILLING_DISABLED"}]},
    ):
        found = fault(429, {"error": error})
        assert found is not None
        assert found.code in {"insufficient_quota", "enforced_spend_limit_reached", "BILLING_DISABLED"}


def test_a_message_is_for_people() -> None:
    """Not for filling a journal."""
    found = fault(500, {"error": {"message": "x" * 1_000_000}})
    assert found is not None and len(found.message) == MESSAGE_MAX + 1
    told = fault(400, {"detail": [{"loc": ["body"]}]})
    assert told is not None and told.message == ""
