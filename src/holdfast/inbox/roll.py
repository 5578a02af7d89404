"""Whom names stand for, as `holdfast.toml` says at the moment when somebody asks: for whoever takes answers.

The file is read anew each time, so that who was taken out of it may not answer from then on. A file that cannot be
read, or is wrong, lets nobody answer what only some may.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import MessageRefused, PolicyInvalid
from holdfast.inbox import config
from holdfast.inbox.directory import Directory


class FileRoll:
    """See `Roll`. path: of the file; without one ./holdfast.toml, if there is one."""

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = path

    def members(self, names: Sequence[str]) -> Sequence[str]:
        """See `Roll`."""
        return self._read().everybody(names)

    def by_slack(self, member: str) -> str:
        """Who has this member id in Slack, by name; empty: nobody here."""
        return self._read().by_slack(member)

    def _read(self) -> Directory:
        try:
            return config.load(self._path)
        except PolicyInvalid as wrong:
            raise MessageRefused(f"Nobody knows who may answer: {wrong} Nothing was answered.") from wrong
