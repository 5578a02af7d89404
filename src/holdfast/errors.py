"""Every error that holdfast raises, as one tree.

    UsageError              you used it in a way that cannot work; nothing was done
      Unencodable           a value cannot be written to the journal
      ArgumentsInvalid      what a model gave a tool does not fit it, or names no tool
      RunContextLost        an effect was asked for outside the run that it belongs to
      RunMismatch           the key names a run of another agent or input
      PolicyInvalid         a policy, budget or declaration without a bound or a meaning
      NotFound              no such run, question or step
      MessageRefused        a message to a run that cannot count any more
    RunError                this run, or this step of it, ended so
      ToolFailed            a step failed and its error class was not declared in ``raises=``
        NotApproved       a step was not begun: nobody who may has approved it
      Unverified            nobody could say whether an effect happened, and you asked to be told
      RunFailed             the agent raised
      RunStopped            a limit or an operator stopped the run; ``resume`` goes on
        BudgetExceeded      the limit was a budget
      RunCancelled          somebody cancelled it
      RunForgotten          it has ended, and its record was removed by retention
      RunWaiting            not an end: a person, a time or another process is awaited
        RunBlocked          not an end: the code no longer matches the record, or an effect is in doubt
          HistoryGrew       state of the agent outlived the process, and its conversation is ahead of the record
    JournalError            the store is unwell, or refuses
      LeaseLost             another worker has taken the run over
      MailWaiting           a run may not end while it has unread mail
      BudgetRefused         an account that several runs share has no room for what an append asks for
      StoreForeign          the file is not a holdfast store
      StoreBusy             a living worker holds runs that are to be moved
      StoreMoved            the runs of the store go on, or will go on, in another one
      StoreDisplaced        the store's file was moved, copied or put back, and nobody has said which
      SchemaNewer           the store was written by a newer holdfast
      JournalCorrupt        stored bytes are not what was written
      StoreUnreachable      the store did not answer, or the outcome of a commit is unknown
        OthersWriting       others were writing for too long, and nothing was written
        StoreFull           the disk is full, and nothing new is begun until there is room
    InternalError           a bug in holdfast

``NotDone`` stands outside: a tool or a ``verify`` raises it to say that an effect did **not** happen.
Messages say what happened, what holdfast did, and what to do next. This module imports nothing.
"""

from __future__ import annotations


class UsageError(Exception):
    """You used holdfast in a way that cannot work; nothing was done."""


class Unencodable(UsageError):
    """A value cannot be written to the journal; `path` says which part of it."""

    def __init__(self, what: str, path: str = "$") -> None:
        super().__init__(f"{what} (at {path}). Nothing was written. Return or pass plain data instead.")
        self.what = what
        self.path = path


class ArgumentsInvalid(UsageError):
    """What a model gave a tool does not fit the tool's schema, or names no tool; nothing was begun."""


class RunContextLost(UsageError):
    """An effect or model call was asked for outside the run that it belongs to."""


class RunMismatch(UsageError):
    """The key names a run that was started with another agent or input."""


class PolicyInvalid(UsageError):
    """A policy, budget or declaration has no bound or makes no sense."""


class NotFound(UsageError):
    """No such run, question or step in this store."""


class MessageRefused(UsageError):
    """A message cannot count (run ended, question closed, answer not among the options); nothing was stored."""


class RunError(Exception):
    """This run, or this step of it, ended so."""


class ToolFailed(RunError):
    """A step failed; `str()` is the same text live and on replay."""


class NotApproved(ToolFailed):
    """A step was not begun: a person declined it, or nobody answered, or could be asked, in time."""

    outcome = "declined"
    """`declined`, `expired`, `undeliverable` or `withdrawn`."""
    by = ""
    """Who declined it; empty when nobody did."""


class Unverified(RunError):
    """Whether the effect happened is not known, and the agent was to be told so."""


class RunFailed(RunError):
    """The agent raised; the run's record says where and why."""


class RunStopped(RunError):
    """A limit or an operator stopped the run; its work is kept and ``resume`` goes on."""

    reason = ""
    """What kind of limit: such as "budget: tokens" or "stuck: cycle"; empty when it was a person or an operator."""
    handover = ""
    """What is done, what is not, and how to go on."""


class BudgetExceeded(RunStopped):
    """A call whose worst case does not fit the budget was not sent."""


class RunCancelled(RunError):
    """The run was cancelled."""


class RunForgotten(RunError):
    """The run has ended, and its record was removed by retention: how it ended is known, its result is not."""


class RunWaiting(RunError):
    """Not an end: the run waits for a person, a time, or another process."""


class RunBlocked(RunWaiting):
    """Not an end: the code no longer matches the record, or an effect is in doubt."""


class HistoryGrew(RunBlocked):
    """Not an end: the conversation holds answers that the record has not given yet; state outlived the process."""

    advice = (
        "The agent asks the model with a conversation that is ahead of the record: state of its own outlived the "
        "process, such as a framework's saver or session. Nothing was sent, and nothing is lost. Put that state behind "
        "a step, or keep it in memory for the run; then `holdfast resume`. "
        "Or declare on_drift='fresh', which asks again what was answered."
    )


class JournalError(Exception):
    """The store is unwell, or refuses."""


class LeaseLost(JournalError):
    """Another worker has taken the run over; this one changed nothing."""


class MailWaiting(JournalError):
    """A run may not end while it has unread mail."""


class BudgetRefused(JournalError):
    """What an append asks for does not fit an account that several runs share; nothing was written.

    `account` is what would have been charged, `cap` the account whose caps hold, `excess` the `core.budget.Excess`.
    """

    def __init__(self, account: str, cap: str, excess: object) -> None:
        super().__init__(
            f"The budget {cap} has no room left: {excess}. Nothing was written, and nothing may be sent. "
            f"Raise the cap, or wait until there is room."
        )
        self.account = account
        self.cap = cap
        self.excess = excess


class StoreForeign(JournalError):
    """The file is not a holdfast store."""


class StoreBusy(JournalError):
    """Runs are to be moved, and a living worker holds some of them."""


class StoreMoved(JournalError):
    """The store takes no writes: its runs go on in another store, or are on their way. `url`: the other store."""

    def __init__(self, text: str, url: str = "") -> None:
        super().__init__(text)
        self.url = url


class StoreDisplaced(JournalError):
    """The store's file was moved, copied or put back: it is only read until `holdfast adopt` says what it is."""


class SchemaNewer(JournalError):
    """The store was written by a newer holdfast."""


class JournalCorrupt(JournalError):
    """Stored bytes are not what was written."""


class StoreUnreachable(JournalError):
    """The store did not answer, or the outcome of a commit could not be read back."""


class OthersWriting(StoreUnreachable):
    """Others were writing for too long. Nothing was written, and it may be tried again."""


class StoreFull(StoreUnreachable):
    """The disk is full: what is under way is still written, and nothing new is begun until there is room."""


class InternalError(Exception):
    """A bug in holdfast; please report it with the run's record."""


class NotDone(Exception):
    """Raise it in a tool, or raise or return it in a ``verify``, to say: the effect did not happen."""
