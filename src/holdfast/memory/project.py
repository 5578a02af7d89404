"""A project: a directory under git, and a run in the journal that says what of it is done.

`Project` puts together the record (`memory.record`), the working tree (`memory.git`), the checks (`memory.check`), the
views (`memory.views`) and the sessions (`memory.session`).

Never: believes what stands in the directory. The list, what passes and who works on what is read from the journal.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from holdfast.core.board import FREEZE, Board, Item, State
from holdfast.core.digest import digest_of
from holdfast.core.drawn import safe_text
from holdfast.core.feature import Feature, digest, of_facts
from holdfast.core.state import fold
from holdfast.core.verdict import Result, as_result, judged, wants_another
from holdfast.errors import NotFound, UsageError
from holdfast.journal.open import open_journal
from holdfast.memory import views
from holdfast.memory.brief import brief
from holdfast.memory.conditions import fixed, made_of
from holdfast.memory.git import Git
from holdfast.memory.pins import edited, pinned
from holdfast.memory.place import claim_name, named, place_of
from holdfast.memory.record import ProjectRecord
from holdfast.memory.routine import Routine
from holdfast.memory.session import Session
from holdfast.memory.settling import WIP, alone, put_aside, settle
from holdfast.protocols import Journal
from holdfast.runtime.app import App
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.run import Run
from holdfast.runtime.signature import INJECTED
from holdfast.runtime.thread import in_thread

DEPENDENCIES: Final = (".venv", "venv", "node_modules", "vendor", "target", "build")
"""Where they lie, or what is built lies, at the top of a tree."""
Function = Callable[[Path], Any]
"""A check in Python: given the directory, it passes by giving True and nothing else."""


class Project:
    """What is to be built in a directory, and what of it is done.

    app: open when a session begins. directory: within the working tree, where `holdfast project init` was called.
    checks: the functions that `python:` checks name.
    """

    def __init__(
        self, app: App | Journal, directory: str | Path = ".", *, checks: Mapping[str, Function] | None = None
    ) -> None:
        self._app = app
        self.place = place_of(directory)
        self.name = named(self.place).name
        self.checks = dict(checks or {})
        self.git = Git(self.place.directory, views.NAMES)
        self.by = f"pid {os.getpid()} on {socket.gethostname()}"
        """Which process this is, for people."""

    @classmethod
    @contextmanager
    def opened(cls, store: str, directory: str | Path = ".", *, name: str = "") -> Iterator[Self]:
        """The project of this directory, made when it has none yet, outside of every App.

        store: its whole URL. `UsageError` when the directory has a project of another name or store."""
        place = place_of(directory)
        Git(place.directory)  # refuses what is no working tree with a commit, before anything is made
        try:
            known = named(place)
        except NotFound:
            known = None
        if known is not None and (name or known.name, store) != (known.name, known.store):
            raise UsageError(
                f"{place.directory} is project {known.name!r} in {known.store} already. Nothing was changed. Leave its "
                f"name and its store out; to begin anew, remove {place.config}."
            )
        if known is None:
            place.config.parent.mkdir(mode=0o700, exist_ok=True)
        journal = open_journal(store, clock=SystemClock().now)
        try:
            if known is None:
                claim_name(place, name or _name_of(place.directory), store)
            yield cls(journal, place.directory)
        finally:
            journal.close()

    @classmethod
    def init(
        cls, store: str, features: Sequence[Feature], *, by: str, directory: str | Path = ".", name: str = ""
    ) -> Board:
        """What `holdfast project init` does: make the directory a project, with this list. Again: the list anew."""
        with cls.opened(absolute(store), directory, name=name) as project:
            return project.freeze(features, by=by)

    @property
    def directory(self) -> Path:
        """The top of the working tree."""
        return self.place.directory

    @property
    def journal(self) -> Journal:
        """The open store."""
        return self._app.journal if isinstance(self._app, App) else self._app

    @property
    def record(self) -> ProjectRecord:
        """What its log says, and the commands that change it."""
        return ProjectRecord(self.journal, self.name)

    def board(self) -> Board:
        """Where each feature is, who works on which, and what was tried."""
        return self.record.board()

    def feature(self, name: str) -> Feature:
        """One of the list."""
        found = self.board().items.get(name)
        if found is None:
            raise NotFound(f"Project {self.name} has no feature {name!r}. See `holdfast project status`.")
        return found.feature

    def session(self, run: Run) -> Session:
        """One session of work, as a block: `async with project.session(run) as session:`.

        The run has to be in the project's store: `hf.App(hf.Project.store_of("."))`."""
        return Session(self, run)

    @staticmethod
    def store_of(directory: str | Path = ".") -> str:
        """The URL of the store that the project of this directory is in; `NotFound` when it has none."""
        return named(place_of(directory)).store

    # --- what a person does ----------------------------------------------------------------------------------------

    def freeze(self, features: Sequence[Feature], *, by: str) -> Board:
        """Make this the list of features, with the files that its checks are made of as they are now."""
        fixed = [self.with_pins(feature) for feature in features]
        self._make_room()
        board = self.record.freeze(fixed, by=by, digest=digest(fixed))
        self._views(board)
        return board

    def _make_room(self) -> None:
        """For the views: git does not look at them, and nobody's own file is written over."""
        if not self.board().count:
            taken = [name for name in views.NAMES if os.path.lexists(self.directory / name)]
            if taken:
                raise UsageError(
                    f"{self.directory / taken[0]} is there, and holdfast writes a view under this name. Nothing was "
                    "done. Give the file another name first."
                )
        exclude = self.git.common / "info" / "exclude"
        exclude.parent.mkdir(exist_ok=True)
        known = exclude.read_text("utf-8", "surrogateescape").splitlines() if exclude.exists() else []
        if wanted := [f"/{name}" for name in views.NAMES if f"/{name}" not in known]:
            with exclude.open("a", encoding="utf-8") as file:
                file.write("\n".join(["", *wanted, ""]))

    def freeze_drafted(self, shown: list[Mapping[str, Any]], by: str, *, idempotency_key: str = INJECTED) -> None:
        """Make exactly what a person was shown the list; a step of the run in which they were asked."""
        fixed = [of_facts(each) for each in shown]
        self._make_room()
        listed = [feature.facts() for feature in fixed]
        self.record.tell(FREEZE, self.name, idempotency_key, by=by, features=listed, digest=digest(fixed))

    def with_pins(self, feature: Feature) -> Feature:
        """The same with the content of the files that its check is made of."""
        check = feature.check
        if check.kind == "pytest" and not check.pins:
            check = replace(check, pins=tuple(made_of(check, self.directory)))
        if not check.pins:
            return feature
        return replace(feature, check=check, pinned=pinned(check.pins, self.git), fixed=fixed(check, self.git))

    def unkept(self) -> list[str]:
        """What programs of checks are likely to need, git ignores, and no check of the list keeps."""
        checks = [item.feature.check for item in self.board().items.values()]
        if not any(check.kind == "command" and not check.in_tree for check in checks):
            return []
        kept = {path for check in checks for path in check.keep}
        return [name for name in DEPENDENCIES if name not in kept and self.git.ignores(name)]

    async def verify(self) -> list[str]:
        """Perform the checks of all features, outside of every session, and keep what they gave.

        Not kept is that one does not pass here which passes on a branch that this tree has not been merged with: gives
        a sentence for each of these."""
        self.check_tree()
        routine, elsewhere = Routine(self, ""), list[str]()
        for name, item in self.board().items.items():
            results: list[Result] = []
            facts = item.feature.facts()
            before = await in_thread("git", partial(routine.ready, facts))
            while not results or wants_another(results):
                results.append(as_result(await routine.perform(facts, before["tree"])))
            branch = "" if judged(results).passed else self._elsewhere(item)
            if branch:
                merge = f"git merge {shlex.quote(branch)}"  # an agent may have chosen the name
                elsewhere.append(f"{name} passes on the branch {branch}, which is not merged here: {merge}")
                continue
            told = [asdict(result) for result in results]
            routine.evidence(name, told, before["commit"], before["tree"], facts, idempotency_key=self.fresh())
        return elsewhere

    def _elsewhere(self, item: Item) -> str:
        """The branch on which a passing feature was seen to pass, where that is not in this tree."""
        if item.state is not State.PASSING or item.proof is None or self.git.contains(item.proof.commit):
            return ""
        branches = [name for name in self.git.branches_with(item.proof.commit) if not name.startswith(f"{WIP}/")]
        return branches[0] if branches else ""

    def settle(self) -> list[int]:
        """Settle the sessions whose runs have ended without their end; their numbers."""
        return settle(self)

    def brief(self, tokens: int = 2_000, me: str = "") -> str:
        """What the next agent has to know, in at most so many tokens; made from the record alone. me: the run of the
        session that is to read it."""
        return brief(self.directory, tokens, journal=self.journal, me=me)

    def check_tree(self) -> None:
        """Refuse to begin a session where its commits would be on no branch, or carry what nobody told us of."""
        head = self.git.head()
        if not head.branch:
            raise UsageError(
                f"HEAD is detached at {head.commit[:12]} in {self.directory}: what a session commits would be on no "
                "branch. Nothing was changed. Write `git switch -c NAME` first."
            )
        if dirty := self.dirty():
            raise UsageError(
                f"{self.directory} has changes that no session has made: {_some(dirty)}. They are as they were. Commit "
                "them or `git stash -u`; `holdfast project run --quarantine` puts them on a branch."
            )
        pins = {path: pin for item in self.board().items.values() for path, pin in item.feature.pinned.items()}
        if changed := edited(pins, self.git):
            raise UsageError(
                f"{_some(changed)}, of which checks are made, is committed in another form than that of the frozen "
                "list. Nothing was begun. Freeze the list again (`holdfast project init LIST`), or commit what it was."
            )

    def put_aside(self) -> str:
        """Put changes that no session has made on a branch; its name, empty when there are none, or a session is open
        here whose changes they are."""
        board = self.board()
        if any(session.place == self.place.id for session in board.sessions.values()):
            return ""
        with alone(self):
            return put_aside(self, board.numbered + 1, self.fresh(), name="before-session")

    def is_unproven(self) -> bool:
        """Whether the tree is not the one on which all features were seen to pass."""
        commit = self.git.head().commit
        return any(item.proof is None or item.proof.commit != commit for item in self.board().passing)

    # --- for the parts -----------------------------------------------------------------------------------------------

    def dirty(self) -> list[str]:
        """What is in the tree that was not committed; views are none of it."""
        return self.git.dirty()

    def end(self, run_id: str, outcome: str, branch: str, *, message_id: str, is_left: bool = False) -> None:
        """Tell the project that a session is over, and write the views as they are then. is_left: what it did lies in
        another working tree, as it was."""
        revision, _ = self.restore(run_id, message_id)
        board = self.record.ended(
            run_id,
            outcome=outcome,
            commit=self.git.head().commit,
            branch=branch,
            digest=digest_of(fold(self.journal.events(run_id))),
            revision=revision,
            message_id=message_id,
            is_left=is_left,
        )
        self._views(board)

    def _views(self, board: Board) -> list[views.Edited]:
        """Written as the board says; each tree has had views of its own."""
        seen = replace(board, revision=board.revisions.get(self.place.id, 0))
        return views.restore(self.directory, seen, self.journal.hash_key)

    def restore(self, run_id: str, message_id: str) -> tuple[int, list[str]]:
        """Write the views as they should be, and tell the project which of them somebody had got at; the count of the
        board that they show, and what was told."""
        board = self.board()
        edited = self._views(board)
        told = [safe_text(each.text) for each in edited]
        for place, text in enumerate(told):
            self.record.restored(run_id, text, message_id=f"{message_id}:{place}")
        return board.count, told

    def fresh(self) -> str:
        """A new id for a message that is sent once."""
        return SystemClock().fresh_id()


def _name_of(directory: Path) -> str:
    """What a project is called as its directory is."""
    return re.sub(r"[^a-z0-9._-]+", "-", directory.name.lower()).strip("-._")[:80] or "project"


def absolute(store: str) -> str:
    """A store in a file by its whole path: it is opened from other directories, too."""
    scheme, colon, path = store.partition(":///")
    if not colon:
        return f"sqlite:///{os.path.abspath(store)}" if store.endswith(".db") else store
    return f"{scheme}:///{os.path.abspath(path)}" if scheme == "sqlite" else store


def _some(paths: list[str]) -> str:
    shown = ", ".join(paths[:5])
    return f"{shown} and {len(paths) - 5} more" if len(paths) > 5 else shown
