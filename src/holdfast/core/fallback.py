"""When a model call that failed goes on with the next model. Pure.

Another model is asked when this one cannot answer: it is overloaded, its attempts are used up, it is not there. A
request that is wrong stays wrong elsewhere, and an account without money is of no use to its other models.
"""

from __future__ import annotations

from holdfast.core.failure import Failure, FailureKind, is_overloaded
from holdfast.core.policy import Again, GiveUp, InDoubt

NOT_FOUND = 404


def next_model(failure: Failure, decision: Again | GiveUp | InDoubt, *, is_elsewhere: bool) -> str:
    """Why the next model is asked now, empty when it is not. `is_elsewhere`: at another host, or by another account."""
    if isinstance(decision, InDoubt):
        return ""
    if is_overloaded(failure.status or 0, failure.code):
        return f"{failure.because}: overloaded, so the next model is asked at once"
    if isinstance(decision, Again):
        return ""
    if failure.kind.is_retryable:
        return f"{decision.because}; the next model is asked"
    if failure.status == NOT_FOUND:
        return f"{failure.because}: this model is not there; the next one is asked"
    if failure.kind is FailureKind.UNAUTHORISED and is_elsewhere:
        return f"{failure.because}; the next model is of another account"
    return ""
