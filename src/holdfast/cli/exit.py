"""Exit codes: what a script learns from `holdfast` without reading a word."""

from __future__ import annotations

from enum import IntEnum

import click

from holdfast.errors import (
    BudgetExceeded,
    JournalError,
    LeaseLost,
    NotFound,
    RunBlocked,
    RunCancelled,
    RunError,
    RunForgotten,
    RunWaiting,
    StoreBusy,
    UsageError,
)


class Exit(IntEnum):
    """How a command ended. By a signal it is 128 + the signal's number: 130 for SIGINT, 143 for SIGTERM."""

    DONE = 0
    FAILED = 1
    """The run failed, or stopped for a reason that is no budget and no person."""
    USAGE = 2
    NOT_FOUND = 3
    BUDGET = 4
    PERSON = 5
    """Waiting for a person: an answer, or a resume after a pause."""
    CANCELLED = 6
    """By a person: cancelled, or aborted when they were asked."""
    STORE = 7
    IN_DOUBT = 8
    """In doubt or blocked."""
    BUG = 70
    """Ours (EX_SOFTWARE); nothing is said about the run."""
    LATER = 75
    """Held by another process, or suspended until a time (EX_TEMPFAIL)."""
    INTERRUPTED = 130
    CLOSED_PIPE = 141


HELP = """\b
Exit codes:
    0  done                        6  cancelled, or declined
    1  the run failed              7  the store is unwell
    2  wrong use                   8  in doubt, or blocked
    3  not found                  75  try later
    4  budget exhausted          130  by Ctrl-C, resumable
    5  waiting for a person      143  by SIGTERM, resumable"""

_CODES: tuple[tuple[type[BaseException], Exit], ...] = (  # the first that fits counts
    (NotFound, Exit.NOT_FOUND),
    (UsageError, Exit.USAGE),
    (click.ClickException, Exit.USAGE),
    (BudgetExceeded, Exit.BUDGET),
    (RunForgotten, Exit.NOT_FOUND),
    (RunCancelled, Exit.CANCELLED),
    (RunBlocked, Exit.IN_DOUBT),
    (RunWaiting, Exit.LATER),
    (RunError, Exit.FAILED),
    (LeaseLost, Exit.LATER),
    (StoreBusy, Exit.LATER),
    (JournalError, Exit.STORE),
    (KeyboardInterrupt, Exit.INTERRUPTED),
    (click.Abort, Exit.INTERRUPTED),
)


def code_of(error: BaseException) -> Exit:
    """The exit code for an error alone; `drive` knows more about a run that waits or was stopped."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.BUG)
