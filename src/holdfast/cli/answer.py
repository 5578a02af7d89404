"""`holdfast answer`: a person's answer to a question of a run, or to "did this happen?".

It only leaves the answer in the store; the process that holds the run, or the next one, goes on with it.
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli import option
from holdfast.cli.output import SCHEMA, data, document, say
from holdfast.cli.store import find, opened, who_goes_on
from holdfast.errors import NotFound, UsageError

if TYPE_CHECKING:
    from holdfast.core.heads import Head, OpenQuestion
    from holdfast.protocols import Journal


@click.command()
@option.run
@click.argument("value", required=False)
@click.option("--question", metavar="Q", help="Its id, or the beginning of it, when several are open.")
@click.option("--result", metavar="JSON", help="With it_happened: what the step gave.")
@option.by
@option.config
@option.store
@option.json
def answer(
    run: str,
    value: str | None,
    question: str | None,
    result: str | None,
    by: str | None,
    config: str | None,
    store: str | None,
    is_json: bool,
) -> int:
    """Answer a question; without VALUE, list what is open.

    For a step in doubt VALUE is it_happened (with --result), it_did_not, tell_the_agent or abort; for one that failed
    try_again, take_this_result (with --result), tell_the_agent or abort.
    """
    with opened(store) as journal:
        head = find(journal, run)
        if not head.questions:
            raise NotFound(f"Run {head.run_id} ({head.key}) has no open question; it is {head.status}.")
        if value is None:
            return _list(head, journal.now(), is_json=is_json)
        asked = _asked(head, question)
        _post(journal, head.run_id, asked, value, result, option.name_of(by), config)
        _answered(journal, head, asked, value, is_json=is_json)
        _advise(journal, asked)
    return 0


def _advise(journal: Journal, asked: OpenQuestion) -> None:
    from holdfast.views.advice import advice

    advised = advice(journal)
    if advised and asked.digest:
        say(advised)


def _post(
    journal: Journal, run_id: str, asked: OpenQuestion, value: str, result: str | None, by: str, config: str | None
) -> None:
    from holdfast.core.accept import WITH_RESULT
    from holdfast.inbox.roll import FileRoll
    from holdfast.runtime import answering  # loads asyncio
    from holdfast.runtime.clock import SystemClock

    answer = answering.message(asked.id, asked.about, value, result=result, digest=asked.digest, by=by, via="cli")
    if value == WITH_RESULT.get(asked.about) and result is None:
        say("No --result: the agent gets None as what the step gave.")
    answering.post(journal, run_id, SystemClock().fresh_id(), answer, FileRoll(config))


def _answered(journal: Journal, head: Head, asked: OpenQuestion, value: str, *, is_json: bool) -> None:
    say(f"{asked.id} of {head.run_id} ({head.key}) was answered: {value}. {who_goes_on(journal, head)}")
    if is_json:
        document({"schema": SCHEMA, "run": {"id": head.run_id, "key": head.key}, "question": asked.id, "value": value})


def _list(head: Head, now: float, *, is_json: bool) -> int:
    from holdfast.views.show import question  # loads the codec

    open_ones = [question(asked) for asked in head.questions]
    if is_json:
        document({"schema": SCHEMA, "run": {"id": head.run_id, "key": head.key}, "questions": open_ones})
        return 0
    if not sys.stdin.isatty():
        raise UsageError(f"Nothing was answered: give VALUE. {_listed(head)}")
    data("\n".join(line for asked in open_ones for line in how_to_answer(asked, head.run_id, now)))
    return 0


def how_to_answer(asked: dict[str, Any], run_id: str, now: float) -> list[str]:
    """A question in lines: its text, until when, and the commands that answer it."""
    from holdfast.core.accept import WITH_RESULT
    from holdfast.views.text import ago, safe_text

    to = f" to {asked['to']}" if asked["to"] else ""
    expires_at = asked["expires_at"]
    ends = "" if expires_at is None else f", expires in {ago(expires_at - now)}"
    command = f"holdfast answer {run_id} --question {asked['id']} "
    ways = [shlex.quote(choice) for choice in asked["options"]] or ["TEXT"]
    with_result = WITH_RESULT.get(asked["about"])
    ways = [f"{way} --result JSON" if way == with_result else way for way in ways]
    lines = [f"{asked['id']}{to}, asked {ago(now - asked['asked_at'])} ago{ends}: {asked['text']}"]
    if asked["digest"]:
        lines.append(f"    holdfast inbox show {asked['id']}    (what would be done: look before you approve)")
    return [safe_text(line) for line in [*lines, *(f"    {command}{way}" for way in ways)]]


def _asked(head: Head, wanted: str | None) -> OpenQuestion:
    """The question that is meant: the only open one, or the one whose id begins so."""
    if wanted is None and len(head.questions) == 1:
        return head.questions[0]
    if wanted is None:
        raise UsageError(f"Several questions are open; say which with --question. {_listed(head)}")
    prefix = wanted if wanted.startswith("q_") else f"q_{wanted}"
    found = [asked for asked in head.questions if asked.id.startswith(prefix)]
    if not found:
        raise NotFound(f"Question {wanted!r} of run {head.run_id} is not open. {_listed(head)}")
    if len(found) > 1:
        raise UsageError(f"{wanted!r} is the beginning of several ids. {_listed(head)}")
    return found[0]


def _listed(head: Head) -> str:
    return "Open: " + "; ".join(
        f"{asked.id}: {asked.text}" + (f" [{', '.join(asked.options)}]" if asked.options else "")
        for asked in head.questions
    )
