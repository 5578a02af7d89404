"""What one attempt is told, what it comes to, and the ways in which a step can be attempted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.core.events import ONE_TOOL_CALL, Address, Charge
from holdfast.core.failure import Failure
from holdfast.core.policy import Policy
from holdfast.core.rung import Model, Other

if TYPE_CHECKING:
    from holdfast.runtime.deadline import Limit
    from holdfast.runtime.senders import Sender
    from holdfast.runtime.spec import Spec


class Attempted(NamedTuple):
    """What one attempt came to."""

    body: bytes | None
    charge: Charge
    failure: Failure | None = None
    facts: dict[str, Any] | None = None
    """More for the outcome's meta."""
    error: BaseException | None = None
    """The live exception, for `__cause__`."""
    is_told: bool = False
    """The caller has had part of it, so this failure is the outcome whatever the policy says."""


class Begun(NamedTuple):
    """An attempt that may begin: its intent, if it needs one, is committed."""

    address: Address
    key: str
    """The idempotency key; empty where the plan needs none."""
    number: int
    sender: Sender | None = None
    """Of an effect: who is to know as long as its body lives."""
    limit: Limit | None = None
    """How long it may take, beyond its own timeout."""


class Verdict(NamedTuple):
    """What `verify` said."""

    said: str
    body: bytes | None = None
    text: str = ""


class Terms(NamedTuple):
    """What holds for the attempts of one way."""

    policy: Callable[[], Policy]
    """The policy in force, asked anew for each attempt."""
    shared: str = ""
    """Under which name its breaker and retries are shared; model calls: by host and model. Empty: with nobody."""
    window_s: float = float("inf")
    verify: Callable[[str], Awaitable[Verdict]] | None = None
    settle_s: float | None = None
    """Time between two answers "not done" of `verify`; None: the app's."""
    undo: str = ""
    """What undoes it; empty: nothing does."""
    spec: Spec | None = None
    """The tool, where it is one."""


class Way(NamedTuple):
    """One way to perform a step. A model call may have several, one a model, tried in order."""

    attempt: Callable[[Begun], Awaitable[Attempted]]
    """Raises nothing but cancellation."""
    reservation: Charge = ONE_TOOL_CALL
    refusal: str = ""
    """Why it may not be sent at all (an unknown price); the run is stopped with it."""
    name: str = ""
    account: str = ""
    """Whose it is: a host, and who asks it."""
    turn: Callable[[], AbstractAsyncContextManager[None]] | None = None
    """Waits until it may begin, and is held until it is over."""
    terms: Terms | None = None
    """Its own; the step's when absent."""

    @property
    def rung(self) -> Model | Other:
        """As the ladder knows it."""
        return Model(self.name, self.account) if self.account else Other(self.name)
