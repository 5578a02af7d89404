"""Drives a project: one session after the other, each a run of its own in fresh context, until all features pass.

Invariants
1. Before a session begins, the project is asked whether one may: none begins when all features pass, when nothing can
   be worked on, when sessions in a row have changed nothing, or when a person has stopped it.
2. A session that was left is gone on with before another one begins at this place.
3. What the sessions use is counted in one account of the project, whose caps hold for all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from holdfast.core.assignment import Halt, next_work
from holdfast.core.board import Board, Session, State, cell_of
from holdfast.core.budget import Budget
from holdfast.core.order import CAPPED
from holdfast.core.policy import Duration
from holdfast.core.state import fold
from holdfast.errors import BudgetExceeded, RunCancelled, RunError, RunWaiting, UsageError
from holdfast.memory.project import Project
from holdfast.runtime.agent import Agent, SyncAgent
from holdfast.runtime.app import App
from holdfast.runtime.run import Run
from holdfast.runtime.thread import in_thread

GO_ON, STOP = "go on", "stop"


_RESUME = "Go on with `holdfast project resume`."
_MORE = "Go on with a larger --budget."
EMPTY_MAX = 2
ROUTINE_CALLS = 12
"""Tool calls of a session's routine, without those of its agent."""


class End(StrEnum):
    """Why no further session begins."""

    COMPLETE = "complete"
    """All features pass."""
    NO_PROGRESS = "no_progress"
    """Sessions in a row have changed nothing; a person is asked."""
    STOPPED = "stopped"
    """A person has said so."""
    NOTHING = "nothing"
    """What is left cannot begin now: others hold it, or it comes after what does not pass."""
    UNMERGED = "unmerged"
    """All pass, but some on branches that this tree has not been merged with."""
    ENOUGH = "enough"
    """As many sessions as were asked for."""
    WAITING = "waiting"
    """A session waits, for a person or a time, or another process drives it."""
    BUDGET = "budget"
    """A cap of the project is used up."""
    CANCELLED = "cancelled"
    """A person has cancelled the session."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended."""

    end: End
    why: str
    """One sentence."""
    sessions: int
    """Those that were driven to their end here."""
    run: str = ""
    """The run that waits, was cancelled or came to the cap."""
    error: RunError | None = None


Tell = Callable[[str], None]


async def drive(
    app: App,
    project: Project,
    agent: Agent[Any, Any],
    *,
    budget: Budget | None = None,
    session_budget: Budget | None = None,
    sessions_max: int | None = None,
    wait: Duration | None = "60s",
    escalate: str = "",
    tell: Tell = lambda text: None,
) -> Outcome:
    """Session after session, until there is a reason to begin no other; it says which.

    agent: called with its run and the `Session`, whose feature it works on. budget: caps of all sessions of the project
    together, from its first; session_budget: of each. wait: how long to stay for one that waits. escalate: who is
    asked when sessions change nothing.
    """
    if budget is not None:
        _cap(project, budget)
    if session_budget is not None and (session_budget.tool_calls or ROUTINE_CALLS) < ROUTINE_CALLS:
        raise UsageError(
            f"The routine of a session makes about {ROUTINE_CALLS} tool calls, so a session with "
            f"{session_budget.tool_calls} could do nothing. Nothing was begun."
        )
    return await _Driving(
        app, project, working(project, agent), session_budget, sessions_max, wait, escalate, tell
    ).run()


def _cap(project: Project, budget: Budget) -> None:
    """Caps of all sessions together; what is not stated stays."""
    if budget.active is not None or budget.wall is not None:
        raise UsageError(
            "All sessions together are capped in tool_calls, model_calls, tokens and usd. Nothing was begun."
        )
    limits, known = budget.limits()._asdict(), project.board().caps._asdict()
    stated = {name: amount for name, amount in limits.items() if name in CAPPED and amount is not None}
    if any(known[name] != amount for name, amount in stated.items()):
        project.record.cap(stated, by=project.by, why="as `holdfast project run --budget` says")


def working(project: Project, agent: Agent[Any, Any]) -> Agent[Any, Any]:
    """The agent of the sessions of this project that this agent works in."""
    options: dict[str, Any] = {"name": f"{agent.name}:{project.name}", "budget": agent.budget}
    options |= {"escalate": agent.escalate, "on_drift": agent.on_drift, "models": agent.models, "stuck": agent.stuck}
    if agent.is_sync:

        def plain(run: Run, given: Mapping[str, Any]) -> dict[str, Any]:
            with project.session(run) as session:
                if session.feature is not None:
                    agent.fn(run, session)
            return session.facts()

        return SyncAgent(plain, **options)

    async def body(run: Run, given: Mapping[str, Any]) -> dict[str, Any]:
        async with project.session(run) as session:
            if session.feature is not None:
                await agent.fn(run, session)
        return session.facts()

    return Agent(body, **options)


@dataclass(slots=True)
class _Driving:
    """One process that drives a project at one place."""

    app: App
    project: Project
    agent: Agent[Any, Any]
    budget: Budget | None
    sessions_max: int | None
    wait: Duration | None
    escalate: str
    tell: Tell
    driven: int = 0
    empty: int = 0
    """Sessions in a row that found nothing to take."""
    asking: Agent[Any, Any] | None = None

    async def run(self) -> Outcome:
        """Until there is a reason to begin no other session."""
        while True:
            for number in await in_thread("settle", self.project.settle):
                self.tell(f"session {number} had ended on its way: its feature is free again")
            session = self._left(self.project.board())
            if session is None:
                outcome = await self._over()
                if outcome is not None:
                    return outcome
                session = await in_thread("begin", self._begin)
            elif session.run != self.project.record.session_id(session.number):
                why = f"session {session.number} is open here, in run {session.run}, which this command does not drive"
                return self._outcome(End.WAITING, why, session.run)
            outcome = await self._session(session)
            if outcome is not None:
                return outcome
            if session.run in self.project.board().sessions:
                why = f"session {session.number} has ended, and is not settled"
                return self._outcome(End.WAITING, why, session.run)
            last = self.project.board().ended[-1]
            self.empty = self.empty + 1 if last.outcome == "nothing" else 0
            if self.empty > EMPTY_MAX:
                return self._outcome(End.NOTHING, "others take what is left before this one can")

    def _left(self, board: Board) -> Session | None:
        """The session that is open at this place."""
        return next((one for one in board.sessions.values() if one.place == self.project.place.id), None)

    def _begin(self) -> Session:
        project = self.project
        project.check_tree()
        return project.record.begin(project.place.id, message_id=project.fresh(), by=project.by)

    # --- whether another one begins ----------------------------------------------------------------------------------

    async def _over(self) -> Outcome | None:
        work = next_work(self.project.board(), (), self.project.place.id)
        if work.halt is Halt.COMPLETE and await in_thread("stale", self.project.is_unproven):
            self.tell("all features pass; each is checked once more at this commit")
            if elsewhere := await self.project.verify():
                return self._outcome(End.UNMERGED, "; ".join(elsewhere))
            work = next_work(self.project.board(), (), self.project.place.id)
        if work.halt is Halt.NO_PROGRESS:
            return await self._ask(work.why)
        if work.halt is not None:
            return self._outcome(End(work.halt), f"{work.why}. {_RESUME}" if work.halt is Halt.STOPPED else work.why)
        if used := self._used_up():
            return self._outcome(End.BUDGET, used)
        if self.sessions_max is not None and self.driven >= self.sessions_max:
            return self._outcome(End.ENOUGH, "no more sessions were asked for")
        return None

    async def _ask(self, why: str) -> Outcome | None:
        """Sessions change nothing: a person says whether there is to be another one."""
        board, name = self.project.board(), self.project.name
        if self.asking is None:
            self.asking = Agent(_stalling(self.project), name="project.stalled", escalate=self.escalate, stuck=None)
        given = {"project": name, "why": why, "to": self.escalate}
        key = f"{name}/no-progress-{board.numbered}"
        try:
            said = await self.app.run(self.asking, given, key=key, wait=self.wait)
        except RunWaiting as waiting:
            head = self.app.journal.heads(key=key, limit=1)[0]
            return self._outcome(End.NO_PROGRESS, why, head.run_id, waiting)
        if said["choice"] == GO_ON:
            self.project.record.tell("go_on", name, f"go_on:{key}", by=said["by"], why=f"asked after {why}")
            return None
        self.project.record.tell("stop", name, f"stop:{key}", by=said["by"], why=why)
        return self._outcome(End.STOPPED, f"{said['by'] or 'somebody'} stopped it: {why}. {_RESUME}")

    # --- one session -------------------------------------------------------------------------------------------------

    async def _session(self, session: Session) -> Outcome | None:
        key = f"{self.project.name}/session-{session.number}"
        given = {"project": self.project.name, "session": session.number}
        self.tell(f"session {session.number} begins" if not session.feature else f"session {session.number} goes on")
        came: dict[str, Any] = {}
        try:
            came = await self.app.run(
                self.agent, given, key=key, budget=self.budget, wait=self.wait, account=cell_of(self.project.name)
            )
        except RunWaiting as waiting:
            return self._outcome(End.WAITING, str(waiting), session.run, waiting)
        except RunCancelled as cancelled:
            await in_thread("settle", self.project.settle)
            return self._outcome(End.CANCELLED, str(cancelled), session.run, cancelled)
        except BudgetExceeded as exceeded:
            await in_thread("settle", self.project.settle)
            if self._is_of_all(session.run):
                return self._outcome(End.BUDGET, self._used_up() or f"{exceeded} {_MORE}", session.run, exceeded)
            self.tell(f"session {session.number} stopped: {exceeded}")
        except RunError as failed:
            await in_thread("settle", self.project.settle)
            self.tell(f"session {session.number} failed: {failed}")
        self.driven += 1
        board = self.project.board()
        for remark in (*board.edited, *board.notes):
            if remark.session == session.number:
                self.tell(f"  {remark.text}")
        if came.get("regressions"):
            self.tell(f"  did not pass any more: {', '.join(came['regressions'])}")
        self.tell(progress(board, session.number))
        return None

    def _outcome(self, end: End, why: str, run: str = "", error: RunError | None = None) -> Outcome:
        return Outcome(end, why, self.driven, run, error)

    def _used_up(self) -> str:
        """Which cap of the project is used up; empty when none is."""
        account = self.app.journal.account(cell_of(self.project.name))
        if account is None:
            return ""
        used, limits = account.spent.plus(account.reserved)._asdict(), account.limits._asdict()
        full = [name for name in CAPPED if limits[name] is not None and used[name] >= limits[name]]
        return f"{full[0]}: {used[full[0]]} of {limits[full[0]]} are used by all sessions. {_MORE}" if full else ""

    def _is_of_all(self, run_id: str) -> bool:
        """Whether the cap that a session came to is one of the project's."""
        end = fold(self.app.journal.events(run_id)).end
        return end is not None and end.facts.get("account") == cell_of(self.project.name)


def _stalling(project: Project) -> Callable[[Run, Mapping[str, Any]], Any]:
    """Asks a person whether it is to go on, and tells what was tried."""

    async def stalled(run: Run, given: Mapping[str, Any]) -> dict[str, str]:
        tried = await run.step("project.tried", _tried, project, effect="read", input=given["project"])
        asked = f"Project {given['project']}: {given['why']}. Another session?{tried}"
        answer = await run.ask(asked, options=[GO_ON, STOP], to=given["to"])
        return {"choice": str(answer.value), "by": answer.by}

    return stalled


def _tried(project: Project) -> str:
    last = [(item.feature.id, item.tries[-1]) for item in project.board().items.values() if item.tries]
    said = [f" {name}: {tried.why}" + (f" (on {tried.branch})" if tried.branch else "") for name, tried in last[:3]]
    return f" Tried last:{';'.join(said)}. Or change the list: `holdfast project init LIST`." if said else ""


def progress(board: Board, session: int) -> str:
    """One line: how much of the project passes, and what the session came to."""
    passing = sum(item.state is State.PASSING for item in board.items.values())
    ended = next((one for one in reversed(board.ended) if one.number == session), None)
    came = "" if ended is None else f" · {ended.feature or 'no feature'} {ended.outcome}"
    spent = 0.0 if ended is None else ended.digest["spent"]["usd"]
    of = f"{passing} of {len(board.items)} pass"
    return f"{bar(passing, len(board.items))} {of} · session {session}{came} · ${spent:.4f}"


def bar(part: int, whole: int, width: int = 20) -> str:
    """How much of it, as a bar."""
    filled = width * part // whole if whole else 0
    return f"[{'#' * filled}{'-' * (width - filled)}]"
