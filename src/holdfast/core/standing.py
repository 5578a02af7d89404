"""Whether a store takes writes, or its runs are on their way to another store. Pure.

A store is open; or it is being filled from another; or its runs are being moved to another; or they have been. Only an
open store goes on with runs, and `may_become` lets no two stores go on with the same ones.

Invariants
1. Of two stores between which runs are moved, at most one is open and not empty at any time: the one that is left is
   closed before anything is copied, and for good before the one that was filled is opened.
2. `attempt` names one attempt to move runs. Whoever acts for another one changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote


class Passage(StrEnum):
    """Where a store is between being made and being left."""

    OPEN = "open"
    FILLING = "filling"
    """Runs are being moved into it; it is not complete."""
    LEAVING = "leaving"
    """Its runs are being moved to another store; until that is done it can be opened again."""
    LEFT = "left"
    """Its runs go on in another store, for good."""


class Standing(NamedTuple):
    """What a store says about itself."""

    passage: Passage = Passage.OPEN
    attempt: str = ""
    """Which attempt to move runs it is; empty of an open store."""
    url: str = ""
    """The other store, without a password."""

    @property
    def is_open(self) -> bool:
        """Whether it takes writes of runs."""
        return self.passage is Passage.OPEN

    def text(self) -> str | None:
        """As it is stored; None of an open store."""
        return None if self.is_open else f"{self.passage} {self.attempt} {self.url}"

    @staticmethod
    def of(text: str | None) -> Standing:
        """What `text` wrote."""
        if not text:
            return OPEN
        passage, attempt, url = text.split(" ", 2)
        return Standing(Passage(passage), attempt, url)


OPEN = Standing()
_SECRETS = frozenset({"password", "sslpassword"})
"""Parts of a query that are not shown."""

_BECOMES = {
    Passage.OPEN: (Passage.FILLING, Passage.LEAVING),
    Passage.FILLING: (Passage.OPEN,),
    Passage.LEAVING: (Passage.OPEN, Passage.LEFT),
    Passage.LEFT: (),
}


def may_become(before: Standing, after: Standing) -> bool:
    """Whether a store may go from one to the other. Of the same attempt, unless one of them is open."""
    is_same = before.is_open or after.is_open or before[1:] == after[1:]
    return is_same and after.passage in _BECOMES[before.passage]


def shown(url: str) -> str:
    """The URL of a store without its password: it is kept, printed and compared."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "sqlite":  # a path, in which @ and : are letters like others
        return url
    place, mark, query = rest.partition("?")
    before, at, host = place.rpartition("@")
    said = [part for part in query.split("&") if unquote(part.partition("=")[0]) not in _SECRETS]
    user = before.partition(":")[0]
    return f"{scheme}://{user}{at if user else ''}{host}{mark if said else ''}{'&'.join(said)}"
