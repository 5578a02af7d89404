"""What a check has done in a thread, within its time; what comes later is not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.core.verdict import Result
from holdfast.runtime.thread import in_thread


async def within(limit_s: float, name: str, work: Callable[[], Result], late: str) -> Result:
    """The result of `work`; one that says `late` when the time is over. name: of the thread."""
    try:
        async with asyncio.timeout(limit_s):
            result: Result = await in_thread(name, work)
            return result
    except TimeoutError:
        return Result(True, False, late)
    except RuntimeError as error:
        return Result(False, False, f"could not be started: {error}")
