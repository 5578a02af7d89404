"""One call of Slack's Web API: JSON over https, by the guard that webhooks go by.

Slack says what went wrong in the body, with status 200: what does not say `ok` was not done. Which of its errors may be
over later is listed here; every other one stays until somebody changes something.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from holdfast import __version__
from holdfast.core.drawn import safe_text
from holdfast.inbox import guard
from holdfast.inbox.webhook import refusal
from holdfast.protocols import Undeliverable, Undelivered

URL: Final = "https://slack.com/api"
_PASSING: Final = frozenset(
    {
        "fatal_error",
        "internal_error",
        "ratelimited",
        "rate_limited",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
    }
)
Send = Callable[..., guard.Reply]


class SaidNo(Undeliverable):
    """Slack understood, and refused; `error` is its own word for why."""

    def __init__(self, method: str, error: str) -> None:
        super().__init__(f"Slack answered {method} with {error}")
        self.error = error


class SlackApi:
    """Calls with one token."""

    def __init__(
        self,
        token: str,
        *,
        url: str = URL,
        allow: Sequence[str] = (),
        send: Send = guard.exchange,
        resolve: guard.Resolve = guard.resolved,
    ) -> None:
        self._token = token
        self._url = url.rstrip("/")
        self._allow = allow
        self._send = send
        self._resolve = resolve

    def call(self, method: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """What Slack answers. `Undelivered` when it cannot now, or nobody knows; `SaidNo` when it does not."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json; charset=utf-8"}
        reply = self.post(f"{self._url}/{method}", said, headers)
        if reply.status != 200:
            raise refusal(f"Slack answered {method} with {reply.status}", reply)
        try:
            answer = json.loads(reply.body)
            is_ok, error = answer["ok"], answer.get("error", "")
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Undelivered(f"what answered {method} is not Slack") from None
        if is_ok is True:
            return dict(answer)
        word = safe_text(str(error), 60) or "nothing"
        if word in _PASSING:
            raise Undelivered(f"Slack answered {method} with {word}")
        raise SaidNo(method, word)

    def post(self, url: str, said: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> guard.Reply:
        """The same without a token, to a URL that Slack has given."""
        where = guard.target(url, self._allow, self._resolve)
        named = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"holdfast/{__version__}"}
        body = json.dumps(said).encode()
        return self._send(where, {**named, **(headers or {})}, body, read_max=guard.READ_MAX)

    def where(self, url: str) -> guard.Target:
        """Where a URL that Slack has given goes, if it may."""
        return guard.target(url, self._allow, self._resolve)
