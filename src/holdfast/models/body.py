"""The body of a model request, read by what is new in it.

A model request repeats its whole conversation. What is equal to an earlier request of the same run is found by
comparing bytes, and only what follows is parsed and digested; so a turn costs what is new in it, and the
comparison of bytes. The digest stands for the JSON value: it does not depend on the order of keys or on spaces.

Invariants
1. `read(raw, member)` and `read(raw, member, since=earlier)` say the same for every earlier body.
2. Bytes that are no JSON object, or name the conversation twice, give None; nothing raises.
3. `difference(raw, base).applied(base)` is `raw`, bit for bit.

Pure: no I/O, and it knows no provider but the name of the member that holds the conversation.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.models.tail import start_of, tail_of

if TYPE_CHECKING:
    from hashlib import _Hash

_STEP, _CHUNK = 64, 1 << 16
"""How many bytes are compared at once: few at first, more as long as they are equal."""
_WHITE = re.compile(r"[ \t\n\r]*")
_raw_decode = json.JSONDecoder().raw_decode
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(slots=True, eq=False, kw_only=True)
class Body:
    """One request, as far as it had to be read."""

    raw: bytes
    member: str
    head: dict[str, Any]
    """The object without its conversation; the very one of the earlier body where both are equal but for that."""
    before: dict[str, Any]
    """Those members of the head that come before the conversation."""
    begin: int
    """Where the first message begins in `raw`."""
    ends: list[int]
    """Where each message ends."""
    history: list[str]
    """Digest over the first 1, 2, 3 … messages."""
    fresh: list[Any]
    """The messages that the earlier body did not have, or had otherwise."""
    fresh_sizes: list[int]
    """Their bytes."""
    since: Body | None
    """The earlier body, until it is forgotten: what it has hashed need not be hashed again."""
    _hasher: _Hash | None = None
    """SHA-256 up to the end of the last message, once somebody has asked."""

    @property
    def sha(self) -> str:
        """SHA-256 of `raw`, its first 32 hex characters."""
        whole = self._hashed().copy()
        whole.update(self.raw[self.ends[-1] if self.ends else 0 :])
        return whole.hexdigest()[:32]

    def _hashed(self) -> _Hash:
        if self._hasher is None:
            since, end = self.since, self.ends[-1] if self.ends else 0
            if since is not None and since._hasher is not None and self.known == len(since.ends):
                self._hasher = since._hasher.copy()
                self._hasher.update(self.raw[since.ends[-1] : end])
            else:
                self._hasher = sha256(memoryview(self.raw)[:end])
        return self._hasher

    @property
    def known(self) -> int:
        """How many messages need not be parsed: the earlier body had them."""
        return len(self.ends) - len(self.fresh)

    @property
    def head_size(self) -> int:
        """Bytes of all but the messages."""
        return len(self.raw) - (self.ends[-1] - self.begin if self.ends else 0)

    def tail(self) -> str:
        """Digest of what it is about, whatever else of it has drifted; see `models.tail`."""
        if self.known:
            begin = self.ends[self.known - 2] if self.known > 1 else self.begin
            last = json.loads(self.raw[begin : self.ends[self.known - 1]].lstrip(b", \t\r\n"))
            if start_of([last, *self.fresh]) > 0:  # the last turn is all in what is fresh
                return tail_of(self.fresh)
        return tail_of(self.messages())

    def messages(self) -> list[Any]:
        """The whole conversation, parsed; costs what it is long."""
        again = read(self.raw, self.member) if self.known else None
        return self.fresh if again is None else again.fresh

    def head_digest(self, *more: str) -> str:
        """Digest of the head, and of what is not in the body, such as a model that the path names."""
        return _digest(_canonical(self.head), *more)

    def digest(self, *more: str) -> str:
        """What this request is addressed by; 32 hex characters."""
        return self.digest_with(self.head_digest(*more))

    def digest_with(self, head: str) -> str:
        """The same, for who has its `head_digest`."""
        return _digest(head, self.history[-1] if self.history else "")


def _digest(*parts: str) -> str:
    said = sha256()
    for part in parts:
        said.update(part.encode("utf-8", "backslashreplace") + b"\x00")
    return said.hexdigest()[:32]


def read(raw: bytes, member: str, since: Body | None = None, alike: int = 0) -> Body | None:
    """Read a request whose conversation is called `member`; None when it is no JSON object.

    since: an earlier request, which may begin alike. alike: bytes with which both are known to begin.
    """
    try:
        known = 0 if since is None or since.member != member else _shared(raw, since, alike)
        if since is not None and known:
            return _Scan(raw, member, since, known).rest()
        return _Scan(raw, member).whole()
    except (ValueError, RecursionError):
        return None


def _shared(raw: bytes, since: Body, alike: int) -> int:
    """How many messages both begin with."""
    limit = alike if since.ends and alike >= since.ends[-1] else common(raw, since.raw, alike)
    low, high = 0, len(since.ends)
    while low < high:
        middle = (low + high) // 2
        if since.ends[middle] <= limit:
            low = middle + 1
        else:
            high = middle
    return low if low and raw[since.ends[low - 1] - 1] in b'}]"' else 0  # a number could go on


class _Scan:
    """Walks over one JSON object, from its start or from the end of a message on."""

    def __init__(self, raw: bytes, member: str, since: Body | None = None, known: int = 0) -> None:
        self.raw = raw
        self.member = member
        self.since = since
        self.start = since.ends[known - 1] if since is not None else 0
        self.text = raw[self.start :].decode()
        self.is_ascii = len(self.text) == len(raw) - self.start
        self.at = 0
        self.counted = (0, self.start)
        self.head: dict[str, Any] = dict(since.before) if since is not None else {}
        self.before: dict[str, Any] | None = since.before if since is not None else None
        self.begin = since.begin if since is not None else 0
        self.ends = since.ends[:known] if since is not None else []
        self.history = since.history[:known] if since is not None else []
        self.fresh: list[Any] = []
        self.sizes: list[int] = []

    def whole(self) -> Body:
        self.expect("{")
        if self.peek() == "}":
            self.at += 1
        else:
            self.members()
        return self.body()

    def rest(self) -> Body:
        if self.next(",]") == ",":
            self.elements()
        if self.has_same_end():
            self.head, self.at = self.since.head, len(self.text)  # type: ignore[union-attr]
        elif self.next(",}") == ",":
            self.members()
        return self.body()

    def has_same_end(self) -> bool:
        """Whether what follows the conversation was read with the earlier body."""
        since = self.since
        return since is not None and self.raw[self.ends[-1] :] == since.raw[since.ends[-1] :]

    def members(self) -> None:
        while True:
            self.peek()
            key = self.value()
            if not isinstance(key, str):
                raise ValueError("no JSON")
            self.expect(":")
            if key == self.member and self.before is not None:
                raise ValueError("the conversation is named twice")
            if key == self.member and self.peek() == "[":
                self.before = dict(self.head)
                self.at += 1
                if self.peek() == "]":
                    self.at += 1
                else:
                    self.begin = self.byte()
                    self.elements()
            else:
                self.head[key] = self.value()
            if self.next(",}") == "}":
                return

    def elements(self) -> None:
        while True:
            self.peek()
            begin = self.byte()
            message = self.value()
            end = self.byte()
            self.fresh.append(message)
            self.sizes.append(end - begin)
            self.ends.append(end)
            link = (self.history[-1] if self.history else "") + _canonical(message)
            self.history.append(sha256(link.encode()).hexdigest()[:32])
            if self.next(",]") == "]":
                return

    def peek(self) -> str:
        self.at = _WHITE.match(self.text, self.at).end()  # type: ignore[union-attr]
        return self.text[self.at : self.at + 1]

    def next(self, either: str) -> str:
        found = self.peek()
        if not found or found not in either:
            raise ValueError("no JSON")
        self.at += 1
        return found

    def expect(self, char: str) -> None:
        self.next(char)
        self.peek()

    def value(self) -> Any:
        found, self.at = _raw_decode(self.text, self.at)
        return found

    def byte(self) -> int:
        """The place in `raw` of the place in the text."""
        if self.is_ascii:
            return self.start + self.at
        char, byte = self.counted
        self.counted = (self.at, byte + len(self.text[char : self.at].encode()))
        return self.counted[1]

    def body(self) -> Body:
        if self.peek():
            raise ValueError("more than one JSON value")
        return Body(
            raw=self.raw,
            member=self.member,
            head=self.head,
            before=self.before or {},
            begin=self.begin,
            ends=self.ends,
            history=self.history,
            fresh=self.fresh,
            fresh_sizes=self.sizes,
            since=self.since,
        )


# --- storing one as what it changes of another -----------------------------------------------------------------


class Difference(NamedTuple):
    """A request as what it changes of an earlier one: that one's first `head` bytes, `new`, its last `tail` bytes."""

    head: int
    tail: int
    new: bytes

    def applied(self, base: bytes) -> bytes:
        """The request."""
        return base[: self.head] + self.new + base[len(base) - self.tail :]


def difference(raw: bytes, base: bytes, alike: int = 0) -> Difference:
    """What has to be stored of `raw`, when `base` is. alike: bytes with which both are known to begin."""
    head = common(raw, base, alike)
    while head and head < len(raw) and _is_inside(raw[head]):
        head -= 1
    tail = _common_end(raw, base, min(len(raw), len(base)) - head)
    while tail and _is_inside(raw[len(raw) - tail]):
        tail -= 1
    return Difference(head, tail, raw[head : len(raw) - tail])


def _is_inside(byte: int) -> bool:
    """Whether it goes on with a character: what is stored is text that a person can read."""
    return byte & 0xC0 == 0x80


def common(a: bytes, b: bytes, at: int = 0) -> int:
    """Length of the common beginning, of which `at` bytes are known."""
    size, step, is_narrowing = min(len(a), len(b)), _STEP, False
    while at < size:
        end = min(at + step, size)
        if a[at:end] == b[at:end]:
            at, step = end, step if is_narrowing else min(8 * step, _CHUNK)
        elif end - at == 1:
            return at
        else:
            step, is_narrowing = (end - at + 7) // 8, True
    return size


def _common_end(a: bytes, b: bytes, limit: int) -> int:
    """Length of the common end, at most `limit`."""
    at, step, is_narrowing = 0, _STEP, False
    while at < limit:
        end = min(at + step, limit)
        if a[len(a) - end : len(a) - at] == b[len(b) - end : len(b) - at]:
            at, step = end, step if is_narrowing else min(8 * step, _CHUNK)
        elif end - at == 1:
            return at
        else:
            step, is_narrowing = (end - at + 7) // 8, True
    return limit
