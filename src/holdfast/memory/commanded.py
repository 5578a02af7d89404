"""An agent that is a command line, such as a coding agent's: started anew for each session, ended by its deadline.

It reads what it is to do from stdin, or where `{brief}` stands in its words; it works in the project's directory, as a
process group of its own that ends with this process. What it says of its work counts for nothing: the check follows.
The end of what it said is in the record, also where its deadline ended it, without what looks like a credential.

Invariant: an attempt that was cut off leaves no half of its work to the next one: that is put aside on a branch first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from holdfast.core.budget import Budget
from holdfast.core.credential import without
from holdfast.core.policy import Duration, seconds
from holdfast.errors import UsageError
from holdfast.memory import program
from holdfast.memory.environment import for_agent
from holdfast.memory.program import Tail
from holdfast.memory.project import Project
from holdfast.memory.session import Session
from holdfast.memory.settling import alone, put_aside
from holdfast.runtime.agent import Agent
from holdfast.runtime.run import Run
from holdfast.runtime.thread import in_thread

BRIEF: Final = "{brief}"
SAID_MAX: Final = 400
END_MAX: Final = 2_000
"""Characters of what it said, from the end, that its record has."""
LOG_MAX: Final = 500_000
"""Bytes of stdout and of stderr, from the end, that are kept in a file."""


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
        out, err = Tail(LOG_MAX), Tail(LOG_MAX)
        heard: dict[str, Any] = {"stdin": text.encode(), "stdout": out.add, "stderr": err.add}
        try:
            code = await program.run(words, limit_s, cwd=project.directory, env=for_agent(run_id), **heard)
        except OSError as failed:
            raise UsageError(f"{words[0]} cannot be started: {failed.strerror}. Nothing was begun.") from failed
        log = project.place.config.parent / f"session-{number}.log"
        log.write_text(without(f"{out.text}\n--- stderr ---\n{err.text}"), "utf-8", "replace")
        said = without(err.text or out.text)
        return {"code": code, "said": f"{log}: {_last(said)}", "end": said[-END_MAX:], "branch": branch}

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
