"""`run.spawn`: from what the agent asks for to a child as a step, and from the child's end to what the agent gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.core.budget import Budget, asks_of
from holdfast.core.command import Call
from holdfast.core.events import Effect, Event, Kind, StepKind
from holdfast.errors import BudgetExceeded, RunCancelled, RunError, RunFailed, RunStopped, Unencodable, UsageError
from holdfast.journal.codec import decode, digest, encode
from holdfast.runtime.child import Child
from holdfast.runtime.current import Place
from holdfast.runtime.facts import mark, rebuilt

if TYPE_CHECKING:
    from holdfast.runtime.agent import Agent

_ENDS: dict[str, type[RunError]] = {cls.__name__: cls for cls in (RunFailed, RunStopped, BudgetExceeded, RunCancelled)}


async def spawned(
    driver: Any,
    where: Place,
    agent: Agent[Any, Any],
    input: Any,
    name: str | None,
    budget: Budget | None,
    is_detached: bool,
) -> Any:
    """The child's result, or its id when it is detached; raises how else it ended."""
    _check(driver, agent, budget, is_detached)
    body = encode(input, agent.takes)
    limits = budget.limits().over(agent.limits) if budget is not None else agent.limits
    asked = digest(encode([agent.name, digest(body)]))
    child = Child(
        call=Call(where.scope, name or agent.name, asked, StepKind.CHILD, Effect.READ, body[:200]),
        agent=agent.name,
        input=body,
        input_digest=digest(body),
        limits=None if limits is None else list(limits),
        ask=asks_of(agent.budget, budget),
        is_detached=is_detached,
    )
    outcome: Event = await driver.step(child)
    if outcome.kind is not Kind.STEP_SUCCEEDED:
        raise _error(outcome, child.call.name)
    try:
        return decode(outcome.body, None if is_detached else agent.gives) if outcome.body is not None else None
    except (Unencodable, ValueError) as unfit:  # ValueError: pydantic's word for "not of the declared type"
        await driver.unfit(f"{agent.name} -> {agent.gives}", f"{agent.name}: a result of another shape", unfit)


def _check(driver: Any, agent: Agent[Any, Any], budget: Budget | None, is_detached: bool) -> None:
    name = getattr(agent, "name", None)
    if driver.services.agents.get(name) is not agent:
        raise UsageError(
            f"{agent!r} is no agent of this App, so its runs could not be taken up again after a crash. Nothing was "
            "started. Give it to the App: App(agents=[…])."
        )
    if is_detached and budget is None:
        raise UsageError(
            f"{name} was to be started detached, without a budget of its own. Nothing was started. A detached run "
            "does not count for this one's budget: give budget=holdfast.Budget(…)."
        )


def _error(outcome: Event, name: str) -> BaseException:
    """How the child ended, as the error of that name; a child that was not started is a failed step."""
    facts = outcome.facts
    kind = _ENDS.get(facts["error"]) if "outcome" in facts else None
    if kind is None:
        return rebuilt(outcome, name, ())
    error = kind(f"{facts['text'].rstrip('.')}.")
    mark(error, outcome.address)
    return error
