"""Carries out what is ordered of a run without code, without a worker, a loop or anybody's code.

There are two sorts: the operator's desk, and projects. An order is stored first (`order`, `tell`): from then on it is
not lost. Whoever takes the run (`attend`) turns all orders that lie there into events, the cell that readers look at,
and the caps of accounts, in one append: an order is done or it still lies there, never half. The command line does
both; a worker that looks for work takes such runs, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from holdfast.core import accept, board, desk
from holdfast.core import project as orders
from holdfast.core.accept import Message, MessageKind, Posted
from holdfast.core.address import run_id
from holdfast.core.budget import Limits
from holdfast.core.events import Event, Kind, meta
from holdfast.core.heads import Head, Why
from holdfast.core.state import fold
from holdfast.errors import JournalCorrupt, LeaseLost, UsageError
from holdfast.journal.codec import digest
from holdfast.journal.process import this_worker
from holdfast.protocols import AccountCharge, Append, Claim, Clock, Journal, Mail, Post
from holdfast.runtime import current, project

AGENTS: Final = (desk.DESK, board.PROJECT)
"""The agents of runs without code."""
_INPUT = b"null"
_LEASE_S = 5.0
_LOOKS_MAX = 250
_LOOK_S = 0.02


def id_of(journal: Journal, tenant: str = "default", key: str = desk.DESK) -> str:
    """The id of the tenant's desk, or of the project under that key."""
    return run_id(journal.hash_key, tenant, key)


def order(journal: Journal, message: Message, message_id: str, tenant: str, before: Sequence[Post] = ()) -> Posted:
    """Store a command to the desk, and `before` it messages to runs that it tells of, in one transaction.

    What became of the first that was refused, else of the command.
    """
    check_operator()
    at = id_of(journal, tenant)
    opening = Post(at, "start", accept.open_desk(_INPUT, digest(_INPUT)))
    posted = journal.post_all([*before, opening, Post(at, message_id, message)])
    return next((one for one in posted if one.refused), posted[-1])


def tell(journal: Journal, name: str, message: Message, message_id: str, tenant: str) -> Posted:
    """Store a command to the project of that name; what became of it. Who may tell what is the caller's to check."""
    at = id_of(journal, tenant, board.key_of(name))
    opening = Post(at, "start", accept.open_project(name, _INPUT, digest(_INPUT)))
    return journal.post_all([opening, Post(at, message_id, message)])[-1]


def check_operator() -> None:
    """An agent cannot widen what it may do: within a run, its tools included, nothing is ordered."""
    if current.place() is not None:
        raise UsageError(
            "This was called by code of a run, and what a run may do is not its own to change. Nothing was changed. "
            "An operator does it, by the command line or from code outside of every run."
        )


def carry_out(journal: Journal, clock: Clock, tenant: str, key: str = desk.DESK) -> bool:
    """Take the desk, or the project under `key`, and carry out what lies there; False when somebody else holds it for
    longer than we wait."""
    worker = this_worker("desk_" + clock.fresh_id()[:16])
    at = id_of(journal, tenant, key)
    journal.register(worker, _LEASE_S)
    try:
        for _ in range(_LOOKS_MAX):
            if not journal.mail(at):
                return True
            _attend(journal, worker.id, clock, at)
        return False
    finally:
        journal.retire(worker.id)


def attend(journal: Journal, worker_id: str, clock: Clock, tenant: str) -> None:
    """Carry out what lies at the desk now, if nobody else is at it; otherwise wait for a moment."""
    _attend(journal, worker_id, clock, id_of(journal, tenant))


def _attend(journal: Journal, worker_id: str, clock: Clock, at: str) -> None:
    claims = journal.claim(worker_id, run_ids=[at])
    for claim in claims:
        work(journal, claim, clock)
    if not claims:
        threading.Event().wait(_LOOK_S)


def work(journal: Journal, claim: Claim, clock: Clock) -> None:
    """What a worker does with such a run when it was given it: all that lies there, in one append."""
    lease = claim.lease
    try:
        mail = journal.mail(lease.run_id)
        if not mail:
            journal.release(lease, None)
            return
        append = _append(journal, claim, mail, clock.now())
    except JournalCorrupt:  # it is due again when somebody has told it something
        journal.release(lease, None)
        raise
    [refused] = journal.append([append])
    if refused is not None and not isinstance(refused, LeaseLost):  # another one is at it then
        journal.release(lease, None)
        raise refused


def _append(journal: Journal, claim: Claim, mail: Sequence[Mail], now: float) -> Append:
    is_project = claim.head.agent == board.PROJECT
    return _at_project(journal, claim, mail, now) if is_project else _at_desk(journal, claim, mail, now)


def _at_desk(journal: Journal, claim: Claim, mail: Sequence[Mail], now: float) -> Append:
    recorded = journal.events(claim.lease.run_id)
    switches, events = desk.fold(recorded), [] if recorded else [_opened(claim, mail, journal)]
    for message in _commands(mail):
        switches, told = desk.carried_out(switches, message.facts, now)
        events += told
    if not recorded:
        events.append(_waiting(now))
    head = fold([*recorded, *events]).head()
    cells = {desk.CELL: switches.text()}
    return _whole(claim, len(recorded), mail, events, head, cells, lambda account: switches.caps[account])


def _at_project(journal: Journal, claim: Claim, mail: Sequence[Mail], now: float) -> Append:
    """Its log is not read as a whole: all that changes of its head is when something was last recorded."""
    name = claim.head.key.removeprefix(board.key_of(""))
    found = project.read(journal, claim.lease.run_id, name)
    before = found.board.count
    events = [] if before else [_opened(claim, mail, journal), _waiting(now)]
    after = board.fold(events, found.board)
    for message in _commands(mail):
        after, told = orders.carried_out(after, message.facts, message.body, now)
        events += told
    cells = {}
    if (writes := project.written(found, after, events, now)) is not None:
        events.append(writes)
        cells = {board.cell_of(name): str(before + len(events))} if found.is_sound else {}
    last = events[-1].at if events else claim.head.updated_at
    head = claim.head._replace(updated_at=last, wake_at=None) if before else fold(events).head()
    return _whole(claim, before, mail, events, head, cells, lambda account: after.caps)


def _commands(mail: Sequence[Mail]) -> list[Message]:
    return [item.message for item in mail if item.message.kind is MessageKind.COMMAND]


def _whole(
    claim: Claim,
    before: int,
    mail: Sequence[Mail],
    events: Sequence[Event],
    head: Head,
    cells: Mapping[str, str],
    caps: Callable[[str], Limits],
) -> Append:
    changed = {event.facts["account"] for event in events if event.kind is Kind.BUDGET_CHANGED}
    return Append(
        claim.lease,
        before,
        events,
        head,
        mail_read=mail[-1].number,
        releases=True,
        charges=[AccountCharge(account, limits=caps(account)) for account in sorted(changed)],
        cells=cells if events else {},
    )


def _opened(claim: Claim, mail: Sequence[Mail], journal: Journal) -> Event:
    start = next(item for item in mail if item.message.kind is MessageKind.START)
    facts = start.message.facts
    told = meta(
        run=claim.lease.run_id,
        agent=facts["agent"],
        key=facts["key"],
        input_digest=facts["input_digest"],
        seed=run_id(journal.hash_key, "seed", claim.lease.run_id),
        created_at=start.at,
    )
    return Event(Kind.RUN_STARTED, start.at, meta=told, body=start.message.body)


def _waiting(now: float) -> Event:
    return Event(Kind.RUN_SUSPENDED, now, meta=meta(why=Why.COMMAND))
