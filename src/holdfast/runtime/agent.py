"""Agents: the user's function, and what its input, its result and its failures mean for the record."""

from __future__ import annotations

import hashlib
import inspect
import typing
from collections.abc import Awaitable, Callable
from functools import cached_property, update_wrapper
from typing import Any, Generic, TypeVar, overload

from holdfast.core.budget import Budget, Limits
from holdfast.core.events import meta
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.heads import Status
from holdfast.errors import PolicyInvalid, Unencodable, UsageError
from holdfast.journal.codec import decode, encode
from holdfast.runtime.facts import causes, facts_of
from holdfast.runtime.run import Run

if typing.TYPE_CHECKING:
    from holdfast.runtime.driver import Driver

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output


class Agent(Generic[I, O]):
    """A function of (run, input) that keeps running; it stays callable as before."""

    def __init__(
        self,
        fn: Callable[[Run, I], Awaitable[O]],
        *,
        name: str | None = None,
        budget: Budget | None = None,
        escalate: str = "",
    ) -> None:
        if not inspect.iscoroutinefunction(fn):
            raise UsageError(f"Agent {getattr(fn, '__name__', fn)!r} must be `async def`: (run, input) -> result.")
        if len(inspect.signature(fn).parameters) != 2:
            raise UsageError(f"Agent {fn.__name__} must take the run and one input; give more as one dict or model.")
        if budget is not None and not isinstance(budget, Budget):
            raise PolicyInvalid(f"budget={budget!r} is no Budget. Write budget=holdfast.Budget(usd=1.50).")
        self.fn = fn
        self.name = name or fn.__name__
        self.budget = budget
        self.escalate = escalate
        update_wrapper(self, fn)

    def __repr__(self) -> str:
        return f"<agent {self.name}>"

    def __call__(self, run: Run, input: I) -> Awaitable[O]:
        return self.fn(run, input)

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
        recorded = driver.state.input
        given: Any = decode(recorded, self.takes) if recorded is not None else None
        return await self.fn(Run(driver), given)

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


@overload
def agent(fn: Callable[[Run, I], Awaitable[O]], /) -> Agent[I, O]: ...
@overload
def agent(
    *, name: str | None = None, budget: Budget | None = None, escalate: str = ""
) -> Callable[[Callable[[Run, I], Awaitable[O]]], Agent[I, O]]: ...
def agent(fn: Callable[[Run, I], Awaitable[O]] | None = None, /, **declared: Any) -> Any:
    """Declare an agent: `async def name(run: Run, input) -> result`.

    name: what its runs are recorded under; the function's name by default. budget: the caps of one run; a finite
    default holds when none is given. escalate: who gets the questions of its runs.
    """
    if fn is not None:
        return Agent(fn)
    return lambda function: Agent(function, **declared)
