"""A project's record: what its board says, and how it is told something.

Whoever tells a project something stores it, and then carries out what lies there, unless another process is just doing
so. What comes back is the board after it. The same message told again, under the same id, changes nothing and has the
same answer: so a session that was killed in the middle tells it again.

Never: believes that something passes. Only what the results of a check say counts (`core.project`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdfast.core import accept
from holdfast.core import board as b
from holdfast.core.address import run_id
from holdfast.core.board import Board, Session, fold
from holdfast.core.events import Event
from holdfast.core.feature import Feature, digest
from holdfast.core.order import NOTE_MAX, WHY_MAX
from holdfast.core.verdict import Result, Verdict
from holdfast.errors import JournalError, MessageRefused, UsageError
from holdfast.protocols import Clock, Journal
from holdfast.runtime import project

_ROUNDS: Final = 6
"""How often it is waited for another process that is at the project, before that is said."""
_BEGINS_MAX: Final = 1_000
"""Sessions that may begin elsewhere while one begins."""
_LINE_MAX: Final = 300


class ProjectRecord:
    """One project in a store."""

    def __init__(self, journal: Journal, name: str, *, clock: Clock | None = None, tenant: str = "default") -> None:
        self.journal = journal
        self.name = name
        self.tenant = tenant
        self.id = run_id(journal.hash_key, tenant, b.key_of(name))
        self._clock = clock
        self._known = Board()

    def board(self) -> Board:
        """What its log says now; an empty board when there is no such project yet."""
        known = self._known
        if known.count:
            known = fold(self.journal.events(self.id, after=known.count), known)
        else:
            known = project.read(self.journal, self.id, self.name).board
        self._known = known
        return known

    def told(self, message_id: str, since: int = 0) -> Event | None:
        """The event that a message became, the first after `since` events; None when it was not carried out."""
        for event in self.journal.events(self.id, after=since):
            if event.facts.get("id") == message_id:
                return event
        return None

    def tell(
        self,
        verb: str,
        name: str,
        message_id: str,
        *,
        by: str = "",
        why: str = "",
        body: bytes | None = None,
        **facts: Any,
    ) -> Board:
        """Tell it something, and see it carried out. `MessageRefused` for what makes no sense; what makes sense and may
        not be is recorded as refused (`told`)."""
        from holdfast.runtime import desk  # loads the codec; a reader of the board needs none

        message = accept.command(verb, name, by=by, why=why, id=message_id, **facts)._replace(body=body)
        posted = desk.tell(self.journal, self.name, message, message_id, self.tenant)
        if posted.refused:
            raise MessageRefused(posted.refused)
        for _ in range(_ROUNDS):
            if desk.carry_out(self.journal, self._now(), self.tenant, b.key_of(self.name)):
                return self.board()
        raise JournalError(
            f"Another process is at the project {self.name} and does not go on. What was told is kept, and carried out "
            "by it or by the next one. Tell it again, under the same id, to see what became of it."
        )

    def _now(self) -> Clock:
        if self._clock is None:
            from holdfast.runtime.clock import SystemClock

            self._clock = SystemClock()
        return self._clock

    def _ruled(self, verb: str, message_id: str, since: int, **facts: Any) -> tuple[Board, str]:
        """The board after a message, and why it was refused; empty when it was not."""
        board = self.tell(verb, self.name, message_id, **facts)
        event = self.told(message_id, since) or self.told(message_id)
        return board, "" if event is None else event.facts.get("refused", "")

    # --- operators -----------------------------------------------------------------------------------------------

    def _order(self, verb: str, message_id: str | None, **facts: Any) -> Board:
        self._check_operator()
        return self.tell(verb, self.name, message_id or self._now().fresh_id(), **facts)

    def freeze(
        self, features: Sequence[Feature], *, by: str, digest: str, why: str = "", message_id: str | None = None
    ) -> Board:
        """Make this the list of features. digest: of the list that was shown; another one is refused."""
        listed = [feature.facts() for feature in features]
        return self._order(b.FREEZE, message_id, by=by, why=why, features=listed, digest=digest)

    def go_on(self, by: str, why: str = "", *, message_id: str | None = None) -> Board:
        """Let further sessions begin, after a stop or after sessions without progress."""
        return self._order(b.GO_ON, message_id, by=by, why=why)

    def stop(self, by: str, why: str = "", *, message_id: str | None = None) -> Board:
        """Let no further session begin."""
        return self._order(b.STOP, message_id, by=by, why=why)

    def cap(self, caps: Mapping[str, int | None], by: str, why: str = "", *, message_id: str | None = None) -> Board:
        """Set what all sessions together may use, by the names of `Charge`; None takes a cap away."""
        return self._order(b.RAISE, message_id, by=by, why=why, caps=dict(caps))

    # --- sessions ------------------------------------------------------------------------------------------------

    def begin(self, place: str, *, message_id: str, by: str, run: str = "") -> Session:
        """Begin a session at a place; the one that is open there, when it is this run's, or no run is named.

        run: the run that is the session; empty: the one under the key `NAME/session-N`, of the next number.
        UsageError when it cannot begin: the project is stopped, or another session is open at the place."""
        for _ in range(_BEGINS_MAX):
            board = self.board()
            there = _at(board, place)
            if there is not None and run in ("", there.run):
                return there
            number = 0 if run else board.numbered + 1
            session = run or self.session_id(number)
            told = f"{message_id}/{number}"
            after, why = self._ruled(b.BEGIN, told, board.count, by=by, session=session, place=place, number=number)
            if session in after.sessions and not why:
                return after.sessions[session]
            if not run and (after.numbered > board.numbered or _at(after, place)) and not after.stopped:
                continue  # somebody else was first
            raise UsageError(f"No session of the project {self.name} can begin at {place}: {why}. Nothing was begun.")
        raise UsageError(f"Sessions of the project {self.name} begin elsewhere all the time. Nothing was begun.")

    def session_id(self, number: int) -> str:
        """The run of the session of that number."""
        return run_id(self.journal.hash_key, self.tenant, f"{self.name}/session-{number}")

    def claim(self, run: str, feature_id: str, *, message_id: str) -> str:
        """Let the open session of this run have a feature; empty, or why it cannot have it."""
        return self._ruled(b.CLAIM, message_id, self.board().count, session=run, feature=feature_id)[1]

    def evidence(
        self,
        run: str,
        feature_id: str,
        *,
        verdict: Verdict,
        results: Sequence[Result],
        commit: str,
        tree: str,
        message_id: str,
        checked: Feature | None = None,
    ) -> Board:
        """Say what the check of a feature gave, on this commit and tree, each time that it was performed.

        run: the session; empty: outside of every session, where code of a run cannot say that something passes.
        checked: the feature as it was when its check was performed; None: as it is on the board."""
        if not run and verdict.passed:
            self._check_operator()
        board = self.board()
        item = board.items.get(feature_id)
        checked = checked if checked is not None or item is None else item.feature
        return self.tell(
            b.EVIDENCE,
            self.name,
            message_id,
            why=verdict.because[:WHY_MAX],
            body=_body(results),
            session=run,
            feature=feature_id,
            passed=verdict.passed,
            is_flaky=verdict.is_flaky,
            results=[_facts(result) for result in results],
            commit=commit,
            tree=tree,
            spec="" if checked is None else digest([checked]),
        )

    def note(self, run: str, text: str, *, message_id: str) -> Board:
        """Keep a note of the agent's, cut to what one holds."""
        return self.tell(b.NOTE, self.name, message_id, session=run, text=_cut(text, NOTE_MAX))

    def restored(self, run: str, text: str, *, message_id: str) -> Board:
        """Say which view somebody had edited, and how; it was put back."""
        return self.tell(b.RESTORED, self.name, message_id, session=run, text=_cut(text, NOTE_MAX))

    def ended(
        self,
        run: str,
        *,
        outcome: str,
        commit: str,
        branch: str,
        digest: Mapping[str, Any],
        revision: int,
        message_id: str,
        why: str = "",
        is_left: bool = False,
    ) -> Board:
        """End a session, and give free what it holds. branch: where its unfinished work is; empty: there is none.

        digest: what its record says (`core.digest`). revision: the `count` of the board that its views show.
        why: in one line, why its feature does not pass; empty: as the last evidence said. is_left: what it did lies in
        its working tree as it was, since this is another one."""
        return self.tell(
            b.ENDED,
            self.name,
            message_id,
            why=_cut(" ".join(why.split()), _LINE_MAX),
            session=run,
            outcome=outcome,
            commit=commit,
            branch=branch,
            record=dict(digest),
            revision=revision,
            is_left=is_left,
        )

    def cleared(self, place: str, branch: str, *, message_id: str) -> Board:
        """Say that what an ended session had left at a place is on this branch now; empty: there was nothing."""
        return self.tell(b.CLEARED, self.name, message_id, place=place, branch=branch)

    def _check_operator(self) -> None:
        from holdfast.runtime import desk

        desk.check_operator()


def _at(board: Board, place: str) -> Session | None:
    return next((each for each in board.sessions.values() if each.place == place), None)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _facts(result: Result) -> dict[str, Any]:
    return {
        "has_run": result.has_run,
        "passed": result.passed,
        "why": _cut(result.why, _LINE_MAX),
        "exit_code": result.exit_code,
        "output_sha256": result.output_sha256,
        "took_s": result.took_s,
    }


def _body(results: Sequence[Result]) -> bytes:
    """What a person may want to see of it: the end of the output, and what was made, each time."""
    from holdfast.journal.codec import encode

    return encode(
        [
            {"output": _plain(result.output), "artefacts": [each._asdict() for each in result.artefacts]}
            for result in results
        ]
    )


def _plain(text: str) -> str:
    """Without what cannot be written."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
