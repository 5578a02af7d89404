"""What a power cut may leave of the files that a `Disk` has seen change. Pure.

    power = Power()
    for op in disk.ops:
        power.take(op)                    # the cut comes after this one
        files = power.left(random)        # one of the many things that the disk may hold then: name -> bytes

The model is that of SQLite's documentation and of what its VFS asks of a system:

1. What a file held when it was last synced is there, but for what changed since.
2. Of each change since then, any sector of 512 bytes may have got to the disk or not, in any order between sectors; of
   one sector an earlier state, never a later one without what came before. A length may have been changed or not. What
   lies between the old end and a later sector reads as zeros, or as rubbish.
   After a sync that failed, what was to be synced may be lost for good, whatever is synced later by this handle or by
   another (each that was open is told once, by its own next sync: see `Disk`), but for pages of 4 KiB that are written
   again: a page is written as it is in memory.
3. A sector that was not written keeps its bytes (power-safe overwrite, which SQLite takes for granted).
4. A name that was made or removed since the directory was last synced may be there or not.

Never: opens a file, knows SQLite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Final, Protocol, TypeVar

from holdfast.testing.disk import Change, Op

T = TypeVar("T")
SECTOR: Final = 512
PAGE: Final = 8
"""Sectors of a page of the system's memory."""
Keep = Callable[[int, int], bool]
"""Whether sector … of change … since the last sync got to the disk; a change of length is its sector -1."""


class Chance(Protocol):
    """What `random.Random` has, and this module needs of it."""

    def random(self) -> float:
        """A number in [0, 1)."""

    def randrange(self, stop: int, /) -> int:
        """A whole number in [0, stop)."""

    def choice(self, seq: Sequence[T], /) -> T:
        """One of them."""

    def randbytes(self, n: int, /) -> bytes:
        """Rubbish."""


class Loss(StrEnum):
    """Which of the many things is left."""

    NOTHING = "nothing"
    """All that was changed is on the disk."""
    UNSYNCED = "unsynced"
    """Nothing of what was not synced is."""
    TORN = "torn"
    """Of each file's last change some sectors are; all of those before."""
    ONE = "one"
    """One change is lost, those after it are not."""
    ALL_BUT_ONE = "all but one"
    RANDOM = "random"
    """Each sector for itself."""


class _File:
    """The bytes that are safe, and what was changed since."""

    def __init__(self, name: str, data: bytes = b"") -> None:
        self.name = name
        self.safe = data
        self.changes: list[Op] = []
        self.doomed = 0
        """So many of the changes, the first ones, were to be synced when that failed."""
        self.now = bytearray(data)

    def take(self, op: Op) -> None:
        if op.change is Change.SYNC_FAILED:
            self.doomed = len(self.changes)
        elif op.change is Change.SYNCED and self.doomed:
            self._sync_some()
        elif op.change is Change.SYNCED:
            self.safe, self.changes = bytes(self.now), []
        else:
            self.changes.append(op)
            _apply(self.now, op.offset, op.data, None) if op.change is Change.WRITTEN else _cut(self.now, op.offset)

    def _sync_some(self) -> None:
        """A sync after one that failed: of what was doomed then, only pages that were written again are safe."""
        doomed, rest = self.changes[: self.doomed], self.changes[self.doomed :]
        pages = {sector // PAGE for op in rest for sector, *_ in _sectors(op)}
        safe = bytearray(self.safe)
        self.changes = []
        for number, op in enumerate((*doomed, *rest)):
            if op.change is Change.CUT:
                _cut(safe, op.offset)
                continue
            for sector, start, end in _sectors(op):
                part = op.data[start - op.offset : end - op.offset]
                if number >= len(doomed) or sector // PAGE in pages:
                    _apply(safe, start, part, None)
                else:
                    self.changes.append(op._replace(offset=start, data=part))
        self.safe, self.doomed = bytes(safe), len(self.changes)

    def left(self, keep: Keep, filler: Chance | None, keeps_length: bool) -> bytes:
        if not self.changes:
            return self.safe
        data, lost = bytearray(self.safe), set[int]()
        for number, op in enumerate(self.changes):
            if op.change is Change.CUT:
                if keep(number, -1):
                    _cut(data, op.offset)
                continue
            for sector, start, end in _sectors(op):
                if sector not in lost and keep(number, sector):
                    _apply(data, start, op.data[start - op.offset : end - op.offset], filler)
                else:
                    lost.add(sector)
        if keeps_length and len(data) < len(self.now):
            _apply(data, len(self.now), b"", filler)
        return bytes(data)


def _sectors(op: Op) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each part of a write that lies in one sector."""
    end = op.offset + len(op.data)
    for sector in range(op.offset // SECTOR, -(-end // SECTOR)):
        yield sector, max(op.offset, sector * SECTOR), min(end, (sector + 1) * SECTOR)


def _apply(data: bytearray, offset: int, written: bytes, filler: Chance | None) -> None:
    gap = offset - len(data)
    if gap > 0:
        data += bytes(gap) if filler is None else filler.randbytes(gap)
    data[offset : offset + len(written)] = written


def _cut(data: bytearray, size: int) -> None:
    del data[size:]
    data += bytes(size - len(data))


class Power:
    """The files as they are while ops come, and what a cut at this moment may leave."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._safe_names: dict[str, int] = {}
        self._names: dict[str, list[int]] = {}
        """Of each name whose entry was changed since the directory was synced: the files it named since (0: none)."""

    def take(self, op: Op) -> None:
        """One more change."""
        match op.change:
            case Change.FOUND:
                self._files[op.file] = _File(op.name, op.data)
                self._safe_names[op.name] = op.file
            case Change.MADE:
                self._files[op.file] = _File(op.name)
                self._names.setdefault(op.name, []).append(op.file)
            case Change.REMOVED:
                self._names.setdefault(op.name, []).append(0)
            case Change.DIRECTORY_SYNCED:
                self._safe_names |= {name: files[-1] for name, files in self._names.items()}
                self._names.clear()
            case Change.WRITTEN | Change.CUT | Change.SYNCED | Change.SYNC_FAILED:
                self._files[op.file].take(op)

    @property
    def at_risk(self) -> frozenset[str]:
        """Names of the files of which something may be lost if the power goes now."""
        return frozenset(self._names) | {file.name for file in self._files.values() if file.changes}

    def left(self, loss: Loss, chance: Chance) -> dict[str, bytes]:
        """The files by name."""
        filler = chance if chance.random() < 0.3 else None
        keeps_length = chance.random() < 0.2
        names = sorted(self._left_names(loss, chance).items())
        files = [(name, self._files[file]) for name, file in names if file]
        return {name: file.left(_keep(loss, chance, file.changes), filler, keeps_length) for name, file in files}

    def _left_names(self, loss: Loss, chance: Chance) -> dict[str, int]:
        left = dict(self._safe_names)
        for name, files in self._names.items():
            keeps = loss in (Loss.NOTHING, Loss.TORN) or (loss is not Loss.UNSYNCED and chance.random() < 0.8)
            if keeps:
                left[name] = files[-1]
            elif loss is not Loss.UNSYNCED:
                left[name] = chance.choice([self._safe_names.get(name, 0), *files])
        return left


def _keep(loss: Loss, chance: Chance, changes: list[Op]) -> Keep:
    """What of a file's changes gets to the disk."""
    last = len(changes) - 1
    match loss:
        case Loss.NOTHING:
            return lambda number, sector: True
        case Loss.UNSYNCED:
            return lambda number, sector: False
        case Loss.TORN:
            return lambda number, sector: number < last or chance.random() < 0.5
        case Loss.ONE:
            one = chance.randrange(max(last + 1, 1))
            return lambda number, sector: number != one
        case Loss.ALL_BUT_ONE:
            one = chance.randrange(max(last + 1, 1))
            return lambda number, sector: number == one
        case Loss.RANDOM:
            share = chance.choice((0.1, 0.5, 0.9, 0.99))
            return lambda number, sector: chance.random() < share
