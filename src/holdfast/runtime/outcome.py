"""What a caller gets of a run: its result, the end raised, or why it is not over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.core.accept import forgotten
from holdfast.core.budget import USD_NANO, Limits
from holdfast.core.events import Event, Kind
from holdfast.core.handover import reason
from holdfast.core.heads import BLOCKED, MISMATCHED, Head, Status, Why
from holdfast.core.policy import seconds
from holdfast.core.state import State, fold
from holdfast.errors import (
    BudgetExceeded,
    HistoryGrew,
    InternalError,
    JournalError,
    PolicyInvalid,
    RunBlocked,
    RunCancelled,
    RunFailed,
    RunForgotten,
    RunStopped,
    RunWaiting,
    UsageError,
)
from holdfast.journal.codec import decode
from holdfast.runtime.agent import Agent
from holdfast.runtime.settings import Services

if TYPE_CHECKING:
    from holdfast.runtime.worker import Worker

O = TypeVar("O")  # noqa: E741 - output


_SHUT = MISMATCHED | {Why.CRASH_LOOP}
"""Only a person helps, however long somebody waits."""


def checked_key(key: Any, agent: str = "") -> str:
    """The key, when it can name a run of this agent."""
    if not isinstance(key, str) or not key.strip() or len(key) > 200 or not key.isprintable():
        raise UsageError(f"key={key!r} cannot name a run. Give 1 to 200 printable characters, such as 'ticket-4711'.")
    if key.startswith("@") and not agent.startswith("@"):
        raise UsageError(f"key={key!r} cannot name a run: keys that begin with @ are holdfast's own.")
    return str(key)


async def until_over(
    services: Services, worker: Worker, run: str, wait_s: float | None
) -> tuple[State, BaseException | None]:
    """The folded run when it has ended, with what its agent raised if that was here; otherwise `RunWaiting`."""
    give_up = None if wait_s is None else services.clock.now() + wait_s
    error: BaseException | None = None
    await worker.entrance.begun(run)
    if _waits_for_child(services, worker, run):
        worker.adopt(run)
    while True:
        driver = worker.drivers.get(run)
        if driver is None:
            head = services.journal.head(run)
            if head is not None and head.status.is_end and not services.journal.mail(run):
                return fold(services.journal.events(run)), error
            if head is not None:
                check_wait(head, services, give_up)
                if worker.is_stopping:
                    raise waiting(head)
            driver = await worker.admit(run)  # if it fails at once, it is gone before the next look
        elif driver.is_waiting and is_too_long(driver.state.head(), services, give_up):
            head = driver.state.head()
            await driver.close()
            await driver.finished()
            raise waiting(head)
        if driver is None or not driver.is_gone:
            await worker.change_of(run, services.settings.poll_s)
        if driver is not None and driver.is_gone:
            error = driver.error
            if isinstance(error, (JournalError, InternalError)):
                raise error
            if driver.state.status.is_end and driver.record.is_given_back:
                return driver.state, error


def _waits_for_child(services: Services, worker: Worker, run: str) -> bool:
    """Whether runs that are part of it have to go on first; the store is not asked about a run that is driven here."""
    driver = worker.drivers.get(run)
    found = services.journal.head(run) if driver is None else driver.state
    return found is not None and found.why == Why.CHILD


def is_too_long(head: Head, services: Services, give_up: float | None) -> bool:
    if give_up is None:
        return False
    if head.why == Why.CHILD:  # which may go on by itself
        return services.clock.now() >= give_up
    return head.wake_at is None or head.wake_at > give_up


def check_wait(head: Head, services: Services, give_up: float | None) -> None:
    """Raise when this run, which is not driven here, is not to be waited for."""
    if head.status is Status.SUSPENDED and (head.why in _SHUT or is_too_long(head, services, give_up)):
        if services.journal.mail(head.run_id):
            return
        raise waiting(head)
    owner = services.journal.owner(head.run_id)
    if owner is not None and give_up is not None and services.clock.now() >= give_up:
        raise RunWaiting(
            f"Run {head.run_id} is driven by another process (pid {owner[0].pid} on {owner[0].host or 'this host'}). "
            "It was left alone. Wait for it, or look with `holdfast show`."
        )


def waiting(head: Head) -> RunWaiting:
    """What to raise for a suspended run."""
    if head.why == Why.HISTORY_GREW:
        return HistoryGrew(f"Run {head.run_id} ({head.key}) is suspended: {head.why}. {HistoryGrew.advice}")
    kind = RunBlocked if head.why in BLOCKED else RunWaiting
    asked = "; ".join(f"{q.id}: {q.text}" for q in head.questions)
    how = {
        "question": f"Answer with `holdfast answer {head.run_id}`: {asked}",
        "in_doubt": f"Say what happened with `holdfast answer {head.run_id}`: {asked}"
        if head.questions
        else "Whether an effect happened is not known yet; its `verify` is asked again in time, if a worker runs.",
        "crash_loop": f"Its processes died one after the other. Say what becomes of it with `holdfast answer "
        f"{head.run_id}`: {asked}",
        "budget": f"It has come to a cap. Say with `holdfast answer {head.run_id}` whether it is raised: {asked}",
        "paused": f"An operator paused it. Go on with `holdfast resume {head.run_id}`.",
        "drift": "Run the old code and `holdfast resume`, or `holdfast cancel` it; `holdfast show` has both sides.",
        "hold": "A model call's prompt is not the recorded one, and which recorded call it is cannot be told for "
        "certain. Run the old code and `holdfast resume`; `holdfast show` has both sides, and the other ways out.",
        "unreachable": "An approval is needed, and nobody can be reached who could give it; `holdfast show` tells why. "
        "It is looked again in a while, if a worker runs.",
        "child": "It waits for a run that it started; `holdfast show` tells which.",
        "signal": f"It goes on with `holdfast signal {head.run_id} NAME`, or when its time is over.",
    }.get(head.why, "It goes on by itself when its time has come and a worker runs.")
    return kind(f"Run {head.run_id} ({head.key}) is suspended: {head.why}. Nothing is lost. {how}")


def result_of(state: State, agent: Agent[Any, O], error: BaseException | None = None) -> O:
    """The agent's result out of the recorded end, or the end raised."""
    end: Event | None = state.end
    if end is None or end.kind is not Kind.RUN_ENDED:
        raise RunWaiting(f"Run {state.run_id} has not ended: {state.status}.")
    if state.is_forgotten:
        raise RunForgotten(
            f"{forgotten(state.head())} Its result is not known any more. Use another key for other work."
        )
    if state.status is Status.SUCCEEDED:
        result: Any = decode(end.body, agent.gives) if end.body is not None else None
        return result  # type: ignore[no-any-return]
    facts = end.facts
    why = f"Run {state.run_id} ({state.key}) {state.status}: {str(facts.get('why', '')).rstrip('.')}"
    match state.status:
        case Status.FAILED:
            hint = "Every finished step is kept; `holdfast resume` tries the failed one again."
            raise RunFailed(f"{why}. {hint}") from error
        case Status.STOPPED:
            stopped = (BudgetExceeded if facts.get("limit") else RunStopped)(f"{why}.")
            stopped.reason, stopped.handover = reason(facts), str(facts.get("handover", ""))
            raise stopped
        case _:
            raise RunCancelled(f"{why}.")


def parse_raise(text: str) -> Limits:
    """`usd=+1`, `tokens=+5000`, `active=+10m`: an addition to one cap."""
    name, _, amount = text.partition("=")
    amount = amount.removeprefix("+")
    parts = {"tool_calls": 1, "model_calls": 1, "tokens": 1, "usd": USD_NANO, "active": 1000, "wall": 1000}
    try:
        value = seconds(amount) if name in ("active", "wall") else float(amount)
    except (ValueError, PolicyInvalid):
        value = -1.0
    if name not in parts or value <= 0 or not value < 1e12:
        raise UsageError(
            f"--raise {text!r} is not understood. Write one of {', '.join(parts)}, such as usd=+1 or active=+10m."
        )
    field = {"usd": "usd_nano", "active": "active_ms", "wall": "wall_ms"}.get(name, name)
    return Limits(0, 0, 0, 0, 0, 0)._replace(**{field: round(value * parts[name])})
