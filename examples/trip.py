"""What happens when tools fail: a trip is booked, piece by piece, and undone when a piece is missing.

    python examples/trip.py Lisbon        # everything works
    python examples/trip.py Atlantis      # no room there: what was booked before is cancelled, the last booking first
    python examples/trip.py Lisbon --down # the price service is down: a price of the last hour is taken, and said so

`holdfast show trip-Atlantis` tells what was decided, and why. Kill it anywhere and start it again.
"""

from __future__ import annotations

import sys

import holdfast as hf

DOWN = "--down" in sys.argv
BOOKED: dict[str, str] = {}
"""Stands for the services of others: what is booked there, by idempotency key."""


class NoRoom(Exception):
    """The other side said no: nothing was booked."""


def is_price(cents: int) -> bool:
    """A price that the agent may go on with."""
    return 0 < cents < 1_000_000


@hf.tool(
    effect="read",
    retry=hf.Retry(attempts=2, wait="10ms"),
    timeout="5s",
    breaker=hf.Breaker(timeouts=3, wait="10s"),
    check=is_price,
    fallback=[hf.Cached(max_age="1h"), hf.Ask("travel-desk", within="2h"), "stop"],
)
async def price_of(city: str) -> int:
    """The price of a trip in cents."""
    if DOWN:
        raise ConnectionError("the price service does not answer")
    return 42_000


async def is_booked(key: str, **_: object) -> hf.Done | hf.NotDone:
    """What to ask when a booking was begun and nobody knows whether it happened."""
    return hf.Done(BOOKED[key]) if key in BOOKED else hf.NotDone()


@hf.tool(effect="idempotent")
async def cancel(booking: str, city: str, *, idempotency_key: str = hf.INJECTED) -> None:
    """Cancel a booking; undoes `book_flight` and `book_hotel`."""
    for key in [key for key, name in BOOKED.items() if name == booking]:
        del BOOKED[key]


@hf.tool(effect="once", verify=is_booked, undo=cancel)
async def book_flight(city: str, *, idempotency_key: str = hf.INJECTED) -> str:
    """Book the flight."""
    BOOKED[idempotency_key] = f"flight to {city}"
    return BOOKED[idempotency_key]


@hf.tool(effect="once", verify=is_booked, undo=cancel, raises=(NoRoom,), definite=(NoRoom,))
async def book_hotel(city: str, *, idempotency_key: str = hf.INJECTED) -> str:
    """Book the hotel."""
    if city == "Atlantis":
        raise NoRoom(f"no room in {city}")
    BOOKED[idempotency_key] = f"hotel in {city}"
    return BOOKED[idempotency_key]


def is_within_rules(cents: int) -> float:
    """A measured score, not the agent's opinion of itself: 1 is well within the rules, 0 is not."""
    return 1.0 if cents <= 50_000 else 0.0


@hf.agent(budget=hf.Budget(tool_calls=20, active="10m"), escalate="travel-desk")
async def trip(run: hf.Run, city: str) -> str:
    """Book a trip to this city, or leave nothing behind."""
    cents = await price_of(city)
    await run.gate("within the rules", is_within_rules, 0.5, input=cents, otherwise="ask")
    await book_flight(city)
    try:
        await book_hotel(city)
    except NoRoom as no:
        await run.unwind(because=str(no))
        return f"Nothing booked: {no}."
    return f"Booked: {city}, {cents / 100:.2f} EUR."


if __name__ == "__main__":
    asked = sys.argv[1] if len(sys.argv) > 1 else "Lisbon"
    app = hf.App("sqlite:///trip.db")
    key = f"trip-{asked}" + ("-down" if DOWN else "")
    print(app.run_sync(trip, asked, key=key))
