"""Which arguments nobody can read an effect off: commands, SQL, code, and data in an encoding. Pure.

A person who approves `refund(order, cents)` sees what happens. Of `run(command="curl … | sh")` they see a text, and
what happens is what an interpreter makes of it. Nothing here explains such a text: it is called uninspectable, and
whoever asks decides what follows. It is guessed by the name of the argument and by the look of its value; a guess that
is wrong costs a second look, and one that is missing costs what it would have cost without this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

COMMAND, SQL, CODE, BLOB = "a command", "SQL", "code", "data in an encoding"
BLOB_MIN: Final = 100
"""So many characters of base64 are data, not a name; of hexadecimal digits more than the longest usual hash has."""
_NAMES: Final = {
    **dict.fromkeys(("command", "commands", "cmd", "shell", "bash", "script", "argv", "powershell"), COMMAND),
    **dict.fromkeys(("sql", "sql_query", "statement", "sql_statement"), SQL),
    **dict.fromkeys(("code", "source_code", "python", "javascript", "expression", "program"), CODE),
}
_THING = r"(?:table|database|schema|view|index|user|role|function|procedure|trigger|sequence|extension|policy)"
_SQL = re.compile(
    r"\s*(?:(?:--[^\n]*\n|/\*.*?\*/|\()\s*)*"
    r"(?:select\b.+\bfrom\s|insert\s+into\s|update\s+\S+\s+set\s|delete\s+from\s|merge\s+into\s|truncate\s+(?:table\s)?"
    rf"|(?:drop|alter|create)\s+(?:or\s+replace\s+|temp\w*\s+|unique\s+|materialized\s+)*{_THING}\b"
    r"|(?:grant|revoke)\s.+\s(?:to|from)\s|with\s+\w+\s+as\s*\(|call\s+\w+\s*\(|exec(?:ute)?\s+\w+|copy\s+\S+\s+(?:from|to)\s"
    r"|pragma\s+\w+|attach\s+database\s)",
    re.IGNORECASE | re.DOTALL,
)
_PROGRAM = (
    r"(?:sudo|doas|env|rm|mv|cp|dd|ln|chmod|chown|curl|wget|bash|sh|zsh|fish|python[\d.]*|perl|ruby|node|npx|npm|pip|uvx?|"
    r"ssh|scp|rsync|git|kubectl|helm|docker|podman|terraform|ansible\S*|aws|gcloud|az|psql|mysql|sqlite3|redis-cli|kill|"
    r"pkill|systemctl|mkfs\S*|crontab|nc|openssl|tar|find|xargs|sed|awk|tee|powershell|pwsh|cmd(?:\.exe)?)"
)
_SHELL = re.compile(
    rf"#!|\s*(?:sudo|doas)\s+\w|.*(?:\$\(|`{_PROGRAM}\b[^`]*`|\s(?:&&|\|\|)\s|[|;&]\s*{_PROGRAM}\s|\s\d?>>?\s*[/~.&]\S)"
    rf"|\s*{_PROGRAM}\s+(?:\S+\s+)*?(?:-{{1,2}}\w|[/~.]\S|\S*[/=:@]\S)",
    re.DOTALL,
)
_CODE = re.compile(
    r".*(?:\b(?:eval|exec|compile|__import__|getattr|system|popen)\s*\(|^\s*(?:import|from)\s+[\w.]+(?:\s+import\s|\s*$)"
    r"|\bsubprocess\.|\bos\.\w+\(|\bfunction\s*\w*\s*\([^)]*\)\s*\{|=>\s*\{|\blambda\b[^:]*:|^\s*def\s+\w+\s*\()",
    re.DOTALL | re.MULTILINE,
)
_HEX = re.compile(r"\s*(?:0x|\\x)?(?:[0-9a-fA-F]{2}[\s:]?){66,}\s*")
_BASE64 = re.compile(rf"\s*(?:data:[^,]{{0,100}};base64,)?[A-Za-z0-9+/_-]{{{BLOB_MIN},}}={{0,2}}\s*")
_LOOKED_AT: Final = 20_000
"""Of a longer text so many characters, from its beginning."""


class Opaque(NamedTuple):
    """One argument, and what it is."""

    name: str
    what: str


def found(arguments: Any) -> list[Opaque]:
    """All of these arguments that are uninspectable; each name once."""
    pairs = arguments.items() if isinstance(arguments, dict) else [("value", arguments)]
    return [Opaque(str(name), what) for name, value in pairs if (what := opaque(str(name), value))]


def opaque(name: str, value: Any) -> str:
    """What this value is that nobody can read an effect off; empty when it is none of that."""
    return next(_within(name, value), "")


def _within(name: str, value: Any) -> Iterator[str]:
    match value:
        case str() if value.strip():
            known = _NAMES.get(name.lower().strip("_"), "")
            yield from (each for each in (known or _looks_like(value),) if each)
        case bytes() | bytearray() if value:
            yield BLOB
        case dict():
            for child, inner in value.items():
                yield from _within(str(child), inner)
        case list() | tuple():
            for inner in value:
                yield from _within(name, inner)
        case _:
            pass


def _looks_like(text: str) -> str:
    shown = text[:_LOOKED_AT]
    for what, pattern in ((SQL, _SQL), (COMMAND, _SHELL), (CODE, _CODE)):
        if pattern.match(shown):
            return what
    is_mixed = any(c.isdigit() for c in shown) and any(c.isupper() for c in shown) and any(c.islower() for c in shown)
    if _HEX.fullmatch(shown) or (is_mixed and _BASE64.fullmatch(shown)):
        return BLOB
    return ""
