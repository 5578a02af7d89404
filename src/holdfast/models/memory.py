"""What the wire remembers of one run, in this process. All of it can be lost, and is, when the run leaves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from holdfast.core.events import Event
from holdfast.core.state import State
from holdfast.models.conversation import Conversations
from holdfast.models.repeats import Repeats
from holdfast.runtime.pricing import Prices

if TYPE_CHECKING:
    from holdfast.runtime.driver import Driver


@dataclass(slots=True, eq=False)
class Memory:
    """See above."""

    conversations: Conversations
    prices: Prices
    repeats: Repeats = field(default_factory=Repeats)
    live: set[asyncio.Task[Event]] = field(default_factory=set)
    warned: set[frozenset[str]] = field(default_factory=set)
    """Tools that are not known, of which was told."""
    hosts: set[str] = field(default_factory=set)
    """Hosts that were asked for a model."""


_memories: WeakKeyDictionary[Driver, Memory] = WeakKeyDictionary()


def memory_of(driver: Driver) -> Memory:
    """What is remembered of this run."""
    found = _memories.get(driver)
    if found is None:
        seen = ref(driver)  # what is remembered of a run does not keep it in memory

        def state() -> State:
            there = seen()
            assert there is not None
            return there.state

        conversations = Conversations(state)
        found = _memories[driver] = Memory(conversations, Prices(driver.services.prices))
    return found
