"""Whether anybody can be reached, as the file and the store say at the moment when somebody asks."""

from __future__ import annotations

from pathlib import Path

from holdfast.inbox import config
from holdfast.inbox.routes import Measured, measured
from holdfast.protocols import Journal


class FileMeasures:
    """path: of the file; without one ./holdfast.toml, if there is one. It is read anew each time."""

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = path

    def now(self, journal: Journal) -> Measured:
        """What is known. `PolicyInvalid` when the file is wrong."""
        return measured(config.load(self._path), journal, journal.now())
