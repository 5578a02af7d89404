"""Why a store refuses: the checks and the words that every engine shares. Pure."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from holdfast.core.accept import MessageKind
from holdfast.core.standing import Passage, Standing
from holdfast.errors import InternalError, JournalError, LeaseLost, MailWaiting, StoreDisplaced, StoreMoved
from holdfast.protocols import Append, Mail

CELL_MAX = 64 * 1024
"""Bytes of a cell with its name: what is larger belongs into an event."""

UNWRITABLE = (ValueError, OverflowError, TypeError)
"""What Python and its database modules raise for a value that no column can hold."""


class Unwritable(InternalError, JournalError):
    """A store was given something that can never be written: a bug in holdfast, told in the slot of its append."""


def unwritable(what: str, error: Exception) -> Unwritable:
    """The error for `UNWRITABLE`; `what` names the append or message and its run."""
    return Unwritable(
        f"{what} holds what no store can keep ({type(error).__name__}: {error}): text with a NUL or a lone surrogate, "
        f"a count over 63 bits, a wrong type or more than 1 GB. Nothing of it was written. This is a bug in holdfast; "
        f"please report it."
    )


def no_run(run_id: str) -> LeaseLost:
    """Why nothing can be appended to a run that does not exist."""
    return LeaseLost(f"There is no run {run_id} in this store, so nobody can hold it. Nothing was written.")


def refuse_append(
    append: Append, worker_id: str | None, epoch: int, count: int, posted: int, read: int
) -> JournalError | None:
    """Why the append must not be written to a run with this owner and these counts of events and mail."""
    lease, read = append.lease, max(read, append.mail_read)
    if (worker_id, epoch) != (lease.worker_id, lease.epoch):
        return LeaseLost(
            f"Run {lease.run_id} is held by {worker_id or 'nobody'} at epoch {epoch}, not by {lease.worker_id} at "
            f"epoch {lease.epoch}: it was taken over. Nothing was written; its new owner goes on from the record."
        )
    if append.after != count:
        return Unwritable(
            f"Run {lease.run_id} has {count} events and its writer believed {append.after}: two drivers use one "
            f"lease. Nothing was written. This is a bug in holdfast; please report it with the run's record."
        )
    if read > posted or append.head.run_id != lease.run_id:
        return Unwritable(
            f"An append to run {lease.run_id} reads mail up to {read} of {posted} with the head of "
            f"{append.head.run_id}. Nothing was written. This is a bug in holdfast; please report it."
        )
    if (append.charges or append.cells) and not append.events:
        return Unwritable(
            f"An append to run {lease.run_id} changes accounts or cells without an event that says why. Nothing was "
            f"written. This is a bug in holdfast; please report it."
        )
    for name, value in append.cells.items():
        if not fits_cell(name, value):
            return no_cell(name)
    if append.head.status.is_end and posted > read:
        return MailWaiting(
            f"Run {lease.run_id} has unread mail ({posted - read}) and cannot end as {append.head.status}. "
            f"Nothing was written; read the mail first."
        )
    return None


def fits_cell(name: str, value: str) -> bool:
    """Whether a cell can hold it under that name."""
    try:
        whole = f"{name}{value}".encode()
    except UnicodeEncodeError:
        return False
    return name != "" and b"\0" not in whole and len(whole) <= CELL_MAX


def no_cell(name: str) -> Unwritable:
    """What is said when it does not."""
    return Unwritable(
        f"A cell needs a name, and text without a NUL or a lone surrogate, of at most {CELL_MAX} bytes in all: "
        f"{name[:64]!a} has none such. Nothing was written. This is a bug in holdfast; please report it."
    )


def moved(standing: Standing, here: str) -> StoreMoved:
    """Why nothing can be written to the store at `here`, which is not open."""
    url, there, here_too = standing.url, shlex.quote(standing.url), shlex.quote(here)  # a URL may have an & in it
    match standing.passage:
        case Passage.FILLING:
            what = f"runs are being moved into it from {url}, and it is not complete"
            how = f"Finish with `holdfast migrate {there} {here_too}`."
        case Passage.LEAVING:
            what = f"its runs are being moved to {url}"
            how = (
                f"Finish with `holdfast migrate {here_too} {there}`, or stay here with the same command and --give-up. "
                f"What works on these runs goes on when it is started with the store that holds them then."
            )
        case _:
            what = f"its runs go on in {url}"
            how = f"Use that store, such as with --store {there}. This one can still be read."
    return StoreMoved(f"The store {here} takes no writes: {what}. Nothing was written. {how}", url)


def displaced(path: str, stood: str) -> StoreDisplaced:
    """Why nothing can be written to a file that is not certainly the one it was."""
    return StoreDisplaced(
        f"{path} is not the file that was used at {stood}: it was moved to another disk, copied, or put back from a "
        f"backup. Nothing was written; it can be read. Say which: `holdfast adopt --moved` when it is the store itself "
        f"and nothing works on it elsewhere, `holdfast adopt --copied` when it is a copy or a backup."
    )


def not_filling(here: str) -> JournalError:
    """What is said to whoever would fill a store that is open."""
    return JournalError(
        f"The store {here} is open: it is not being filled, or not any more. Nothing was written. If somebody else was "
        f"moving runs into it, they are there."
    )


def became_another(here: str) -> StoreMoved:
    """What is said to a journal whose store was filled with another one's runs since it was opened."""
    return StoreMoved(
        f"The store {here} was filled with the runs of another one since this process opened it, so run ids of this "
        f"process are not those of the store. Nothing was written. Start the process again."
    )


def had_already(run_id: str, subject: str | None, first: Mail) -> str:
    """What somebody is told whose message comes after the `first` of its subject."""
    facts = first.message.facts
    if first.message.kind is MessageKind.ANSWER:
        what = f"Question {facts.get('question')} of run {run_id} has been answered already"
    else:
        what = f"Run {run_id} has had its message about {subject!r} already"
    at = datetime.fromtimestamp(first.at, UTC).isoformat(" ", "seconds")
    by = facts.get("by") or "somebody without a name"
    return f"{what}, at {at} by {by}. The first one counts; nothing was stored."
