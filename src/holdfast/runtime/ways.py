"""The ways and rungs of a tool's step: its own body first, then what its ladder names.

What another tool gives is read as a result of the tool that was asked for: it is of that one's type, passes its check,
and raises its classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.core.ladder import ladder_of
from holdfast.core.rung import Ask, Cached, Escalation, Other, Stop
from holdfast.core.scope import of_attempt
from holdfast.errors import PolicyInvalid
from holdfast.journal.codec import digest, encode
from holdfast.runtime import current
from holdfast.runtime.attempt import attempted, attempted_on, verified
from holdfast.runtime.facts import is_stronger
from holdfast.runtime.signature import Arguments, Signature
from holdfast.runtime.spec import Calling, Spec, check_cached
from holdfast.runtime.thread import loop_elsewhere
from holdfast.runtime.undo import undo_name
from holdfast.runtime.way import Attempted, Begun, Terms, Verdict, Way

if TYPE_CHECKING:
    from holdfast.runtime.tool import Tool


class Reach(NamedTuple):
    """How the body of a tool is called with the arguments of one step."""

    calling: Calling
    asked: Callable[[str], Any] | None
    """Asks its `verify`."""


def ways_of(
    spec: Spec, where: current.Place, own: Reach, arguments: Arguments | None
) -> tuple[Way | Cached | Ask | Escalation | Stop, ...]:
    """The tool itself and its rungs. arguments: for other tools; None where there are none."""
    driver = where.driver
    rungs = ladder_of(driver.services.policies.of(spec).fallback, driver.agent.escalate)
    own_way = way_of(spec, where, own, spec)
    if not rungs:
        return (own_way,)
    ways: list[Any] = [own_way]
    for rung in rungs:
        if not isinstance(rung, Other):
            ways.append(rung)
        elif arguments is not None:
            tool: Tool[..., Any] = rung.tool
            ways.append(way_of(standing_in(spec, tool.spec), where, tool.reach(arguments), spec))
    return tuple(ways)


def standing_in(spec: Spec, other: Spec) -> Spec:
    """`other`, as it stands in for `spec`."""
    check = spec.check if other.check is None else other.check
    if spec.check is not None and other.check is not None:
        check = _both(other.check, spec.check)
    returns = other.returns if spec.returns is None else spec.returns
    return replace(other, returns=returns, raises=spec.raises, check=check)


def _both(first: Callable[[Any], Any], second: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def both(result: Any) -> Any:
        for check in (first, second):
            said = check(result)
            said = await said if hasattr(said, "__await__") else said
            if said not in (None, True, ""):
                return said
        return None

    return both


def way_of(spec: Spec, where: current.Place, reach: Reach, of: Spec) -> Way:
    """How the body of this tool is attempted and verified, as a step of `of`."""
    home = loop_elsewhere(where.driver.thread, where.driver.loop) if spec.is_async else None
    services = where.driver.services

    async def attempt(begun: Begun) -> Attempted:
        now = services.policies.in_force(spec)
        scope = of_attempt(begun.address, begun.number, where.driver.lease.epoch)
        inside = current.Place(where.driver, scope, spec.effect, of.name)
        if home is None or home.is_closed():  # when its caller is gone, the next attempt is made on ours
            return await attempted(now, reach.calling(begun.key), inside, begun)
        return await attempted_on(home, now, reach.calling(begun.key), inside, begun)

    async def verify(key: str) -> Verdict:
        ask = reach.asked
        return await verified(spec, lambda: ask(key) if ask else None, services.settings.verify_s)

    terms = Terms(
        policy=partial(services.policies.of, spec),
        shared=spec.shared,
        window_s=spec.window_s,
        verify=verify if reach.asked is not None else None,
        settle_s=spec.settle_s,
        undo=undo_name(spec),
        spec=spec,
    )
    return Way(attempt=attempt, name=spec.name, terms=terms)


def last_good(spec: Spec, where: current.Place, args: bytes) -> str:
    """Name of the cell that leads to the last good result of this tool with these arguments; empty when no rung asks.

    Of this very function: another of the same name is another tool.
    """
    fallback = where.driver.services.policies.of(spec).fallback
    if not fallback or not any(isinstance(rung, Cached) for rung in fallback):
        return ""
    home = f"{getattr(spec.fn, '__module__', '')}.{getattr(spec.fn, '__qualname__', '')}"
    what = hashlib.sha256(encode([home, digest(args)])).hexdigest()[:40]
    return f"last/{spec.name[:100]}/{what}"


# --- declarations ------------------------------------------------------------------------------------------------


def check_ladder(spec: Spec, signature: Signature) -> None:
    """Refuse a ladder whose rungs cannot stand in for this tool."""
    check_cached(spec, spec.policy.fallback)
    for rung in spec.policy.fallback:
        if isinstance(rung, Other):
            _check_other(spec, signature, rung)


def _check_other(spec: Spec, signature: Signature, rung: Other) -> None:
    tool: Tool[..., Any] = rung.tool
    other = tool.spec
    if other.fn is spec.fn:
        raise PolicyInvalid(f"{spec.name} cannot be its own fallback. Use retry=.")
    if is_stronger(other.effect, spec.effect):
        raise PolicyInvalid(
            f"{spec.name} ({spec.effect}) cannot fall back to {other.name} ({other.effect}), a stronger effect. "
            f"Declare {spec.name} as {other.effect}, or take another tool."
        )
    differs = signature.difference(tool.signature, tool.hidden)
    if differs:
        raise PolicyInvalid(
            f"{spec.name} cannot fall back to {other.name}: {differs}. Both must take and give the same."
        )
    if spec.returns is not None and other.returns is not None and spec.returns != other.returns:
        raise PolicyInvalid(
            f"{spec.name} gives {spec.returns} and its fallback {other.name} gives {other.returns}. Both must give the "
            "same."
        )
