"""The few numbers of an app, with their defaults and units, and what all its drivers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import TYPE_CHECKING, Any

from holdfast.core.budget import Price
from holdfast.core.events import Address
from holdfast.errors import PolicyInvalid
from holdfast.protocols import Clock, Escalation, Journal, Lease
from holdfast.runtime.breakers import Breakers
from holdfast.runtime.caps import Caps
from holdfast.runtime.config import Stated
from holdfast.runtime.policies import Policies
from holdfast.runtime.switches import Switchboard

if TYPE_CHECKING:
    from holdfast.runtime.agent import Agent
    from holdfast.runtime.driver import Driver
    from holdfast.runtime.gate import Gate
    from holdfast.runtime.progress import Watchers
    from holdfast.runtime.scribe import Scribe


NOES_MAX = 10_000
"""More doubts at once than that forget how long ago they heard a "no": then the store's clock alone says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times in seconds. Tests shorten them; production rarely needs to."""

    quiet_s: float = 1.0
    """Silence after which a run counts as at rest."""
    park_s: float = 60.0
    """How long a run that waits stays in memory; after so long a silence it is also blocked or held."""
    close_s: float = 5.0
    """How long the agent's code may take to unwind when its run is closed."""
    drain_s: float = 25.0
    """How long effects in flight may take to finish at SIGTERM."""
    settle_s: float = 5.0
    """Time between the two times that `verify` must say "not done"."""
    poll_s: float = 1.0
    """How often the store is asked for due runs and mail."""
    lease_s: float = 30.0
    """A worker that has not renewed its lease for so long is replaced."""
    parked_max: int = 1_000
    """Runs kept in memory while they wait; the oldest are closed first."""
    parked_sync_max: int = 64
    """Of these, runs of agents that are a plain `def`: each holds a thread."""
    verify_s: float = 30.0
    """Time box of one `verify`."""
    retries_max: int = 200
    """Retries that one run may make in all its steps, also over crashes and resumes; first attempts are none."""
    throttle_s: float = 1.0
    """Time between two model calls of a run whose budget is nearly used up."""
    depth_max: int = 8
    """How many runs may be above one another, each started by the one above it."""
    children_max: int = 1_000
    """Runs that one run may start."""
    model_calls_max: int = 64
    """Model calls that one app has under way at once; the others wait for their turn."""

    def __post_init__(self) -> None:
        for given in fields(self):
            _check(given.name, getattr(self, given.name))


_ABOVE_ZERO = frozenset({"poll_s", "lease_s", "verify_s", "model_calls_max"})
"""With nothing of these, nothing would ever go on."""


def _check(name: str, value: Any) -> None:
    is_time = name.endswith("_s")
    is_number = not isinstance(value, bool) and isinstance(value, int | float if is_time else int)
    is_bounded = is_number and isfinite(value) and value >= 0 and (value > 0 or name not in _ABOVE_ZERO)
    if not is_bounded:
        what = "seconds, finite" if is_time else "a whole number"
        least = "above 0" if name in _ABOVE_ZERO else "not negative"
        raise PolicyInvalid(f"Settings({name}={value!r}) must be {what} and {least}.")


@dataclass(slots=True, kw_only=True)
class Services:
    """What one app's drivers share."""

    journal: Journal
    clock: Clock
    scribe: Scribe
    gate: Gate
    tenant: str
    settings: Settings
    watchers: Watchers
    prices: Mapping[str, Price] = field(default_factory=dict)
    caps: Caps = field(default_factory=Caps)
    """What all runs of the tenant may use together."""
    policies: Policies = field(default_factory=Policies)
    """Asked anew for each attempt."""
    stated: Stated = field(default_factory=Stated)
    """What file and command line state; recorded with each run."""
    switches: Switchboard = field(init=False)
    """What operators have switched, looked at anew before each attempt."""
    breakers: Breakers = field(init=False)
    noes: dict[tuple[str, Address, float], float] = field(default_factory=dict)
    """When this process heard the first "not done" about a step, by a clock that nobody sets."""
    is_fenced: Callable[[Lease], bool] = field(default=lambda lease: False)
    """Whether somebody else may have this run, as this worker's lease may have run out; nothing begins in it then."""
    agents: Mapping[str, Agent[Any, Any]] = field(default_factory=dict)
    """By name: those whose runs this app can drive."""
    escalation: Escalation | None = None
    """Who tells people of what runs ask; None: whoever looks, finds it."""
    on_posted: Callable[[Sequence[str]], None] = field(default=lambda run_ids: None)
    """Told which runs got a message by an append."""
    adopt: Callable[[str], None] = field(default=lambda run_id: None)
    """Drive this run here, if nobody else does, as long as this app is open."""
    follow: Callable[[str], None] = field(default=lambda run_id: None)
    """The same of a run that waits for no other one; needs nothing of the store."""
    on_change: Callable[[Driver], None] = field(default=lambda driver: None)
    """Told when a run was suspended, ended or left this process."""

    def __post_init__(self) -> None:
        self.switches = Switchboard(self.policies)
        self.breakers = Breakers(self.journal, self.clock)

    def hear_no(self, about: tuple[str, Address, float]) -> None:
        """`verify` said "not done": the first one of these counts, and when it was."""
        if len(self.noes) >= NOES_MAX:
            self.noes.clear()
        self.noes.setdefault(about, self.clock.monotonic())
