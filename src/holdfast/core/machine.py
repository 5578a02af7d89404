"""The replay machine: what a step that the agent asks for may do now. Pure; it returns decisions, others perform.

The agent function is run again from its start; each step it asks for is answered from the log, in the order in
which outcomes were recorded. The rules, by number:

1. *Address.* A step is found by (scope, name, digest of its arguments, n). A call takes the lowest n that nobody
   was answered for and nobody waits for: so a call after one whose caller gave up is that step again. A sleep is
   not: it has no outcome to lose, and a deadline that began with an earlier call would be over too early (P9).
2. *Order.* A recorded outcome is handed out when it is next among all recorded outcomes; `rest_order` may go on
   without the ones that nobody asked for. An outcome that was passed over is handed out at once when asked for.
3. *No record at the address.* A `read` or sleep is new and runs; it never gets another argument's answer. A new
   effect or question waits until every recorded one was asked for, a model call until every recorded model call
   of its scope was. At rest a model call may be found to be a recorded one by its tail (`drift`); then it *is* that
   step, here and in each later replay. At long rest the others are blocked, and the difference names both sides; or,
   where the agent says so, model calls begin as new and the recorded ones of their scope are given up (`rest_fresh`).
4. *Nothing new while the past is unexplained*, which is the same wait; an agent that returns or raises before all
   recorded effects, questions and model calls were asked for is blocked too (`unexplained`).
5. *A composite* begins at once, for its body only makes steps: after a crash it runs again, and they are answered from
   the log. With its outcome, or when its caller gives up, its scope is closed: nobody need ask for what is in it. Calls
   are counted scope by scope, since those of a closed one are not made again. What a step's body calls that is no
   composite belongs to its attempt: it has no place in the order, and no later process asks for it.
6. *An abandoned call* does not complete on replay: the next equal call takes its outcome. Its step counts as asked
   for in rules 2 and 4.

The machine never reads a clock, never touches the journal and holds no outcome of its own: `State` does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from holdfast.core.command import Ask, Block, Call, Command, Execute, Use, describe
from holdfast.core.drift import Match, awaited_no, forsaken, has_grown, matches
from holdfast.core.events import Address, Effect, Event, StepKind
from holdfast.core.places import Live, Places
from holdfast.core.scope import is_within
from holdfast.core.slot import Slot
from holdfast.core.state import State
from holdfast.core.unused import Unused, is_held_sort

_ANSWERED = Ask(Call("", "", "", StepKind.TOOL, Effect.READ), Address("", "", "", 0))
"""Stands for every call that was answered as it was made: nobody waits, so nobody can give up."""
_ANSWERED.is_answered = True


class Machine:
    """Answers the calls of one run against its state. `ready` gives what became possible since."""

    def __init__(self, state: State, *, on_drift: str = "hold") -> None:
        self.state = state
        self._is_fresh = on_drift == "fresh"
        self._places = Places(state)
        self._groups, self._lives = self._places.groups, self._places.lives  # for `replay`, where each look-up counts
        self._unused = Unused(state)
        self._next = 0
        self._asked: defaultdict[str, int] = defaultdict(int)
        self._queued: dict[Address, Ask] = {}
        self._held: list[Ask] = []
        self._gone: dict[Address, Ask] = {}
        """Calls that were held until their caller gave up; an equal one takes such a place again."""

    # --- what the driver reports -------------------------------------------------------------------------------

    def ask(self, call: Call) -> tuple[Ask, Command | None]:
        """Take a call in. None: it waits; see `ready`."""
        self._asked[call.scope] += 1
        live = self._places.take(call)
        ask = live.ask = Ask(call, live.address)
        live.asks += 1
        return ask, self._decide(ask, live)

    def replay(self, call: Call) -> Event | None:
        """Answer a call whose recorded outcome is next, if nothing about it is special; otherwise do nothing.

        What `ask` would do in the most common case of a replay, at a third of its cost.
        """
        order, place = self.state.order, self._next
        if place >= len(order):
            return None
        slot = order[place]
        address, outcome, what = slot.address, slot.outcome, call[:3]
        asked = self._asked[call.scope] + 1
        if address[:3] != what or slot.abandonments or outcome is None or slot.asked > asked:
            return None
        group = self._places.group(what) if what in self._groups else None
        n = len(group.lives) if group is not None else 0
        is_special = group is not None and (group.free or group.voids)
        if address.n != n or is_special or call.step is StepKind.SLEEP:
            return None
        self._asked[call.scope] = asked
        self._next = place + 1
        live = self._lives[address] = Live(address)
        live.ask, live.asks = _ANSWERED, 1
        if group is None:
            self._groups[what] = live
        else:
            group.lives.append(live)
        self._unused.use(address, slot)
        return outcome

    @property
    def asked(self) -> int:
        """Calls made so far."""
        return sum(self._asked.values())

    def asked_in(self, scope: str) -> int:
        """Calls made so far in this scope; goes onto each outcome that is recorded there."""
        return self._asked[scope]

    def begins(self, scope: str) -> None:
        """The body of a composite begins. When it did before, and its caller gave up: what it asked for can be asked
        for again, and then is that step again."""
        for live in list(self._lives.values()):
            if is_within(live.address.scope, scope) and live.ask is not None:
                self._queued.pop(live.address, None)
                self._places.leave(live)
        for below in [other for other in self._asked if is_within(other, scope)]:
            del self._asked[below]

    def expects(self, call: Call) -> bool:
        """Whether the record has a call like this one that nobody has asked for yet."""
        slots, n = self.state.slots, 0
        while (address := Address(call.scope, call.name, call.digest, n)) in slots:
            if self._places.is_vacant(address):
                return True
            n += 1
        return False

    def performing(self, address: Address, *, is_performed: bool) -> None:
        """The driver has begun, or has stopped, to perform this step."""
        self._lives[address].is_performed = is_performed

    def is_performed(self, address: Address) -> bool:
        """Whether the driver performs this step at this moment."""
        live = self._lives.get(address)
        return live is not None and live.is_performed

    def opened(self, address: Address) -> None:
        """The caller has the beginning of this step's answer: what follows it in the log need not wait for its end."""
        ask = self._lives[address].ask
        if ask is not None:
            ask.is_answered = ask.is_open = True

    def recorded(self, address: Address) -> tuple[Ask, Use] | None:
        """An outcome of this step was appended by this process: the waiting call gets it at once."""
        live, slot = self._lives.get(address), self.state.slots[address]
        if live is None:
            return None
        live.is_performed = False
        ask = live.ask
        if ask is not None and ask.is_open and slot.outcome is not None:
            ask.is_open = False
            return ask, Use(slot.outcome)
        if ask is None or ask.is_void or ask.is_answered or slot.outcome is None:
            return None
        if not self._is_turn(slot):
            self._queued[address] = ask
            return None
        if slot.order == self._next:
            self._next += 1
        return ask, self._hand_out(ask, slot.outcome)

    def gave_up(self, ask: Ask) -> bool:
        """The caller no longer waits. True when that is news and belongs into the log (rule 6)."""
        live = self._lives[ask.address]
        if live.ask is not ask:
            return False
        self._places.leave(live)
        self._queued.pop(ask.address, None)
        if ask in self._held:
            self._held.remove(ask)
            self._gone[ask.address] = ask
        return not ask.is_void

    @property
    def is_awaited(self) -> bool:
        """Whether a call waits for its turn, or for the past to be explained: whether `ready` may give anything."""
        return bool(self._queued or self._held)

    def ready(self) -> Iterator[tuple[Ask, Command]]:
        """Calls that need not wait any longer, in order; each is given once."""
        while True:
            found = self._next_in_order() or self._next_new()
            if found is None:
                return
            yield found

    # --- at rest, and at the end -------------------------------------------------------------------------------

    def rest_order(self) -> tuple[Ask, Use, list[Address]] | None:
        """After a silence: the earliest recorded outcome that was asked for, and those passed over for it."""
        for place in range(self._next, len(self.state.order)):
            slot = self.state.order[place]
            ask = self._queued.get(slot.address)
            if ask is not None and slot.outcome is not None:
                skipped = [s.address for s in self.state.order[self._next : place] if s.address in self._unused]
                self._next = place
                scope = slot.address.scope
                self._asked[scope] = max(self._asked[scope], slot.asked)
                return ask, self._hand_out(ask, slot.outcome), skipped
        return None

    def rest_tail(self) -> list[Match]:
        """After a silence: the held model calls that certainly are recorded ones, whatever drifted in their prompts."""
        if not any(ask.call.tail for ask in self._held):
            return []
        records = [*self._unused.models(), *self._forsaken_models()]
        before = awaited_no(self.state, self._places, [*self._queued, *self._unused.kept()])
        found = matches(self._held, [*self._gone.values()], records, before=before, asked=self.asked_in)
        return [self._moved(ask, slot.address) for ask, slot in found]

    def rest_fresh(self) -> list[Address]:
        """After a long silence: recorded model calls that are given up, so that held ones begin as new (`ready`)."""
        scopes = {ask.call.scope for ask in self._held if ask.call.step is StepKind.MODEL}
        if not self._is_fresh or not scopes:
            return []
        forsaken = [slot.address for slot in self._forsaken_models() if slot.address.scope in scopes]
        return [*self._unused.excuse(scopes), *forsaken]

    def rest_block(self) -> Block | None:
        """After a long silence: why the calls that are held may not go on, if there are any."""
        if not self._held:
            return None
        call = self._held[0].call
        is_hold = call.step is StepKind.MODEL
        unused = [slot.address for slot in self._unused.models(call.scope)] if is_hold else self._unused.writes
        has_grown = is_hold and self._has_grown([ask.call for ask in self._held])
        return Block(is_hold, describe(call), self._described(unused), has_grown)

    def rest_void(self) -> tuple[Ask, Command] | None:
        """After a long silence: a call that was abandoned then and is not now; give it its outcome after all."""
        for live in self._lives.values():
            ask, slot = live.ask, self.state.slots.get(live.address)
            if ask is None or not ask.is_void or ask.is_answered or slot is None:
                continue
            if slot.outcome is not None:
                return ask, self._hand_out(ask, slot.outcome)
            ask.is_void = False
            if not live.is_performed:
                return ask, Execute(live.address, slot)
        return None

    def unexplained(self, how: str, scope: str = "") -> Block | None:
        """The agent, or the composite whose scope it is, returned or raised (`how`): recorded effects, questions or
        model calls that it never asked for."""
        left = sorted(address for address in self._unused.kept() if not scope or is_within(address.scope, scope))
        if not left:
            return None
        asks = [live.ask.call for live in self._lives.values() if live.ask is not None]
        is_hold = not self._unused.writes
        return Block(is_hold, how, self._described(left), is_hold and self._has_grown(asks))

    def unused_reads(self) -> list[Address]:
        """Recorded reads that nobody asked for; drift, but harmless."""
        return self._unused.reads

    @property
    def is_replaying(self) -> bool:
        """Whether recorded outcomes are still to be handed out. Changes nothing, so any thread may look."""
        return self._passed() < len(self.state.order)

    # --- rules -------------------------------------------------------------------------------------------------

    def _decide(self, ask: Ask, live: Live) -> Command | None:
        slot = self.state.slots.get(ask.address)
        if slot is None or (slot.is_only_abandoned and is_held_sort(ask.call.step, ask.call.effect)):
            return self._decide_new(ask, live)
        self._unused.use(ask.address, slot)
        ask.is_void = live.asks <= slot.abandoned
        if ask.is_void:
            self._places.add_void(live)
        if slot.outcome is None:
            is_idle_void = ask.is_void and not (slot.is_in_flight and slot.effect.is_write)
            return None if live.is_performed or is_idle_void else Execute(ask.address, slot)
        if ask.is_void:
            return None
        if self._is_turn(slot):
            return self._hand_out(ask, slot.outcome)
        self._queued[ask.address] = ask
        return None

    def _is_turn(self, slot: Slot) -> bool:
        """Rule 2: it is next, and as many calls were made as when it was recorded; or it was passed over."""
        if slot.order == self._next and self._has_asked(slot):
            return True  # whatever is passed over behind it
        self._advance()
        return slot.order < self._next or (slot.order == self._next and self._has_asked(slot))

    def _has_asked(self, slot: Slot) -> bool:
        return self._asked[slot.address.scope] >= slot.asked

    def _decide_new(self, ask: Ask, live: Live) -> Command | None:
        if live.is_performed:
            return None
        self._gone.pop(ask.address, None)
        if self._unused.explains(ask.call):
            return Execute(ask.address)
        self._held.append(ask)
        return None

    def _hand_out(self, ask: Ask, outcome: Event) -> Use:
        if self._queued:
            self._queued.pop(ask.address, None)
        ask.is_answered = True
        return Use(outcome)

    def _advance(self) -> None:
        self._next = self._passed()

    def _passed(self) -> int:
        """Rule 2: how far everything was answered already, or its caller abandoned it."""
        order, lives, passed = self.state.order, self._lives, self._next
        while passed < len(order):
            slot = order[passed]
            live = lives.get(slot.address)
            if slot.address in self._queued:
                break
            is_done = live is not None and (live.ask is None or live.ask.is_answered)
            if not is_done and not slot.abandoned and not slot.is_excused and not self._is_closed(slot):
                break
            passed += 1
        return passed

    def _is_closed(self, slot: Slot) -> bool:
        return self.state.is_closed(slot.address.scope)

    def _next_in_order(self) -> tuple[Ask, Command] | None:
        self._advance()
        if self._next >= len(self.state.order):
            return None
        slot = self.state.order[self._next]
        ask = self._queued.get(slot.address)
        if ask is None or slot.outcome is None or not self._has_asked(slot):
            return None
        return ask, self._hand_out(ask, slot.outcome)

    def _next_new(self) -> tuple[Ask, Command] | None:
        if self._unused.is_news:  # otherwise nothing has changed for those that are held
            for ask in self._held:
                if self._unused.explains(ask.call):
                    self._held.remove(ask)
                    return ask, Execute(ask.address)
            self._unused.is_news = False
        return None

    # --- drift -------------------------------------------------------------------------------------------------

    def _moved(self, ask: Ask, recorded: Address) -> Match:
        self._held.remove(ask)
        asked, live = ask.address, self._places.move(ask.address, recorded)
        ask.address = recorded
        return Match(ask, asked, self._decide(ask, live))

    def _forsaken_models(self) -> list[Slot]:
        return [slot for slot in forsaken(self.state, self._places) if slot.step is StepKind.MODEL]

    def _has_grown(self, calls: list[Call]) -> bool:
        """Whether one of these goes on from the model call that is due in its scope, which nobody has asked for."""
        slots = self.state.slots
        for scope in {call.scope for call in calls if call.history}:
            due = self._unused.models(scope)
            used = [slots[address] for address in self._lives if address.scope == scope and address in slots]
            if due and any(has_grown(call, due[0], used) for call in calls if call.scope == scope):
                return True
        return False

    def _described(self, addresses: Iterable[Address]) -> tuple[str, ...]:
        return tuple(self._describe(address) for address in addresses)

    def _describe(self, address: Address) -> str:
        slot = self.state.slots[address]
        sort = slot.effect if slot.step is StepKind.TOOL else slot.step
        return f"{sort} {address} ({address.digest[:8]})"
