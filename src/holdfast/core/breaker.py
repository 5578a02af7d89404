"""The circuit breaker of one tool: when it is not called, until when, and who tries first. Pure.

closed → open: too large a share of the attempts of a window failed, or so many in a row came to no answer in time.
open → half open: when its wait is over one caller, and no other, probes. half open → closed: the probe went well;
→ open: it did not. A prober that is not heard of again loses its turn after another wait.

The circuit is shared by all that call the tool, so it lives in a cell of the store, and what must be written is
returned. Whoever cannot write it by compare-and-set has lost, and asks again.

Invariants
1. While it is open nothing passes but probes, and of these at most one in each wait.
2. A clock that is set back prolongs an open circuit by at most one wait; one that is set forward costs one early probe.
3. An attempt that was begun before the circuit opened neither closes nor prolongs it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from holdfast.core.duration import Duration, seconds
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.health import Count, Said, Seen, merged, slice_of
from holdfast.errors import PolicyInvalid

WINDOW_S_MAX = 3_600.0
WAIT_S_MAX = 3_600.0
COUNT_MAX = 10_000
TIME_MAX = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When a tool counts as down, for all runs and processes of a tenant."""

    errors: float = 0.5
    """Share of failed attempts that opens it, above 0 and at most 1."""
    of: Duration = 60.0
    """The window in which attempts are counted, 1 s to 1 h."""
    calls: int = 10
    """The share says nothing before so many attempts, 1 to 10,000."""
    timeouts: int = 5
    """So many attempts in a row without an answer in time open it at once, 1 to 10,000."""
    wait: Duration = 30.0
    """So long it stays open before one call probes, above 0 and at most 1 h."""

    def __post_init__(self) -> None:
        errors: Any = self.errors
        if isinstance(errors, bool) or not isinstance(errors, (int, float)) or not 0 < errors <= 1:
            raise PolicyInvalid(f"Breaker(errors={errors!r}) must be a share above 0 and at most 1, such as 0.5.")
        for name in ("calls", "timeouts"):
            count: Any = getattr(self, name)
            if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= COUNT_MAX:
                raise PolicyInvalid(f"Breaker({name}={count!r}) must be a whole number from 1 to {COUNT_MAX}.")
        if not 1.0 <= seconds(self.of, "Breaker(of=…)") <= WINDOW_S_MAX:
            raise PolicyInvalid(f"Breaker(of={self.of!r}) must be from 1 s to 1 h.")
        if not 0.0 < self.wait_s <= WAIT_S_MAX:
            raise PolicyInvalid(f"Breaker(wait={self.wait!r}) must be above 0 and at most 1 h.")

    @property
    def window_s(self) -> float:
        """`of` in seconds."""
        return self.of if type(self.of) is float else seconds(self.of, "Breaker(of=…)")

    @property
    def wait_s(self) -> float:
        """`wait` in seconds."""
        return seconds(self.wait, "Breaker(wait=…)")


class Circuit(NamedTuple):
    """What is known of one tool."""

    counts: tuple[Count, ...] = ()
    window_s: float = 0.0
    """That the slices of `counts` are cut from; counts of another window say nothing."""
    late: int = 0
    """Attempts in a row without an answer in time."""
    opened_at: float = 0.0
    """0: closed."""
    until: float = 0.0
    """Open: nobody probes before. Half open: the prober's turn ends."""
    prober: str = ""
    """Whose turn it is to probe; empty: nobody's."""
    because: str = ""

    @property
    def is_open(self) -> bool:
        """Open or half open: ordinary calls do not pass."""
        return self.opened_at > 0

    def is_healthy(self, now: float) -> bool:
        """Closed, and without a failure that still counts: there is nothing that must be known at once."""
        if self.is_open or self.late:
            return False
        if not self.window_s:
            return True
        return not any(count.errors for count in merged(self.counts, (), slice_of(now, self.window_s)))


CLOSED = Circuit()
BREAKER = Breaker()
"""In force unless another one is declared, or none."""


class Entry(NamedTuple):
    """What a caller is told before an attempt."""

    may_begin: bool
    ticket: str = ""
    """What a prober shows when its attempt is over."""
    write: Circuit | None = None
    """Must be written first; when that fails, ask again."""


def entered(circuit: Circuit, policy: Breaker, now: float, caller: str) -> Entry:
    """Whether an attempt may begin now. caller: an id that no other attempt has."""
    if not circuit.is_open:
        return Entry(True)
    if circuit.until > now + policy.wait_s:  # the clock was set back, or the policy's wait is shorter now
        return Entry(False, write=circuit._replace(until=now + policy.wait_s))
    if now < circuit.until:
        return Entry(False)
    return Entry(True, caller, circuit._replace(prober=caller, until=now + policy.wait_s))


class Change(NamedTuple):
    """What observations make of a circuit."""

    circuit: Circuit
    choice: str = ""
    """What it changed to: `opened`, `closed`, `reopened`; empty when it is as it was."""
    because: str = ""


def after(circuit: Circuit, policy: Breaker, now: float, seen: Seen) -> Change:
    """The circuit after ordinary attempts."""
    if circuit.is_open:
        return Change(circuit)
    window_s, latest = policy.window_s, slice_of(now, policy.window_s)
    known = circuit.counts if circuit.window_s == window_s else ()
    counts = merged(known, seen.counts, latest)
    late = seen.late if seen.has_other else circuit.late + seen.late
    because = _too_ill(policy, counts, late)
    if because:
        return Change(_opened(policy, now, because), "opened", because)
    return Change(Circuit(counts, window_s, late))


def _too_ill(policy: Breaker, counts: tuple[Count, ...], late: int) -> str:
    if late >= policy.timeouts:
        return f"{late} attempts in a row without an answer in time"
    calls, errors = sum(count.calls for count in counts), sum(count.errors for count in counts)
    if errors and calls >= policy.calls and errors >= policy.errors * calls:
        return f"{errors} of {calls} attempts failed within {policy.window_s:g} s"
    return ""


def _opened(policy: Breaker, now: float, because: str) -> Circuit:
    return Circuit(opened_at=now, until=now + policy.wait_s, because=because)


def after_probe(circuit: Circuit, policy: Breaker, now: float, ticket: str, said: Said) -> Change:
    """The circuit after a probe; one whose turn was over can still bring good news."""
    if not circuit.is_open:
        return Change(circuit)
    if said is Said.WELL:
        return Change(CLOSED, "closed", "the probe went well")
    if ticket != circuit.prober:
        return Change(circuit)
    if said is Said.NOTHING:  # the next call probes
        return Change(circuit._replace(prober="", until=now))
    because = "the probe had no answer in time" if said is Said.LATE else "the probe failed"
    return Change(_opened(policy, now, f"{because}; before that: {_first(circuit.because)}"), "reopened", because)


def _first(because: str) -> str:
    """Why it was opened in the first place."""
    return because.rpartition("; before that: ")[2]


def unreadable(policy: Breaker, now: float) -> Circuit:
    """In place of a record that cannot be read: open until a probe shows that all is well."""
    return _opened(policy, now, "its record could not be read")


# --- as a failure, and as text -----------------------------------------------------------------------------------


def refusal(name: str, circuit: Circuit, now: float) -> Failure:
    """Why an attempt did not begin: nothing was sent."""
    until = max(circuit.until, now)
    turn = "another call is probing, others wait" if circuit.prober else "one call probes it from then on; others wait"
    text = (
        f"the breaker of {name} is open since {_shown(circuit.opened_at)} until {_shown(until)} "
        f"({circuit.because}). Nothing was sent; {turn}."
    )
    return Failure(FailureKind.REFUSED, "BreakerOpen", text, text, retry_after_s=max(until - now, 0.001), because=text)


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def to_text(circuit: Circuit) -> str:
    """For its cell."""
    facts = circuit._asdict() | {"counts": [list(count) for count in circuit.counts]}
    return json.dumps({name: value for name, value in facts.items() if value}, sort_keys=True, separators=(",", ":"))


def from_text(text: str) -> Circuit:
    """The circuit of a cell; ValueError when this is none."""
    if not text:
        return CLOSED
    facts = json.loads(text)
    try:
        return Circuit(
            tuple(Count(*map(_whole, count)) for count in facts.pop("counts", ())),
            **{name: _part(name, value) for name, value in facts.items()},
        )
    except (TypeError, AttributeError) as wrong:
        raise ValueError(str(wrong)) from None


def _part(name: str, value: Any) -> Any:
    """A part of a circuit, checked; what is unknown, the circuit itself refuses."""
    if name in ("prober", "because"):
        if isinstance(value, str):
            return value
    elif name == "late":
        return _whole(value)
    elif isinstance(value, (int, float)) and 0 < value < TIME_MAX:
        return value
    raise ValueError(f"{name}={value!r} is no part of a circuit")


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
