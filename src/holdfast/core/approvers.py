"""Who may answer a question, and how many must agree. Pure.

1. Whom the declared names stand for (people, rotas, chains) is found out when it is asked, and kept with the question:
   nobody comes in later. Who has left since may not answer either: that is looked up again when they do, and again
   just before the effect.
2. Whoever asked for the run, and whoever has agreed already, may not answer: an approval is somebody else's word.
3. Where several must agree they are asked one after the other, until the same moment; each sees who has agreed before.
4. Declared names that stand for nobody are no permission for everybody: the question can be answered by nobody.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from holdfast.core.drawn import safe_text
from holdfast.core.rung import Ask


class Agreed(NamedTuple):
    """Somebody has approved it, of several who must."""

    by: str
    until: float
    """The store's time from which on this no longer counts."""


class Approvers(NamedTuple):
    """Who may agree to something, as it was when it was asked."""

    names: tuple[str, ...] = ()
    """As they are declared: people, rotas, chains. Empty: anybody."""
    people: tuple[str, ...] = ()
    """Whom those stood for."""
    requester: str = ""
    """Who asked for the run, and may not agree to what it does; empty: nobody is known."""
    quorum: int = 1
    """How many must agree."""
    agreed: tuple[Agreed, ...] = ()
    """Who has so far."""

    @staticmethod
    def of(ask: Ask, requester: str, asked: Mapping[str, Any]) -> Approvers:
        """What is declared now, with what a question has kept of who that was."""
        agreed = tuple(Agreed(*each) for each in asked.get("agreed", ()))
        return Approvers(tuple(ask.approvers), tuple(asked.get("people", ())), requester, ask.quorum, agreed)

    @property
    def barred(self) -> tuple[str, ...]:
        """Who may not answer, also where anybody may."""
        return tuple(each for each in (self.requester, *(one.by for one in self.agreed)) if each)

    @property
    def candidates(self) -> tuple[str, ...]:
        """Who may, where not everybody may."""
        return tuple(each for each in self.people if not _is_among(each, self.barred))

    def facts(self) -> dict[str, Any]:
        """What the question says of it; nothing where anybody may answer."""
        return {
            "approvers": list(self.names) or None,
            "people": list(self.people) or None,
            "barred": list(self.barred) or None,
            "quorum": self.quorum if self.quorum > 1 else None,
            "agreed": [list(each) for each in self.agreed] or None,
        }

    def lacks(self) -> str:
        """Why there are not enough people who could agree; empty when there are."""
        left = len({_folded(each) for each in self.candidates})
        if not self.names or left >= self.quorum - len(self.agreed):
            return ""
        whom = " or ".join(safe_text(name, 60) for name in self.names)
        return (
            f"it needs the approval of {whom}, and that is nobody who may give it"
            if not left
            else (f"it needs {self.quorum} approvals of {whom}, and they are too few who may give one")
        )


ANYBODY = Approvers()


class Asked(Protocol):
    """What an open question says of who may answer it."""

    @property
    def id(self) -> str:
        """The question's."""

    @property
    def approvers(self) -> tuple[str, ...]:
        """As declared; empty: anybody."""

    @property
    def people(self) -> tuple[str, ...]:
        """Who they were when it was asked."""

    @property
    def barred(self) -> tuple[str, ...]:
        """Who may not."""


def refusal(asked: Asked, by: str) -> str:
    """Why an answer of this person does not count, by what the question itself says; empty when it may."""
    if not asked.approvers and not asked.barred:
        return ""
    if not by.strip():
        return _told(asked, "An answer without a name cannot be told from one of somebody who may not give it.")
    if _is_among(by, asked.barred):
        return _told(asked, f"{safe_text(by, 60)} asked for this run or has agreed already; somebody else must answer.")
    if asked.approvers and by not in asked.people:
        return _told(asked, f"{safe_text(by, 60)} is none of those who may answer it: {_listed(asked.people)}.")
    return ""


def has_left(asked: Asked, by: str, members: Collection[str]) -> str:
    """The same by who those are now that may answer."""
    if not asked.approvers or by in members:
        return ""
    names = _listed(asked.approvers)
    return _told(asked, f"{safe_text(by, 60)} is not of {names} any more, who may answer it.")


def counts(asked: Mapping[str, Any], by: str, members: Collection[str] | None) -> bool:
    """Whether what this person has said counts just before the effect. asked: the question's facts. members: whom its
    names stand for now; None: it does not matter."""
    is_anybodys = not (asked.get("approvers") or asked.get("barred") or asked.get("quorum", 1) > 1)
    if is_anybodys:
        return True
    if not by.strip() or _is_among(by, asked.get("barred", ())):
        return False
    if not asked.get("approvers"):
        return True
    return by in asked.get("people", ()) and (members is None or by in members)


def is_same(one: str, other: str) -> bool:
    """Whether these are the names of one person, however they are written."""
    return bool(one) and _folded(one) == _folded(other)


def _told(asked: Asked, why: str) -> str:
    return f"{why} Nothing was answered; question {asked.id} stays open."


def _listed(names: Collection[str]) -> str:
    return ", ".join(safe_text(name, 60) for name in names) or "nobody"


def _is_among(name: str, others: Iterable[str]) -> bool:
    """However it is written: who is kept out is not let in by a capital letter."""
    return _folded(name) in {_folded(each) for each in others}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().casefold()
