"""Which step a call is: rule 1 of `machine`, and the steps that were found by their tail or by an earlier such find.

It never looks at outcomes and decides nothing else; the machine asks it for a place and gives places back.

Invariants
1. Of equal calls none takes an n that somebody was answered for or waits for.
2. A call that is equal to one whose outcome is that nobody knows whether it happened is that step again.
3. A place that became another step's stays so: an equal call that comes after its caller gave up is that step again.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from holdfast.core.command import Ask, Call
from holdfast.core.events import Address, StepKind
from holdfast.core.state import State


class Live:
    """What this process knows about one step beyond the log."""

    __slots__ = ("address", "also", "ask", "asks", "is_performed")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.also: tuple[Address, ...] = ()
        """Places of calls that are this step, though the record has it elsewhere."""
        self.ask: Ask | None = None
        """The call that took this n: it waits, or was answered. None when its caller gave up."""
        self.asks = 0
        self.is_performed = False
        """Somebody here performs it, so a further call joins instead of beginning it again."""


class Group:
    """The calls with equal scope, name and arguments."""

    __slots__ = ("free", "lives", "voids")

    def __init__(self) -> None:
        self.lives: list[Live] = []
        self.free: list[int] | None = None
        """A heap of the n whose callers gave up, or that nobody took; some may be taken again. None without any."""
        self.voids: list[Live] | None = None

    def let_go(self, n: int) -> None:
        """This n may be taken."""
        self.free = self.free or []
        heappush(self.free, n)


class Places:
    """The places that the calls of one process took."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.groups: dict[tuple[str, ...], Group | Live] = {}
        """Calls by what they ask for; a lone one stands there by itself."""
        self.lives: dict[Address, Live] = {}
        """Steps that were asked for."""

    def take(self, call: Call) -> Live:
        """The lowest n that nobody was answered for and nobody waits for."""
        group = self.group(call[:3])
        is_new = call.step is StepKind.SLEEP
        while group.free and not is_new:
            live = group.lives[heappop(group.free)]
            if live.ask is None:
                return self.lives.setdefault(live.address, live)
        address = Address(call.scope, call.name, call.digest, len(group.lives))
        is_recorded = address in self._state.slots
        if group.voids and not is_recorded and not is_new:
            for live in group.voids:  # a void call only waits for its caller's own timer: its step is this one again
                if live.ask is not None and live.ask.is_void and not live.ask.is_answered:
                    return live
        if not is_recorded and (unverified := self._unverified(call)) is not None:
            return unverified
        live = self.lives[address] = Live(address)
        group.lives.append(live)
        moved = self._state.moved.get(address) if self._state.moved and not is_recorded else None
        return live if moved is None or not self.is_vacant(moved) else self.move(address, moved)

    def _unverified(self, call: Call) -> Live | None:
        """The step that this call is again: an equal one of which its caller was told that nobody knows whether it
        happened. Under an n of its own it would have a new key, and could happen twice."""
        found = self._state.unverified.get(call[:3]) if self._state.unverified else None
        live = self.lives.get(found) if found is not None else None
        return live if live is not None and live.ask is not None and live.ask.is_answered else None

    def is_vacant(self, address: Address) -> bool:
        """Whether nobody has asked for this step."""
        return address not in self.lives

    def move(self, place: Address, recorded: Address) -> Live:
        """The call at `place` is the recorded step, which nobody has asked for: from now on both are one place."""
        group = self.group(recorded[:3])
        for n in range(len(group.lives), recorded.n + 1):
            group.lives.append(Live(recorded._replace(n=n)))
            group.let_go(n)  # also this one; whether it is taken is seen by its ask
        live = self.lives[recorded] = group.lives[recorded.n]
        left = self.lives.pop(place)
        live.ask, live.also = left.ask, (*live.also, place)
        live.asks += left.ask is not None
        self.group(place[:3]).lives[place.n] = live
        return live

    def add_void(self, live: Live) -> None:
        """Its call does not complete; one that comes while it waits joins it."""
        for address in (live.address, *live.also):
            group = self.group(address[:3])
            group.voids = [*(group.voids or ()), live]

    def leave(self, live: Live) -> None:
        """Its caller gave up: an equal call is this step again."""
        live.ask = None
        for address in (live.address, *live.also):
            self.group(address[:3]).let_go(address.n)

    def voids(self) -> Iterator[Live]:
        """Steps whose call does not complete, and has not given up yet."""
        return (live for live in self.lives.values() if (ask := live.ask) and ask.is_void and not ask.is_answered)

    def group(self, what: tuple[str, ...]) -> Group:
        """The calls that ask for this."""
        found = self.groups.get(what)
        if isinstance(found, Group):
            return found
        group = self.groups[what] = Group()
        if found is not None:
            group.lives.append(found)
        return group
