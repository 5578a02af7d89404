"""Who asks: by the cookie of a session that was begun here, or by the name that a trusted proxy states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from holdfast.web.session import HOURS, Session, Sessions

LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Who:
    """How people are told apart."""

    sessions: Sessions
    cookie: str
    """Its name; each port has its own, since browsers do not tell ports apart."""
    is_secure: bool = False
    """The page is reached by https alone."""
    header: str = ""
    """In which a proxy states who has signed in; empty: nobody may."""
    proxies: Sequence[str] = LOOPBACK
    """Addresses that are believed."""

    def session(self, request: Request) -> Session | None:
        """The session of this request, if anybody is signed in."""
        if self.header:
            return self._of_proxy(request)
        cookie = request.cookies.get(self.cookie)
        return None if cookie is None else self.sessions.read(cookie)

    def _of_proxy(self, request: Request) -> Session | None:
        named = request.headers.getlist(self.header)
        if request.client is None or request.client.host not in self.proxies or len(named) != 1:
            return None
        return self.sessions.of_proxy(named[0])

    def sign_in(self, response: Response, name: str) -> None:
        """Let the browser keep a new session."""
        value = self.sessions.begin(name)
        response.set_cookie(
            self.cookie, value, max_age=HOURS * 3600, secure=self.is_secure, httponly=True, samesite="lax"
        )

    def sign_out(self, response: Response, session: Session) -> None:
        """End this one, here and in the browser."""
        self.sessions.end(session)
        response.delete_cookie(self.cookie, secure=self.is_secure, httponly=True, samesite="lax")
