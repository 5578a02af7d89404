"""What a session does around its work, piece by piece: each method is one recorded step of its run.

So each takes and gives plain data, may be called again after a crash at any of its lines, and says by
`UsageError` what it refuses, in which case nothing was changed.

Invariants
1. A message to the project carries the step's idempotency key: told again, it is the same message.
2. What is committed is the tree that a check has seen; a tree that is put aside is on a branch before it is reset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from holdfast.core.assignment import next_work, to_recheck
from holdfast.core.feature import of_facts
from holdfast.core.verdict import as_result, judged
from holdfast.errors import UsageError
from holdfast.memory.environment import WITHIN, visible
from holdfast.memory.git import Head
from holdfast.memory.ground import perform
from holdfast.memory.pins import put_back
from holdfast.memory.settling import put_aside, settle
from holdfast.runtime.command import command
from holdfast.runtime.signature import INJECTED

if TYPE_CHECKING:
    from holdfast.memory.project import Project

RECHECKS: Final = 3
"""Passing features whose checks a session performs at its start, beside those whose files have changed."""
INIT: Final = "init.sh"
INIT_S: Final = 600.0
SAID_MAX: Final = 300


class Routine:
    """The steps of one session of a project."""

    def __init__(self, project: Project, run_id: str) -> None:
        self._project = project
        self._run = run_id

    # --- the start -----------------------------------------------------------------------------------------------

    def begin(self, *, idempotency_key: str = INJECTED) -> int:
        """Settle what others have left, and take the place; the number of the session."""
        project = self._project
        if not project.board().count:
            raise UsageError(
                f"The store of this run has no project {project.name!r}. Nothing was begun. Open that of the project: "
                "holdfast.App(holdfast.Project.store_of(DIRECTORY))."
            )
        settle(project)
        if self._run not in project.board().sessions:  # else it had found the tree clean, or is about to look
            project.check_tree()
        session = project.record.begin(project.place.id, message_id=idempotency_key, by=project.by, run=self._run)
        return session.number

    def bearings(self, number: int, *, idempotency_key: str = INJECTED) -> dict[str, Any]:
        """Where the tree stands, and views that somebody has edited, which are as they should be from here on."""
        project = self._project
        project.check_tree()
        _, edited = project.restore(self._run, idempotency_key)
        head = project.git.head()
        return {"commit": head.commit, "branch": head.branch, "edited": edited}

    async def initialise(self) -> str:
        """Run `init.sh`, where there is one; what is to be noted of it."""
        script = self._project.directory / INIT
        if not script.is_file():
            return ""
        try:
            done = await command(
                ["sh", INIT], timeout=INIT_S, cwd=self._project.directory, env={**visible(), WITHIN: self._run}
            )
        except TimeoutError:
            return f"{INIT} had not ended after {INIT_S:g} s and was ended."
        said = (done.stderr or done.stdout).strip()[-SAID_MAX:]
        return "" if done.code == 0 else f"{INIT} ended with code {done.code}: {said}"

    def to_recheck(self, draw: float) -> list[dict[str, Any]]:
        """Passing features whose checks are to be performed now: what has changed first, then the longest unseen."""
        git, board = self._project.git, self._project.board()
        commits = {item.proof.commit for item in board.passing if item.proof is not None}
        changed = {path for commit in commits if git.contains(commit) for path in git.changed(commit)}
        chosen = to_recheck(board, changed, git.contains, RECHECKS, lambda: draw)
        return [feature.facts() for feature in chosen]

    def claim(self, regressions: list[str], *, idempotency_key: str = INJECTED) -> dict[str, Any]:
        """Take the next feature; another process may take it first, then the one after it."""
        project, refused = self._project, ""
        held = project.board().sessions[self._run].feature
        if held:  # claimed already, by a process that died before it could say so
            return {"feature": project.feature(held).facts(), "why": ""}
        for place in range(len(project.board().items) + 1):
            work = next_work(project.board(), regressions, project.place.id)
            if work.feature is None:
                return {"feature": None, "why": work.why}
            message = f"{idempotency_key}:{place}"
            refused = project.record.claim(self._run, work.feature.id, message_id=message)
            if not refused:
                return {"feature": work.feature.facts(), "why": work.why}
        return {"feature": None, "why": refused}

    # --- the work ------------------------------------------------------------------------------------------------

    def ready(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Put back the files that a feature's check is made of, and look at the tree that it is then performed on."""
        self._must_be_open()
        project, feature = self._project, of_facts(facts)
        for path in put_back(feature.pinned, project.git):
            said = f"{path}: of the check of {feature.id}, edited"
            project.record.restored(self._run, said, message_id=project.fresh())
        return self.look()

    async def perform(self, facts: Mapping[str, Any], tree: str) -> dict[str, Any]:
        """One performance of a feature's check, on this tree."""
        project = self._project
        return asdict(await perform(of_facts(facts), tree, project.git, project.checks))

    def evidence(
        self,
        name: str,
        results: Sequence[Mapping[str, Any]],
        commit: str,
        tree: str,
        checked: Mapping[str, Any],
        *,
        idempotency_key: str = INJECTED,
    ) -> str:
        """Tell the project what the check of a feature gave; `checked` is the feature as it was then. Why that does not
        count, where it does not."""
        found = [as_result(each) for each in results]
        self._project.record.evidence(
            self._run,
            name,
            verdict=judged(found),
            results=found,
            commit=commit,
            tree=tree,
            message_id=idempotency_key,
            checked=of_facts(checked),
        )
        event = self._project.record.told(idempotency_key)
        return "" if event is None else str(event.facts.get("refused", ""))

    def commit(
        self,
        number: int,
        facts: Mapping[str, Any],
        began: Mapping[str, Any],
        tree: str,
        *,
        idempotency_key: str = INJECTED,
    ) -> str:
        """Commit this tree, as the work on this feature, to the branch on which the session began; the commit. What was
        written since its check began is no part of it."""
        project, feature = self._project, of_facts(facts)
        self._must_be_open()
        project.git.rejoin(Head(began["commit"], began["branch"], ""))
        title = " ".join(feature.description.split())[:60]
        trailers = {"Holdfast-Session": str(number), "Holdfast-Run": self._run, "Holdfast-Key": idempotency_key}
        return project.git.commit(f"{feature.id}: {title}", trailers, tree)

    def look(self) -> dict[str, Any]:
        """The tree as git names it, its commit, and what is in it that was not committed."""
        self._must_be_open()
        git = self._project.git
        return {"tree": git.tree(), "commit": git.head().commit, "is_dirty": bool(self._project.dirty())}

    def _must_be_open(self) -> None:
        """A session that was settled touches the tree no more: it may be another one's."""
        if self._run and self._run not in self._project.board().sessions:
            raise UsageError(
                f"Session of run {self._run} was ended, and what it left was put aside. Nothing was done. The next "
                "session goes on: `holdfast project run`."
            )

    def note(self, text: str, *, idempotency_key: str = INJECTED) -> None:
        """Leave a line for later sessions."""
        self._project.record.note(self._run, text, message_id=idempotency_key)

    # --- the end -------------------------------------------------------------------------------------------------

    def end(
        self, number: int, passed: bool, branch_was: str, stands_at: str, *, idempotency_key: str = INJECTED
    ) -> str:
        """Put aside what is not committed, or came after `stands_at` on the branch that it began on; write the views,
        and give the place back. The branch of what was put aside, if there is one."""
        project = self._project
        if project.record.told(idempotency_key) is not None:
            return ""  # told before, by a process that died after it
        self._must_be_open()
        branch = put_aside(project, number, self._run, to=Head(stands_at, branch_was, ""))
        is_idle = not project.board().sessions[self._run].feature
        outcome = "nothing" if is_idle else "passed" if passed else "partial" if branch else "failed"
        project.end(self._run, outcome, branch, message_id=idempotency_key)
        return branch
