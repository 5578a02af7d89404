"""Nobody is told more than they can read: before a notice, a chain asks here; `core.load` decides.

What a person was told is in one cell of the store, which all chains of all processes share. It is written by
compare-and-set from within the body of a step, whose recorded outcome is what a replay goes by.

1. What cannot be read or written lets the notice through: rather one too many than somebody who is not told.
2. A digest says how many questions wait, and no word of any. Its id is of the person and the time at which it was due:
   whoever gets it twice can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from holdfast.core import load
from holdfast.core.chain import Notify
from holdfast.core.heads import OpenQuestion, Status
from holdfast.core.load import Admission, Covered, Hold, Load, SendDigest, Tell, Wanted
from holdfast.errors import JournalError
from holdfast.inbox.directory import Directory
from holdfast.inbox.wording import Waiting, digest
from holdfast.journal.codec import digest as name_of
from holdfast.protocols import Asked, Journal, Notice
from holdfast.runtime.thread import in_thread

TRIES: Final = 16
"""So often a compare-and-set is tried; each time it is lost, another one has won."""
HEADS_MAX: Final = 50_000
"""Of the runs of each status so many are looked at for a digest: the newest."""
_WITH_QUESTIONS: Final = (Status.SUSPENDED, Status.RUNNING, Status.READY)


def admit(
    journal: Journal, directory: Directory, asked: Asked, step: Notify, held_since: float | None
) -> dict[str, Any]:
    """What becomes of this notice, as plain data: tell, hold, covered, or digest."""
    wanted = Wanted(_notice(asked, step), asked.run, asked.question, asked.alike or asked.question, held_since)
    per_hour = directory.people[step.person].per_hour if step.person in directory.people else load.PER_HOUR
    found, now = Tell(), journal.now()  # type: Admission, float
    with suppress(JournalError):  # what is wrong with the store is said by whoever writes the step
        found = _changed(
            journal, step.person, lambda before: load.admitted(before, wanted, per_hour, now, _is_open(journal))
        )
    match found:
        case Tell():
            return {"what": "tell"}
        case Hold(until):
            return {"what": "hold", "until": until, "since": now if held_since is None else held_since}
        case Covered(channel):
            return {"what": "covered", "channel": channel}
        case SendDigest(due_at):
            return {"what": "digest", "due_at": due_at}


def _notice(asked: Asked, step: Notify) -> str:
    return f"{asked.question}/{step.round}/{step.level}"


def taken(journal: Journal, asked: Asked, step: Notify) -> None:
    """A channel has taken this notice: whoever was told knows of what is alike, too."""
    with suppress(JournalError):  # else others are told of by themselves
        _changed(journal, step.person, lambda before: (load.taken(before, _notice(asked, step)), Tell()))


def sent(journal: Journal, person: str, channel: str) -> None:
    """A digest was taken by this channel."""
    with suppress(JournalError):  # else another run sends it again, under the same id
        _changed(journal, person, lambda before: (load.sent(before, channel, journal.now()), Tell()))


def _changed(journal: Journal, person: str, change: Callable[[Load], tuple[Load, Admission]]) -> Admission:
    name = load.cell_of(person)
    for _ in range(TRIES):
        cell = journal.cell(name)
        before = Load.of("" if cell is None else cell.value)
        after, found = change(before)
        if after == before or journal.swap(name, 0 if cell is None else cell.version, after.text()):
            return found
    return Tell()


def _is_open(journal: Journal) -> Callable[[str, str], bool]:
    def is_open(run: str, question: str) -> bool:
        head = journal.head(run)
        return head is not None and any(each.id == question for each in head.questions)

    return is_open


# --- the digest --------------------------------------------------------------------------------------------------


async def digest_for(
    journal: Journal, directory: Directory, step: Notify, due_at: float, *, to: str, link: str
) -> Notice:
    """What this person is told of all that waits for them. due_at: as was decided when it was admitted."""
    waiting = await in_thread("inbox", partial(waits_for, journal, directory, step.person))
    key = f"digest-{name_of(step.person.encode())[:12]}-{due_at:.0f}"
    return digest(step.person, waiting, key=key, to=to, link=link)


def waits_for(journal: Journal, directory: Directory, person: str) -> Waiting:
    """What is open and may be put to this person, by the chains as they are declared."""
    concerns: dict[str, bool] = {}
    found: list[OpenQuestion] = []
    for status in _WITH_QUESTIONS:
        for head in journal.heads(status=status, limit=HEADS_MAX):
            for asked in head.questions if not head.agent.startswith("@") else ():
                if asked.to not in concerns:
                    concerns[asked.to] = person in directory.put_to(asked.to)
                if concerns[asked.to]:
                    found.append(asked)
    return Waiting(
        questions=len(found),
        urgent=sum(each.is_urgent for each in found),
        oldest_at=min((each.asked_at for each in found), default=None),
        next_end_at=min((each.expires_at for each in found if each.expires_at is not None), default=None),
    )
