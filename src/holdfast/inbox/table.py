"""One table of holdfast.toml, read name by name: what is wrong is told with the file, the table and what to write."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from holdfast.core.duration import seconds
from holdfast.errors import PolicyInvalid
from holdfast.inbox.directory import FromEnvironment

_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Table:
    """A table, and where it stands."""

    def __init__(self, file: Path, where: str, values: Any, example: str) -> None:
        self.file = file
        self.where = where
        if not isinstance(values, dict):
            raise PolicyInvalid(f"{file}: {where} must be a table. Write {example}. Nothing was started.")
        self._values: dict[str, Any] = values

    def wrong(self, what: str, instead: str) -> NoReturn:
        """Refuse it."""
        raise PolicyInvalid(f"{self.file}: {self.where} {what}. {instead}. Nothing was started.")

    def only(self, *names: str) -> None:
        """Refuse what nobody reads: a mistyped name would do nothing, and nobody would know."""
        unknown = sorted(self._values.keys() - set(names))
        if unknown:
            self.wrong(f"says {unknown[0]!r}, which is not understood", f"There are {', '.join(names)}")

    def has(self, name: str) -> bool:
        """Whether anything is said of it."""
        return name in self._values

    def raw(self, name: str) -> Any:
        """As it stands there."""
        return self._values.get(name)

    def text(self, name: str, example: str, *, default: str | None = None) -> str:
        """One line of text that is not empty."""
        value = self._values.get(name, default)
        if value is None:
            self.wrong(f"does not say {name}", f"Write {name} = {example}")
        if not isinstance(value, str) or (not value.strip() and value != default) or not value.isprintable():
            self.wrong(f"has {name} = {value!r}, which is no line of text", f"Write {name} = {example}")
        return value

    def names(self, name: str, example: str, known: Iterable[str], what: str) -> tuple[str, ...]:
        """A list of names that are declared elsewhere in the file."""
        value = self._values.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
            self.wrong(f"has {name} = {value!r}, which is no list of {what}", f"Write {name} = {example}")
        there = list(known)
        for each in value:
            if each not in there:
                listed = f"There are {', '.join(there)}" if there else "None is declared"
                self.wrong(f"names {each!r} in {name}, which is none of the {what} of this file", listed)
        return tuple(dict.fromkeys(value))

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number within bounds."""
        value = self._values.get(name, default)
        if type(value) is not int or not low <= value <= high:
            self.wrong(f"has {name} = {value!r}", f"Write a whole number from {low} to {high}")
        return value

    def length(self, name: str, default_s: float, example: str, *, low_s: float, high_s: float = 90 * 86400.0) -> float:
        """A span of time, in seconds."""
        value = self._values.get(name, default_s)
        try:
            length = seconds(_days(value), name)
        except PolicyInvalid as unread:
            self.wrong(f"has {name} = {value!r}", str(unread).rstrip("."))
        if not low_s <= length <= high_s:
            self.wrong(f"has {name} = {value!r}", f"Write from {low_s:g} s to {high_s / 86400:g} d, such as {example}")
        return length

    def zone(self, name: str = "zone", *, default: str | None = None) -> ZoneInfo:
        """A time zone, by the name of its place."""
        value = self.text(name, '"Europe/Zurich"', default=default)
        try:
            return ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            self.wrong(
                f"has {name} = {value!r}, which this system knows no time zone by",
                f'Write {name} = "Europe/Zurich", or "UTC"; a system without any has them in the package tzdata',
            )

    def moment(self, name: str, example: str, zone: ZoneInfo) -> datetime:
        """A moment by the wall clock of `zone`, without a zone of its own; a day is its beginning."""
        value = self._values.get(name)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                pass
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        if not isinstance(value, datetime) or not 1970 < value.year < 9000:
            self.wrong(f"has {name} = {value!r}, which is no moment", f"Write {name} = {example}")
        return value.astimezone(zone).replace(tzinfo=None) if value.tzinfo is not None else value

    def clock(self, name: str, example: str) -> tuple[time, time]:
        """From a time of the day to another one."""
        value = self.text(name, example)
        try:
            begins, ends = (time.fromisoformat(part.strip()) for part in value.split("-"))
        except ValueError:
            self.wrong(f"has {name} = {value!r}, which is no span of a day", f"Write {name} = {example}")
        if begins == ends or begins.tzinfo is not None or ends.tzinfo is not None:
            self.wrong(f"has {name} = {value!r}, which is no span of a day", f"Write {name} = {example}")
        return begins, ends

    def secret(self, name: str) -> FromEnvironment:
        """The variable that holds it: the file itself never does."""
        value = self._values.get(name)
        return self.variable(name, value)

    def variable(self, name: str, value: Any) -> FromEnvironment:
        """What `env:NAME` names."""
        found = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
        if found is None:  # what stands there may be the secret: it is not shown
            self.wrong(f"must not hold {name} itself", f'Write {name} = "env:NAME", and set NAME in the environment')
        return FromEnvironment(found[1])

    def tables(self, example: str) -> dict[str, Table]:
        """The tables in this one, by name."""
        for name in self._values:
            if not _NAME.fullmatch(name):
                self.wrong(f"names {name!r}", "Use letters, digits, dots, dashes and underscores, at most 64")
        inner = f"[{self.where.strip('[]')}"
        return {name: Table(self.file, f"{inner}.{name}]", value, example) for name, value in self._values.items()}


def _days(value: Any) -> Any:
    """Weeks, which no other duration of holdfast is counted in."""
    if isinstance(value, str) and value.strip().endswith("w") and value.strip()[:-1].strip().isdigit():
        return f"{int(value.strip()[:-1]) * 7}d"
    return value
