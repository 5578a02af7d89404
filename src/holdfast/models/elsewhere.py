"""The request that asks another model in place of the caller's: its name, and maybe another host and account.

Invariants
1. A fallback that brings credentials gets none of the caller's: no header, no cookie, no key in the address.
2. A base URL is joined to the path as the SDK of that API joins it.
3. Headers by function are asked for at each request, and kept nowhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from urllib.parse import urlsplit, urlunsplit

from holdfast.models.body import Body
from holdfast.models.call import Provider
from holdfast.models.options import Fallback
from holdfast.models.sender import Variant

CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
"""Headers that say who asks."""
_OF_THE_CALLER = frozenset({*CREDENTIALS, "cookie", "openai-organization", "openai-project", "x-goog-user-project"})
_QUERY_KEY = "key"
_OF_THE_SDK = re.compile(
    r"/v1/messages$|/(?:chat/completions|responses|embeddings)$|/v\d\w*/(?:models|projects|publishers)/.*|/model/.*"
    r"|/openai/deployments/.*"
)
"""What an SDK adds to its base URL."""


def account_of(host: str, headers: Mapping[str, str]) -> str:
    """Whose limits apply: a host, and who asks it. Kept in memory, and even there as a digest."""
    said = "\n".join(headers.get(name, "") for name in CREDENTIALS)
    return f"{host} {sha256(said.encode('utf-8', 'replace')).hexdigest()[:16]}"


def account_elsewhere(fallback: Fallback, url: str, headers: Mapping[str, str]) -> str:
    """The same of a fallback. What a function gives is not known before, so the function stands for it."""
    given = fallback.headers
    if callable(given):
        return f"{urlsplit(url).netloc} {id(given)}"
    return account_of(urlsplit(url).netloc, {**headers, **_lowered(given)})


def url_of(fallback: Fallback, provider: Provider, body: Body, url: str) -> str | None:
    """Where this model is asked; None when the API cannot ask for it so."""
    parts = urlsplit(url)
    changed = provider.with_model(body.head, parts.path, fallback.model)
    if changed is None:
        return None
    path = changed[1]
    if fallback.base_url:
        base = urlsplit(fallback.base_url)
        parts = parts._replace(scheme=base.scheme, netloc=base.netloc)
        path = _joined(base.path.rstrip("/"), path)
    return urlunsplit(parts._replace(path=path))


def _joined(base: str, path: str) -> str:
    found = _OF_THE_SDK.search(path) if base else None
    return base + (found[0] if found is not None else path)


def variant_of(fallback: Fallback, provider: Provider, body: Body, url: str) -> Callable[[], Variant]:
    """Makes the request to `url`, which `url_of` gave: the caller's, but for the members that name the model."""

    def make() -> Variant:
        changed = provider.with_model(body.head, urlsplit(url).path, fallback.model)
        members = changed[0] if changed is not None else {}
        said = json.dumps(json.loads(body.raw) | members, ensure_ascii=False, separators=(",", ":"))
        headers = _lowered(fallback.headers() if callable(fallback.headers) else fallback.headers)
        has_own = not _OF_THE_CALLER.isdisjoint(headers)
        return Variant(
            _without_key(url) if has_own else url,
            said.encode("utf-8", "surrogatepass"),
            headers,
            _OF_THE_CALLER if has_own else frozenset(),
        )

    return make


def _without_key(url: str) -> str:
    parts = urlsplit(url)
    kept = [each for each in parts.query.split("&") if each.partition("=")[0] != _QUERY_KEY]
    return urlunsplit(parts._replace(query="&".join(kept)))


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
