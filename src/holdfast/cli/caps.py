"""Caps as they are typed: `usd=1.50`, `tokens=5000`, `active=10m`, and `tokens=off` for none."""

from __future__ import annotations

from typing import Any

from holdfast.errors import UsageError

FIELDS = {
    "tool_calls": "tool_calls",
    "model_calls": "model_calls",
    "tokens": "tokens",
    "usd": "usd_nano",
    "active": "active_ms",
    "wall": "wall_ms",
}
"""From the name that is typed to the part of `Limits`."""


def caps_of(parts: tuple[str, ...]) -> dict[str, int | None]:
    """Caps by the names of `Limits`; refused when a part is unknown, twice there, or no amount."""
    caps: dict[str, int | None] = {}
    for part in parts:
        name, is_said, amount = part.partition("=")
        field = FIELDS.get(name)
        if field is None or not is_said or field in caps:
            raise UsageError(f"{part!r} is not understood. Write {', '.join(FIELDS)}, each once, such as usd=1.50.")
        caps[field] = None if amount == "off" else _amount(name, amount)
    return caps


def _amount(name: str, amount: str) -> int:
    from holdfast.core.budget import Budget  # loads decimal

    given: Any = amount
    try:
        given = float(amount) if name == "usd" else int(amount) if name not in ("active", "wall") else amount
    except ValueError:
        raise UsageError(f"{name}={amount}: that is no {'amount' if name == 'usd' else 'count'}.") from None
    found = getattr(Budget(**{name: given}).limits(), FIELDS[name])
    assert isinstance(found, int)
    return found
