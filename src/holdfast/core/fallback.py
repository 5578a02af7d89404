"""When a model call that failed goes on with another model, and with which. Pure.

Another model is asked when this one cannot answer: it is overloaded, its attempts are used up, it is not there. A
request that is wrong stays wrong elsewhere, and an account without money is of no use to its other models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from holdfast.core.failure import Failure, FailureKind, is_overloaded
from holdfast.core.policy import Again, GiveUp, InDoubt

NOT_FOUND = 404
NOT_THERE = frozenset({"model_not_found", "DeploymentNotFound"})
"""Provider codes that say that a model is not there, or not for this account, whatever the status."""


class Following(NamedTuple):
    """The model that is asked next."""

    further: int
    """How many places after this one; at least 1."""
    because: str


def next_way(
    failure: Failure, decision: Again | GiveUp | InDoubt, account: str, others: Sequence[str]
) -> Following | None:
    """What follows this failure at `account`; None when no other model is asked. others: accounts of the next ones."""
    if isinstance(decision, InDoubt) or not others:
        return None
    if is_overloaded(failure.status, failure.code):
        return Following(1, f"{failure.because}: the next model is asked at once")
    if isinstance(decision, Again):
        return None
    if failure.kind is FailureKind.REFUSED:
        return Following(1, f"{failure.because}; the next model is asked")
    if failure.kind is FailureKind.UNAUTHORISED and failure.code not in NOT_THERE:
        further = next((place for place, other in enumerate(others, 1) if other != account), 0)
        return Following(further, f"{failure.because}; a model of another account is asked") if further else None
    if failure.status == NOT_FOUND or failure.code in NOT_THERE:
        return Following(1, f"{failure.because}: this model is not there; the next one is asked")
    if failure.kind.is_retryable or _is_unwell(failure.status):
        return Following(1, f"{decision.because}; the next model is asked")
    return None


def _is_unwell(status: int | None) -> bool:
    """Whether it is the provider that cannot, also where it asks for no retry."""
    return status is not None and (status == 429 or status >= 500)
