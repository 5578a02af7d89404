"""Who is signed in, and the tokens that tie a form to them and to what it shows.

Invariants
1. A cookie counts only if this process has signed it, before its time is over, and until it is ended here.
2. A token is for one session and one thing: with another session, question or digest it is none.
3. The key is of this process alone: what an earlier one has signed counts no more.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, Final, NamedTuple

from itsdangerous import BadData, Signer, URLSafeSerializer

from holdfast.protocols import Clock

HOURS: Final = 12
"""A session ends after so many hours, whatever is done in it."""
NAME_MAX: Final = 200


class Session(NamedTuple):
    """One person, as long as they are signed in."""

    id: str
    name: str
    """As which they answer."""
    until: float


class Sessions:
    """All of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        key = clock.fresh_id() + clock.fresh_id()
        how = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._cookies = URLSafeSerializer(key, salt="session", signer_kwargs=how)
        self._forms = Signer(key, salt="form", key_derivation="hmac", digest_method=hashlib.sha256)
        self._ended: set[str] = set()

    def begin(self, name: str) -> str:
        """The cookie of a new session."""
        until = self._clock.now() + HOURS * 3600
        return str(self._cookies.dumps([self._clock.fresh_id(), name, until]))

    def read(self, cookie: str) -> Session | None:
        """The session of this cookie, while it counts."""
        try:
            facts = self._cookies.loads(cookie)
        except BadData:
            return None
        if self._cookies.dumps(facts) != cookie:  # the same bits, written in another way
            return None
        session = Session(*facts)
        return session if self.is_open(session) else None

    def of_proxy(self, name: str) -> Session | None:
        """The session of somebody whom a proxy has signed in; None for what is no name."""
        if not name.strip() or not name.isprintable() or len(name) > NAME_MAX:
            return None
        return Session(f"proxy {name}", name, self._clock.now() + HOURS * 3600)

    def is_open(self, session: Session) -> bool:
        """Whether it still counts."""
        return session.id not in self._ended and self._clock.now() < session.until

    def end(self, session: Session) -> None:
        """It counts no more."""
        self._ended.add(session.id)

    def token(self, session: Session, *about: str) -> str:
        """What a form about this carries."""
        return self._forms.get_signature(_framed(session, about)).decode()

    def is_token(self, token: Any, session: Session, *about: str) -> bool:
        """Whether a form about this carried the right one."""
        return hmac.compare_digest(str(token).encode(), self.token(session, *about).encode())


def _framed(session: Session, about: tuple[str, ...]) -> bytes:
    return json.dumps([session.id, session.name, *about]).encode()
