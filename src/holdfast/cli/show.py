"""`holdfast show`: one run, the verdict first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from holdfast.cli import option
from holdfast.cli.below import asked_below
from holdfast.cli.output import document, paint, text
from holdfast.cli.store import driver_of, find, opened
from holdfast.core.board import PROJECT
from holdfast.core.books import run_key
from holdfast.core.desk import DESK
from holdfast.core.heads import Why

if TYPE_CHECKING:
    from rich.console import RenderableType

    from holdfast.core.accounts import Account
    from holdfast.protocols import Mail

_STEPS_MAX = 40
_VALUE_MAX = 2_000
_LINE_MAX = 1_000
_MARKS = {
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "running": ("▸", "cyan"),
    "in_doubt": ("?", "bold yellow"),
    "waiting": ("…", "yellow"),
    "retrying": ("↻", "yellow"),
    "abandoned": ("–", "dim"),
}

_CAPPED = ("tool_calls", "model_calls", "tokens", "usd")


@click.command()
@option.run
@click.option("--all", "is_all", is_flag=True, help=f"Every step and decision, not only the last {_STEPS_MAX}.")
@click.option("--decisions", "is_told", is_flag=True, help="What was decided and why, also when the run is well.")
@option.store
@option.json
def show(run: str, is_all: bool, is_told: bool, store: str | None, is_json: bool) -> int:
    """Where a run is, why, what it used and what it did."""
    from holdfast.views.show import show as picture_of  # loads the codec
    from holdfast.views.verdict import verdict

    with opened(store) as journal:
        head = find(journal, run)
        picture = picture_of(head, journal.events(head.run_id))
        below = asked_below(journal, head.run_id) if head.why == Why.CHILD else []
        shared = journal.account(run_key(head.run_id))
        mail, is_driven, now = journal.mail(head.run_id), driver_of(journal, head.run_id) is not None, journal.now()
    if is_json:
        document(picture)
        return 0
    paint(
        text(verdict(picture, now, is_driven=is_driven), "bold"),
        *_head(picture, now),
        *_shared(picture, shared),
        *_mail(mail),
        *_steps(picture, is_all=is_all),
        *_decisions(picture, is_all=is_all, is_asked=is_told),
        *_handover(picture),
        *_questions(picture, now),
        *_below(below),
        *_rest(picture),
    )
    return 0


def _head(picture: dict[str, Any], now: float) -> list[RenderableType]:
    from holdfast.views.text import ago
    from holdfast.views.verdict import moment

    run = picture["run"]
    begun = f"{moment(run['created_at'])} ({ago(now - run['created_at'])} ago)"
    if run["agent"] in (DESK, PROJECT):  # they use nothing
        return [text(f"{run['id']}  key {run['key']}  since {begun}")]
    lines = [
        text(f"{run['id']}  key {run['key']}  agent {run['agent']}  since {begun}"),
        text("used: " + " · ".join(_used(run, name) for name in _CAPPED)),
    ]
    if run["limits"]["active_s"] is not None or run["limits"]["wall_s"] is not None:
        lines.append(text("time: " + _times(run)))
    if run["status"] == "succeeded" and run["forgotten_at"] is None:
        lines.append(text(f"result: {_value(run['result'])}", limit=_VALUE_MAX))
    return list(lines)


def _shared(picture: dict[str, Any], shared: Account | None) -> list[RenderableType]:
    """What it used with the runs that are part of it: this is what its caps are about."""
    from holdfast.views.show import amounts

    if shared is None:
        return []
    run = picture["run"] | {"usage": amounts(shared.spent) | {"reserved": amounts(shared.reserved)}}
    return [text("with its runs: " + " · ".join(_used(run, name) for name in _CAPPED))]


def _used(run: dict[str, Any], name: str) -> str:
    form = "${:.4f}" if name == "usd" else "{}"
    cap, reserved = run["limits"][name], run["usage"]["reserved"][name]
    held = f" (+{form.format(reserved)} reserved)" if reserved else ""
    of = "no cap" if cap is None else f"of {form.format(cap)}"
    return f"{name.replace('_', ' ')} {form.format(run['usage'][name])}{held} {of}"


def _times(run: dict[str, Any]) -> str:
    from holdfast.views.text import ago

    active, wall = run["limits"]["active_s"], run["limits"]["wall_s"]
    caps = f" of {ago(active)}" if active is not None else ", no cap"
    return f"active {ago(run['active_s'])}{caps}" + (f" · wall cap {ago(wall)}" if wall is not None else "")


def _value(value: Any) -> str:
    from holdfast.views.text import safe_json

    return value if isinstance(value, str) else safe_json(value, indent=None)


def _mail(mail: list[Mail]) -> list[RenderableType]:
    if not mail:
        return []
    kinds = ", ".join(str(item.message.kind) for item in mail)
    return [text(f"unread messages: {kinds}; the next worker or `holdfast run` reads them", "yellow")]


def _steps(picture: dict[str, Any], *, is_all: bool) -> list[RenderableType]:
    steps = list(enumerate(picture["steps"], 1))
    if not steps:
        return []
    left_out = 0 if is_all else max(0, len(steps) - _STEPS_MAX)
    lines: list[RenderableType] = [text(""), text("steps", "dim")]
    if left_out:
        lines.append(text(f"  … {left_out} earlier steps; --all shows them", "dim"))
    width = max(len(step["name"]) for _, step in steps[left_out:])
    for number, step in steps[left_out:]:
        lines += _step(number, step, min(width, 40))
    return lines


def _step(number: int, step: dict[str, Any], width: int) -> list[RenderableType]:
    mark, colour = _MARKS[step["status"]]
    sort = step["effect"] if step["kind"] == "tool" else step["kind"]
    told = _model(step) if step["model"] is not None else []
    told += [] if step["status"] == "succeeded" else [_status(step)]
    told += [f"{step['attempts']} attempts"] if step["attempts"] > 1 else []
    told += [_given(step)] if step["served"] not in (None, "step") else []
    told += ["its body has not ended"] if step["under_way"] else []
    told += ["undone"] if step["is_undone"] else []
    line = text(f"{number:>4} ")
    line.append(mark, style=colour)
    line.append_text(text(f" {step['name']:<{width}}  {sort:<10}  {' · '.join(told)}"))
    return [line, *(text(f"         {_failure(failure)}", "dim", limit=600) for failure in step["failures"])]


def _given(step: dict[str, Any]) -> str:
    """Who gave the outcome, if it was not the step itself."""
    degraded = step["degraded"] or {}
    if "age_s" in degraded:
        from holdfast.core.duration import span

        return f"an old result, {span(degraded['age_s'])}"
    return f"by {step['served'].removeprefix('person ')}"


def _status(step: dict[str, Any]) -> str:
    is_stream = step["model"] is not None and step["model"]["is_stream"]
    return "streaming" if is_stream and step["status"] == "running" else step["status"].replace("_", " ")


def _model(step: dict[str, Any]) -> list[str]:
    from holdfast.views.model import ended, shown, took

    call = step["model"]
    parts = (shown(call), took(call, step["tokens"], step["usd"]), ended(call))
    return [part for part in parts if part]


def _failure(failure: dict[str, Any]) -> str:
    unknown = "" if failure["is_definite"] else " (it may have happened)"
    because = f"; because: {failure['because']}" if failure["because"] else ""
    follows = failure["next"] or ""
    instead = f" -> {follows}" if follows and not failure["because"].endswith(follows) else ""
    return f"attempt {failure['attempt']}: {failure['error']}: {failure['text']}{unknown}{because}{instead}"


def _decisions(picture: dict[str, Any], *, is_all: bool, is_asked: bool) -> list[RenderableType]:
    from holdfast.views.verdict import moment

    found = picture["decisions"]
    if not found or not (is_asked or _is_unwell(picture)):
        return []
    left_out = 0 if is_all else max(0, len(found) - _STEPS_MAX)
    lines: list[RenderableType] = [text(""), text("decisions", "dim")]
    if left_out:
        lines.append(text(f"  … {left_out} earlier decisions; --all shows them", "dim"))
    for item in found[left_out:]:
        about = f" {item['step']}" if item["step"] else ""
        line = f"  {moment(item['at'])}  {item['what']}{about} -> {item['choice']}; because: {item['because']}"
        lines.append(text(line + _by(item), limit=_LINE_MAX))
    return lines


def _by(item: dict[str, Any]) -> str:
    return f" (by {item['by']})" if item["by"] and item["by"] not in item["because"] else ""


def _is_unwell(picture: dict[str, Any]) -> bool:
    """Whether somebody will ask why: it failed, was stopped or cancelled, or goes on by itself no more."""
    from holdfast.views.verdict import STALLED

    return picture["run"]["status"] in STALLED or (picture["suspended"] or {}).get("why") in STALLED


def _questions(picture: dict[str, Any], now: float) -> list[RenderableType]:
    from holdfast.cli.answer import how_to_answer

    questions = picture["questions"]
    if not questions:
        return []
    lines = [line for asked in questions for line in how_to_answer(asked, picture["run"]["id"], now)]
    return [text(""), text("questions", "dim"), *(text(f"  {line}") for line in lines)]


def _below(lines: list[str]) -> list[RenderableType]:
    return [text(""), text("questions of its runs", "dim"), *(text(f"  {line}") for line in lines)] if lines else []


def _handover(picture: dict[str, Any]) -> list[RenderableType]:
    lines = (picture["run"]["handover"] or "").splitlines()
    return (
        [text(""), text("hand-over", "dim"), *(text(f"  {line}", limit=_VALUE_MAX) for line in lines)] if lines else []
    )


def _rest(picture: dict[str, Any]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for title, items in (("notes", picture["notes"]), ("drift", [_drift(item) for item in picture["drift"]])):
        if items:
            lines += [text(""), text(title, "dim"), *(text(f"  {item}", limit=_VALUE_MAX) for item in items)]
    return lines


def _drift(item: dict[str, Any]) -> str:
    rule, recorded = item.get("rule", ""), item.get("recorded")
    if rule == "fresh":
        return f"{rule}: model calls were begun as new; given up: {', '.join(recorded or ())}"
    if rule == "tail":
        recorded = item["step"]
    return f"{rule}: asked for {item.get('asked') or item['step']}" + (f"; recorded: {recorded}" if recorded else "")
