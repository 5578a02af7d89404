"""Tools: plain functions that say what they do to the world.

A decorated function stays callable as before. Inside a run each call is a step; inside another step it is a plain
call of that attempt; without an open `App` its policy applies and nothing is written.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload
from weakref import WeakSet

from holdfast.core.breaker import BREAKER, Breaker
from holdfast.core.command import Call
from holdfast.core.events import Effect, Kind, StepKind
from holdfast.core.notice import notices
from holdfast.core.policy import Duration, Retry
from holdfast.core.rung import Ask, Cached, Other
from holdfast.errors import PolicyInvalid, ToolFailed, Unencodable, UsageError
from holdfast.journal.codec import decode, digest, encode
from holdfast.runtime import current
from holdfast.runtime.attempt import alone, attempted, attempted_on
from holdfast.runtime.attempts import Attempts
from holdfast.runtime.composite import Composite
from holdfast.runtime.facts import is_stronger, rebuilt
from holdfast.runtime.isolate import call as isolated_call
from holdfast.runtime.judge import unfit_body
from holdfast.runtime.notices import listener
from holdfast.runtime.signature import Arguments, Signature
from holdfast.runtime.spec import Calling, Classify, Definite, EffectName, Spec, make_spec
from holdfast.runtime.thread import loop_elsewhere, run_blocking
from holdfast.runtime.undo import Undo
from holdfast.runtime.way import Attempted, Way
from holdfast.runtime.ways import Reach, check_ladder, last_good, standing_in, ways_of

if TYPE_CHECKING:
    from holdfast.runtime.agent import Agent
    from holdfast.runtime.run import Run

P = ParamSpec("P")
R = TypeVar("R")


_alive: WeakSet[Tool[..., Any]] = WeakSet()
_numbers = itertools.count()


def declared_specs() -> list[Spec]:
    """What the tools declare that this process holds at this moment."""
    return [tool.spec for tool in list(_alive)]


def declared_names() -> frozenset[str]:
    """Names of the tools that this process holds at this moment."""
    return frozenset(tool.name for tool in list(_alive))


def declared() -> list[Tool[..., Any]]:
    """The tools that this process holds at this moment."""
    return list(_alive)


def declared_latest(name: str) -> list[Tool[..., Any]]:
    """The tools of this name that this process holds at this moment; of one that was declared again, as in a notebook,
    the latest. What a function has declared is not declared again by its next call: that may be for someone else."""
    tools = sorted((tool for tool in list(_alive) if tool.name == name), key=lambda tool: tool.number)
    latest: dict[object, Tool[..., Any]] = {}
    for tool in tools:
        place = (tool.spec.fn.__module__, tool.spec.fn.__qualname__)
        latest[tool.number if "<locals>" in place[1] else place] = tool
    return list(latest.values())


class Planned(Generic[R]):
    """A call of a tool that is not made yet."""

    def __init__(self, spec: Spec, args: bytes, call: Callable[[], R]) -> None:
        self.spec = spec
        self.args = args
        """The arguments as they are recorded."""
        self._call = call

    def __call__(self) -> R:
        return self._call()

    def __repr__(self) -> str:
        return f"<call of {self.spec.name}>"


class Tool(Generic[P, R]):
    """A function with its declaration; call it as before."""

    def __init__(self, spec: Spec, hidden: tuple[str, ...] = ()) -> None:
        self.spec = spec if spec.hidden == hidden else replace(spec, hidden=hidden)
        self.name = spec.name
        self._hidden = hidden
        self._signature = Signature(spec.fn, hidden=hidden, name=spec.name)
        self.undo = None if spec.undo is None else Undo(spec, self._signature)
        update_wrapper(self, spec.fn)
        self.__signature__ = self._signature.public
        vars(self).update(self._signature.looks)
        check_ladder(self.spec, self._signature)
        self.number = next(_numbers)
        """Tools in the order in which they were declared."""
        if spec.isolated is not None and hidden:
            raise PolicyInvalid(f"{spec.name} cannot be isolated: {hidden[0]!r} is hidden, so it cannot be written.")
        _alive.add(self)

    def __repr__(self) -> str:
        return f"<tool {self.name} ({self.spec.effect})>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(self._signature.bind(args, kwargs))  # type: ignore[no-any-return]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        return Tool(replace(self.spec, fn=self.spec.fn.__get__(instance, owner)), self._hidden)

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the visible parameters, for a model's tool list."""
        return self._signature.schema

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self._signature

    @property
    def hidden(self) -> tuple[str, ...]:
        """Parameters that are neither recorded nor shown to a model."""
        return self._hidden

    def call(self, arguments: dict[str, Any], **hidden: Any) -> R:
        """Call with what a model gave: validated by the schema first, so a bad call is never begun."""
        return self.bound(arguments, **hidden)()

    def bound(self, arguments: dict[str, Any], **hidden: Any) -> Callable[[], R]:
        """The call, validated and ready to be made; `ArgumentsInvalid` says what does not fit the schema."""
        bound = self._signature.bind((), {**self._signature.validated(arguments), **hidden})
        return lambda: self._run(bound)

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> Planned[R]:
        """The call, ready to be made: to be shown to people first (`Run.approve`), and called with `()`."""
        bound = self._signature.bind(args, kwargs)
        return Planned(self.spec, encode(bound.visible), lambda: self._run(bound))

    def _run(self, arguments: Arguments) -> Any:
        """One call: a step, a plain call inside a step, or a call without a run."""
        spec = self.spec
        where = current.place_for(spec.name, spec.effect)
        if where is None:
            _check_alone(spec)
            called = alone(spec, self._calling(arguments), lambda rung: self._standing_in(rung, arguments))
            return called if spec.is_async else run_blocking(called)
        if where.inside is not None:
            _check_inner(spec, where)
            _check_switch(spec, where)
            return self._signature.call(arguments, "")()
        if spec.is_async:
            return self._step(arguments, where)
        if where.driver.bridge.is_own_thread:
            raise UsageError(
                f"{spec.name} is a sync tool and was called on the event loop's own thread, which it would block. "
                f"It was not begun. Write `await asyncio.to_thread({spec.name}, …)`, or make it `async def`."
            )
        return where.driver.bridge.wait(self._step(arguments, where))

    @property
    def _needs_key(self) -> bool:
        """Whether its body, or that of a tool that may stand in for it, takes the idempotency key."""
        others = [rung.tool for rung in self.spec.policy.fallback if isinstance(rung, Other)]
        return any(tool.signature.injected for tool in (self, *others))

    def reach(self, arguments: Arguments) -> Reach:
        """How its body is called, and its `verify` asked, with the arguments of a tool that it stands in for."""
        hidden = {name: value for name, value in arguments.hidden.items() if name in self._hidden}
        own = Arguments(self._signature.decoded(arguments.visible), hidden)
        verify = self.spec.verify
        return Reach(self._calling(own), None if verify is None else lambda key: verify(key, **own.visible))

    def _standing_in(self, rung: Other, arguments: Arguments) -> tuple[Spec, Calling]:
        return standing_in(self.spec, rung.tool.spec), rung.tool.reach(arguments).calling

    def _calling(self, arguments: Arguments) -> Calling:
        if self.spec.isolated is not None:
            return lambda key: partial(isolated_call, self.spec, arguments.visible, key)
        return lambda key: self._signature.call(arguments, key)

    async def _step(self, arguments: Arguments, where: current.Place) -> Any:
        """Ask the run for the step, with decoded copies of the arguments, and give what its outcome says."""
        args = encode(arguments.visible)
        copied = Arguments(self._signature.decoded(decode(args)), arguments.hidden)
        verify = self.spec.verify
        asked = None if verify is None else lambda key: verify(key, **copied.visible)
        if self.undo is not None:
            where.driver.undos[self.name, self.undo.name] = self.undo
        return await take_step(
            self.spec,
            where,
            args,
            self._calling(copied),
            asked,
            needs_key=self._needs_key,
            arguments=copied,
        )


@overload
def tool(fn: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    effect: EffectName = "once",
    name: str | None = None,
    retry: Retry | None = None,
    breaker: Breaker | None = BREAKER,
    timeout: Duration | None = None,
    verify: Callable[..., Any] | None = None,
    raises: tuple[type[BaseException], ...] = (),
    definite: Definite = (),
    hidden: tuple[str, ...] = (),
    window: Duration = "24h",
    settle: Duration | None = None,
    undo: Callable[..., Any] | None = None,
    check: Callable[[Any], Any] | None = None,
    classify: Classify | None = None,
    fallback: Sequence[Tool[..., Any] | Cached | Ask | Literal["stop"]] = (),
    within: Duration | None = None,
    heartbeat: Duration | None = None,
    isolate: bool = False,
    polls: bool = False,
    approve: Ask | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(fn: Callable[P, R] | None = None, /, **declared: Any) -> Any:
    """Declare a tool.

    effect: `read` (may run again), `idempotent` (may run again under the same key), `once` (never silently again;
    the default), `composite` (a body that only makes steps, which are kept by themselves). retry, timeout: one
    policy, see `Retry`; a duration is seconds or "20s". breaker: when the tool is not called at all, see `Breaker`;
    None: it always is. verify: asked with (key, **arguments) whether an effect in
    doubt has happened; returns `Done`, `NotDone` or `Unknown`. raises: classes that the caller gets back as they
    are. definite: classes that mean "it did not happen", or `ONE_REQUEST`. hidden: parameters that are neither
    recorded nor shown to a model. window: how long the receiver of an idempotent effect remembers its key. settle:
    how long after a first "not done" `verify` has to say it again; longer than a request can be under way. undo: a
    function or tool that undoes it, called with (result, **arguments) when its run is unwound. check: says of each
    result whether it is good (True or nothing; False, a text or an exception make it a failure). classify: what kind
    of failure something is, by a table of statuses, error classes and codes, or by a function of the exception or
    result. fallback: what is tried in order when it has failed for good: another tool, `Cached(max_age=…)`,
    `Ask(who)`, `"stop"`. within: the time of the step, all attempts and waits together; nothing
    starts it anew, and no attempt goes on past it. heartbeat: an attempt that has not called `heartbeat()` for so long
    is stopped. isolate: the body of a plain `def` runs in a process of its own, which is killed with all that it
    started when its time is up. polls: asking again and again is what it is for, so an agent that does is not stuck.
    approve: who must agree to exactly this call before it begins, `Ask(who, within=…, default=…, valid=…)`; what was
    not approved is raised as `NotApproved`.
    """
    if fn is not None:
        return Tool(make_spec(fn))
    hidden = declared.pop("hidden", ())
    return lambda function: Tool(make_spec(function, **declared), hidden)


def as_tool(run: Run, agent: Agent[Any, Any], name: str | None) -> Tool[..., Any]:
    """A composite that runs the agent's function as a part of this run."""

    async def awaited(input: Any) -> Any:
        return await agent.fn(run, input)

    def called(input: Any) -> Any:
        return agent.fn(run, input)

    body: Callable[..., Any] = called if agent.is_sync else awaited
    hints = {"input": agent.takes, "return": agent.gives}
    body.__annotations__ = {part: hint for part, hint in hints.items() if hint is not None}
    body.__doc__ = agent.fn.__doc__
    return Tool(make_spec(body, name=name or agent.name, effect=Effect.COMPOSITE))


def _check_alone(spec: Spec) -> None:
    """Outside every run nobody can be asked."""
    if spec.policy.approve is not None:
        raise UsageError(
            f"{spec.name} needs an approval (approve={spec.policy.approve.who!r}) and was called outside a run, where "
            "nobody can be asked. It was not begun. Call it from an agent."
        )


def _check_inner(spec: Spec, where: current.Place) -> None:
    """Inside a step that is no composite only plain calls of its own strength or less are made (rule 5), and none that
    a person must agree to."""
    policy = spec.policy if where.is_isolated else where.driver.services.policies.of(spec)
    if where.inside is not None and policy.approve is not None:
        raise UsageError(
            f"{where.step_name} called {spec.name}, which needs an approval, inside its step, where nobody can be "
            f"asked. {spec.name} was not begun. Call it from the agent, or declare {where.step_name} "
            "effect='composite'."
        )
    if where.inside is not None and is_stronger(spec.effect, where.inside):
        raise UsageError(
            f"{where.step_name} ({where.inside}) called {spec.name} ({spec.effect}), a stronger effect, inside its "
            f"step. {spec.name} was not begun. Call it from the agent, or declare {where.step_name} "
            "effect='composite'."
        )


def _check_switch(spec: Spec, where: current.Place) -> None:
    """A tool that operators have switched off is not called inside another one's body either."""
    refused = where.driver.services.switches.refused(spec.name)
    if refused is not None:
        raise ToolFailed(f"{spec.name} failed: {refused.error}: {refused.text}")


async def take_step(
    spec: Spec,
    where: current.Place,
    args: bytes,
    calling: Calling,
    asked: Callable[[str], Any] | None,
    *,
    needs_key: bool = True,
    arguments: Arguments | None = None,
    marks: dict[str, Any] | None = None,
    found_by: str = "",
) -> Any:
    """Ask the run for the step: its result, typed by the return annotation, or the recorded failure raised.

    found_by: digest by which it is found, where its arguments do not tell.
    """
    driver, heard = where.driver, listener()
    call = Call(where.scope, spec.name, found_by or digest(args), StepKind.TOOL, spec.effect, args)
    outcome = driver.replayed(call)
    if outcome is None and spec.effect is Effect.COMPOSITE:
        outcome = await driver.step(_composite(spec, where, call, calling("")))
    elif outcome is None:
        own = Reach(calling, asked)
        outcome = await driver.step(planned(spec, where, call, own, arguments, needs_key=needs_key, marks=marks or {}))
    told = notices(driver.record.state, outcome.address) if outcome.address is not None else ()
    if outcome.kind is Kind.STEP_SUCCEEDED:
        try:
            result = decode(outcome.body, spec.returns) if outcome.body is not None else None
        except (Unencodable, ValueError) as unfit:  # ValueError: pydantic's word for "not of the declared type"
            await driver.unfit(f"{spec.name} -> {spec.returns}", f"{spec.name}: a result of another shape", unfit)
        driver.notices.attach(result, told, heard)
        return result
    error = rebuilt(outcome, spec.name, spec.raises)
    driver.notices.attach(error, told, heard)
    raise error from (driver.live_errors.get(outcome.address) if outcome.address is not None else None)


def _composite(spec: Spec, where: current.Place, call: Call, made: Callable[[], Any]) -> Composite:
    """How its body is run when the record does not answer it."""
    home = loop_elsewhere(where.driver.thread, where.driver.loop) if spec.is_async else None

    async def body(scope: str) -> Attempted:
        inside = current.Place(where.driver, scope, None, spec.name)
        if home is None or home.is_closed():
            return await attempted(spec, made, inside)
        return await attempted_on(home, spec, made, inside)

    return Composite(call=call, body=body, is_write=not spec.is_async)


def planned(
    spec: Spec, where: current.Place, call: Call, own: Reach, arguments: Arguments | None, **more: Any
) -> Attempts:
    """How the step is performed when the record does not answer it."""
    ways = ways_of(spec, where, own, arguments)
    terms = ways[0].terms if isinstance(ways[0], Way) else None
    assert terms is not None
    return Attempts(
        call=call,
        args=call.shown,
        policy=terms.policy,
        window_s=terms.window_s,
        verify=terms.verify,
        settle_s=terms.settle_s,
        ways=ways,
        last_good=last_good(spec, where, call.shown) if len(ways) > 1 else "",
        unfit=lambda body: unfit_body(spec, body),
        polls=spec.polls,
        **more,
    )
