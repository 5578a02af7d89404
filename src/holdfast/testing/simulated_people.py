"""Those who want runs, and those who answer: the people of a simulated world, each at a time of their own.

Never: takes part in a run. What they say goes in as mail, as from a command line.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from holdfast.core import accept
from holdfast.core.accept import Message
from holdfast.core.events import Event, Kind, StepKind
from holdfast.core.heads import MISMATCHED, Status, Why
from holdfast.core.state import State
from holdfast.errors import JournalError, RunError, UsageError
from holdfast.journal.codec import encode
from holdfast.protocols import Post

if TYPE_CHECKING:
    from holdfast.testing.simulated_process import Process
    from holdfast.testing.simulated_world import World
    from holdfast.testing.simulation import Start

LOOK_S: Final = 3.0
"""Nobody answers sooner: a request that is still under way has arrived by then."""


RESUMES_MAX: Final = 3
"""Nobody resumes a run more often."""


class People:
    """Callers, operators and whoever is asked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._said = 0
        self.accepted: set[str] = set()
        """Keys of the runs that were accepted."""
        self.plans = 0
        """Runs that somebody is about to resume."""
        self._resumed: Counter[str] = Counter()

    def help(self, rounds: int) -> None:
        """People do what they are asked, and put the right code to what does not match."""
        blocked = False
        for run in self._world.oracle.open_runs:
            head = self._world.store.head(run)
            if head is None:
                continue
            for question in [each for each in head.questions if each.asked_at + LOOK_S <= self._world.now()]:
                self.tell(run, self._world.scenario.answer(self._world, run, question))
            if head.status is Status.SUSPENDED and head.why in MISMATCHED:
                blocked = True
                self.tell(run, accept.resume(by="operator"))
            elif head.status is Status.SUSPENDED and head.why == Why.PAUSED:
                self.tell(run, accept.resume(by="operator", is_unpause=True))
            elif head.status is Status.SUSPENDED and head.why == Why.SIGNAL:
                self.signal(run)
        if blocked:
            self._world.count("blocked")
            self._world.put_version(rounds % 2)
        if rounds == 8:
            for run in self._world.oracle.open_runs:
                head = self._world.store.head(run)
                if head is not None and head.why in MISMATCHED:
                    self.tell(run, accept.cancel(by="operator"))
                    self._world.count("blocked_for_good")

    def want(self, start: Start) -> None:
        """Somebody asks a process to run it, and another one as long as nobody has accepted."""
        if start.key in self.accepted:
            return
        ready = [each for each in self._world.processes if each.is_open and not each.is_frozen]
        if ready:
            process = ready[self._world.chance.randrange(len(ready))]
            process.call(self._call(start, process, waits=self._world.chance.random() < 0.5))
        self._world.after(3.0, lambda: self.want(start))

    async def _call(self, start: Start, process: Process, *, waits: bool) -> None:
        agent = next(each for each in process.agents if each.name == start.agent.name)
        try:
            run = await process.app.start(agent, start.input, key=start.key, budget=start.budget)
            self.accepted.add(start.key)
            if run not in self._world.oracle.states:
                self._world.oracle.wrong(f"P1: {start.key} was accepted as {run}, and is not there")
            if waits:
                await process.app.run(agent, start.input, key=start.key, budget=start.budget, wait=5.0)
                self._world.count("results_given")
        except (JournalError, RunError) as error:
            self._world.trace(f"caller of {start.key} is told {type(error).__name__}")
        except UsageError:
            if not process.main.done() and not process.is_stopping:
                raise

    def tell(self, run: str, message: Message) -> None:
        """Somebody leaves a message from a process of their own."""
        self._said += 1
        posts = [Post(run, f"told {self._said}", message)]
        results = self._world.store.post_all(posts)
        self._world.oracle.posted(posts, results)
        self._world.trace(f"told {run[:8]} {message.kind} {results[0].refused[:40]}")

    def signal(self, run: str) -> None:
        """Somebody sends the run the signal that it waits for."""
        for slot in self._world.oracle.states[run].slots.values():
            if slot.is_in_flight and slot.outcome is None and slot.step == "signal":
                self.tell(run, accept.signal(slot.address.name, by="somebody", body=encode("now")))

    def see(self, run: str, event: Event) -> None:
        """People see what is asked, and answer it at a time of their own, also twice, or too late."""
        world = self._world
        if event.kind is Kind.QUESTION_ASKED:
            question_id = event.facts["id"]
            for _ in range(1 + (world.chance.random() < 0.3)):
                world.after(LOOK_S + world.chance.random() ** 2 * 15.0, lambda: self._answer(run, question_id))
        elif event.kind is Kind.STEP_INTENDED and event.step is StepKind.SIGNAL and world.chance.random() < 0.7:
            world.after(world.chance.random() * 8.0, lambda: self.signal(run))
        elif event.kind is Kind.RUN_ENDED and (world.scenario.reopened or world.scenario.unwound):
            self._see_end(run)

    def _see_end(self, run: str) -> None:
        """An operator may resume it, from where it failed or was stopped."""
        world, state = self._world, self._world.oracle.states[run]
        is_again = state.status in (Status.FAILED, Status.STOPPED) and self._resumed[run] < RESUMES_MAX
        if is_again and world.chance.random() < world.scenario.reopened * (0.3 if state.parent else 1.0):
            self._resumed[run] += 1
            self.plans += 1
            world.after(world.chance.random() * 5.0, lambda: self._resume(run))
        elif self._is_to_unwind(state) and world.chance.random() < world.scenario.unwound:
            self.plans += 1
            world.after(world.chance.random() * 5.0, lambda: self._unwind(run))

    def _is_to_unwind(self, state: State) -> bool:
        is_bad = state.status in (Status.FAILED, Status.STOPPED, Status.CANCELLED)
        return is_bad and not state.parent and state.ended_as is None

    def _unwind(self, run: str) -> None:
        self.plans -= 1
        self._world.count("unwound")
        self.tell(run, accept.unwind(by="operator", why="it went wrong"))

    def _resume(self, run: str) -> None:
        self.plans -= 1
        self._world.count("resumed")
        raised = [4, 2, 1_000, 0, 0, 0] if self._world.chance.random() < 0.7 else None
        self.tell(run, accept.resume(by="operator", raised=raised))

    def _answer(self, run: str, question_id: str) -> None:
        head = self._world.store.head(run)
        found = [each for each in head.questions if each.id == question_id] if head is not None else []
        if found:
            self.tell(run, self._world.scenario.answer(self._world, run, found[0]))
        else:
            self.tell(run, accept.answer(question_id, choice="yes", by="late", body=None))
