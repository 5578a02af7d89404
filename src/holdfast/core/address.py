"""Names that must come out equal on every worker and after every crash: run ids and idempotency keys.

Both are keyed hashes of what they name, so they hold no time, no chance and nothing that a model minted.
The hash key is the store's own; without it nobody can guess a run id from a key.
"""

from __future__ import annotations

import hmac
import json

from holdfast.core import small_json
from holdfast.core.events import Address

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [low + high for high in _CROCKFORD for low in _CROCKFORD]


_as_ascii = small_json.writer(json.JSONEncoder(separators=(",", ":")))


def _keyed(hash_key: bytes, *parts: str | int) -> bytes:
    """Parts are framed as JSON, so no two different lists share a text."""
    return hmac.digest(hash_key, _as_ascii(parts).encode("ascii"), "sha256")


def _base32(data: bytes, length: int) -> str:
    """The lowest digits first. length: even, and at most 16."""
    number = int.from_bytes(data[-10:], "big")
    return "".join([_PAIRS[number >> bits & 1023] for bits in range(0, 5 * length, 10)])


def run_id(hash_key: bytes, tenant: str, key: str) -> str:
    """The id of the run that `key` names: the same key goes on, never reruns."""
    return "run_" + _base32(_keyed(hash_key, "run", tenant, key), 16)


def child_id(hash_key: bytes, parent: str, address: Address, nth: int) -> str:
    """The id of the `nth` run that this step of its parent starts: the same after every crash."""
    return "run_" + _base32(_keyed(hash_key, "child", parent, *address, nth), 16)


def chapter_id(hash_key: bytes, run: str) -> str:
    """The id of the chapter that follows this one, under the same key."""
    return "run_" + _base32(_keyed(hash_key, "chapter", run), 16)


def question_id(hash_key: bytes, run: str, address: Address, nth: int) -> str:
    """The id of the `nth` question asked at this address."""
    return "q_" + _base32(_keyed(hash_key, "question", run, *address, nth), 10)


def idempotency_key(hash_key: bytes, tenant: str, run: str, address: Address, logical: int) -> str:
    """What a receiver sees on every technical retry of one logical attempt."""
    return "hf_" + _keyed(hash_key, "effect", tenant, run, *address, logical).hex()[:40]
