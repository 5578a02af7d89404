"""Before a person is asked: whether anybody can be reached at all.

What is decided is in `core.withheld`; whether anybody can be reached, the app's `Escalation` knows. Here the run waits,
with that reason on record, and looks again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, assert_never

from holdfast.core import withheld
from holdfast.core.approval import Refused
from holdfast.core.events import Address, Kind, meta
from holdfast.core.heads import Why
from holdfast.core.rung import Ask

if TYPE_CHECKING:
    from holdfast.runtime.calls import Calls
    from holdfast.runtime.settings import Services

NO_INBOX = (
    "this App tells nobody of questions: write [people], [channels] and [chains] into holdfast.toml, or App(…, inbox=…)"
)


async def reached(
    driver: Calls, address: Address, ask: Ask, wait: Callable[[Why, float], Awaitable[None]]
) -> Refused | None:
    """Come back when somebody can be asked, or with what is to be taken instead."""
    while True:
        because = _why_not(driver.services, ask)
        held, now = driver.state.withheld.get(address), driver.record.now()
        match withheld.ruled(held, because, ask.within_s, ask.default, now):
            case withheld.Ask():
                return None
            case Refused() as refused:
                return refused
            case withheld.Withhold() as decided:
                if driver.is_stopping or driver.is_closing or driver.state.status.is_end:
                    await driver.never()
                if decided.is_news:
                    driver.record.note(Kind.DECIDED, meta(**withheld.facts(decided, ask.who)), address=address)
                    await driver.write()
                await wait(Why.UNREACHABLE, decided.look_at)
            case other:
                assert_never(other)


def _why_not(services: Services, ask: Ask) -> str:
    """Why nobody can be reached; empty also where that is not asked for."""
    escalation = services.escalation
    if ask.require_reachable is False or (escalation is None and not ask.require_reachable):
        return ""
    return NO_INBOX if escalation is None else escalation.unreachable(ask.who, ask.within_s)
