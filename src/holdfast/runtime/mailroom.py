"""Reads a run's mail and turns it into events: the only way in for everybody but the run's own worker.

Messages were checked by `core.accept` when they were posted. Here each becomes the event that it calls for, in
the order of its arrival, in one append that also marks it as read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdfast.core import approval
from holdfast.core.accept import MessageKind
from holdfast.core.address import run_id
from holdfast.core.budget import Limits, unnoted
from holdfast.core.events import NOTHING, Event, Kind, StepKind, meta
from holdfast.core.form import filled
from holdfast.core.heads import MISMATCHED, Status, Why
from holdfast.core.slot import Slot
from holdfast.core.state import CONFIG, PAUSE, UNWIND
from holdfast.core.undo import to_reopen
from holdfast.journal.codec import encode
from holdfast.protocols import Mail
from holdfast.runtime import child, crashloop, escalating, mismatch, overdraft
from holdfast.runtime.pauses import about_signal

if TYPE_CHECKING:
    from holdfast.runtime.driver import Driver


_STATED_MAX = 2_000


async def open_mail(driver: Driver, brought: Sequence[Mail] | None = None) -> None:
    """Read what has arrived; `brought`: what came with the claim, so that the store need not be asked."""
    record = driver.record
    _note_takeover(driver)
    unread = record.services.journal.mail(driver.lease.run_id) if brought is None else brought
    arrived = [mail for mail in unread if mail.number > record.mail_seen]
    if arrived:
        driver.silence.touch()
    for mail in arrived:
        if not driver.is_cancelled:  # what comes after a cancel is read with the end, and does not count
            _read(driver, mail)
        elif mail.message.kind is MessageKind.CANCEL and mail.message.facts.get("now"):
            driver.hurry()
        record.mail_seen = mail.number
        if not driver.is_cancelled:  # a cancel is marked as read by the end that it causes, never before
            record.mail_read = mail.number
    _note_stated(driver)
    if record.has_unwritten:
        await record.write()
    for mail in arrived:
        if mail.message.kind is MessageKind.ANSWER:
            driver.waits.wake(mail.message.facts["question"])
        elif mail.message.kind is MessageKind.SIGNAL:
            driver.waits.tell(about_signal(mail.message.facts["name"]))
        elif mail.message.kind is MessageKind.ENDED:
            driver.waits.tell(child.about_child(mail.message.facts["child"]))
    driver.time.look()


async def expire(driver: Driver, question: str) -> None:
    """Its time has come: an answer that arrived before counts, otherwise the default is taken. That nobody could be
    told of it is another outcome than that nobody answered."""
    await open_mail(driver)
    if question in driver.state.questions:
        slot = driver.state.question_slots[question]
        asked = _asked(slot, driver.state.questions[question].about)
        default = asked.facts.get("default") if asked is not None else None
        is_choice = asked is not None and asked is not slot.intent
        is_unheard = escalating.reached_nobody(driver.services, driver.lease.run_id, question)
        outcome = "undeliverable" if is_unheard else "expired"
        facts = meta(id=question, outcome=outcome, choice=default if is_choice else None)
        _close_question(driver, question, facts, None if default is None or is_choice else default.encode())
        await driver.write()


def _asked(slot: Slot, about: str) -> Event | None:
    """The event of the open question of this sort."""
    if slot.step is StepKind.QUESTION:
        return slot.intent
    return slot.approval if about == approval.ABOUT else slot.appeal if about == "failed" else slot.intent


def _note_stated(driver: Driver) -> None:
    """What file and command line state is not what it was when the run was last claimed: that is recorded."""
    state, stated = driver.state, driver.services.stated
    if state.count and not state.status.is_end and state.config != stated.digest:
        because = f"file and command line state now: {stated.text or 'nothing'}"[:_STATED_MAX]
        facts = meta(what=CONFIG, choice=stated.digest or "none", because=because)
        driver.record.note(Kind.DECIDED, facts)


def _note_takeover(driver: Driver) -> None:
    """The last owner died: reads without an intent may have been under way, so the allowance is charged, and the time
    until it last showed that it was alive."""
    if driver.was_taken_over and _was_at_work(driver):
        driver.was_taken_over = False
        facts = meta(why="takeover", alive_until=driver.alive_until)
        state = driver.state
        noted = state.books.are_joint  # then each read has its intent
        charge = NOTHING if noted else unnoted(state.limits, state.used, state.allowance)
        driver.record.add(Event(Kind.RUN_RESUMED, driver.record.now(), charge=charge, meta=facts))


def _was_at_work(driver: Driver) -> bool:
    """Whether its last owner may have been doing something: also of a run that was due, and of which the record says no
    more than that it waited."""
    state = driver.state
    is_due = state.status is Status.SUSPENDED and state.wake_at is not None and state.wake_at <= driver.record.now()
    return state.status is Status.RUNNING or is_due


def _read(driver: Driver, mail: Mail) -> None:
    facts = mail.message.facts
    match mail.message.kind:
        case MessageKind.START:
            _started(driver, mail, facts)
        case MessageKind.ANSWER:
            _answered(driver, mail, facts)
        case MessageKind.CANCEL:
            _cancelled(driver, facts)
            if facts.get("now"):
                driver.hurry()
        case MessageKind.RESUME:
            _resumed(driver, facts)
        case MessageKind.UNWIND:
            _unwound(driver, facts)
        case MessageKind.PAUSE:
            _paused(driver, facts)
        case MessageKind.CAP:
            _capped(driver, facts)
        case MessageKind.ENDED:
            child.ended(driver, facts, mail.message.body)
        case MessageKind.SIGNAL:
            received = meta(name=facts["name"], by=facts.get("by") or None)
            driver.record.note(Kind.SIGNAL_RECEIVED, received, body=mail.message.body)
        case MessageKind.COMMAND:
            pass  # for the operator's desk and for projects, which have no driver


def _started(driver: Driver, mail: Mail, facts: dict[str, Any]) -> None:
    if driver.state.count:
        return
    limits = facts.get("limits") or driver.agent.limits
    driver.record.add(
        Event(
            Kind.RUN_STARTED,
            driver.record.now(),
            meta=meta(
                run=driver.lease.run_id,
                agent=facts["agent"],
                key=facts["key"],
                input_digest=facts["input_digest"],
                limits=None if limits is None else list(limits),
                ask=facts.get("ask"),
                seed=run_id(driver.services.journal.hash_key, "seed", driver.lease.run_id),
                code=driver.agent.code,
                config=driver.services.stated.digest or None,
                created_at=mail.at,
                accounts=facts.get("accounts"),
                is_priced=facts.get("is_priced"),
                parent=facts.get("parent"),
                by=facts.get("by") or None,
                depth=facts.get("depth"),
                detached=facts.get("detached"),
                chapter=facts.get("chapter"),
                previous=facts.get("previous"),
            ),
            body=mail.message.body,
        )
    )


def _unwound(driver: Driver, facts: dict[str, Any]) -> None:
    """Reopen the run, only to undo what it did."""
    if driver.state.status.is_end:
        reopened = [list(address) for address in to_reopen(driver.state)]
        because = facts.get("why") or None
        driver.record.note(Kind.RUN_RESUMED, meta(why=UNWIND, by=facts.get("by"), because=because, reopened=reopened))


def _cancelled(driver: Driver, facts: dict[str, Any]) -> None:
    by, why = facts.get("by", "somebody"), facts.get("why")
    if facts.get("fate"):
        driver.stop(Status(facts["fate"]), why or "its parent has ended", {"by": by, "with_parent": True})
    else:
        driver.stop(Status.CANCELLED, f"cancelled by {by}" + (f": {why}" if why else ""), {"by": facts.get("by")})


def _answered(driver: Driver, mail: Mail, facts: dict[str, Any]) -> None:
    if facts["question"] not in driver.state.questions:
        return
    closed = meta(
        id=facts["question"],
        outcome="answered",
        choice=facts.get("choice"),
        by=facts.get("by"),
        via=facts.get("via"),
        answered_at=mail.at,
    )
    asked, form = driver.state.questions[facts["question"]], facts.get("form")
    body = mail.message.body if form is None or asked.schema is None else encode(filled(asked.schema, form))
    whole = driver.state.asked.get(asked.id)
    _close_question(driver, asked.id, closed, body)
    if whole is not None and asked.about == overdraft.ABOUT:
        overdraft.answered(driver, whole, facts)
    if asked.about == mismatch.ABOUT:
        mismatch.answered(driver, facts)
    if asked.about == crashloop.ABOUT:
        crashloop.settle(driver)


def _close_question(driver: Driver, question: str, facts: str, body: bytes | None) -> None:
    """Add the event that closes an open question."""
    slot = driver.state.question_slots.get(question)
    now = driver.record.now()
    if slot is None:
        driver.record.note(Kind.QUESTION_CLOSED, facts, body=body)
        return
    driver.record.add(Event(Kind.QUESTION_CLOSED, now, slot.address, slot.step, slot.effect, meta=facts, body=body))


def _resumed(driver: Driver, facts: dict[str, Any]) -> None:
    state, now = driver.state, driver.record.now()
    if facts.get("raised"):
        limits: Limits = state.limits.raised(facts["raised"])
        changed = meta(limits=list(limits), by=facts.get("by"), because=facts.get("why"))
        driver.record.add(Event(Kind.BUDGET_CHANGED, now, meta=changed))
    is_blocked = state.status is Status.SUSPENDED and state.why in MISMATCHED
    overdraft.withdraw(driver, facts.get("by"), is_raised=bool(facts.get("raised")))
    mismatch.withdraw(driver, facts.get("by"))
    if state.paused is not None or (state.status is Status.SUSPENDED and state.why == Why.CRASH_LOOP):
        crashloop.withdraw(driver, facts.get("by"))
    if state.status.is_end or is_blocked or state.paused is not None:
        reopened = state.end.facts.get("cause", []) if state.end is not None else []
        why = "resume" if state.status.is_end else "unblocked" if is_blocked else "unpaused"
        resumed = meta(why=why, by=facts.get("by"), reopened=reopened, because=facts.get("why"))
        driver.record.add(Event(Kind.RUN_RESUMED, now, charge=NOTHING, meta=resumed))


def _paused(driver: Driver, facts: dict[str, Any]) -> None:
    if not driver.state.status.is_end:
        told = meta(what=PAUSE, choice="paused", because=facts.get("why") or "not said", by=facts.get("by"))
        driver.record.note(Kind.DECIDED, told)
        driver.pause()


def _capped(driver: Driver, facts: dict[str, Any]) -> None:
    limits = driver.state.limits._replace(**facts["caps"])
    changed = meta(limits=list(limits), by=facts.get("by"), because=facts.get("why") or None)
    driver.record.note(Kind.BUDGET_CHANGED, changed)
    overdraft.withdraw(driver, facts.get("by"), is_raised=True)
