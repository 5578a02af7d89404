"""One-time codes: whoever can read what `holdfast serve` prints signs in with them, as the name that a code is for.

Invariants
1. A code counts once, and only while it is the newest for its name.
2. After `TRIES` wrong codes, whoever gave them, all codes are void and nobody signs in for `CLOSED_S`; then there are
   new ones. So a code of `DIGITS` hexadecimal digits is not found by trying.
3. A new code is told to the operator alone, never to who asks by HTTP.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Final

from holdfast.protocols import Clock

TRIES: Final = 5
CLOSED_S: Final = 300.0
DIGITS: Final = 8


class Login:
    """The codes of one process."""

    def __init__(self, names: Sequence[str], clock: Clock, tell: Callable[[str, str], None]) -> None:
        """names: who can sign in. tell: is told each name and its new code."""
        self._clock, self._tell = clock, tell
        self._codes: dict[str, str] = {}
        self._wrong, self._opens_at = 0, 0.0
        for name in names:
            self._renew(name)

    @property
    def tries_left(self) -> int:
        """How many wrong codes are left before it closes; 0 while it is closed."""
        return 0 if self._clock.monotonic() < self._opens_at else TRIES - self._wrong

    def enter(self, given: str) -> str | None:
        """The name that this code is for; None when it is none."""
        if self._wrong >= TRIES and self._clock.monotonic() >= self._opens_at:
            self._wrong = 0
            for name in self._codes:
                self._renew(name)
        if self._wrong >= TRIES:
            return None
        wanted = "".join(given.split()).replace("-", "").lower().encode()
        found = [name for name, code in self._codes.items() if hmac.compare_digest(code.encode(), wanted)]
        if found:
            self._wrong = 0
            self._renew(found[0])
            return found[0]
        self._wrong += 1
        if self._wrong >= TRIES:
            self._opens_at = self._clock.monotonic() + CLOSED_S
        return None

    def _renew(self, name: str) -> None:
        code = self._codes[name] = self._clock.fresh_id()[-DIGITS:]
        self._tell(name, f"{code[:4]}-{code[4:]}")
