"""`Meter`: a budget by itself, for code that keeps its own loop and its own books.

The same arithmetic as in a run, without a record: it is forgotten with the process.

Invariants
1. What is reserved and spent never exceeds a cap when something is reserved; what does not fit is refused, and nothing
   of it is counted.
2. A reservation that is not settled stays charged: whoever made it cannot say what was used.
"""

from __future__ import annotations

import threading
from decimal import ROUND_CEILING, Decimal
from types import TracebackType
from typing import Self

from holdfast.core.budget import USD_NANO, Budget, first_excess
from holdfast.core.events import Charge
from holdfast.errors import BudgetExceeded, PolicyInvalid, UsageError


class Meter:
    """Guards calls of any kind with a `Budget`; may be used from several threads.

    Before a call, reserve its worst case: `with meter.reserve(model_calls=1, usd=0.02) as call:`. After it, say what
    was used: `call.settle(model_calls=1, usd=0.0031)`.
    """

    def __init__(self, budget: Budget) -> None:
        if not isinstance(budget, Budget):
            raise PolicyInvalid(f"budget={budget!r} is no Budget. Write Meter(holdfast.Budget(usd=1.50)).")
        if budget.ask is not None:
            raise PolicyInvalid("A Meter asks nobody: Budget(ask=…) is for agents. Leave ask out.")
        self._limits = budget.limits()
        self._lock = threading.Lock()
        self._spent = Charge()
        self._open: set[Reservation] = set()

    @property
    def spent(self) -> Charge:
        """What was settled."""
        return self._spent

    @property
    def reserved(self) -> Charge:
        """What was reserved and not settled."""
        return _sum(list(self._open))

    @property
    def usd(self) -> float:
        """US dollars spent and reserved."""
        return (self.spent.usd_nano + self.reserved.usd_nano) / USD_NANO

    def reserve(
        self, *, tool_calls: int = 0, model_calls: int = 0, tokens: int = 0, usd: float | Decimal = 0
    ) -> Reservation:
        """Put the worst case of one call aside; `BudgetExceeded` when it does not fit: then do not make the call."""
        made = Reservation(self, _charge(tool_calls, model_calls, tokens, usd))
        with self._lock:
            excess = first_excess(self._limits, self._spent.plus(_sum(list(self._open))), made.charge)
            if excess is not None:
                raise BudgetExceeded(f"budget: {excess}. Nothing was reserved. Do not make the call.")
            self._open.add(made)
        return made

    def settle(self, reservation: Reservation, used: Charge) -> None:
        """Never refused, also over the cap: what was used was used."""
        with self._lock:
            if reservation not in self._open:
                raise UsageError("This reservation was settled already. Nothing was counted twice.")
            self._open.discard(reservation)
            self._spent = self._spent.plus(used)


class Reservation:
    """The worst case of one call, put aside until it is settled."""

    def __init__(self, meter: Meter, charge: Charge) -> None:
        self._meter = meter
        self.charge = charge

    def settle(self, *, tool_calls: int = 0, model_calls: int = 0, tokens: int = 0, usd: float | Decimal = 0) -> None:
        """Say what was used instead."""
        self._meter.settle(self, _charge(tool_calls, model_calls, tokens, usd))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Changes nothing: what was not settled stays charged."""


def _charge(tool_calls: int, model_calls: int, tokens: int, usd: float | Decimal) -> Charge:
    dollars = Decimal(str(usd))
    if min(tool_calls, model_calls, tokens) < 0 or not dollars.is_finite() or dollars < 0:
        raise UsageError("A charge must be finite and not negative. Nothing was counted.")
    nano = int((dollars * USD_NANO).to_integral_value(ROUND_CEILING))
    return Charge(tool_calls, model_calls, tokens, nano)


def _sum(reservations: list[Reservation]) -> Charge:
    total = Charge()
    for reservation in reservations:
        total = total.plus(reservation.charge)
    return total
