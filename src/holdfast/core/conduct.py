"""What the log says about how a run behaves: what its model was told about it, and how near its end is.

Kept beside the steps (`State`), by the same fold. `loops` and `landing` decide with it.

Invariants
1. What was told once is known to be told, in every later life of the run; a `resume`, or a person who lets it go on,
   makes it forget the loops, and a raised cap the end of the budget.
2. A remark is made of the events up to the outcome that it stands beside, so a replay tells the model the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.core import landing
from holdfast.core.events import NOTHING, Address, Charge, Event, StepKind
from holdfast.core.slot import Slot

GO_ON, STOP = "go_on", "stop"
"""What a person may say when a run is stuck."""


@dataclass(slots=True)
class Conduct:
    """How one run behaves."""

    models: list[Slot] = field(default_factory=list, compare=False)
    """The latest model calls that have ended, at most two."""
    warned: dict[str, int] = field(default_factory=dict)
    """Parts of the budget that were nearly used up, and the cap that held then."""
    over: dict[str, int] = field(default_factory=dict)
    """Parts that were passed, and by then how much was spent: said once."""
    landing_no: int = 0
    """Number of the event by which the model was told of its last turn; 0: it was not."""
    refused: int = 0
    """Tool calls that did not fit and were refused since."""
    refused_no: int = 0
    """Number of the first such refusal."""
    told: dict[str, int] = field(default_factory=dict)
    """Loops that the model was told of, and by which event."""
    since: int = 0
    """Number of the event from which on outcomes count for a loop."""
    stopped_by: Event | None = None
    """A person's word that a run that is stuck is to stop."""
    is_slowed: bool = False
    """Whether it was said that model calls are slowed down."""
    undoable: set[Address] = field(default_factory=set)
    """Steps that were begun and can be undone: each keeps its share of the budget apart."""
    pending: tuple[str, ...] = ()
    """What a model is to read with the next outcome of a tool: only there it can be told something."""
    remarks: dict[Address, tuple[str, ...]] = field(default_factory=dict)
    """What a model is to read beside the outcome of a tool."""

    def ended(self, event: Event, slot: Slot, no: int) -> None:
        """A step of a model has an outcome, or any step has failed."""
        if event.step is StepKind.MODEL:
            self.models = [*self.models[-1:], slot]
            return
        if event.facts.get("is_definite", True):
            self.undoable.discard(slot.address)
        if event.facts.get("code") == landing.REFUSED_CODE:
            self.refused += 1
            self.refused_no = self.refused_no or no

    def warned_of(self, event: Event) -> None:
        """A part of the budget is nearly used up, or more than used up."""
        facts = event.facts
        if "overshoot" in facts:
            self.over[facts["name"]] = facts["spent"]
        if "share" in facts:
            self.warned[facts["name"]] = facts["limit"]
            self._remark(event, landing.warning(facts["name"], facts["limit"], facts["spent"]))

    def tell(self, address: Address) -> None:
        """A tool has an outcome: what is pending is told with it."""
        self.remarks[address] = (*self.remarks.get(address, ()), *self.pending)
        self.pending = ()

    def decided(self, event: Event, no: int) -> None:
        """Something was decided."""
        if not any(mark in event.meta for mark in _MARKS):
            return
        facts = event.facts
        match facts.get("what"):
            case "stuck" if facts.get("choice") == "tell":
                self.told[facts["loop"]] = no
            case "landing":
                self.landing_no = no
                self._remark(event, landing.last_words(facts["because"]))
            case "throttle":
                self.is_slowed = True
            case _:
                pass

    @property
    def fenced(self) -> Charge:
        """What is kept apart, so that what was done can be undone."""
        return landing.fence(len(self.undoable)) if self.undoable else NOTHING

    def raised(self) -> None:
        """The caps were changed."""
        self.landing_no = self.refused = self.refused_no = 0
        self.is_slowed = False

    def let_go(self, no: int) -> None:
        """Somebody let the run go on: what it did until then is forgiven."""
        self.told.clear()
        self.since, self.stopped_by = no, None

    def answered(self, event: Event, no: int) -> None:
        """A person was asked whether a run that is stuck goes on."""
        if event.facts.get("choice") == GO_ON:
            self.let_go(no)
        else:
            self.stopped_by = event

    def _remark(self, event: Event, text: str) -> None:
        if event.step is StepKind.TOOL and event.address is not None:
            self.remarks[event.address] = (*self.remarks.get(event.address, ()), text)
        else:
            self.pending += (text,)


_MARKS = ('"stuck"', '"landing"', '"throttle"')
