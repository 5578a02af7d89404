"""What every request passes before anything looks at it, and what every answer carries.

Invariants
1. Only a request to one of our own names is answered: a name that was made to point here (DNS rebinding) is not ours.
2. GET and HEAD are for looking. What changes something is a POST that comes from a page of ours, by its `Origin`, or
   goes to a path that looks at a signature.
3. Every answer forbids scripts, styles, frames, forms and connections of others, and is kept by no cache.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-robots-tag": "noindex, nofollow",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """The outermost part of the page."""

    def __init__(self, app: ASGIApp, origins: Iterable[str], signed: Iterable[str] = ()) -> None:
        """origins: under which the page is reached, such as http://127.0.0.1:8765. signed: paths to which programs
        post, which check a signature themselves, and take no cookie for anything."""
        self._app = app
        self._signed = frozenset(signed)
        self._origins = frozenset(origin.lower() for origin in origins)
        self._hosts = frozenset(urlsplit(origin).netloc for origin in self._origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `ASGIApp`."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        if scope["type"] != "http":
            raise RuntimeError(f"The page speaks no {scope['type']}.")
        refused = self._refused(scope["method"], scope["path"], Headers(scope=scope))
        await (refused or self._app)(scope, receive, answer)

    def _refused(self, method: str, path: str, headers: Headers) -> PlainTextResponse | None:
        hosts = [host.lower() for host in headers.getlist("host")]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return PlainTextResponse("This server has another name.\n", 421)
        if method in ("GET", "HEAD"):
            return None
        if method != "POST":
            return PlainTextResponse("Nothing here is done so.\n", 405, {"allow": "GET, HEAD, POST"})
        if path not in self._signed and not self._is_own(headers):
            return PlainTextResponse("This form is on no page of ours. Nothing was done.\n", 403)
        return None

    def _is_own(self, headers: Headers) -> bool:
        """Whether a page of ours sends it. As our pages send no referrer, browsers call their origin `null`; then it
        counts that the browser itself says it is ours, which no page can make it say."""
        origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
        if len(origins) != 1 or len(sites) > 1:
            return False
        is_ours = origins[0].lower() in self._origins
        return (is_ours and sites in ([], ["same-origin"])) or (origins == ["null"] and sites == ["same-origin"])
