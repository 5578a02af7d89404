"""A document as engines keep it: its facts as JSON, its text, and a seal over both.

A search index is a cache, but what it says is read by people and by agents: an entry that is not as it was written is
never handed out (`read` gives None), and whoever finds one makes the index anew.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from holdfast.core.document import Document
from holdfast.core.events import Charge

_FACTS = ("key", "agent", "outcome", "why", "tools", "errors", "spent", "created_at", "updated_at", "is_forgotten")


def facts(document: Document) -> str:
    """All but the run's id, the mark and the text."""
    return json.dumps({name: getattr(document, name) for name in _FACTS}, ensure_ascii=False)


def seal(tenant: str, run_id: str, mark: str, facts: str, text: str) -> bytes:
    """SHA-256 over an entry."""
    return hashlib.sha256(json.dumps([tenant, run_id, mark, facts, text]).encode()).digest()


def read(tenant: str, run_id: Any, mark: Any, facts: Any, text: Any, sealed: Any) -> Document | None:
    """The document; None when it is not what was written."""
    is_whole = all(isinstance(part, str) for part in (run_id, mark, facts, text)) and isinstance(sealed, bytes)
    if not is_whole or seal(tenant, run_id, mark, facts, text) != sealed:
        return None
    known: dict[str, Any] = json.loads(facts)
    known |= {"tools": tuple(known["tools"]), "errors": tuple(known["errors"]), "spent": Charge(*known["spent"])}
    return Document(run_id, mark, text=text, **known)
