"""`holdfast project resume` and `stop`: whether further sessions may begin."""

from __future__ import annotations

import click

from holdfast.cli import option, project_order
from holdfast.cli.output import SCHEMA, document, say


@click.command()
@option.directory
@option.why
@option.by
@option.json
def resume(directory: str, why: str, by: str | None, is_json: bool) -> int:
    """Let further sessions begin: after a stop, or after sessions that changed nothing."""
    return _told(directory, "resume", why, option.name_of(by), is_json=is_json)


@click.command()
@option.directory
@option.why
@option.by
@option.json
def stop(directory: str, why: str, by: str | None, is_json: bool) -> int:
    """Let no further session begin; the one that is under way goes on to its end."""
    return _told(directory, "stop", why, option.name_of(by), is_json=is_json)


def _told(directory: str, verb: str, why: str, by: str, *, is_json: bool) -> int:
    from holdfast.memory.brief import opened  # loads the engine
    from holdfast.memory.record import ProjectRecord

    project_order.check()
    with opened(directory) as project:
        record = ProjectRecord(project.journal, project.name)
        board = record.go_on(by, why) if verb == "resume" else record.stop(by, why or "a person said so")
    told = "further sessions may begin" if verb == "resume" else "no further session begins"
    say(f"Project {board.name}: {told}. Go on with `holdfast project {'run' if verb == 'resume' else 'resume'}`.")
    if is_json:
        document({"schema": SCHEMA, "project": board.name, "verb": verb, "stopped": board.stopped})
    return 0
