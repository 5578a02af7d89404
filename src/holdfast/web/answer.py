"""From what a form has sent to an answer in the mailbox of the run, or the reason why there is none.

The answer names the digest that the page was rendered with, under a token for just that: `post`'s guard then decides
whether it counts. Nothing else here writes.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException

from holdfast.errors import MessageRefused, UsageError
from holdfast.protocols import Clock, Journal, Roll
from holdfast.runtime import answering
from holdfast.views.asking import Item
from holdfast.views.sheet import Sheet
from holdfast.web.decision import Given, decide
from holdfast.web.session import Session, Sessions


def about(run: str, question: str, digest: str) -> tuple[str, str, str]:
    """What the token of a question's form is for."""
    return run, question, digest


def check_token(sessions: Sessions, session: Session, run: str, question: str, sent: Mapping[str, str]) -> None:
    """Refused unless this session was shown this question with this digest."""
    what = about(run, question, sent.get("digest", ""))
    if not sessions.is_token(sent.get("token", ""), session, *what):
        raise HTTPException(403, "This form belongs to another session or another question. Nothing was answered.")


def post(
    journal: Journal, clock: Clock, roll: Roll, item: Item, shown: Sheet, sent: Mapping[str, str], session: Session
) -> None:
    """Leave the answer; an `HTTPException` says why it is none: 422 when it can be mended, 409 when it is too late, or
    not this person's to give."""
    given = Given(
        choice=_chosen(item, sent),
        result=sent.get("result", "").strip(),
        digest=sent.get("digest", ""),
        opened=sum(name.startswith("opened-") for name in sent),
        typed=sent if item.schema is not None and sent.get("fill") == "1" else None,
        by=session.name,
        via="web",
    )
    try:
        decide(journal, roll, item, shown, given, clock.fresh_id())
    except MessageRefused as late:
        raise HTTPException(409, str(late)) from late
    except UsageError as wrong:
        raise HTTPException(422, str(wrong)) from wrong


def may_not(item: Item, session: Session, roll: Roll) -> str:
    """Why this person may not answer it; empty when they may."""
    try:
        return answering.refusal(item, session.name, roll)
    except MessageRefused as unknown:
        return str(unknown)


def _chosen(item: Item, sent: Mapping[str, str]) -> str:
    """What was chosen. Of options that an agent words it is the number that comes back: as text they may be drawn as
    something else than they are."""
    number = sent.get("option", "")
    if number.isascii() and number.isdigit() and int(number[:9]) < len(item.options):
        return item.options[int(number)]
    return sent.get("choice", "").replace("\r\n", "\n")
