"""R4 on a clock of our own: the form of Retry-After that names a time."""

from __future__ import annotations

import asyncio

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.clock import ManualClock


class Busy(Exception):
    """As HTTP libraries raise it, with the headers of the response."""

    status_code = 429
    headers = {  # noqa: RUF012 - never changed
        "Date": "Mon, 23 Nov 2026 11:59:30 GMT",
        "Retry-After": "Mon, 23 Nov 2026 12:00:15 GMT",
    }


async def test_an_http_date_is_a_floor_for_the_next_attempt() -> None:
    """R4. Lost: asked before the time it named, the provider turns a rate limit into a ban."""
    clock = ManualClock(draws=(0.0,))
    journal = MemoryJournal(clock=clock.now)
    asked_at: list[float] = []

    @hf.tool(effect="read", retry=hf.Retry(attempts=3, wait=1))
    async def fetch(page: int) -> str:
        asked_at.append(clock.now())
        if len(asked_at) == 1:
            raise Busy
        return "page"

    @hf.agent(budget=hf.Budget(tool_calls=5))
    async def reader(run: hf.Run, page: int) -> str:
        return await fetch(page)

    async with hf.App(journal, clock=clock, serves=False, settings=hf.Settings(lease_s=1e9, park_s=1e6)) as app:
        running = asyncio.ensure_future(app.run(reader, 1, key="k"))
        while not running.done() and len(clock.waits) < 10_000:
            await clock.advance(1)
        assert await running == "page"
        failed = [e for e in journal.events(journal.heads()[0].run_id) if e.kind is Kind.ATTEMPT_FAILED]
    assert len(failed) == 1 and failed[0].facts["retry_after_s"] == 45
    first, second = asked_at
    assert 45 <= second - first <= 46
