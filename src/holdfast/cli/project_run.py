"""`holdfast project run`: session after session, until all features pass or there is a reason to stop."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from holdfast.cli import option, project_order
from holdfast.cli.exit import Exit
from holdfast.cli.interrupt import Interrupt, to_its_end
from holdfast.cli.output import SCHEMA, document, say
from holdfast.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.core.board import Board
    from holdfast.core.budget import Budget
    from holdfast.memory.harness import Outcome
    from holdfast.memory.project import Project
    from holdfast.runtime.agent import Agent
    from holdfast.runtime.app import App

_AGENT = re.compile(r".*\.py(:\w+)?")
_SUCH_AS = "holdfast project run agent.py:build, or holdfast project run -- my-agent --headless"


@click.command()
@click.argument("agent", nargs=-1, metavar="(FILE.py:AGENT | -- COMMAND...)")
@click.option("--directory", "-C", default=".", metavar="DIR", help="Within the working tree; here when left out.")
@click.option("--budget", multiple=True, metavar="PART=CAP", help="Of all sessions of the project together: usd=20.")
@click.option(
    "--session-budget", multiple=True, metavar="PART=CAP", help="Of each session: tool_calls=, tokens=, active=30m."
)
@click.option("--sessions", type=click.IntRange(min=1), metavar="N", help="Begin at most so many now.")
@click.option("--deadline", default="1h", show_default=True, metavar="TIME", help="Of a COMMAND, in each session.")
@click.option("--quarantine", "puts_aside", is_flag=True, help="Put changes that no session made on a branch first.")
@click.option("--to", "escalate", default="", metavar="WHO", help="Who is asked when sessions change nothing.")
@option.wait
@option.config
@option.json
def run(
    agent: tuple[str, ...],
    directory: str,
    budget: tuple[str, ...],
    session_budget: tuple[str, ...],
    sessions: int | None,
    deadline: str,
    puts_aside: bool,
    escalate: str,
    wait: str,
    config: str | None,
    is_json: bool,
) -> int:
    """Drive the project's sessions, each in fresh context, until all features pass.

    AGENT is called with its run and the session. A COMMAND reads the brief from stdin, or where {brief} stands in its
    words, and works in the directory. Checks, commits and the list are holdfast's.
    """
    from holdfast.cli.drive import budget_of  # loads asyncio and the runtime

    project_order.check()
    order = _Order(
        words=agent,
        directory=directory,
        budget=budget_of(budget),
        each=budget_of(session_budget),
        sessions=sessions,
        deadline=deadline,
        puts_aside=puts_aside,
        escalate=escalate,
        wait=option.wait_of(wait),
        config=config,
    )
    driven = to_its_end(lambda interrupt: _drive(order, interrupt))
    if isinstance(driven, Interrupt):
        say("The session is resumable: call the same command again.")
        return driven.exit_code
    return _told(driven, is_json=is_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    words: tuple[str, ...]
    directory: str
    budget: Budget | None
    each: Budget | None
    sessions: int | None
    deadline: str
    puts_aside: bool
    escalate: str
    wait: str | None
    config: str | None


class _Driven(NamedTuple):
    """What became of it."""

    outcome: Outcome
    board: Board
    asked: list[str]
    """How to answer what the run that waits asks."""


async def _drive(order: _Order, interrupt: Interrupt) -> _Driven:
    from holdfast.cli.reach import inbox_of
    from holdfast.memory.harness import drive
    from holdfast.memory.place import named, place_of
    from holdfast.runtime.app import App

    task = asyncio.current_task()
    assert task is not None
    place = place_of(order.directory)
    app = App(named(place).store, config=order.config, serves=False, inbox=inbox_of(order.config))
    project, agent = _worker(order, app, place.directory)
    with interrupt.listening(task):
        async with app:
            if order.puts_aside and (branch := project.put_aside()):
                say(f"Changes that no session had made are on the branch {branch}.")
            _check_functions(project)
            outcome = await drive(
                app,
                project,
                agent,
                budget=order.budget,
                session_budget=order.each,
                sessions_max=order.sessions,
                wait=order.wait,
                escalate=order.escalate,
                tell=say,
            )
            interrupt.is_over = True
            return _Driven(outcome, project.board(), await _asked(app, outcome.run))


def _check_functions(project: Project) -> None:
    """Refuse to begin what no session could end."""
    items = project.board().items.values()
    wanted = {item.feature.check.target for item in items if item.feature.check.kind == "python"}
    if lacking := sorted(wanted - project.checks.keys()):
        raise UsageError(
            f"The check python:{lacking[0]} is no function that is known here. Nothing was begun. List it in the file "
            f'of the agent: checks = {{"{lacking[0]}": ...}}; a command has none.'
        )


async def _asked(app: App, run: str) -> list[str]:
    """How to answer what a run asks, once those who are told first were told."""
    from holdfast.cli.answer import how_to_answer
    from holdfast.cli.reach import people_told
    from holdfast.views.show import question

    head = app.journal.head(run) if run else None
    if head is None or not head.questions:
        return []
    await people_told(app.journal, head)
    return [line for each in head.questions for line in how_to_answer(question(each), run, app.journal.now())]


def _worker(order: _Order, app: App, directory: Path) -> tuple[Project, Agent[Any, Any]]:
    """The project, and who works on it."""
    from holdfast.cli import source
    from holdfast.memory.commanded import commanded
    from holdfast.memory.project import Project

    if not order.words:
        raise UsageError(f"Who is to work is not said. Nothing was begun. Write {_SUCH_AS}.")
    if len(order.words) == 1 and _AGENT.fullmatch(order.words[0]):
        agent = source.load(order.words[0])
        return Project(app, directory, checks=source.checks_of(order.words[0])), agent
    project = Project(app, directory)
    program = order.words[0]
    there = directory / program if "/" in program else shutil.which(program)
    if there is None or not os.path.exists(there):
        raise UsageError(f"There is no program {program!r}. Nothing was begun.")
    return project, commanded(project, order.words, order.deadline)


_CODES = {
    "complete": Exit.DONE,
    "enough": Exit.LATER,
    "unmerged": Exit.LATER,
    "no_progress": Exit.PERSON,
    "stopped": Exit.CANCELLED,
    "cancelled": Exit.CANCELLED,
    "nothing": Exit.LATER,
    "budget": Exit.BUDGET,
}


def _told(driven: _Driven, *, is_json: bool) -> int:
    outcome, board = driven.outcome, driven.board
    code = _CODES.get(str(outcome.end), Exit.PERSON if driven.asked else Exit.LATER)
    passing = len(board.passing)
    why = "" if outcome.end == "complete" else f" {outcome.why.rstrip('.')}."
    say(f"Project {board.name}: {passing} of {len(board.items)} features pass.{why}")
    for line in driven.asked:
        say(line)
    if is_json:
        features = {"passing": passing, "all": len(board.items)}
        told = {"end": str(outcome.end), "why": outcome.why, "sessions": outcome.sessions, "run": outcome.run or None}
        document({"schema": SCHEMA, "project": board.name, "features": features, **told, "exit": int(code)})
    return code
