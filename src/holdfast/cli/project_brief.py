"""`holdfast project brief`: what the next agent in a directory has to know, within so many tokens."""

from __future__ import annotations

import click

from holdfast.cli import option
from holdfast.cli.output import SCHEMA, data, document
from holdfast.core.brief import TOKENS
from holdfast.core.excerpt import TOKENS_MIN


@click.command()
@option.directory
@click.option(
    "--tokens",
    type=click.IntRange(TOKENS_MIN, 1_000_000),
    default=TOKENS,
    show_default=True,
    help="At most so many, at three bytes each.",
)
@option.json
def brief(directory: str, tokens: int, is_json: bool) -> int:
    """What is done, failed and half done, what was tried and decided, and what is next: off the record, never off a
    file of the directory. It changes nothing."""
    from holdfast.cli.project_status import facts_of
    from holdfast.core.brief import brief as made
    from holdfast.memory.brief import gather, opened  # loads the engine

    with opened(directory) as project:
        facts = gather(project)
    found = made(facts, tokens)
    if is_json:
        told = {"text": found.text, "tokens": found.tokens, "left_out": dict(found.left_out)}
        document({"schema": SCHEMA, **facts_of(facts), "brief": told})
    else:
        data(found.text)
    return 0
