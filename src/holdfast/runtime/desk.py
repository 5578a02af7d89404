"""Carries out what is ordered at the operator's desk, without a worker, a loop or anybody's code.

An order is stored first (`order`): from then on it is not lost. Whoever takes the desk (`attend`) turns all orders that
lie there into events, the cell that workers look at, and the caps of accounts, in one append: an order is done or it
still lies there, never half. The command line does both; a worker that looks for work takes the desk, too.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from holdfast.core import accept, desk
from holdfast.core.accept import Message, MessageKind, Posted
from holdfast.core.address import run_id
from holdfast.core.events import Event, Kind, meta
from holdfast.core.heads import Why
from holdfast.core.state import fold
from holdfast.errors import LeaseLost, UsageError
from holdfast.journal.codec import digest
from holdfast.journal.process import this_worker
from holdfast.protocols import AccountCharge, Append, Claim, Clock, Journal, Lease, Mail, Post
from holdfast.runtime import current

_INPUT = b"null"
_LEASE_S = 5.0
_LOOKS_MAX = 250
_LOOK_S = 0.02


def id_of(journal: Journal, tenant: str = "default") -> str:
    """The id of the tenant's desk."""
    return run_id(journal.hash_key, tenant, desk.DESK)


def order(journal: Journal, message: Message, message_id: str, tenant: str, before: Sequence[Post] = ()) -> Posted:
    """Store a command to the desk, and `before` it messages to runs that it tells of, in one transaction.

    What became of the first that was refused, else of the command.
    """
    check_operator()
    at = id_of(journal, tenant)
    opening = Post(at, "start", accept.open_desk(_INPUT, digest(_INPUT)))
    posted = journal.post_all([*before, opening, Post(at, message_id, message)])
    return next((one for one in posted if one.refused), posted[-1])


def check_operator() -> None:
    """An agent cannot widen what it may do: within a run, its tools included, nothing is ordered."""
    if current.place() is not None:
        raise UsageError(
            "This was called by code of a run, and what a run may do is not its own to change. Nothing was changed. "
            "An operator does it, by the command line or from code outside of every run."
        )


def carry_out(journal: Journal, clock: Clock, tenant: str) -> bool:
    """Take the desk and carry out what lies there; False when somebody else holds it for longer than we wait."""
    worker = this_worker("desk_" + clock.fresh_id()[:16])
    journal.register(worker, _LEASE_S)
    try:
        for _ in range(_LOOKS_MAX):
            if not journal.mail(id_of(journal, tenant)):
                return True
            attend(journal, worker.id, clock, tenant)
        return False
    finally:
        journal.retire(worker.id)


def attend(journal: Journal, worker_id: str, clock: Clock, tenant: str) -> None:
    """Carry out what lies at the desk now, if nobody else is at it; otherwise wait for a moment."""
    claims = journal.claim(worker_id, run_ids=[id_of(journal, tenant)])
    for claim in claims:
        work(journal, claim, clock)
    if not claims:
        threading.Event().wait(_LOOK_S)


def work(journal: Journal, claim: Claim, clock: Clock) -> None:
    """What a worker does with the desk when it was given it: all that lies there, in one append."""
    lease = claim.lease
    mail = journal.mail(lease.run_id)
    if not mail:
        journal.release(lease, None)
        return
    [refused] = journal.append([_append(journal, lease, mail, clock.now())])
    if refused is not None and not isinstance(refused, LeaseLost):  # another one is at it then
        journal.release(lease, None)
        raise refused


def _append(journal: Journal, lease: Lease, mail: Sequence[Mail], now: float) -> Append:
    recorded = journal.events(lease.run_id)
    state, switches = fold(recorded), desk.fold(recorded)
    events: list[Event] = []
    for item in mail:
        if item.message.kind is MessageKind.COMMAND:
            switches, told = desk.carried_out(switches, item.message.facts, now)
            events += told
        elif not state.count:
            events.append(_opened(lease, item, journal))
    for event in events:
        state.apply(event)
    if state.why != Why.COMMAND:
        events.append(Event(Kind.RUN_SUSPENDED, now, meta=meta(why=Why.COMMAND)))
        state.apply(events[-1])
    changed = {event.facts["account"] for event in events if event.kind is Kind.BUDGET_CHANGED}
    return Append(
        lease,
        len(recorded),
        events,
        state.head(),
        mail_read=mail[-1].number,
        releases=True,
        charges=[AccountCharge(account, limits=switches.caps[account]) for account in sorted(changed)],
        cells={desk.CELL: switches.text()},
    )


def _opened(lease: Lease, mail: Mail, journal: Journal) -> Event:
    facts = mail.message.facts
    told = meta(
        run=lease.run_id,
        agent=facts["agent"],
        key=facts["key"],
        input_digest=facts["input_digest"],
        seed=run_id(journal.hash_key, "seed", lease.run_id),
        created_at=mail.at,
    )
    return Event(Kind.RUN_STARTED, mail.at, meta=told, body=mail.message.body)
