"""Asking one person to confirm that a channel reaches them, and waiting for that. Loads asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.cli.output import say
from holdfast.cli.reach import inbox_of
from holdfast.cli.store import address
from holdfast.inbox.inbox import Inbox
from holdfast.inbox.probe import AGENT
from holdfast.runtime.app import App
from holdfast.runtime.clock import SystemClock


def confirmed(person: str, channel: str, within_s: float, config: str | None, store: str | None) -> dict[str, Any]:
    """What became of it."""
    inbox = inbox_of(config)
    assert inbox is not None, "there is the channel that was named"
    app = App(address(store, config), config=config, inbox=inbox, serves=False)
    return asyncio.run(_ask(inbox, app, person, channel, within_s))


async def _ask(inbox: Inbox, app: App, person: str, channel: str, within_s: float) -> dict[str, Any]:
    way = {"person": person, "channel": channel, "within_s": within_s}
    async with app:
        say(f"{person} is asked by {channel} to confirm it (see `holdfast inbox`). Ctrl-C stops the waiting.")
        became: dict[str, Any] = await app.run(
            inbox.probing.agent, way, key=f"{AGENT}/{SystemClock().fresh_id()}", wait=None
        )
        return became
