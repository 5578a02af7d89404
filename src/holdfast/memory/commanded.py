"""An agent that is a command line, such as a coding agent's: started anew for each session, ended by its deadline.

It reads what it is to do from stdin, or where `{brief}` stands in its words; it works in the project's directory, as a
process group of its own that ends with this process. What it says of its work counts for nothing: the check follows.

Invariant: an attempt that was cut off leaves no half of its work to the next one: that is put aside on a branch first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from holdfast.core.budget import Budget
from holdfast.core.policy import Duration, seconds
from holdfast.errors import UsageError
from holdfast.memory.environment import for_agent
from holdfast.memory.project import Project
from holdfast.memory.session import Session
from holdfast.memory.settling import alone, put_aside
from holdfast.runtime.agent import Agent
from holdfast.runtime.command import command
from holdfast.runtime.run import Run
from holdfast.runtime.thread import in_thread

BRIEF: Final = "{brief}"
SAID_MAX: Final = 400


def commanded(
    project: Project, argv: Sequence[str], deadline: Duration, budget: Budget | None = None
) -> Agent[Any, Any]:
    """The agent that starts this command in each session."""
    limit_s = seconds(deadline, "deadline")

    def left_over(number: int, before: str) -> str:
        """The branch of what an attempt before this one has left; empty when there was none."""
        if project.git.tree() == before:
            return ""
        with alone(project):
            return put_aside(project, number, project.fresh(), name="cut-off")

    async def work(number: int, text: str, before: str, run_id: str) -> dict[str, Any]:
        branch = await in_thread("put aside", lambda: left_over(number, before))
        words = [word.replace(BRIEF, text) for word in argv]
        try:
            done = await command(words, timeout=limit_s, input=text, cwd=project.directory, env=for_agent(run_id))
        except TimeoutError as late:
            return {"code": None, "said": str(late), "branch": branch}
        except OSError as failed:
            raise UsageError(f"{words[0]} cannot be started: {failed.strerror}. Nothing was begun.") from failed
        log = project.place.config.parent / f"session-{number}.log"
        log.write_text(f"{done.stdout}\n--- stderr ---\n{done.stderr}", "utf-8", "replace")
        return {"code": done.code, "said": f"{log}: {_last(done.stderr or done.stdout)}", "branch": branch}

    async def by_command(run: Run, session: Session) -> None:
        refusals = (UsageError,)
        options: dict[str, Any] = {"effect": "idempotent", "window": "365d", "breaker": None}
        before = await run.step("project.tree", project.git.tree, effect="read", breaker=None)
        given = (session.number, session.task, before, run.id)
        done = await run.step("work", work, *given, **options, raises=refusals, definite=refusals)
        if done["branch"]:
            await session.note(f"an attempt that was cut off left its work on {done['branch']}")
        if done["code"] != 0:
            how = "was ended by its deadline" if done["code"] is None else f"ended with code {done['code']}"
            await session.note(f"{argv[0]} {how}: {done['said']}")

    return Agent(by_command, name="command", budget=budget, stuck=None)


def _last(said: str) -> str:
    """The last line of what it said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][-SAID_MAX:] if lines else "it said nothing"
