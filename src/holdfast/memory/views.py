"""The board as two files in the working tree, for people and agents to read; nothing ever reads them as truth.

Each carries a seal over all of its bytes and the number of events that it was rendered from. So it can be told whether
somebody has edited it, put an older one back, or whether only a crash came before it was written anew.

Invariants
1. Whatever lies there, it is opened without following a link and without waiting; the board is never changed by it.
2. After `restore` both are plain files with the right content, and each fault is reported once.
3. What a link leads to, other names of a file, and what is in a directory stay as they are.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from holdfast.core.board import Board, Item, State
from holdfast.memory import plain_file

FEATURES: Final = "features.json"
PROGRESS: Final = "progress.md"
NAMES: Final = (FEATURES, PROGRESS)
LOOKED_AT: Final = 1_000
"""So many names of the directory are looked at for copies."""
_ROOM = 1 << 20
_UNSEALED = "0" * 64
_SEAL = re.compile(rb"seal\"?: \"?([^\n]{0,200}) (\d{1,18}) ([0-9a-f]{64})(?=\"\n\}\n\Z| -->\n\Z)")
_LIKE = re.compile(r"\.?(?:features\b.*\.json|progress\b.*\.md)")
_TICKS = {State.OPEN: " ", State.PASSING: "x", State.REGRESSED: "!"}
_SAYS = "Rendered by holdfast. Editing it changes nothing: what a feature is and whether it passes is in the journal."


class Edited(NamedTuple):
    """A view that somebody had got at."""

    file: str
    what: str
    """edited, deleted, rolled back, newer than the board, of another project, mode, a hard link, a copy of a view, or
    what lay there instead of a file (a symbolic link, a directory, a pipe, …)."""

    @property
    def text(self) -> str:
        """In one line, as it is recorded."""
        return f"{self.file}: {self.what}"


# --- rendering ---------------------------------------------------------------------------------------------------


def render(board: Board, key: bytes) -> dict[str, bytes]:
    """The content of each, sealed with this key."""
    made = {FEATURES: _features(board), PROGRESS: _progress(board)}
    return {name: _sealed(name, text.encode("utf-8", "replace"), key) for name, text in made.items()}


def _seal(board: Board) -> str:
    name = " ".join(board.name.split()).replace('"', "").replace("\\", "")[:200]
    return f"{name} {board.count} {_UNSEALED}"


def _sealed(name: str, data: bytes, key: bytes) -> bytes:
    at = data.rindex(_UNSEALED.encode())
    return data[:at] + _mac(name, data, key) + data[at + len(_UNSEALED) :]


def _mac(name: str, data: bytes, key: bytes) -> bytes:
    return hmac.new(key, b"view\0" + name.encode() + b"\0" + data, hashlib.sha256).hexdigest().encode()


def _features(board: Board) -> str:
    listed = [_listed(item) for item in board.items.values()]
    whole = {"about": _SAYS, "project": board.name, "features": listed, "seal": _seal(board)}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _listed(item: Item) -> dict[str, Any]:
    feature, check = item.feature, item.feature.check
    return {
        "id": feature.id,
        "description": feature.description,
        "steps": list(feature.steps),
        "check": f"{check.kind}: {check.target}",
        "priority": feature.priority,
        "after": list(feature.after),
        "passes": item.state is State.PASSING,
        "state": str(item.state),
        "commit": item.proof.commit if item.proof else "",
        "tries": item.tried,
    }


def _progress(board: Board) -> str:
    passing = sum(item.state is State.PASSING for item in board.items.values())
    lines = [f"# {_line(board.name)}", "", _SAYS, "", f"{passing} of {len(board.items)} features pass.", ""]
    lines += [_ticked(item) for item in board.items.values()]
    if board.ended:
        lines += ["", "## Sessions", ""]
        lines += [f"- {each.number}: {each.feature or 'no feature'}, {each.outcome}" for each in board.ended]
    if board.notes:
        lines += ["", "## Notes of agents, in their words", ""]
        lines += [f"> session {note.session}: {_line(note.text)}" for note in board.notes]
    return "\n".join([*lines, "", f"<!-- seal: {_seal(board)} -->", ""])


def _ticked(item: Item) -> str:
    why = f" (tried {item.tried}: {_line(item.tries[-1].why)})" if item.tries else ""
    return f"- [{_TICKS[item.state]}] {item.feature.id}: {_line(item.feature.description)}{why}"


def _line(text: str) -> str:
    """In one line that can neither end the comment of a seal nor look like markup."""
    return " ".join(text.split()).replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")


# --- what became of them -----------------------------------------------------------------------------------------


def restore(directory: Path, board: Board, key: bytes) -> list[Edited]:
    """Write both as the board says, and give what somebody had done to them. What a crash alone explains is not told:
    a view of a state since the last session's end, or none at all before the first."""
    found: list[Edited] = []
    for name, data in render(board, key).items():
        there = plain_file.seen(directory, name, len(data) + _ROOM + (64 << 20))
        what = _done_to(name, there, data, board, key)
        if what:
            found.append(Edited(name, what))
        if there.what or there.data != data or there.mode != plain_file.MODE or there.links > 1:
            plain_file.put(directory, name, data)
    known = {remark.text for remark in board.edited}
    copies = (Edited(name, "a copy of a view") for name in _copies(directory))
    return [*found, *(copy for copy in copies if copy.text not in known)]


def _done_to(name: str, there: plain_file.Seen, data: bytes, board: Board, key: bytes) -> str:
    """In words; empty when nobody did anything."""
    if there.what == "missing":
        return "deleted" if board.revision else ""
    if there.what:
        return there.what
    if there.data is None:
        return "mode" if not there.mode & 0o400 else "edited"
    is_right = there.data == data
    what = "" if is_right else _of_seal(name, there.data, board, key)
    if not what and there.links > 1:
        return "a hard link"
    return what or ("mode" if there.mode & 0o7113 or there.mode & 0o600 != 0o600 else "")


def _of_seal(name: str, data: bytes, board: Board, key: bytes) -> str:
    """What the seal of another content says of it."""
    seal = _SEAL.search(data, max(0, len(data) - 500))
    if seal is None:
        return "edited"
    unsealed = data[: seal.start(3)] + _UNSEALED.encode() + data[seal.end(3) :]
    if not hmac.compare_digest(_mac(name, unsealed, key), seal[3]):
        return "edited"
    if seal[1].decode("utf-8", "replace") != _seal(board).rsplit(" ", 2)[0]:
        return "of another project"
    revision = int(seal[2])
    if revision > board.count:
        return "newer than the board"
    return "rolled back" if revision < board.revision else ""


def _copies(directory: Path) -> Iterator[str]:
    """Files beside the views that look like one of them, and are sealed, or differ in the case of letters alone."""
    for name in sorted(os.listdir(directory)[:LOOKED_AT]):
        folded = name.casefold()
        if name in NAMES or not _LIKE.match(folded):
            continue
        data = b"" if folded in NAMES else plain_file.seen(directory, name).data
        if folded in NAMES or (data is not None and _SAYS.encode() in data):
            yield name
