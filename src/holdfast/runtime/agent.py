"""Agents: the user's function, and what its input, its result and its failures mean for the record.

An `async def` agent runs on the loop of its app. A `def` agent runs in a thread of its own; its sync tools are steps as
they are, and `run.wait` runs whatever is async.
"""

from __future__ import annotations

import hashlib
import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, partial, update_wrapper
from typing import Any, ClassVar, Generic, Protocol, TypeVar, overload

from holdfast.core.budget import Budget, Limits
from holdfast.core.events import meta
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.heads import Status
from holdfast.core.loops import DEFAULT_STUCK, Stuck
from holdfast.errors import PolicyInvalid, Unencodable, UsageError
from holdfast.journal.codec import decode, encode
from holdfast.runtime.declared import Kept
from holdfast.runtime.facts import causes, facts_of
from holdfast.runtime.run import Run
from holdfast.runtime.thread import body_in_thread

if typing.TYPE_CHECKING:
    from holdfast.runtime.driver import Driver

OnDrift = typing.Literal["hold", "fresh"]
I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output


class Agent(Generic[I, O]):
    """A function of (run, input) that keeps running; it stays callable as before."""

    is_sync: ClassVar[bool] = False
    """Whether a run of it holds a thread."""

    def __init__(
        self,
        fn: Callable[[Run, I], Any],
        *,
        name: str | None = None,
        budget: Budget | None = None,
        escalate: str = "",
        on_drift: OnDrift = "hold",
        models: Sequence[str] = (),
        stuck: Stuck | None = DEFAULT_STUCK,
    ) -> None:
        if _is_no_function(fn):
            raise UsageError(f"Agent {getattr(fn, '__name__', fn)!r} must be a function: (run, input) -> result.")
        if len(inspect.signature(fn).parameters) != 2:
            raise UsageError(f"Agent {fn.__name__} must take the run and one input; give more as one dict or model.")
        if budget is not None and not isinstance(budget, Budget):
            raise PolicyInvalid(f"budget={budget!r} is no Budget. Write budget=holdfast.Budget(usd=1.50).")
        if on_drift not in typing.get_args(OnDrift):
            raise PolicyInvalid(f"on_drift={on_drift!r} is not understood. Write on_drift='hold' or 'fresh'.")
        if stuck is not None and not isinstance(stuck, Stuck):
            raise PolicyInvalid(f"stuck={stuck!r} is no Stuck. Write stuck=holdfast.Stuck(same=5), or stuck=None.")
        self.fn = fn
        self.name = name or fn.__name__
        self.budget = budget
        self.escalate = escalate
        self.stuck = stuck
        self.on_drift = on_drift
        self.declared = Kept()
        """What its runs declare at `run.step`, see `Declared`."""
        self.models = (models,) if isinstance(models, str) else tuple(models)
        update_wrapper(self, fn)

    def __repr__(self) -> str:
        return f"<agent {self.name}>"

    def __call__(self, run: Run, input: I) -> Awaitable[O]:
        return self.fn(run, input)  # type: ignore[no-any-return]

    @property
    def limits(self) -> Limits | None:
        """The caps that its runs start with; None: the defaults."""
        return None if self.budget is None else self.budget.limits()

    @cached_property
    def code(self) -> str:
        """A digest of the function's byte code, written at the start of each run."""
        code = getattr(self.fn, "__code__", None)
        return hashlib.sha256(code.co_code).hexdigest()[:16] if code is not None else ""

    @cached_property
    def _hints(self) -> list[Any]:
        hints = typing.get_type_hints(self.fn, include_extras=True)
        second = list(inspect.signature(self.fn).parameters)[1]
        return [hints.get(second), hints.get("return")]

    @property
    def takes(self) -> Any:
        """Annotation of the input, None when there is none."""
        return self._hints[0]

    @property
    def gives(self) -> Any:
        """Annotation of the result, None when there is none."""
        return self._hints[1]

    async def begin(self, driver: Driver) -> O:
        """Run the function from its start, with the recorded input."""
        result: O = await self.fn(self._run(driver), self._given(driver))
        return result

    def _run(self, driver: Driver) -> Run:
        run = Run(driver)
        if self.stuck is not None and self.stuck.progress is not None:
            driver.measure = partial(self.stuck.progress, run)
        return run

    def _given(self, driver: Driver) -> Any:
        recorded = driver.state.input
        return decode(recorded, self.takes) if recorded is not None else None

    def encoded(self, result: O) -> tuple[bytes | None, BaseException | None]:
        """The result's bytes, or why it has none."""
        try:
            return encode(result, self.gives), None
        except (Unencodable, ValueError) as error:  # ValueError: pydantic's word for "not of the declared type"
            return None, error

    def failure(self, error: BaseException) -> str:
        """The facts of a failed end: what was raised, and which steps' failures it stands for."""
        facts = facts_of(error)
        failure = Failure(FailureKind.PERMANENT, facts.error, facts.text, facts.repr)
        reopened = [list(address) for address in causes(error)]
        return meta(outcome=Status.FAILED, why=f"{facts.error}: {facts.text}", cause=reopened, failure=failure.facts())


class SyncAgent(Agent[I, O]):
    """An agent that is a plain `def`: its runs have a thread of their own."""

    is_sync = True

    def __call__(self, run: Run, input: I) -> O:  # type: ignore[override]  # as its function was before
        return self.fn(run, input)  # type: ignore[no-any-return]

    async def begin(self, driver: Driver) -> O:
        """Run the function from its start, in a thread; a closing run waits for its thread only so long."""
        run, given = self._run(driver), self._given(driver)
        patience_s = driver.services.settings.close_s
        result = await body_in_thread(f"agent {driver.lease.run_id}", lambda: self.fn(run, given), patience_s)
        if inspect.isawaitable(result):
            _drop(result)
            raise UsageError(f"Agent {self.name} is a plain `def`, but returned an awaitable. Make it `async def`.")
        return result  # type: ignore[no-any-return]


def _is_no_function(fn: Any) -> bool:
    return not callable(fn) or inspect.isclass(fn) or inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)


def _drop(result: Any) -> None:
    """It is told about by our error; the interpreter need not say that nobody awaited it."""
    if inspect.iscoroutine(result):
        result.close()


class _Declared(Protocol):
    """`@agent(…)` on either kind of function."""

    @overload  # an awaitable is a result too; the first that fits is meant
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[[Run, I], Awaitable[O]], /
    ) -> Agent[I, O]: ...
    @overload
    def __call__(self, fn: Callable[[Run, I], O], /) -> SyncAgent[I, O]: ...


@overload
def agent(fn: Callable[[Run, I], Awaitable[O]], /) -> Agent[I, O]: ...  # type: ignore[overload-overlap]  # as above
@overload
def agent(fn: Callable[[Run, I], O], /) -> SyncAgent[I, O]: ...
@overload
def agent(
    *,
    name: str | None = None,
    budget: Budget | None = None,
    escalate: str = "",
    on_drift: OnDrift = "hold",
    models: Sequence[str] = (),
    stuck: Stuck | None = DEFAULT_STUCK,
) -> _Declared: ...
def agent(fn: Callable[[Run, I], Any] | None = None, /, **declared: Any) -> Any:
    """Declare an agent: `async def name(run: Run, input) -> result`, or the same as a plain `def`.

    name: what its runs are recorded under; the function's name by default. budget: the caps of one run; a finite
    default holds when none is given. escalate: who gets the questions of its runs. on_drift: what becomes of a model
    call that the record does not explain: `hold` waits for a person, `fresh` begins it as new. models: those that it
    calls; with a budget in USD, a run is not started while the price of one is not known. A plain `def` runs in a
    thread of its own: it calls sync tools as they are, and hands what is async to `run.wait`. stuck: when a run goes
    round in circles, and what follows, see `Stuck`; None switches it off.
    """
    if fn is not None:
        return _made(fn)
    return lambda function: _made(function, **declared)


def _made(fn: Callable[[Run, Any], Any], **declared: Any) -> Agent[Any, Any]:
    kind = Agent if inspect.iscoroutinefunction(fn) else SyncAgent
    return kind(fn, **declared)
