"""What of a request is secret, and what failed without it.

A credential is never recorded from where it stands. But it comes back: an HTTP library that refuses a header shows its
value, a gateway that refuses a key repeats it. So of a call that failed the texts and the body are kept without what
the request held as credentials. An answer that succeeded is kept bit for bit. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from holdfast.core.failure import Failure

MASK = "[secret]"
SIZE_MIN = 8
"""What is shorter is no credential, and would be found in words."""
_NAMES = re.compile(r"auth|cookie|credential|key|passw|secret|session|signature|sig$|token", re.IGNORECASE)
_PARTS = re.compile(r"[\s;,=]+")
_SCHEMES = frozenset({"AWS4-HMAC-SHA256", "Credential", "Signature", "SignedHeaders"})


def secrets_of(url: str, headers: Mapping[str, str]) -> list[str]:
    """The credentials of a request, the longest first, also as they are written in an address."""
    found: set[str] = set()
    for name, value in headers.items():
        if _NAMES.search(name):
            found |= {value.strip(), *_PARTS.split(value)}
    parts = urlsplit(url)
    for each in parts.query.split("&"):
        name, _, value = each.partition("=")
        if _NAMES.search(name):
            found |= {value, unquote(value.replace("+", " "))}
    if parts.password is not None:
        found |= {parts.password, unquote(parts.password)}
    return sorted((each for each in found - _SCHEMES if len(each) >= SIZE_MIN), key=len, reverse=True)


def without(text: str, secrets: Iterable[str]) -> str:
    """The text, each of these replaced."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def body_without(body: bytes, secrets: Iterable[str]) -> bytes:
    """The same of a body, also where JSON writes them in another way."""
    for secret in secrets:
        for written in {secret, secret.replace("/", "\\/"), json.dumps(secret)[1:-1]}:
            body = body.replace(written.encode("utf-8", "replace"), MASK.encode())
    return body


def failure_without_secrets(failure: Failure, secrets: list[str]) -> Failure:
    """The failure, as it may be recorded."""
    if not any(secret in text for secret in secrets for text in (failure.text, failure.repr, failure.because)):
        return failure
    return replace(
        failure,
        text=without(failure.text, secrets),
        repr=without(failure.repr, secrets),
        because=without(failure.because, secrets),
    )
