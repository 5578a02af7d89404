"""What a run asks of others and waits for, in the agent's words: a person's answer, a signal, a choice on record.

From the arguments of `Run.ask`, `Run.signal` and `Run.decide` to a step that waits (`pauses`), and from its outcome to
what the agent gets. Nothing is decided here, and nothing is kept: the outcome in the record is the only truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from holdfast.core import approval
from holdfast.core.accept import Message, MessageKind, is_signal_name
from holdfast.core.approvers import Approvers
from holdfast.core.command import Call
from holdfast.core.events import Address, Effect, Event, StepKind
from holdfast.core.policy import Duration, seconds
from holdfast.core.questions import became
from holdfast.core.rung import Ask
from holdfast.errors import UsageError
from holdfast.journal.codec import decode, digest, encode
from holdfast.protocols import Journal
from holdfast.runtime import current
from holdfast.runtime.approving import version_of
from holdfast.runtime.facts import safe
from holdfast.runtime.form import Declared, declared
from holdfast.runtime.pauses import Decision, Question
from holdfast.runtime.pauses import Signal as SignalWait
from holdfast.runtime.tool import Planned

if TYPE_CHECKING:
    from holdfast.runtime.driver import Driver


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question: four different outcomes, and the value only where there is one."""

    outcome: Literal["answered", "expired", "undeliverable", "unreachable", "withdrawn"]
    """expired: people were told, as far as that is known, and nobody answered in time. undeliverable: no channel could
    tell anybody. unreachable: of an approval of a list of calls, for which nobody was asked."""
    value: Any = None
    """The option taken, the text given or what was filled in; the default when nobody answered in time."""
    by: str = ""
    """Who answered; empty when nobody did."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What became of a list of calls that a person was asked about. True when they may be made."""

    outcome: Literal["approved", "declined", "expired", "undeliverable", "unreachable", "withdrawn"]
    by: str = ""
    """Who said so; empty when nobody did."""

    def __bool__(self) -> bool:
        return self.outcome == "approved"


@dataclass(frozen=True, slots=True)
class Signal:
    """What a wait for a signal came to."""

    outcome: Literal["received", "expired"]
    value: Any = None
    """What was sent; the default when it expired."""
    by: str = ""
    """Who sent it."""


async def ask(
    driver: Driver,
    scope: str,
    text: str,
    name: str,
    *,
    options: Sequence[str],
    to: str,
    within: Duration | None,
    default: Any,
    show: Any,
    urgent: bool,
    form: Any,
    why: str,
) -> Answer:
    """A person is asked, for days if need be; see `Run.ask`."""
    filled_in = None if form is None else declared(form)
    if filled_in is not None and default is not None and default not in options:
        default = filled_in.plain(default)
    more = {"urgent": urgent or None, "schema": None if filled_in is None else filled_in.schema, "why": _words(why)}
    question = Question(
        call=Call(scope, name, "", StepKind.QUESTION, Effect.READ, safe(text, 200).encode()),
        text=safe(text),
        options=tuple(options),
        to=to or driver.agent.escalate,
        within_s=None if within is None else seconds(within, "within"),
        default=encode(default),
        shows=encode(show),
        more=more,
    )
    answer = _answer(await driver.step(question))
    return answer if filled_in is None or answer.value is None else await _filled_in(driver, name, filled_in, answer)


def _words(why: str) -> str | None:
    """The agent's own words, as they are recorded."""
    return safe(why) if why else None


async def _filled_in(driver: Driver, name: str, form: Declared, answer: Answer) -> Answer:
    """The answer with what was filled in as the agent declares it; of an option it is the option. A form that the agent
    does not take any more blocks the run, as a result that does not fit does."""
    if not isinstance(answer.value, dict):
        return answer
    try:
        return replace(answer, value=form.value(answer.value))
    except ValueError as unfit:
        await driver.unfit(f"{name}: the form", f"{name}: what was filled in", unfit)


async def approve(
    driver: Driver, scope: str, calls: Sequence[Planned[Any]], name: str, asked: Ask, why: str
) -> Approval:
    """A person is asked about a list of calls; see `Run.approve`."""
    asked = approval.checked("run.approve", asked)
    if not calls or not all(isinstance(call, Planned) for call in calls):
        raise UsageError("run.approve takes calls that are not made yet, such as [refund.bind('K-17', 4200)].")
    listed = [[call.spec.name, version_of(call.spec, call.spec.effect), digest(call.args)] for call in calls]
    shown = encode([{"tool": call.spec.name, "arguments": decode(call.args)} for call in calls])
    services, valid_s = driver.services, approval.valid_s(asked)
    people = asked.approvers if services.escalation is None else services.escalation.members(asked.approvers)
    whose = Approvers.of(asked, driver.state.requester, {"people": sorted(people)})
    of_calls = approval.digest_of_calls(services.tenant, driver.lease.run_id, listed, asked.who, valid_s, whose)
    more = {"digest": of_calls, "valid_s": valid_s, "calls": listed, "urgent": asked.urgent or None, "why": _words(why)}
    question = Question(
        call=Call(scope, name, digest(shown), StepKind.QUESTION, Effect.READ, shown),
        text=f"May these {len(calls)} calls be made?" if len(calls) > 1 else f"May {calls[0].spec.name} be called?",
        options=approval.OPTIONS,
        to=asked.who,
        within_s=asked.within_s,
        default=None,
        shows=shown,
        about=approval.ABOUT,
        more=more | whose.facts(),
        ask=asked,
        lacking=whose.lacks(),
    )
    answered = _answer(await driver.step(question))
    said = answered.outcome if answered.outcome != "answered" else _SAID[answered.value]
    return Approval(said, answered.by)


CONFIRM = "confirm"
PROBE = "probe"


async def confirm(person: str, channel: str, *, within_s: float) -> Answer:
    """Whether a notice has reached this person, as they say themselves; in a run of holdfast's own, once in each."""
    where, here = confirmed_at(), current.place()
    assert here is not None
    question = Question(
        call=Call(where.scope, where.name, where.digest, StepKind.QUESTION, Effect.READ),
        text=f"Has a notice by {safe(channel, 64)} reached {safe(person, 64)}?",
        options=(CONFIRM,),
        to=person,
        within_s=within_s,
        default=None,
        shows=None,
        about=PROBE,
    )
    return _answer(await here.driver.step(question))


def confirmed_at() -> Address:
    """Where that question stands in the record: its id is known before it is asked."""
    return Address("", PROBE, "", 0)


_SAID: dict[str, Literal["approved", "declined"]] = {approval.APPROVE: "approved", approval.DECLINE: "declined"}


def _answer(outcome: Event) -> Answer:
    facts = outcome.facts
    value = facts.get("choice")
    if value is None and outcome.body is not None:
        value = decode(outcome.body)
    return Answer(facts["outcome"], value, facts.get("by", ""))


def late(journal: Journal, run: str, message: Message) -> str:
    """What became of the question that this refused message would answer; empty when it is none, or is open."""
    asked = message.facts.get("question") if message.kind is MessageKind.ANSWER else None
    head = journal.head(run) if asked else None
    if head is None or asked in {question.id for question in head.questions}:
        return ""
    return became(journal.events(run), str(asked))


async def signal(driver: Driver, scope: str, name: str, within: Duration | None, default: Any) -> Signal:
    """The next signal of this name that no other call takes; see `Run.signal`."""
    if not is_signal_name(name):
        raise UsageError(f"{name!r} names no signal. Give 1 to 200 printable characters.")
    call = Call(scope, name, "signal", StepKind.SIGNAL, Effect.READ)
    within_s = None if within is None else seconds(within, "within")
    outcome = await driver.step(SignalWait(call, within_s, encode(default)))
    facts, value = outcome.facts, None if outcome.body is None else decode(outcome.body)
    return Signal(facts["outcome"], value, facts.get("sender", ""))


async def decide(driver: Driver, scope: str, what: str, choice: Any, because: str) -> Any:
    """The agent's choice, as it was recorded first; see `Run.decide`."""
    body = encode(choice)
    call = Call(scope, safe(what, 200), "decision", StepKind.DECISION, Effect.READ, body[:200])
    shown = safe(choice if isinstance(choice, str) else body.decode("utf-8", "replace"), 200)
    outcome = await driver.step(Decision(call, body, shown, safe(because)))
    return decode(outcome.body) if outcome.body is not None else None
