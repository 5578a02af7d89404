"""A step that a person must agree to before it begins: asked, waited for, and checked again just before it does.

Whether an answer counts is decided in `core.approval`; here the question is written, and what follows is done.

Invariants
1. What is approved is what is done: the digest is worked out from the recorded arguments, which the body is called
   with, between the answer and the intent; nothing is waited for between the two.
2. A step that was asked about needs that answer, also when its tool no longer declares `approve`.
   It counts only from somebody who may give it as of then, by whom the tool names now: whichever way it came.
3. Nothing that may have happened is put to anybody as if it had not: only what certainly did not is asked about anew.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from holdfast.core import approval, approvers, opaque
from holdfast.core.approvers import Approvers
from holdfast.core.events import NOTHING, Address, Effect, Event, Kind, meta
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.heads import Status, Why
from holdfast.core.rung import Ask
from holdfast.core.slot import Slot
from holdfast.journal.codec import decode
from holdfast.runtime.pauses import fresh_question_id
from holdfast.runtime.reaching import reached
from holdfast.runtime.spec import Spec
from holdfast.runtime.way import Attempted, Terms, Way

if TYPE_CHECKING:
    from holdfast.runtime.attempts import Attempts
    from holdfast.runtime.calls import Calls

NOT_APPROVED = "NotApproved"
"""How the record calls a step that was not begun for want of an approval; its `code` says which want."""


def version_of(spec: Spec | None, effect: Effect) -> str:
    """What a call of this tool is: its effect and its parameters. Their defaults may look different in each process."""
    if spec is None:
        return str(effect)
    try:
        parameters = inspect.signature(spec.fn).parameters
    except ValueError:  # a function written in C that does not say what it takes
        return str(effect)
    return " ".join([str(effect), *(f"{name}:{parameter.kind.name}" for name, parameter in parameters.items())])


class Approving(ABC):
    """The part of a step's performance that waits for an approval."""

    driver: Calls
    plan: Attempts
    address: Address
    effect: Effect
    logical: int

    @property
    @abstractmethod
    def terms(self) -> Attempts | Terms:
        """What holds for the attempt that is to begin."""

    @property
    @abstractmethod
    def way(self) -> Way:
        """How it is to be made."""

    @abstractmethod
    async def _conclude(self, kind: Kind, attempted: Attempted, facts: dict[str, Any]) -> None:
        """Write the outcome, and tell it."""

    @abstractmethod
    def _event(self, kind: Kind, **more: Any) -> Event:
        """An event about this attempt."""

    @abstractmethod
    async def _wait(self, why: Why, until: float) -> None:
        """Wait for a time."""

    def _must_be_approved(self) -> bool:
        """Whether anybody has to agree: a cheap look, as it is taken before each attempt. What was begun, and may have
        happened, is begun again as the same intent: with its key, and with the approval that it had."""
        slot = self.driver.record.state.slots.get(self.address)
        if slot is not None and slot.is_in_flight:
            return False
        return self.terms.policy().approve is not None or (slot is not None and slot.approval is not None)

    async def _approved(self) -> bool:
        """Wait until it may begin. False: it may not, and that is its outcome."""
        driver = self.driver
        while True:
            now, slot = driver.record.now(), driver.state.slots.get(self.address)
            soon = approval.ahead(slot.grant if slot is not None else None, driver.state.grants, now)
            if soon is not None:
                await self._wait(Why.QUESTION, soon)
                continue
            grant = self._granted(now) if driver.state.grants else None
            if grant is not None:
                self._use(grant)
                return True
            asked = slot.approval if slot is not None else None
            wanted = "" if asked is None else self._wanted(asked)
            members = None if asked is None else self._members(asked.facts.get("approvers", ()))
            match approval.ruled(asked, slot.grant if slot is not None else None, wanted, now, members):
                case approval.Granted():
                    return True
                case approval.Waiting():
                    assert slot is not None
                    await self._until_answered(slot)
                case approval.AskAnew() as anew:
                    nobody = await reached(driver, self.address, self._asking(asked), self._wait)
                    nobody = nobody or await self._ask_approval(anew)
                    if nobody is not None:
                        await self._not_approved(nobody)
                        return False
                case approval.Refused() as refused:
                    await self._not_approved(refused)
                    return False

    def _wanted(self, asked: Event) -> str:
        """The digest that the question would have to name."""
        ask = self._asking(asked)
        return self._digest(ask, asked.facts.get("expires_at"), self._whose(ask, asked.facts))

    def _granted(self, now: float) -> approval.Grant | None:
        """What a person has approved in a list, and this call may use."""
        grants, name = self.driver.state.grants, self.way.name
        return approval.usable(grants, name, self._version, self.address, self.logical, now, self._is_word)

    def _is_word(self, grant: approval.Grant) -> bool:
        """Whether who approved the list may approve this: what the tool itself demands is not undone by a list."""
        declared = self.terms.policy().approve
        if declared is not None and (
            self._quorum(declared) > 1
            or approvers.is_same(grant.by, self.driver.state.requester)
            or self.driver.record.now() >= grant.given_at + approval.valid_s(declared)
        ):
            return False
        named = (grant.approvers, () if declared is None else declared.approvers)
        return all(grant.by in self._members(names) for names in named if names)

    def _members(self, names: Sequence[str]) -> frozenset[str]:
        """Whom these names stand for now."""
        escalation = self.driver.services.escalation
        return frozenset(names if escalation is None or not names else escalation.members(names))

    @property
    def _version(self) -> str:
        terms = self.terms
        return version_of(terms.spec if isinstance(terms, Terms) else None, self.effect)

    def _asking(self, asked: Event | None) -> Ask:
        """Who is asked and for how long: as it is declared now, else as it was when it was asked."""
        declared = self.terms.policy().approve
        if declared is not None or asked is None:
            assert declared is not None
            return replace(declared, quorum=self._quorum(declared))
        facts = asked.facts
        return Ask(
            facts["to"],
            valid=facts["valid_s"],
            default=facts.get("default"),
            within=facts.get("within_s"),
            approvers=facts.get("approvers", ()),
            urgent=facts.get("urgent", False),
            quorum=facts.get("quorum", 1),
        )

    def _quorum(self, declared: Ask) -> int:
        """How many must agree: more, where it is declared, to what nobody can read off its arguments."""
        more = declared.quorum_opaque
        is_opaque = more is not None and more > declared.quorum and opaque.found(decode(self.plan.args))
        return more if more is not None and is_opaque else declared.quorum

    def _digest(self, ask: Ask, expires_at: float | None, whose: Approvers) -> str:
        driver = self.driver
        return approval.digest(
            approval.Subject(
                tenant=driver.services.tenant,
                run=driver.lease.run_id,
                address=self.address,
                logical=self.logical,
                tool=self.way.name,
                version=self._version,
                args=self.plan.args,
                who=ask.who,
                valid_s=approval.valid_s(ask),
                default=ask.default or approval.DECLINE,
                expires_at=expires_at,
                approvers=whose,
            )
        )

    def _whose(self, ask: Ask, asked: dict[str, Any]) -> Approvers:
        return Approvers.of(ask, self.driver.state.requester, asked)

    def _use(self, grant: approval.Grant) -> None:
        """Write by which grant it begins; it goes into the store with the intent."""
        if grant.used is None:
            because = f"{grant.by} approved this call in a list"
            facts = meta(
                what="approval",
                choice="begin",
                because=because,
                grant=[grant.question, grant.tool, grant.args],
                logical=self.logical,
            )
            self.driver.record.note(Kind.DECIDED, facts, address=self.address)

    async def _ask_approval(self, anew: approval.AskAnew) -> approval.Refused | None:
        """Ask. There may be nobody who could agree: then nobody is asked."""
        driver, slot = self.driver, self.driver.state.slots.get(self.address)
        if driver.is_stopping or driver.is_closing or driver.state.status.is_end:
            await driver.never()
        before = None if slot is None else slot.approval
        ask = self._asking(before)
        whose = self._whose(ask, {"people": sorted(self._members(ask.approvers)), "agreed": anew.agreed})
        if lacking := whose.lacks():
            return approval.Refused("undeliverable", "", lacking, ask.default == approval.STOP)
        expires_at = self._until(ask, before if anew.agreed else None)
        again = f" It is asked again: {anew.because}." if anew.because else ""
        facts = meta(
            id=fresh_question_id(driver, self.address),
            about=approval.ABOUT,
            text=f"May {self.way.name} be called with these arguments?{again}",
            options=list(approval.OPTIONS),
            to=ask.who,
            expires_at=expires_at,
            within_s=ask.within_s,
            default=None if ask.within_s is None else ask.default or approval.DECLINE,
            valid_s=approval.valid_s(ask),
            urgent=ask.urgent or None,
            digest=self._digest(ask, expires_at, whose),
            **whose.facts(),
        )
        if before is not None and before.facts["id"] in driver.state.questions:  # it was about something else
            withdrawn = meta(id=before.facts["id"], outcome="withdrawn")
            driver.record.add(self._event(Kind.QUESTION_CLOSED, meta=withdrawn))
        driver.record.add(self._event(Kind.QUESTION_ASKED, meta=facts, body=self.plan.args))
        await driver.write()
        return None

    def _until(self, ask: Ask, before: Event | None) -> float | None:
        """Until when it can be answered: the second of several until the same moment as the first."""
        now = self.driver.record.now()
        ends_at = None if before is None else before.facts.get("expires_at")
        if ends_at is not None and ends_at > now:
            return float(ends_at)
        return None if ask.within_s is None else now + ask.within_s

    async def _until_answered(self, slot: Slot) -> None:
        asked = slot.approval.facts if slot.approval is not None else {}
        expires_at = asked.get("expires_at")
        with self.driver.silence.waits(self.address, Why.QUESTION, expires_at):
            await self.driver.waits.answered(asked["id"], expires_at)

    async def _not_approved(self, refused: approval.Refused) -> None:
        """The agent is told; or the run is stopped, where that is the declared default."""
        driver, name, slot = self.driver, self.way.name, self.driver.state.slots.get(self.address)
        if refused.stops:
            facts: dict[str, Any] = {} if slot is None else {"cause": [list(self.address)]}  # None: nobody was asked
            driver.stop(Status.STOPPED, f"{name} was not approved: {refused.because}", facts)
            await driver.never()
        again = " again" if slot is not None and slot.attempt else ""
        text = f"{name} was not begun{again}: {refused.because}"
        failure = Failure(FailureKind.REFUSED, NOT_APPROVED, text, text, because=refused.because, code=refused.outcome)
        by = {"by": refused.by} if refused.by else {}
        await self._conclude(Kind.STEP_FAILED, Attempted(None, NOTHING, failure), failure.facts() | by)
