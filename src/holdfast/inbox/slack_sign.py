"""Whether a request comes from Slack: by the signature that https://docs.slack.dev has, over the bytes as they came."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.inbox.webhook import NotSigned

TOLERANCE_S: Final = 300.0


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float) -> None:
    """`NotSigned` unless one of these secrets has signed it, within the last five minutes."""
    found = {name.lower(): value for name, value in headers.items()}
    stamp, given = found.get("x-slack-request-timestamp", ""), found.get("x-slack-signature", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16) or abs(now - int(stamp)) > TOLERANCE_S:
        raise NotSigned(f"It is not from the last {TOLERANCE_S:g} s. Nothing was done.")
    text = b"v0:" + stamp.encode() + b":" + body
    wanted = [f"v0={hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()}" for secret in secrets if secret]
    matches = [hmac.compare_digest(given.encode(), each.encode()) for each in wanted]
    if not any(matches):
        raise NotSigned("It is signed with no secret that is known here. Nothing was done.")
