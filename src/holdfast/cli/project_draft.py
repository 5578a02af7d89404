"""A list of features that an agent drafts and a person freezes: exactly the list that they were shown."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from holdfast.cli import source
from holdfast.cli.answer import how_to_answer
from holdfast.cli.exit import Exit
from holdfast.cli.output import SCHEMA, document, say
from holdfast.cli.reach import inbox_of, people_told
from holdfast.core.events import Kind
from holdfast.core.feature import digest, features, of_facts
from holdfast.errors import RunWaiting
from holdfast.journal.codec import decode
from holdfast.protocols import Journal
from holdfast.runtime.agent import Agent
from holdfast.runtime.app import App
from holdfast.runtime.run import Run
from holdfast.views.show import question

if TYPE_CHECKING:
    from holdfast.memory.project import Project

FREEZE, REFUSE = "freeze", "refuse"


def drafted(project: Project, wish: str, target: str, to: str, config: str | None, *, is_json: bool) -> int:
    """Have the agent draft the list, and a person asked; goes on where an earlier call stopped."""
    with redirect_stdout(sys.stderr):
        agent = source.load(target)
        return asyncio.run(_drafted(project, wish, agent, to, config, is_json=is_json))


async def _drafted(
    project: Project, wish: str, agent: Agent[Any, Any], to: str, config: str | None, *, is_json: bool
) -> int:
    app = App(project.journal, config=config, serves=False, inbox=inbox_of(config))
    async with app:
        key = _key(app, project.name)
        try:
            said = await app.run(drafting(project, agent, to), wish, key=key, wait="0s")
        except RunWaiting as waiting:
            [head] = app.journal.heads(key=key, limit=1)
            if head.questions:
                await people_told(app.journal, head)
            say(str(waiting))
            for line in _shown(app.journal, head.run_id):
                say(line)
            for asked in head.questions:
                for line in how_to_answer(question(asked), head.run_id, app.journal.now()):
                    say(line)
            say("Then call this command again.")
            return Exit.PERSON if head.questions else Exit.LATER
    frozen = said["choice"] == FREEZE
    say(f"{said['count']} features, {'frozen' if frozen else 'not frozen'} by {said['by'] or 'nobody'}.")
    if is_json:
        document({"schema": SCHEMA, "project": project.name, **said})
    return Exit.DONE if frozen else Exit.CANCELLED


def _key(app: App, name: str) -> str:
    """The draft that is under way, else the next one."""
    number = 1
    while (found := app.journal.heads(key=f"{name}/draft-{number}", limit=1)) and found[0].status.is_end:
        number += 1
    return f"{name}/draft-{number}"


def _shown(journal: Journal, run_id: str) -> list[str]:
    """The list that is asked about: what will be run on this machine, above all."""
    for event in journal.events(run_id):
        if event.kind is Kind.DECIDED and event.facts.get("what") == "features" and event.body is not None:
            listed = [of_facts(facts) for facts in decode(event.body)]
            return [f"    {f.id}: {f.description} [{f.check.words}]" for f in listed]
    return []


def drafting(project: Project, agent: Agent[Any, Any], to: str) -> Agent[Any, Any]:
    """The agent that drafts with this one, asks, and freezes what was shown."""

    async def draft(run: Run, wish: str) -> dict[str, Any]:
        listed = agent.fn(run, wish)
        listed = features(await listed if hasattr(listed, "__await__") else listed)
        shown = [project.with_pins(feature).facts() for feature in listed]
        shown = await run.decide("features", shown, because=f"as {agent.name} drafted them")
        fixed = [of_facts(each) for each in shown]
        asked = f"Freeze this list of {len(fixed)} features of {project.name} (sha256 {digest(fixed)[:16]})?"
        answer = await run.ask(asked, options=[FREEZE, REFUSE], to=to, show=_lines(shown))
        if answer.value == FREEZE:
            await run.step("freeze", project.freeze_drafted, shown, answer.by, effect="idempotent")
        return {"choice": str(answer.value), "by": answer.by, "count": len(fixed), "digest": digest(fixed)}

    return Agent(draft, name=f"{agent.name}:draft", budget=agent.budget, models=agent.models)


def _lines(shown: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a person has to see of each: above all what will be run on this machine."""
    return [{"id": f["id"], "does": f["description"], "runs": of_facts(f).check.words} for f in shown]
