"""A session: one run that works on one feature of a project, from its start routine to a clean tree.

`async with project.session(run) as session:` does, as recorded steps of the run: take the place, look around, run
`init.sh`, perform the checks of some features that pass, claim a feature (a regression before anything new). Then the
agent works. At the end: the check of its feature, a commit when it passes, else everything onto a branch of its own.

Invariants
1. Nothing that an agent says makes a feature pass: its check is performed, in a checkout of exactly the tree that is
   then committed.
2. Evidence for a feature is told after the commit that it is about: a process that dies between them leaves a commit
   that a later check finds, and never a feature that passes without its code.
3. A session that ends in any other way than by the end of its `with` block is settled by whoever opens the project
   next (`memory.settling`); a run that is closed, stopped or killed within it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from holdfast.core.feature import Feature, of_facts
from holdfast.core.verdict import Result, Verdict, as_result, judged, wants_another
from holdfast.errors import UsageError
from holdfast.memory.routine import Routine
from holdfast.runtime.run import Run

if TYPE_CHECKING:
    from holdfast.memory.project import Project
    from holdfast.runtime.spec import EffectName

BRIEF_TOKENS: Final = 2_000
_WHERE: Final = "It runs in a checkout of what is committed: what git ignores is not there, unless this line says so.\n"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What came of a claim that a feature is done."""

    passed: bool
    because: str
    output: str
    """The end of what the check said, for whoever has to mend it."""
    commit: str
    """Empty when it did not pass."""
    is_flaky: bool = False

    def __bool__(self) -> bool:
        return self.passed


class Session:
    """Made by `Project.session`. `async with` in an `async def` agent, `with` in a plain one."""

    def __init__(self, project: Project, run: Run) -> None:
        self._project = project
        self._run = run
        self._routine = Routine(project, run.id)
        self._began: dict[str, Any] = {}
        self._stands_at = ""
        """The commit that stays, whatever comes after it: where it began, or where its feature was seen to pass."""
        self.number = 0
        """From 1, in the order in which sessions begin."""
        self.feature: Feature | None = None
        """What this session works on; None: there is nothing to work on, and `why` says why."""
        self.why = ""
        """Why this feature, or why none."""
        self.brief = ""
        """What the project says to whoever begins now: what is done, failed, half done, tried, decided, and next."""
        self.regressions: list[str] = []
        """Features that passed and do not any more, as the start routine found."""
        self.evidence: Evidence | None = None
        """Of the last `done`."""
        self.passed = False
        """Whether its feature passed when it ended."""

    @property
    def directory(self) -> Path:
        """Where the work is done."""
        return self._project.directory

    @property
    def task(self) -> str:
        """The same as words for a model or a coding agent: the feature, how it is checked, and the brief."""
        feature = self.feature
        if feature is None:
            return f"There is nothing to work on: {self.why}."
        steps = "".join(f"\n- {step}" for step in feature.steps)
        return (
            f"Work on one feature of the project in {self.directory}, and on no other: {feature.id}.\n"
            f"{feature.description}{steps}\n\n"
            f"It is done when this passes, which is run for you afterwards: {feature.check.words}\n"
            f"{'' if feature.check.kind == 'http' else _WHERE}"
            "The list of features and the progress notes are written by holdfast; edits to them are put back. "
            "Everything is committed for you when the check passes, else put aside on a branch.\n\n"
            f"{self.brief}"
        )

    def facts(self) -> dict[str, Any]:
        """What came of it, as plain data."""
        return {
            "session": self.number,
            "feature": self.feature.id if self.feature is not None else None,
            "why": self.why,
            "passed": self.passed,
            "regressions": self.regressions,
        }

    # --- its start -----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        routine = self._routine
        self.number = await self._step("begin", routine.begin, effect="idempotent")
        self._began = await self._step("bearings", routine.bearings, self.number, effect="idempotent")
        self._stands_at = self._began["commit"]
        if said := await self._step("init", routine.initialise, effect="idempotent"):
            await self.note(said)
        self.regressions = await self._recheck()
        claimed = await self._step("claim", routine.claim, self.regressions, effect="idempotent")
        self.why = claimed["why"]
        self.feature = of_facts(claimed["feature"]) if claimed["feature"] else None
        self.brief = await self._step("brief", self._project.brief, BRIEF_TOKENS, self._run.id, effect="read")
        return self

    async def _recheck(self) -> list[str]:
        """Perform the checks of passing features that may not pass any more; those that do not."""
        chosen = await self._step("choose", self._routine.to_recheck, self._run.random().random(), effect="read")
        failed = []
        for feature in map(of_facts, chosen):
            seen, verdict, results = await self._checked(feature)
            await self._tell(feature, results, seen["commit"], seen["tree"])
            if verdict.has_run and not verdict.passed:
                failed.append(feature.id)
        return failed

    # --- its work ------------------------------------------------------------------------------------------------

    async def done(self) -> Evidence:
        """Claim that the feature is done: its check is performed, and when it passes everything is committed.

        False, with `because` and the end of the check's `output`, when it does not: go on, and claim it again.
        """
        if self.feature is None:
            raise UsageError(f"This session has no feature that could be done: {self.why}. Nothing was checked.")
        commit = ""
        seen, verdict, results = await self._checked(self.feature)
        if verdict.passed:
            began = {"commit": self._began["commit"], "branch": self._began["branch"]}
            given = (self.number, self.feature.facts(), began, seen["tree"])
            commit = await self._step("commit", self._routine.commit, *given, effect="idempotent")
        refused = await self._tell(self.feature, results, commit or seen["commit"], seen["tree"])
        passed = verdict.passed and not refused
        self._stands_at = commit if passed else self._stands_at
        self.evidence = Evidence(passed, refused or verdict.because, results[-1].output, commit, verdict.is_flaky)
        return self.evidence

    async def note(self, text: str) -> None:
        """Leave a line for later sessions, which read it as a quote of this one."""
        await self._step("note", self._routine.note, text, effect="idempotent")

    # --- its end -------------------------------------------------------------------------------------------------

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # its run ends so, or goes on later: whoever opens the project next finds out which
            return
        stands = self.evidence is not None and self.evidence.passed and not (await self._look())["is_dirty"]
        self.passed = self.feature is not None and (stands or (await self.done()).passed)
        given = (self.number, self.passed, self._began["branch"], self._stands_at)
        await self._step("end", self._routine.end, *given, effect="idempotent")

    # --- its steps -----------------------------------------------------------------------------------------------

    async def _look(self) -> dict[str, Any]:
        found: dict[str, Any] = await self._step("look", self._routine.look, effect="read")
        return found

    async def _checked(self, feature: Feature) -> tuple[dict[str, Any], Verdict, list[Result]]:
        """The tree that its check was performed on, and what it gave."""
        facts, results = feature.facts(), list[Result]()
        seen: dict[str, Any] = await self._step("ready", self._routine.ready, facts, effect="idempotent")
        while not results or wants_another(results):
            given = (facts, seen["tree"])
            results.append(as_result(await self._step("check", self._routine.perform, *given, effect="read")))
        return seen, judged(results), results

    async def _tell(self, feature: Feature, results: list[Result], commit: str, tree: str) -> str:
        told = [asdict(result) for result in results]
        facts = feature.facts()
        given = (feature.id, told, commit, tree, facts)
        refused: str = await self._step("evidence", self._routine.evidence, *given, effect="idempotent")
        return refused

    async def _step(self, name: str, fn: Callable[..., Any], *args: Any, effect: EffectName) -> Any:
        """A step of the run; in a thread where `fn` is plain. What it refuses is certain: nothing was changed."""
        refusals = (UsageError,)
        return await self._run.step(
            f"project.{name}", fn, *args, effect=effect, breaker=None, raises=refusals, definite=refusals
        )

    # --- for agents that are a plain `def` -------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self._run.wait(self.__aenter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._run.wait(self.__aexit__(None, None, None))
