"""What in a text is a credential, and the text without it: for what leaves the record, such as the index of a search.

Pure, and linear in the text: every repetition in a pattern is bounded. It knows the shapes that providers mint, and
values under a name that says so. It is a net and no wall: a password in a sentence is a word like any other, so a
secret belongs into the environment, not into the input of a run.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "[secret]"
_NAME = (
    r"auth(?!or)|cookie|credential|passphrase|passw|secret|session.?(?:id|key)|signature|token|api.?key|access.?key"
    r"|private.?key"
)
_IS_NAME = re.compile(rf"(?:{_NAME})|^pwd$", re.I)
_MINTED = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,200}"
    r"|gh[pousr]_[A-Za-z0-9]{20,200}|github_pat_[A-Za-z0-9_]{20,200}|glpat-[A-Za-z0-9_-]{16,200}"
    r"|xox[a-z]-[A-Za-z0-9-]{10,200}|xapp-[A-Za-z0-9-]{10,200}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,100}|ya29\.[A-Za-z0-9_-]{20,400}"
    r"|eyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,2000}"
    r")"
)
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]{0,40}PRIVATE KEY)-----.{0,8000}?(?:-----END \1-----|\Z)", re.S)
_SCHEME = re.compile(r"\b(Bearer|Basic|Digest)\s{1,3}[A-Za-z0-9+/=._~-]{8,4000}", re.I)
_IN_URL = re.compile(r"(://[^\s/:@]{0,200}:)[^\s/@]{1,200}@")
_SAID = re.compile(
    rf"""((?:{_NAME})[\w-]{{0,20}}["']?\s{{0,2}}[:=]\s{{0,2}}["']?)([^\s"',;}}\]]{{8,4000}})""",
    re.I,
)
"""A value under its name in a text; of eight characters, as shorter ones are words."""


def is_secret(name: str) -> bool:
    """Whether a field of this name holds what nobody should read."""
    return _IS_NAME.search(name) is not None


def without(text: str) -> str:
    """The text, each credential in it replaced."""
    text = _BLOCK.sub(HIDDEN, text)
    text = _MINTED.sub(HIDDEN, text)
    text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    text = _IN_URL.sub(rf"\1{HIDDEN}@", text)
    return _SAID.sub(_kept, text)


def _kept(match: re.Match[str]) -> str:
    return match[0] if match[2].startswith(HIDDEN) or match[2].isdigit() else match[1] + HIDDEN
