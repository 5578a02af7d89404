"""`holdfast project`: what a directory is to become, feature by feature; each verb is a file of its own."""

from __future__ import annotations

import click

from holdfast.cli.lazy import LazyGroup, Verb

VERBS = {
    "init": Verb("holdfast.cli.project_init:init", "Make a directory a project, with a list of features."),
    "resume": Verb("holdfast.cli.project_resume:resume", "Let further sessions begin, after a stop or a stall."),
    "stop": Verb("holdfast.cli.project_resume:stop", "Let no further session begin."),
    "run": Verb("holdfast.cli.project_run:run", "Drive its sessions, one after the other, until all features pass."),
    "brief": Verb("holdfast.cli.project_brief:brief", "What the next agent in this directory has to know."),
    "status": Verb("holdfast.cli.project_status:status", "Each feature: where it is, by what evidence, who holds it."),
}


@click.group(
    "project",
    cls=LazyGroup,
    verbs=VERBS,
    help="Features of a directory under git, each with a check that says whether it is there.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def project() -> None:
    """The group of these verbs."""
