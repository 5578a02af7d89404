"""The signals that a run was sent: each is kept until a step takes it, and is taken once.

One part of `State`.

Invariants
1. `unheard` holds those of `come` that no step has taken, in the order in which they came.
2. A step takes the oldest one of its name, or none: one that expired leaves all of them where they are.
"""

from __future__ import annotations

from holdfast.core.events import Event


class Signals:
    """What one run was sent."""

    __slots__ = ("come", "unheard")

    def __init__(self) -> None:
        self.come: list[Event] = []
        self.unheard: list[Event] = []

    def received(self, event: Event) -> None:
        """One has come."""
        self.come.append(event)
        self.unheard.append(event)

    def heard(self, event: Event) -> Event:
        """A step took the first signal of its name, whose value is recorded there: its outcome with that value."""
        name = event.address.name if event.address is not None else ""
        if event.facts.get("outcome") != "received":
            return event
        place = next(i for i, signal in enumerate(self.unheard) if signal.facts["name"] == name)
        return event._replace(body=self.unheard.pop(place).body)
