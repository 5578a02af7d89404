"""Who tells people of what runs ask, when a command drives runs: as holdfast.toml and the environment say.

And whether that reaches anybody, as the store knows it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from holdfast.cli import secret
from holdfast.core.heads import Status
from holdfast.errors import NotFound

if TYPE_CHECKING:
    from holdfast.core.heads import Head
    from holdfast.inbox.inbox import Inbox
    from holdfast.inbox.routes import Measured
    from holdfast.protocols import Journal

_LOOK_S: Final = 0.05
_LOOKS_MAX: Final = 1_200


def inbox_of(config: str | None) -> Inbox | None:
    """None when the file names no channels: then nothing of the inbox is loaded."""
    from holdfast.runtime.config import read

    if "channels" not in read(config)[1]:
        return None
    from holdfast.inbox.config import load as directory_of
    from holdfast.inbox.load import load, secrets_of  # loads smtplib, http.client and ssl
    from holdfast.runtime.clock import SystemClock

    loaded = load(config, secret.environ(), SystemClock().now)
    secret.withhold(secrets_of(directory_of(config)))
    return loaded


def measured(config: str | None, store: str | None) -> Measured:
    """Whether anybody can be reached; where there is no store yet, nothing was ever sent."""
    from holdfast.cli.store import address, opened_at
    from holdfast.inbox import routes
    from holdfast.inbox.config import load  # these load the core
    from holdfast.runtime.clock import SystemClock

    directory = load(config)
    try:
        with opened_at(address(store, config)) as journal:
            return routes.measured(directory, journal, journal.now())
    except NotFound:
        return routes.measured(directory, None, SystemClock().now())


async def people_told(journal: Journal, head: Head) -> None:
    """Stay until those who are first told of what this run asks were told, at most a minute: no other process may be
    there to do it."""
    from holdfast.runtime.escalating import chain_id

    ids = [chain_id(journal, head.run_id, question.id) for question in head.questions]
    for _ in range(_LOOKS_MAX):
        if not any(_is_at_work(journal, each) for each in ids):
            return
        await asyncio.sleep(_LOOK_S)


def _is_at_work(journal: Journal, run_id: str) -> bool:
    head = journal.head(run_id)
    return head is not None and head.status in (Status.READY, Status.RUNNING)
