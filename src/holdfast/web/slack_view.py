"""One question as a modal of Slack: the sheet that the page shows, in Slack's blocks, and a form to answer it.

1. Every text is plain (`inbox.slack.plain_text`); a value has a block of its own, so that none looks like a name.
2. Nothing is cut: what Slack does not take in full is not shown there, and can only be declined; the page shows it.
3. What is chosen comes back by its number, and what it is about by run, question and the digest of what was shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from holdfast.core.accept import WITH_RESULT
from holdfast.core.approval import DECLINE
from holdfast.inbox.slack import fits, plain_text
from holdfast.views.asking import Item
from holdfast.views.fields import Field, fields
from holdfast.views.sheet import Row, Sheet

ANSWER: Final = "answer"
"""The modal's name, where it arrives."""
CHOICE, RESULT, FILL, READ = "choice", "result", "fill", "read"
BLOCKS_MAX: Final = 70
"""Of what is shown; with the rest and a form it stays below what Slack takes, which is 100."""
TEXT_MAX: Final = 2_800
OPTIONS_MAX: Final = 10
FIELDS_MAX: Final = 15
LABEL_MAX: Final = 70
_TOO_LONG: Final = "It is too long to be shown here. Look at it on the page, or with `holdfast inbox show`."


def modal(item: Item, sheet: Sheet, may_not: str = "") -> dict[str, Any]:
    """The question, and what can be answered; may_not: why this person may not answer it."""
    facts = [*_facts(sheet)]
    is_shown = is_whole(sheet)
    blocks = [_header(sheet.title), *(facts if is_shown else [_section(_TOO_LONG)])]
    lines = (sheet.uninspectable, sheet.compared, sheet.why, sheet.whose, sheet.silence)
    blocks += [_context(line) for line in lines if line]
    choices = _choices(item, sheet) if is_shown else [each for each in _choices(item, sheet) if each[0] == DECLINE]
    if may_not or item.state != "open":
        return _view(item, [*blocks, *([_section(may_not)] if may_not else [])], has_form=False)
    form = list(_form(item, choices, is_whole=is_shown))
    if form and is_shown and sheet.long_rows:
        form.append(_read(sheet.long_rows))
    return _view(item, [*blocks, *form], has_form=any(block["type"] == "input" for block in form))


def told(text: str) -> dict[str, Any]:
    """A modal that says this and nothing else."""
    return {"type": "modal", "title": _title("holdfast"), "close": _title("Close"), "blocks": [_section(text)]}


class Sent(NamedTuple):
    """What a form has sent."""

    choice: str
    result: str
    has_read: bool
    """That they have read what has to be read first."""
    typed: dict[str, str] | None
    """Of a question's own fields, by their ids; None: it is not answered by them."""


def chosen(item: Item, values: Mapping[str, Any]) -> Sent:
    """What was answered; empty when nothing was."""
    said, result = _value(values, CHOICE), _value(values, RESULT)
    has_read = bool(values.get(READ, {}).get(READ, {}).get("selected_options"))
    if item.schema is not None and (said == FILL or not item.options):
        return Sent("", "", has_read, {each.id: _value(values, each.id) for each in fields(item.schema, {})})
    if not item.options:
        return Sent(said, result, has_read, None)
    number = int(said) if said.isascii() and said.isdigit() and len(said) < 5 else len(item.options)
    return Sent(item.options[number] if number < len(item.options) else "", result, has_read, None)


def _value(values: Mapping[str, Any], block: str) -> str:
    given = values.get(block, {}).get(block, {})
    option = given.get("selected_option") or {}
    return str(option.get("value") or given.get("value") or "")


# --- what is shown -----------------------------------------------------------------------------------------------


def _facts(sheet: Sheet) -> Iterator[dict[str, Any]]:
    for call in sheet.calls:
        yield _section(f"What would be called: {call.tool}")
        if call.remarks:
            yield _context(f"Mind its name: {'; '.join(call.remarks)}")
        yield from _rows(call.rows)
    if sheet.says:
        yield _context("The agent says (unverified):")
        yield _section(sheet.says)
    yield from _rows(sheet.shows)


def _rows(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield _context(f"{row.name}:")
        yield _section(row.value)
        if row.remarks or row.opaque:
            yield _context(f"Mind: {_remarks(row)}")
        if row.before is not None:
            yield _context("last time:")
            yield _section(row.before)


def _remarks(row: Row) -> str:
    return "; ".join([*([f"uninspectable: {row.opaque}"] if row.opaque else []), *row.remarks])


def is_whole(sheet: Sheet) -> bool:
    """Whether a modal shows all of it."""
    rows = [*sheet.shows, *(row for call in sheet.calls for row in call.rows)]
    texts = [sheet.says, *(text for call in sheet.calls for text in (call.tool, "; ".join(call.remarks)))]
    texts += [text for row in rows for text in (row.name, row.value, _remarks(row), row.before or "")]
    return len([*_facts(sheet)]) <= BLOCKS_MAX and all(fits(text, TEXT_MAX - 100) for text in texts)


# --- how it is answered ------------------------------------------------------------------------------------------


def _choices(item: Item, sheet: Sheet) -> list[tuple[str, str, str]]:
    """Each option: what it is, the value by which it comes back, and its words."""
    words = dict(sheet.choices)
    found = [(option, str(number), words.get(option, option)) for number, option in enumerate(item.options)]
    if item.schema is None or not found:
        return found
    others = [each for each in found if each[2] != sheet.with_form]
    return [("", FILL, sheet.with_form or "What is filled in below"), *others]


def _form(item: Item, choices: Sequence[tuple[str, str, str]], *, is_whole: bool) -> Iterator[dict[str, Any]]:
    """What can be filled in; a section that says where else, when that is not shown here in full."""
    label = "Your answer (as the agent words it)" if item.about == "ask" and item.options else "Your answer"
    inputs = list(fields(item.schema, {})) if item.schema is not None and is_whole else []
    fit = all(fits(words, LABEL_MAX) for _, _, words in choices) and all(map(_is_field_whole, inputs))
    if not fit or len(choices) > OPTIONS_MAX or len(inputs) > FIELDS_MAX:
        yield _section("Its answers cannot be shown here. Answer on the page, or with `holdfast answer`.")
        return
    if choices:
        options = [{"text": plain_text(words, LABEL_MAX), "value": value} for _, value, words in choices]
        yield _input(CHOICE, label, {"type": "radio_buttons", "options": options})
    elif is_whole and not inputs:
        yield _input(CHOICE, label, {"type": "plain_text_input", "multiline": True, "max_length": 3_000})
    for field in inputs:
        yield _field(field, is_optional=bool(choices) or not field.is_required)
    with_result = next((words for each, _, words in choices if each == WITH_RESULT.get(item.about)), "")
    if with_result:
        label = f"The result, with “{with_result}” (JSON; empty for nothing)"
        yield _input(RESULT, label, {"type": "plain_text_input", "multiline": True, "max_length": 3_000}, optional=True)


def _read(values: int) -> dict[str, Any]:
    words = "I have read all of it: one value" if values == 1 else f"I have read all of it: {values} values"
    option = {"text": plain_text(words, LABEL_MAX), "value": READ}
    element = {"type": "checkboxes", "options": [option]}
    return _input(READ, "What is long, or that nobody can say the effect of", element, True)


def _is_field_whole(field: Field) -> bool:
    is_long = not fits(_label(field), 1_900) or len(field.choices) > 100 or len(field.value) > 3_000
    return not is_long and all(fits(words, LABEL_MAX) for _, words in field.choices)


def _label(field: Field) -> str:
    return "\n".join(text for text in (f"{field.label} ({field.takes})", field.more) if text)


def _field(field: Field, *, is_optional: bool) -> dict[str, Any]:
    if field.choices:
        options = [{"text": plain_text(words, LABEL_MAX), "value": value} for value, words in field.choices]
        first = [each for each in options if each["value"] == field.value]
        element: dict[str, Any] = {"type": "static_select", "options": options}
        return _input(field.id, _label(field), element | ({"initial_option": first[0]} if first else {}), is_optional)
    element = {"type": "plain_text_input", "multiline": field.sort == "lines", "max_length": 3_000}
    return _input(
        field.id, _label(field), element | ({"initial_value": field.value} if field.value else {}), is_optional
    )


def _input(block: str, label: str, element: dict[str, Any], optional: bool = False) -> dict[str, Any]:
    return {
        "type": "input",
        "block_id": block,
        "optional": optional,
        "label": plain_text(label, 1_950),
        "element": element | {"action_id": block},
    }


def _view(item: Item, blocks: list[dict[str, Any]], *, has_form: bool) -> dict[str, Any]:
    about = json.dumps({"run": item.run, "question": item.id, "digest": item.digest})
    form = {"submit": _title("Answer"), "callback_id": ANSWER, "private_metadata": about} if has_form else {}
    return {"type": "modal", "title": _title("A question"), "close": _title("Close"), "blocks": blocks, **form}


def _title(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _header(text: str) -> dict[str, Any]:
    return {"type": "header", "text": plain_text(text, 140)}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": plain_text(text, TEXT_MAX)}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [plain_text(text, TEXT_MAX)]}
