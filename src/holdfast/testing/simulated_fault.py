"""What may happen to a simulated process, and when: drawn by a seed, and carried out at a point that it reaches.

Invariants
1. A fault that cannot happen at a point waits for the next one at which it can.
2. Where receivers check no epochs, no fault stops an owner for so long that it is replaced while it may still act:
   that is the case in which `once` is not promised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from holdfast.core import accept
from holdfast.runtime.clock import Random
from holdfast.testing.simulated_journal import Death, unreachable

if TYPE_CHECKING:
    from holdfast.testing.simulated_process import Process
    from holdfast.testing.simulated_world import World

KINDS: Final = ("crash", "unknown", "outage", "stall", "stop", "cancel", "hold", "deploy", "power", "crash")
"""What may happen in every world; a crash is twice as likely."""
REPLACING: Final = ("pause", "jump", "crash", "pause")
"""And only where receivers check epochs."""
_PLACES: Final = ("", "append", "append", "effect", ":sent")
"""Most points are looks at a store with nothing to do; most faults are meant for where something is done."""


class Fault(NamedTuple):
    """Something that happens at the first fitting point from number `at` on."""

    at: int
    kind: str
    span_s: float
    """How long it lasts."""
    where: str = ""
    """What the label of a fitting point has in it."""


def drawn(chance: Random, most: int, lease_s: float, *, may_replace: bool) -> list[Fault]:
    """The faults of a seed, in order: up to `most` of them."""
    kinds = KINDS + REPLACING if may_replace else KINDS
    faults = []
    for _ in range(chance.randrange(most + 1)):
        kind = kinds[chance.randrange(len(kinds))]
        span_s = chance.random() * lease_s * (2.0 if may_replace else 0.25)
        where = _PLACES[chance.randrange(len(_PLACES))]
        faults.append(Fault(int(chance.random() ** 2 * 300), kind, span_s, where))
    return sorted(faults)


def strike(world: World, process: Process, fault: Fault, label: str) -> bool:
    """Let it happen; False when it cannot happen here."""
    if fault.where not in label:
        return False
    match fault.kind:
        case "crash":
            world.kill(process)
            raise Death
        case "power":
            world.count("power")
            for each in list(world.processes):
                world.kill(each)
            raise Death
        case "unknown" if fault.where in ("", "append"):
            wanted = "after" if _is_odd(fault) else "before"
            if label.startswith("effect") or not label.endswith(wanted):
                return False
            world.count(f"unknown_{wanted}")
            raise unreachable(label)
        case "outage" | "unknown":  # at an effect: what comes of it cannot be written
            process.down_until = world.now_s + fault.span_s
            world.count("outage")
            return True
        case "stall" | "pause":
            world.count(fault.kind)
            world.freeze(process, fault.span_s, is_whole=fault.kind == "pause")
            return True
        case "jump":
            world.set_calendar(fault.span_s if _is_odd(fault) else -fault.span_s)
        case "stop":
            process.stop()
        case "deploy":
            world.deploy()
        case _:
            return _order(world, fault)
    world.count(fault.kind)
    return True


def _is_odd(fault: Fault) -> bool:
    return int(fault.span_s * 1000) % 2 == 1


def _order(world: World, fault: Fault) -> bool:
    """An operator cancels a run, or pauses it for a time."""
    runs = world.oracle.open_runs
    if not runs:
        return False
    run = runs[world.chance.randrange(len(runs))]
    world.count(fault.kind)
    if fault.kind == "cancel":
        world.people.tell(run, accept.cancel(by="operator", is_now=world.chance.random() < 0.3))
    else:
        world.people.tell(run, accept.pause(by="operator"))
        world.after(fault.span_s, lambda: world.people.tell(run, accept.resume(by="operator", is_unpause=True)))
    return True
