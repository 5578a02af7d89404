"""The raw reference: SQLite by hand, one INSERT and one COMMIT a step, synced to the disk as holdfast's are."""

from __future__ import annotations

from pathlib import Path

import apsw

from bench.measure import KILOBYTE, kilobyte


class RawStore:
    """A table of rows of 1 KB, or of `size`, in a file of its own: WAL, synchronous = FULL, all else as shipped."""

    def __init__(self, path: Path, size: int = KILOBYTE) -> None:
        self._size = size
        self._connection = apsw.Connection(str(path))
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS step (number INTEGER PRIMARY KEY, body TEXT NOT NULL)")
        self.number = 0

    def step(self) -> None:
        """One durable row."""
        self.number += 1
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(
            "INSERT INTO step VALUES (?, ?)", (self.number, kilobyte(self.number).ljust(self._size, "x"))
        )
        self._connection.execute("COMMIT")

    def steps(self, count: int) -> None:
        """Some durable rows, one after the other."""
        for _ in range(count):
            self.step()

    def close(self) -> None:
        """Close; the last connection moves the log into the file."""
        self._connection.close()
