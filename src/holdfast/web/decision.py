"""From what a person has chosen, on the page or in Slack, to an answer in the mailbox of the run.

The same rules for both: something is chosen, what is long was opened, and the answer names the digest of what was
shown. Who may answer, and whether it counts, is decided beneath (`runtime.answering`). Nothing else here writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from holdfast.core.accept import WITH_RESULT, Message
from holdfast.core.approval import DECLINE
from holdfast.core.form import read, wrong
from holdfast.errors import UsageError
from holdfast.protocols import Journal, Roll
from holdfast.runtime import answering
from holdfast.views import fields
from holdfast.views.asking import Item
from holdfast.views.sheet import Sheet


class Given(NamedTuple):
    """What somebody has given for an answer."""

    choice: str
    by: str
    via: str
    digest: str = ""
    """Of what they were shown."""
    result: str = ""
    """JSON; only with an answer that carries one."""
    opened: int = 0
    """How many long values they have confirmed to have read."""
    typed: Mapping[str, str] | None = None
    """What they have typed into the fields of a form, by their ids; None: it is not the form that they answer with."""


def decide(journal: Journal, roll: Roll, item: Item, shown: Sheet, given: Given, message_id: str) -> None:
    """Leave the answer, once for each message_id. `UsageError` when it is none yet; `MessageRefused` when it is too
    late, or not this person's to give."""
    if given.typed is None and not given.choice.strip():
        raise UsageError("Choose an answer first. Nothing was answered.")
    if shown.long_rows > given.opened and given.choice != DECLINE:
        raise UsageError(
            "Open the values that are folded first, and confirm that you have read them. Nothing was answered."
        )
    answering.post(journal, item.run, message_id, _message(item, given), roll)


def _message(item: Item, given: Given) -> Message:
    if given.typed is not None:
        return _filled_in(item, given, given.typed)
    result = given.result if given.choice == WITH_RESULT.get(item.about) else ""
    return answering.message(
        item.id, item.about, given.choice, by=given.by, via=given.via, result=result or None, digest=given.digest
    )


def _filled_in(item: Item, given: Given, typed: Mapping[str, str]) -> Message:
    """The form with what was typed; what does not fit it is said before it is sent, since it can be mended."""
    schema = item.schema or {}
    values = read(schema, fields.sent(schema, typed))
    if unfit := wrong(schema, values):
        raise UsageError(f"{unfit} Nothing was answered.")
    return answering.of_form(item.id, item.about, values, by=given.by, via=given.via)
