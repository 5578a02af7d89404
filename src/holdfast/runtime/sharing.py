"""What a step's attempts have to do with everybody else's: the breaker of their tool, and the retries that all share.

Which name they share under, and what of it is written into the run's own record; the rest is in `breakers`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from holdfast.core.events import Address, Kind, meta
from holdfast.core.failure import Failure
from holdfast.core.heads import Status
from holdfast.core.health import said_by
from holdfast.core.policy import Again, GiveUp, InDoubt, Policy

if TYPE_CHECKING:
    from holdfast.runtime.attempts import Attempts
    from holdfast.runtime.breakers import Told
    from holdfast.runtime.calls import Calls
    from holdfast.runtime.way import Attempted, Way

REFUSALS_MAX = 100
"""Calls that a breaker refuses in a row, with nothing that succeeds in between; they cost nothing, so nothing else ends
a loop around them."""


def refused(driver: Calls, plan: Attempts, way: Way, address: Address) -> Failure | None:
    """Why the breaker keeps this attempt from beginning; None when it does not."""
    name, breakers = _name(driver, way), driver.services.breakers
    if not name or breakers.is_calm(name):
        return None
    policy = _policy(plan, way).breaker
    if policy is None:
        return None
    return _told(driver, address, name, breakers.entered(name, policy, (driver.lease.run_id, address)))


def shut(driver: Calls, plan: Attempts, way: Way, address: Address) -> Failure | None:
    """The same before it waits for its turn, when it would be refused after it as well."""
    policy = _policy(plan, way).breaker
    if policy is None or not (name := _name(driver, way)):
        return None
    return _told(driver, address, name, driver.services.breakers.peeked(name, policy))


def observed(driver: Calls, plan: Attempts, way: Way, address: Address, attempted: Attempted) -> None:
    """Tell the breaker how an attempt ended."""
    if not (name := _name(driver, way)):
        return
    failure, policy, breakers = attempted.failure, _policy(plan, way).breaker, driver.services.breakers
    if failure is None and breakers.went_well(name, policy):
        return
    text = "" if failure is None else f"{failure.error}: {failure.because}"
    told = breakers.observed(name, policy, (driver.lease.run_id, address), said_by(failure), text)
    _record(driver, address, name, told)


def granted(
    driver: Calls, plan: Attempts, way: Way, address: Address, failure: Failure, again: Again
) -> Again | GiveUp | InDoubt:
    """The retry, when the run and all who share the tool have one left; otherwise the end of this step's attempts."""
    name, most, none_left = _name(driver, way), driver.services.settings.retries_max, ""
    if driver.state.retries >= most:
        none_left = f"this run has made all the {most} retries that it may make (retries_max)"
    elif name:
        none_left = driver.services.breakers.take_retry(name, _policy(plan, way).retry.shared)
    if not none_left:
        return again
    because = f"{failure.because}; not tried again: {none_left}"
    facts = meta(what="retry", choice="give up", because=none_left, tool=name or None)
    driver.record.note(Kind.DECIDED, facts, address=address)
    return GiveUp(because) if failure.is_definite else InDoubt(because)


def _told(driver: Calls, address: Address, name: str, told: Told) -> Failure | None:
    """Record it; a run whose agent does nothing but ask for what is shut is stopped, as no budget would end it."""
    _record(driver, address, name, told)
    if told.failure is not None and driver.state.refusals >= REFUSALS_MAX:
        run = driver.lease.run_id
        why = (
            f"the agent asked {REFUSALS_MAX} times in a row for what is shut, last for {name}. Nothing was sent. Go on "
            f"with `holdfast resume {run}` when it is up again; `holdfast doctor` lists what is shut."
        )
        driver.stop(Status.STOPPED, why)
    return told.failure


def _record(driver: Calls, address: Address, name: str, told: Told) -> None:
    if told.choice:
        facts = meta(what="breaker", choice=told.choice, because=told.because, tool=name)
        driver.record.note(Kind.DECIDED, facts, address=address)


def _policy(plan: Attempts, way: Way) -> Policy:
    return (way.terms or plan).policy()


def _name(driver: Calls, way: Way) -> str:
    """The name that this way is shared under: a tool's, or a model at a host as one account asks it."""
    if not way.account:
        return "" if way.terms is None else way.terms.shared
    host = way.account.partition(" ")[0]
    mark = hmac.new(driver.services.journal.hash_key, way.account.encode("utf-8", "replace"), hashlib.sha256)
    return f"{way.name} at {host} ({mark.hexdigest()[:8]})"
