"""Webhooks as https://www.standardwebhooks.com has them: who is told can check that it was us, and when it was.

`webhook-id` is the same each time a notice is sent, `webhook-timestamp` is when, and `webhook-signature` is the HMAC of
both and the body with each secret, so that a secret can be changed while both count. The body is thin: names and a
link, neither arguments nor a model's words.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from holdfast import __version__
from holdfast.core.retry_after import retry_after_s
from holdfast.errors import PolicyInvalid, UsageError
from holdfast.inbox import guard
from holdfast.inbox.directory import FromEnvironment, Webhook
from holdfast.protocols import Gone, Notice, Receipt, Undeliverable, Undelivered

TOLERANCE_S: Final = 300.0
_PREFIX: Final = "whsec_"
_GONE: Final = 410
_LATER: Final = frozenset({408, 425, 429})
Send = Callable[[guard.Target, dict[str, str], bytes], guard.Reply]


class NotSigned(UsageError):
    """What came in is not signed with any of the secrets, or is too old: it is nobody's word."""


def key_of(secret: str) -> bytes:
    """The bytes of `whsec_…`; the padding of base64 may be missing."""
    text = secret.strip().removeprefix(_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not 24 <= len(key) <= 64:
        raise PolicyInvalid("A webhook's secret is whsec_ and 24 to 64 bytes in base64. Nothing was started.")
    return key


def signed(keys: Sequence[bytes], message_id: str, at: float, body: bytes) -> dict[str, str]:
    """The headers that say whose word it is."""
    timestamp = str(int(at))
    signatures = [_signature(key, message_id, timestamp, body) for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: float) -> str:
    """The id of a message that is signed with one of these keys, now: by it, one that comes twice is known.

    `NotSigned` for any other. For the receiving side, and over the bytes as they came."""
    found = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp = found.get("webhook-id", ""), found.get("webhook-timestamp", "")
    try:
        age_s = abs(now - int(timestamp))
    except ValueError:
        raise NotSigned("It says no time. Nothing was done.") from None
    if not message_id or age_s > TOLERANCE_S:
        raise NotSigned(f"It is not from the last {TOLERANCE_S:g} s. Nothing was done.")
    given = found.get("webhook-signature", "").split(" ")
    wanted = [_signature(key, message_id, timestamp, body).encode() for key in keys]
    matches = [hmac.compare_digest(one.encode(), other) for one in given for other in wanted]
    if not any(matches):
        raise NotSigned("It is signed with no secret that is known here. Nothing was done.")
    return message_id


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed_text = f"{message_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed_text, hashlib.sha256)).decode()}"


class WebhookChannel:
    """Tells a system of somebody else."""

    def __init__(
        self,
        settings: Webhook,
        environ: Mapping[str, str],
        now: Callable[[], float],
        *,
        send: Send = guard.exchange,
        resolve: guard.Resolve = guard.resolved,
    ) -> None:
        url = settings.url
        self._url = environ[url.name] if isinstance(url, FromEnvironment) else url
        self._keys = [key_of(environ[secret.name]) for secret in settings.secrets]
        self._now = now
        self._send = send
        self._target = partial(guard.target, allow=settings.allow, resolve=resolve)
        self.name = settings.name
        self.mark = hashlib.sha256(repr((self._url, self._keys)).encode()).hexdigest()[:16]

    @property
    def failure_domain(self) -> str:
        """See `Channel`."""
        return urlsplit(self._url).hostname or self.name

    def send(self, notice: Notice) -> Receipt:
        """See `Channel`."""
        message_id, now = f"msg_{notice.id}".replace(".", "_"), self._now()
        body = payload(notice, now)
        headers = signed(self._keys, message_id, now, body)
        headers |= {"Content-Type": "application/json", "User-Agent": f"holdfast/{__version__}"}
        self._judge(self._send(self._target(self._url), headers, body))
        return Receipt("accepted", message_id)

    def _judge(self, reply: guard.Reply) -> None:
        if 200 <= reply.status < 300:
            return
        said = f"{self.name} answered {reply.status}"
        if reply.status == _GONE:
            raise Gone(said, self.mark)
        raise refusal(said, reply)


def refusal(said: str, reply: guard.Reply) -> Undelivered:
    """What a status that is none of success is: passing, with the time to come again when that is told, or final."""
    if reply.status >= 500 or reply.status in _LATER:
        return Undelivered(said, after_s=retry_after_s(reply.headers))
    return Undeliverable(said)


def payload(notice: Notice, now: float) -> bytes:
    """The body: its type, when it is sent, and what it is about."""
    data: dict[str, Any] = {
        **notice.facts,
        "person": notice.person,
        "title": notice.title,
        "link": notice.link or None,
        "is_urgent": notice.is_urgent,
        "thread": notice.thread,
    }
    at = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"type": f"inbox.{notice.kind}", "timestamp": at, "data": data}).encode()
