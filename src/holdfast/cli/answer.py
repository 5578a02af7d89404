"""`holdfast answer`: a person's answer to a question of a run, or to "did this happen?".

It only leaves the answer in the store; the process that holds the run, or the next one, goes on with it.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
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
@click.option("--field", "filled", multiple=True, metavar="NAME=VALUE", help="Of a form: fills in one field.")
@click.option("--form", metavar="JSON", help="Of a form: fills in all of it, an object.")
@option.by
@option.config
@option.store
@option.json
def answer(
    run: str,
    value: str | None,
    question: str | None,
    result: str | None,
    filled: tuple[str, ...],
    form: str | None,
    by: str | None,
    config: str | None,
    store: str | None,
    is_json: bool,
) -> int:
    """Answer a question; without VALUE, list what is open.

    For a step in doubt VALUE is it_happened (with --result), it_did_not, tell_the_agent or abort; for one that failed
    try_again, take_this_result (with --result), tell_the_agent or abort. A form is filled in with --field, or --form.
    """
    with opened(store) as journal:
        head = find(journal, run)
        if not head.questions:
            raise NotFound(f"Run {head.run_id} ({head.key}) has no open question; it is {head.status}.")
        if value is None and form is None and not filled:
            return _list(head, journal.now(), is_json=is_json)
        asked = _asked(head, question)
        if form is not None or filled:
            if result is not None:
                raise UsageError("--result is no part of a form. Nothing was answered.")
            said = _fill_in(
                journal, head.run_id, asked, value, _values(asked, filled, form), option.name_of(by), config
            )
            _answered(journal, head, asked, said, is_json=is_json)
        elif value is not None:
            _post(journal, head.run_id, asked, value, result, option.name_of(by), config)
            _answered(journal, head, asked, value, is_json=is_json)
        _advise(journal, asked)
    return 0


def _advise(journal: Journal, asked: OpenQuestion) -> None:
    from holdfast.views.advice import advice

    advised = advice(journal)
    if advised and asked.digest:
        say(advised)


def _values(asked: OpenQuestion, filled: tuple[str, ...], form: str | None) -> dict[str, Any]:
    """What was filled in, as it is meant by the form; `UsageError` when it cannot be read."""
    from holdfast.core.form import read
    from holdfast.runtime.answering import parsed  # loads asyncio

    if asked.schema is None:
        raise UsageError(f"Question {asked.id} is no form, so nothing of it can be filled in. Nothing was answered.")
    values = {} if form is None else parsed(form, "--form")
    if not isinstance(values, dict):
        raise UsageError(f"--form {form!r} is no object with a value for each field. Nothing was answered.")
    texts = dict(each.partition("=")[::2] for each in filled if "=" in each)
    if len(texts) < len(filled) or texts.keys() & values.keys():
        raise UsageError("Give each field once, as --field NAME=VALUE. Nothing was answered.")
    return values | read(asked.schema, texts)


def _fill_in(
    journal: Journal,
    run_id: str,
    asked: OpenQuestion,
    choice: str | None,
    values: dict[str, Any],
    by: str,
    config: str | None,
) -> Any:
    from holdfast.core.accept import WITH_FORM
    from holdfast.inbox.roll import FileRoll
    from holdfast.runtime import answering  # loads asyncio
    from holdfast.runtime.clock import SystemClock

    if choice not in (None, WITH_FORM.get(asked.about)):
        raise UsageError(f"Give VALUE, or fill in the form; {choice!r} goes without it. Nothing was answered.")
    answer = answering.of_form(asked.id, asked.about, values, by=by, via="cli")
    answering.post(journal, run_id, SystemClock().fresh_id(), answer, FileRoll(config))
    return values


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


def _answered(journal: Journal, head: Head, asked: OpenQuestion, value: Any, *, is_json: bool) -> None:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    say(f"{asked.id} of {head.run_id} ({head.key}) was answered: {said}. {who_goes_on(journal, head)}")
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
    from holdfast.views.text import ago, safe_text

    to = f" to {asked['to']}" if asked["to"] else ""
    expires_at = asked["expires_at"]
    ends = "" if expires_at is None else f", expires in {ago(expires_at - now)}"
    command = f"holdfast answer {run_id} --question {asked['id']} "
    ways = ways_to_answer(asked["about"], asked["options"], asked["schema"])
    lines = [f"{asked['id']}{to}, asked {ago(now - asked['asked_at'])} ago{ends}: {asked['text']}"]
    if asked["digest"]:
        lines.append(f"    holdfast inbox show {asked['id']}    (what would be done: look before you approve)")
    form = [f"    {line}" for line in form_in_lines(asked["schema"])]
    return [*(safe_text(line) for line in lines), *form, *(safe_text(f"    {command}{way}") for way in ways)]


def ways_to_answer(about: str, options: Sequence[str], schema: Mapping[str, Any] | None) -> list[str]:
    """What follows the name of the question on a command line, for each way to answer it."""
    from holdfast.core.accept import WITH_FORM, WITH_RESULT
    from holdfast.core.form import names

    with_result, with_form = WITH_RESULT.get(about), WITH_FORM.get(about)
    ways = [f"{choice} --result JSON" if choice == with_result else shlex.quote(choice) for choice in options]
    if schema is not None:
        required = [name for name in names(schema) if name in schema.get("required", ())] or names(schema)[:1]
        fields = " ".join("--field " + shlex.quote(f"{name}=VALUE") for name in required)
        return [fields if with_form is None else f"{with_form} {fields}", *ways]
    return ways or ["TEXT"]


def form_in_lines(schema: Mapping[str, Any] | None) -> list[str]:
    """The fields of a form, and what each of them takes; safe to show."""
    from holdfast.views.fields import fields
    from holdfast.views.text import safe_text

    lines = []
    for field in fields(schema or {"properties": {}}, {}):
        label = "" if field.label == field.name else f" ({field.label})"
        left_out = "" if field.is_required else ", may be left out"
        lines.append(
            f"  {field.name}{label}: {field.takes}{left_out}{f'. {safe_text(field.more)}' if field.more else ''}"
        )
    return lines


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
