"""`Run`: what an agent holds. Each method is one kind of step; the rest is derived and writes nothing."""

from __future__ import annotations

import inspect
import typing
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

from holdfast.core import deadline
from holdfast.core.breaker import BREAKER, Breaker
from holdfast.core.budget import USD_NANO, Budget, Limits
from holdfast.core.command import Call
from holdfast.core.confidence import Otherwise
from holdfast.core.events import Charge, Effect, StepKind
from holdfast.core.policy import Duration, Retry, seconds
from holdfast.core.prior import TOKENS
from holdfast.core.rung import Ask
from holdfast.errors import UsageError
from holdfast.journal.codec import digest, encode
from holdfast.runtime import asking, chapter, current
from holdfast.runtime.asking import Answer, Approval, Signal
from holdfast.runtime.clock import Random, derived_random, derived_uuid
from holdfast.runtime.declared import Declared
from holdfast.runtime.facts import safe
from holdfast.runtime.gating import NOTHING, Gated, gate
from holdfast.runtime.pauses import Note, Sleep
from holdfast.runtime.prior import checked, earlier
from holdfast.runtime.spawn import spawned
from holdfast.runtime.spec import Classify, Definite, EffectName
from holdfast.runtime.tool import Planned, Tool, as_tool, take_step
from holdfast.runtime.unwind import unwind

if TYPE_CHECKING:
    from holdfast.runtime.agent import Agent
    from holdfast.runtime.driver import Driver

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output


@dataclass(frozen=True, slots=True)
class Standing:
    """A run's budget at this moment."""

    limits: Limits
    spent: Charge
    reserved: Charge
    active_s: float = 0.0
    """For how long the run has been at work; waits for people, sleeps and retries do not count."""
    wall_s: float = 0.0
    """How long ago it was accepted."""

    @property
    def usd(self) -> float:
        """US dollars spent."""
        return self.spent.usd_nano / USD_NANO


class Run:
    """One execution of an agent, named by its key. Given to the agent; not made by users."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._place = current.Place(driver)
        self._declared = Declared(driver.agent.name, driver.agent.declared)

    @property
    def id(self) -> str:
        """The run's id."""
        return self._driver.lease.run_id

    @property
    def key(self) -> str:
        """The key that the run was started with: the same key goes on, never reruns."""
        return self._driver.state.key

    @property
    def epoch(self) -> int:
        """Which claim of the run this is; higher after each takeover, and so not the same on replay. A receiver that is
        told it, and refuses what is lower than it has seen, is safe from a process that was stopped and woke up."""
        return self._driver.lease.epoch

    @property
    def now(self) -> float:
        """Time of the latest event handed to the run, seconds since the epoch: the same on every replay."""
        return self._driver.latest_at

    @property
    def replaying(self) -> bool:
        """Whether recorded outcomes are still being handed out."""
        return self._driver.machine.is_replaying

    @property
    def budget(self) -> Standing:
        """Caps, spent and reserved, and the time that has passed. As it is now, on replay too."""
        state, now = self._driver.state, self._driver.record.now()
        wall_s = deadline.passed_s(state.created_at, now)
        return Standing(state.limits, state.spent, state.reserved, deadline.active_s(state, now), wall_s)

    def random(self) -> Random:
        """A new generator, seeded so that replay sees the same numbers. Not for secrets."""
        return derived_random(self._driver.state.seed, *self._numbered("random"))

    def uuid(self) -> uuid.UUID:
        """A new UUID that replay sees again."""
        return derived_uuid(self._driver.state.seed, *self._numbered("uuid"))

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        effect: EffectName = "once",
        input: Any = None,
        retry: Retry | None = None,
        breaker: Breaker | None = BREAKER,
        timeout: Duration | None = None,
        verify: Callable[..., Any] | None = None,
        raises: tuple[type[BaseException], ...] = (),
        definite: Definite = (),
        window: Duration = "24h",
        check: Callable[[Any], Any] | None = None,
        classify: Classify | None = None,
        fallback: Sequence[Ask | Literal["stop"]] = (),
        within: Duration | None = None,
        heartbeat: Duration | None = None,
        approve: Ask | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run `fn(*args, **kwargs)` as a step called `name`, and keep its outcome.

        The step is found again by its name and its arguments, or by `input` where the arguments cannot be written.
        The other options are those of `tool`; without `effect=` it is `once`. A sync `fn` runs in a thread.
        """
        where = self._where("step", name)
        if isinstance(fn, Tool):
            raise UsageError(f"{name}: {fn!r} is a tool already; call it, `await {fn.name}(…)`. It was not begun.")
        spec, keyed = self._declared.spec(
            fn,
            name,
            effect,
            retry,
            breaker,
            timeout,
            verify,
            raises,
            definite,
            window,
            check,
            within,
            approve,
            heartbeat,
            classify,
            fallback,
        )
        given = input if input is not None else [args, kwargs] if kwargs else list(args)
        return await take_step(
            spec,
            where,
            encode(given),
            lambda key: lambda: fn(*args, **kwargs, **dict.fromkeys(keyed, key)),
            None if verify is None else lambda key: verify(key, *args, **kwargs),
            needs_key=bool(keyed),
        )

    async def sleep(self, duration: Duration, name: str = "sleep") -> None:
        """Wait; the time it ends is written now and kept through restarts. Never early by the store's clock."""
        self._where(name)
        scope = self._where("sleep", name).scope
        call = Call(scope, name, "", StepKind.SLEEP, Effect.READ, str(duration).encode())
        await self._driver.step(Sleep(call, seconds(duration, "sleep")))

    async def ask(
        self,
        text: str,
        *,
        options: tuple[str, ...] | list[str] = (),
        to: str = "",
        within: Duration | None = None,
        default: Any = None,
        show: Any = None,
        urgent: bool = False,
        form: Any = None,
        why: str = "",
        name: str = "ask",
    ) -> Answer:
        """Ask a person and wait, for days if need be. Answered with `holdfast answer`.

        options: the answers that count; any text when empty. form: what is to be filled in instead of a text, or of
        taking one of the options: a flat JSON schema, or a dataclass, TypedDict or pydantic model with simple fields;
        the value is then a dict, or an instance. within: after so long the question closes as
        `expired` with `default`, or as `undeliverable` when no channel could tell anybody. show: facts that are
        recorded and shown beside the text. urgent: people are told in their quiet hours too.
        why: more of the agent's own words, shown as that.
        """
        scope = self._where("ask", name).scope
        declared: dict[str, Any] = {"options": options, "to": to, "within": within, "default": default, "form": form}
        return await asking.ask(self._driver, scope, text, name, show=show, urgent=urgent, why=why, **declared)

    async def approve(
        self,
        who: str,
        calls: Sequence[Planned[Any]],
        *,
        within: Duration | None = None,
        valid: Duration | None = None,
        urgent: bool = False,
        approvers: Sequence[str] = (),
        why: str = "",
        name: str = "approve",
    ) -> Approval:
        """Ask a person once about a list of exact calls, such as `[refund.bind("K-17", 4200)]`, before any is made.

        Approved, each of them may be made once, within `valid` (an hour) of the answer; a tool with `approve=` then
        asks nobody. within: after so long nobody has answered, which is no approval. approvers: who may answer, people,
        rotas or chains; anybody when empty. why: in the agent's own words, which are shown as that. The result is true
        when approved.
        """
        scope = self._where("approve", name).scope
        asked = Ask(who, within=within, valid=valid, urgent=urgent, approvers=approvers)
        return await asking.approve(self._driver, scope, calls, name, asked, why)

    async def signal(self, name: str, *, within: Duration | None = None, default: Any = None) -> Signal:
        """Wait for a signal with this name: `app.signal`, or `holdfast signal`. One that came before is kept.

        Each signal is taken by one call, the oldest first. within: after so long it is over, as `expired` with
        `default`. What it says is data: nothing of it is read as a command.
        """
        return await asking.signal(self._driver, self._where("signal", name).scope, name, within, default)

    async def decide(self, what: str, choice: T, *, because: str) -> T:
        """Write a choice of your own with its reason, and give it back: on replay the recorded one, whatever is given.

        For what a plain branch would decide anew after a crash. `holdfast show` lists it.
        """
        decided: T = await asking.decide(self._driver, self._where("decide", what).scope, what, choice, because)
        return decided

    async def unwind(self, *, because: str) -> list[str]:
        """Undo what succeeded and was not undone yet, the last step first, by what its tools declare as `undo=`.

        Each undo is a step of its own. Gives the names of what was undone. When an undo fails, its failure is raised,
        and those after it are not begun; a step in doubt is settled first. In a composite: only what was made in it.
        """
        return await unwind(self._where("unwind"), safe(because))

    async def gate(
        self,
        name: str,
        scorer: Callable[..., Any],
        threshold: float,
        *,
        input: Any = NOTHING,
        claimed: Any = None,
        otherwise: Otherwise = "ask",
        to: str = "",
        within: Duration | None = None,
        timeout: Duration = "60s",
    ) -> Gated:
        """Go on only when a measure of somebody else says so: `scorer(input)` gives a score from 0 to 1.

        The scorer is a function or a tool that reads; what it raises, a time over `timeout`, NaN and whatever is no
        score do not pass. claimed: what the agent says of itself, which is recorded and never decides. otherwise: a
        person is asked (`ask`, `to` and `within` as in `ask`), the run is stopped (`stop`), or the agent is told
        (`tell`): the result is then false.
        """
        where = self._where("gate", name)
        return await gate(
            self,
            where.scope,
            safe(name, 200),
            scorer,
            threshold,
            input=input,
            claimed=claimed,
            otherwise=otherwise,
            to=to,
            within=within,
            timeout=timeout,
        )

    @overload
    async def spawn(
        self,
        agent: Agent[I, O],
        input: I,
        *,
        name: str | None = None,
        budget: Budget | None = None,
        detached: Literal[False] = False,
    ) -> O: ...
    @overload
    async def spawn(
        self, agent: Agent[I, O], input: I, *, name: str | None = None, budget: Budget, detached: Literal[True]
    ) -> str: ...
    async def spawn(
        self,
        agent: Agent[Any, Any],
        input: Any,
        *,
        name: str | None = None,
        budget: Budget | None = None,
        detached: bool = False,
    ) -> Any:
        """Start another agent as a run of its own and wait for its result; the end of this run is its end too.

        Its end without a result is raised: `RunFailed`, `RunStopped` (`BudgetExceeded`), `RunCancelled`. What it uses
        counts for this run's budget. detached: it does not end with this run and uses a budget of its own; its id is
        given at once. name: how the step is recorded.
        """
        return await spawned(self._driver, self._where("spawn", name or ""), agent, input, name, budget, detached)

    async def continue_as(self, input: Any) -> NoReturn:
        """End this run here and go on as a new one under the same key, with this input; does not return.

        For agents that never end: the record, the caps and the history begin anew. What the agent needs of the past is
        in `input`. Runs that it started and that are not detached end with this one.
        """
        chapter.check(self._where("continue_as"))
        await self._driver.continue_as(encode(input, self._driver.agent.takes))

    def as_tool(self, agent: Agent[Any, Any], *, name: str | None = None) -> Tool[..., Any]:
        """The agent as a composite tool of this run, with one parameter, `input`: its steps are steps of this run."""
        return as_tool(self, agent, name)

    async def note(self, text: str) -> None:
        """Write a line into the record, once: on replay it is not written again."""
        scope = self._where("note").scope
        call = Call(scope, "note", digest(encode(text)), StepKind.NOTE, Effect.READ, safe(text, 200).encode())
        await self._driver.step(Note(call, safe(text)))

    async def prior(self, *, tokens: int = TOKENS) -> str:
        """What earlier runs of this agent did, in at most so many tokens: how the newest ones ended, what is in doubt,
        what failed and why, what was decided, what it cost. Read off their records as one step, of effect read.

        A token counts as three bytes, so it is no fewer than a model's. What agents, tools and people wrote is quoted.
        """
        journal, asked = self._driver.services.journal, {"tokens": checked(tokens)}
        given = (journal, self._driver.agent.name, self.id, tokens)
        told: str = await self.step("prior", earlier, *given, effect="read", input=asked)
        return told

    def emit(self, data: Any) -> None:
        """Tell progress to whoever watches this run in this process (`app.watch`, `App(on_emit=…)`).

        Never recorded, and never waited for. Silent on replay, except inside a step, which is never replayed; what was
        told after the last recorded outcome is told again after a crash.
        """
        where = current.place()
        if not self.replaying or (where is not None and where.inside is not None):
            self._driver.services.watchers.tell(self.id, data)

    def wait(self, awaitable: Awaitable[T]) -> T:
        """For a sync agent: run something async on the run's loop, and block this thread until it is there.

        It keeps the context of the calling thread. Raises `Unwind` when the run is closed meanwhile.
        """
        coroutine = awaitable if inspect.iscoroutine(awaitable) else _awaited(awaitable)
        if self._driver.bridge.is_own_thread:
            coroutine.close()
            raise UsageError(
                "run.wait was called on the event loop's own thread, which it would block. Nothing was begun. "
                "In an `async def` agent write `await …`; run.wait is for agents that are a plain `def`."
            )
        with current.entered(current.place() or self._place):  # a thread of the agent's own may have lost it
            result: T = self._driver.bridge.wait(coroutine)
        return result

    def carry(self, fn: F) -> F:
        """`fn` bound to this run, for executors that lose the context."""
        where = current.place() or current.Place(self._driver)

        def carried(*args: Any, **kwargs: Any) -> Any:
            with current.entered(where):
                return fn(*args, **kwargs)

        update_wrapper(carried, fn)
        return typing.cast(F, carried)

    def _where(self, what: str, name: str = "") -> current.Place:
        """Where a step of this sort is made: in the agent's own code, or in a composite's."""
        where = current.place()
        if where is None or where.driver is not self._driver:
            return self._place
        if where.inside is not None:
            raise UsageError(
                f"run.{what} was asked for inside the step {where.step_name!r}. It was not begun: what a step does "
                f"is one outcome. Ask for it in the agent's own code, or declare {where.step_name} effect='composite'."
            )
        return where

    def _numbered(self, name: str) -> tuple[str, int]:
        """A label of its own for each generator of a scope: the same on every replay."""
        where = current.place()
        scope = where.scope if where is not None and where.driver is self._driver else ""
        counts, key = self._driver.counts, (scope, name)
        counts[key] = counts.get(key, 0) + 1
        return f"{scope}/{name}", counts[key]


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable
