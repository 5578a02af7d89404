"""`holdfast resume`: reopens a failed, stopped or blocked run, raises its caps, and drives it when told the file."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli import option
from holdfast.cli.order import to_run
from holdfast.cli.output import SCHEMA, document, say
from holdfast.cli.store import address, find, opened, who_goes_on
from holdfast.core.heads import MISMATCHED, PAUSING, Why
from holdfast.errors import RunMismatch, UsageError

if TYPE_CHECKING:
    from holdfast.core.heads import Head
    from holdfast.protocols import Journal
    from holdfast.runtime.agent import Agent


@click.command()
@option.run
@click.argument("target", metavar="[FILE.py:AGENT]", required=False)
@click.option(
    "--raise", "raises", multiple=True, metavar="PART=+MORE", help="usd=+1, tokens=+5000, active=+10m; may be repeated."
)
@option.by
@option.why
@option.store
@option.wait
@option.policy
@click.option("--config", metavar="FILE", help="holdfast.toml to use; the one in this directory when left out.")
@option.json
def resume(
    run: str,
    target: str | None,
    raises: tuple[str, ...],
    by: str | None,
    why: str,
    store: str | None,
    wait: str,
    policy: tuple[str, ...],
    config: str | None,
    is_json: bool,
) -> int:
    """Reopen a failed or stopped run, or let a blocked or paused one go on: exactly what failed is tried again.

    With FILE.py:AGENT it is driven here, as by `holdfast run`; without, the next worker or `holdfast run` does it.
    """
    from holdfast.core import accept

    raised, stay, url = _sum(raises), option.wait_of(wait), address(store, config)
    policies = option.policies_of(policy)
    agent = loaded(target)
    with opened(url) as journal:
        head = find(journal, run)
        given = None if agent is None else recorded(journal, head, agent)
        is_unpause = accept.is_to_pause(mail.message for mail in journal.mail(head.run_id))
        if agent is None or raised is not None or is_unpause or _is_shut(head):
            _check_question(head, raised, is_driven=agent is not None, is_unpause=is_unpause)
            message = accept.resume(by=option.name_of(by), raised=raised, why=why, is_unpause=is_unpause)
            to_run(journal, head, message)
        told = who_goes_on(journal, head)
    if agent is None or target is None:
        say(f"{head.run_id} ({head.key}) is to go on. {told}")
        if is_json:
            document({"schema": SCHEMA, "run": {"id": head.run_id, "key": head.key}})
        return 0
    from holdfast.cli import source  # these load the runtime
    from holdfast.cli.drive import Order, drive

    options = [*option.given(store=store, config=config), *option.flags("--policy", policy)]
    again = shlex.join(["holdfast", "resume", head.key, target, *options])
    order = Order(
        agent=agent,
        file=source.path_of(target),
        input=given,
        key=head.key,
        store=url,
        config=config,
        budget=None,
        wait=stay,
        again=again,
        reopen=again,
        is_json=is_json,
        policies=policies,
    )
    return drive(order)


def loaded(target: str | None) -> Agent[Any, Any] | None:
    """The agent, when the run is to be driven here."""
    if target is None:
        return None
    from holdfast.cli import source  # loads the runtime

    with redirect_stdout(sys.stderr):
        return source.load(target)


def _sum(raises: tuple[str, ...]) -> list[int] | None:
    """All `--raise` together, in the parts of `Limits`."""
    from holdfast.runtime.outcome import parse_raise  # loads asyncio

    asked = [parse_raise(text) for text in raises]
    return [sum(part or 0 for part in parts) for parts in zip(*asked, strict=True)] or None


def _is_shut(head: Head) -> bool:
    """Whether the run goes on only after a message: it has ended, is blocked by its code, or paused."""
    return head.status.is_end or head.why in MISMATCHED or head.why in (Why.PAUSED, PAUSING, Why.BUDGET)


def _check_question(head: Head, raised: list[int] | None, *, is_driven: bool, is_unpause: bool) -> None:
    is_paused = is_unpause or head.why in (Why.PAUSED, PAUSING)
    is_blocked = head.why in MISMATCHED  # to resume is one of the answers
    if head.questions and raised is None and not (is_driven or is_paused or is_blocked):
        raise UsageError(
            f"Run {head.run_id} ({head.key}) waits for an answer, not for a resume. Nothing was changed. "
            f"See `holdfast answer {head.run_id}`."
        )


def recorded(journal: Journal, head: Head, agent: Agent[Any, Any]) -> Any:
    """The input that the run was started with, as this agent takes it."""
    from holdfast.core.accept import MessageKind
    from holdfast.core.state import fold
    from holdfast.journal.codec import decode

    if agent.name != head.agent:
        raise RunMismatch(
            f"Run {head.run_id} ({head.key}) belongs to agent {head.agent!r}, not to {agent.name!r}. "
            "Nothing was changed."
        )
    body = fold(journal.events(head.run_id)).input
    if body is None:  # accepted, and begun by nobody: its input is still in its mail
        bodies = (m.message.body for m in journal.mail(head.run_id) if m.message.kind is MessageKind.START)
        body = next(bodies, None)
    if body is None:
        return None
    try:
        return decode(body, agent.takes)
    except ValueError as wrong:  # pydantic's word for "not of that type"
        raise UsageError(
            f"The recorded input of {head.run_id} no longer fits the agent's annotation: {wrong}. Nothing was changed."
        ) from wrong
