"""The guard at the door of a run: which messages may be stored at all.

`accept` is pure and runs inside the transaction of `Journal.post`. What cannot count any more (the run ended, the
question is closed or past its time, the answer is none of the options, the key names another run) is refused with
the reason and stores nothing. `subject` makes "the first valid answer wins" true without reading the mail: a store
keeps at most one message of a run with a given subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from holdfast.core import desk, order, overdraft, small_json
from holdfast.core.approvers import refusal as refusal_of
from holdfast.core.board import PROJECT, key_of
from holdfast.core.budget import Limits
from holdfast.core.desk import DESK
from holdfast.core.events import Charge, meta
from holdfast.core.form import names, wrong
from holdfast.core.heads import PAUSING, Head, OpenQuestion, Status, said
from holdfast.core.shape import misshapen


class MessageKind(StrEnum):
    """What somebody may tell a run."""

    START = "start"
    ANSWER = "answer"
    CANCEL = "cancel"
    RESUME = "resume"
    UNWIND = "unwind"
    PAUSE = "pause"
    CAP = "cap"
    SIGNAL = "signal"
    COMMAND = "command"
    ENDED = "ended"


_COMMANDED = {DESK: desk.refusal, PROJECT: order.refusal}
"""By the agent of a run without code: why it cannot be told a command."""
DOUBT_OPTIONS = ("it_happened", "it_did_not", "tell_the_agent", "abort")
"""A person's four answers to a step in doubt."""


FAILED_OPTIONS = ("try_again", "take_this_result", "tell_the_agent", "abort")
"""A person's four answers to a step that has failed for good."""
WITH_RESULT = {"in_doubt": "it_happened", "failed": "take_this_result"}
"""By what a question is about: the answer that carries a result."""
WITH_FORM: Mapping[str, str] = {overdraft.ABOUT: overdraft.RAISE}
"""The same: the answer that carries what was filled in; of what stands not here, it comes without a choice."""


class Message(NamedTuple):
    """One message to a run. `meta` is JSON that the core reads, `body` a value in the codec's bytes."""

    kind: MessageKind
    meta: str
    body: bytes | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """`meta`, parsed."""
        return small_json.read(self.meta) if self.meta else {}


def start(
    *, agent: str, key: str, input_digest: str, limits: list[int | None] | None, body: bytes, **shared: Any
) -> Message:
    """Begin the run, or go on with it. shared: of a run that is part of another, what `charges.shared` says there."""
    facts = meta(agent=agent, key=key, input_digest=input_digest, limits=limits, **shared)
    return Message(MessageKind.START, facts, body)


def answer(
    question: str,
    *,
    choice: str | None,
    by: str,
    body: bytes | None,
    digest: str = "",
    via: str = "",
    form: Mapping[str, Any] | None = None,
) -> Message:
    """Answer a question: `choice` is the option taken, `body` the value given, `form` what was filled in, `digest` what
    was shown to whoever approves, `via` the way by which they answered."""
    filled = None if form is None else dict(form)
    facts = meta(question=question, choice=choice, by=by, digest=digest or None, via=via or None, form=filled)
    return Message(MessageKind.ANSWER, facts, body)


def cancel(*, by: str, why: str = "", is_now: bool = False, fate: Status | None = None) -> Message:
    """End the run; an effect in flight finishes first, or, with `is_now`, is left in doubt.

    fate: how it ends because its parent has ended: cancelled, or stopped, which can be resumed with it.
    """
    return Message(MessageKind.CANCEL, meta(by=by, why=why, now=is_now or None, fate=fate))


def ended(
    child: str, *, outcome: Status, why: str, limit: str | None, with_parent: bool | None, body: bytes | None
) -> Message:
    """Tell a run that this one, which is part of it, has ended. with_parent: only because its parent had."""
    facts = meta(child=child, outcome=outcome, why=why, limit=limit, with_parent=with_parent)
    return Message(MessageKind.ENDED, facts, body)


def resume(*, by: str, raised: list[int] | None = None, why: str = "", is_unpause: bool = False) -> Message:
    """Reopen an ended run, let a blocked or paused one go on, or raise the caps of any (`raised` as in `Limits`).

    is_unpause: it is to go on after a pause that it may not have read yet.
    """
    return Message(MessageKind.RESUME, meta(by=by, raised=raised, why=why or None, unpause=is_unpause or None))


def unwind(*, by: str, why: str = "") -> Message:
    """Undo what an ended run did, in reverse; its own code does not run, and it ends as it had ended."""
    return Message(MessageKind.UNWIND, meta(by=by, why=why))


def pause(*, by: str, why: str = "") -> Message:
    """Begin nothing more until somebody resumes the run; what is under way finishes."""
    return Message(MessageKind.PAUSE, meta(by=by, why=why))


def cap(caps: Mapping[str, int | None], *, by: str, why: str = "") -> Message:
    """Set these caps of the run, by the names of `Limits`, to these amounts; None takes a cap away."""
    return Message(MessageKind.CAP, meta(caps=dict(caps), by=by, why=why))


def signal(name: str, *, by: str, body: bytes | None) -> Message:
    """Tell the run something that it may be waiting for; kept until a step takes it. Never read as a command."""
    return Message(MessageKind.SIGNAL, meta(name=name, by=by), body)


def is_signal_name(name: Any) -> bool:
    """Whether a signal can be called so."""
    return isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable()


def open_desk(body: bytes, input_digest: str) -> Message:
    """Make the operator's desk, unless it is there."""
    return start(agent=DESK, key=DESK, input_digest=input_digest, limits=None, body=body)


def open_project(name: str, body: bytes, input_digest: str) -> Message:
    """Make the project of that name, unless it is there."""
    return start(agent=PROJECT, key=key_of(name), input_digest=input_digest, limits=None, body=body)


def command(verb: str, name: str, *, by: str, why: str = "", **facts: Any) -> Message:
    """A command to the operator's desk or to a project; see `core.desk` and `core.project`."""
    return Message(MessageKind.COMMAND, meta(verb=verb, name=name, by=by, why=why, **facts))


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a message."""

    is_stored: bool
    refused: str = ""
    """Why it cannot count; empty when it was stored, or had been stored before."""
    subject: str | None = None
    head: Head | None = None
    """The head to create, for the start of a new run."""


def accept(head: Head | None, run_id: str, message: Message, now: float) -> Posted:
    """Whether `message` may be stored for the run with this head at this time of the store's clock."""
    try:
        facts = message.facts
    except ValueError:
        return Posted(False, misshapen(message.kind, None))
    if wrong := misshapen(message.kind, facts):
        return Posted(False, wrong)
    if message.kind is MessageKind.START:
        return _accept_start(head, run_id, facts, now)
    if head is None:
        return Posted(False, f"There is no run {run_id} in this store. Look with `holdfast ls`.")
    if head.is_forgotten:
        return Posted(False, f"{forgotten(head)} Nothing can be told to it.")
    if (head.agent in _COMMANDED) is not (message.kind is MessageKind.COMMAND):
        return Posted(False, f"{DESK} takes commands, as projects do, and no other run does. Nothing was changed.")
    match message.kind:
        case MessageKind.COMMAND:
            refused = _COMMANDED[head.agent](facts)
            return Posted(not refused, refused)
        case MessageKind.ANSWER:
            return _accept_answer(head, facts, now)
        case MessageKind.CANCEL:
            if head.status.is_end:
                return Posted(False, f"Run {head.run_id} has already ended: {head.status}. Nothing to cancel.")
            return Posted(True)
        case MessageKind.RESUME:
            return _accept_resume(head, facts)
        case MessageKind.UNWIND:
            return _accept_unwind(head)
        case MessageKind.PAUSE:
            return _accept_pause(head)
        case MessageKind.CAP:
            return _accept_cap(head, facts)
        case MessageKind.SIGNAL:
            return _accept_signal(head, facts)
        case MessageKind.ENDED:
            return _accept_ended(head, facts)


def forgotten(head: Head) -> str:
    """What is left to say of a run whose record is gone."""
    at = datetime.fromtimestamp(head.updated_at, UTC).isoformat(" ", "seconds")
    return (
        f"Run {head.run_id} ({head.key}) {said(head.status)}, at {at}; its record was removed by retention. "
        f"It is not run again."
    )


def _accept_start(head: Head | None, run_id: str, facts: dict[str, Any], now: float) -> Posted:
    if head is None:
        new = Head(
            run_id=run_id,
            key=facts["key"],
            agent=facts["agent"],
            input_digest=facts["input_digest"],
            status=Status.READY,
            created_at=now,
            updated_at=now,
            wake_at=now,
        )
        return Posted(True, subject="start", head=new)
    if (head.agent, head.input_digest) == (facts["agent"], facts["input_digest"]):
        return Posted(False)
    return Posted(
        False,
        f"Key {head.key!r} names run {head.run_id}, started with agent {head.agent!r} and input digest "
        f"{head.input_digest}; this start has agent {facts['agent']!r} and input digest {facts['input_digest']}. "
        "Nothing was started. Use another key for other work, or the same agent and input to go on.",
    )


def _accept_answer(head: Head, facts: dict[str, Any], now: float) -> Posted:
    wanted = facts["question"]
    found = next((question for question in head.questions if question.id == wanted), None)
    if found is None:
        return Posted(False, f"Question {wanted} of run {head.run_id} is not open. See `holdfast show {head.run_id}`.")
    if found.expires_at is not None and now >= found.expires_at:
        return Posted(False, f"Question {wanted} expired {now - found.expires_at:.0f} s ago; its default was taken.")
    if found.digest != (facts.get("digest") or ""):
        return Posted(
            False,
            f"Question {wanted} is about something else than what this answer names (by its digest). Nothing was "
            f"answered. Look at it anew, `holdfast inbox show {wanted}`, and answer what it shows.",
        )
    choice, form = facts.get("choice"), facts.get("form")
    unfit = _unfit_choice(found, choice) if form is None else _unfit_form(found, choice, form)
    refused = refusal_of(found, facts.get("by") or "") or unfit
    return Posted(not refused, refused, subject=f"answer:{wanted}")


def _unfit_form(question: OpenQuestion, choice: str | None, form: dict[str, Any]) -> str:
    if question.schema is None:
        return f"Question {question.id} is no form. Answer it with one of its options, or with a text."
    if choice != WITH_FORM.get(question.about):
        return f"{choice!r} carries no form. Nothing was answered. Answer {question.id} with the one or with the other."
    unfit = wrong(question.schema, form)
    return f"{unfit} Nothing was answered." if unfit else ""


def _unfit_choice(question: OpenQuestion, choice: str | None) -> str:
    if question.schema is not None and choice not in question.options:
        others = f", or one of: {', '.join(question.options)}" if question.options else ""
        fields = ", ".join(names(question.schema))
        return f"Question {question.id} is a form: it takes a value for {fields}{others}. Nothing was answered."
    if question.options and choice not in question.options:
        return f"{choice!r} is no answer to {question.id}. Choose one of: {', '.join(question.options)}."
    return ""


def _accept_signal(head: Head, facts: dict[str, Any]) -> Posted:
    if not is_signal_name(facts.get("name")):
        return Posted(False, f"{facts.get('name')!r} names no signal. Give 1 to 200 printable characters.")
    if head.status.is_end:
        return Posted(False, f"Run {head.run_id} has already ended: {head.status}. Nobody would hear the signal.")
    return Posted(True)


def _accept_ended(head: Head, facts: dict[str, Any]) -> Posted:
    """Which of its children that is, its own record says; here, that it has one which it would wait for."""
    if head.status in (Status.SUCCEEDED, Status.CANCELLED):
        return Posted(False, f"Run {head.run_id} {said(head.status)}; it waits for no run.")
    if not head.children:
        return Posted(False, f"Run {head.run_id} has no open child, so {facts.get('child')} is none of its.")
    return Posted(True)


def _accept_resume(head: Head, facts: dict[str, Any]) -> Posted:
    raised = facts.get("raised")
    if raised is not None and (len(raised) not in (len(Charge._fields), len(Limits._fields)) or min(raised) < 0):
        return Posted(False, f"A raise of {raised!r} is not understood: caps only go up. Nothing was changed.")
    if head.status in (Status.SUCCEEDED, Status.CANCELLED):
        return Posted(False, f"Run {head.run_id} {said(head.status)}; there is nothing to resume.")
    if head.is_unwound and head.status.is_end:
        return Posted(
            False,
            f"Run {head.run_id} was unwound: what it did is undone, so it cannot go on as if it stood. Nothing was "
            "changed. Start another run, under another key.",
        )
    is_pausing = head.why == PAUSING or facts.get("unpause", False)
    if head.status in (Status.READY, Status.RUNNING) and facts.get("raised") is None and not is_pausing:
        return Posted(False, f"Run {head.run_id} is {head.status} already; there is nothing to resume.")
    return Posted(True)


def _accept_unwind(head: Head) -> Posted:
    if head.status in (Status.FAILED, Status.STOPPED, Status.CANCELLED):
        return Posted(True)
    how = "cancel it first" if not head.status.is_end else "what it did is its result"
    return Posted(False, f"Run {head.run_id} is {head.status}; {how}. Nothing was undone.")


def _accept_pause(head: Head) -> Posted:
    if head.status.is_end:
        return Posted(False, f"Run {head.run_id} has already ended: {head.status}. Nothing to pause.")
    return Posted(True)


def _accept_cap(head: Head, facts: dict[str, Any]) -> Posted:
    if head.status in (Status.SUCCEEDED, Status.CANCELLED):
        return Posted(False, f"Run {head.run_id} {said(head.status)}; it uses nothing any more.")
    caps = facts["caps"]
    unknown = [name for name, amount in caps.items() if name not in Limits._fields or not _is_amount(amount)]
    if unknown or not caps:
        return Posted(False, f"Caps of {caps!r} are not understood: whole numbers, not negative. Nothing was changed.")
    return Posted(True)


def _is_amount(amount: Any) -> bool:
    return amount is None or (type(amount) is int and amount >= 0)


def is_to_pause(messages: Iterable[Message]) -> bool:
    """Whether these unread messages pause the run, and do not resume it after that."""
    kinds = [message.kind for message in messages if message.kind in (MessageKind.PAUSE, MessageKind.RESUME)]
    return kinds[-1:] == [MessageKind.PAUSE]
