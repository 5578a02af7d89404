"""The rungs of a ladder as they are declared: what is tried when a tool has failed for good.

    @hf.tool(effect="read", fallback=[find_in_copy, hf.Cached(max_age="1h"), hf.Ask("oncall", within="30m"), "stop"])

A ladder is climbed in its order, once; `core.ladder` says when, and which rungs a failure passes over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from holdfast.core.duration import Duration, seconds
from holdfast.errors import PolicyInvalid


@dataclass(frozen=True, slots=True)
class Other:
    """Another tool, that takes and gives the same. `tool` is known to the runtime alone."""

    name: str
    tool: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """The last good result of the same tool with the same arguments, if it is not older than `max_age`.

    It is never silent: the step's record, the end of the run and what the model reads say how old it is, and why.
    """

    max_age: Duration

    def __post_init__(self) -> None:
        if seconds(self.max_age, "Cached(max_age=…)") == 0:
            raise PolicyInvalid('Cached(max_age=0) would never serve anything. Give an age such as "1h".')

    @property
    def max_age_s(self) -> float:
        """`max_age` in seconds."""
        return seconds(self.max_age)

    @property
    def name(self) -> str:
        """How the record calls it."""
        return "cached"


@dataclass(frozen=True, slots=True)
class Ask:
    """A person. `within` is how long is waited; then `default` is taken, or the next rung when there is none.

    As a tool's `approve=` it is who must agree before the tool is called at all.
    """

    who: str
    within: Duration | None = None
    default: str | None = None
    valid: Duration | None = None
    """Of `approve=`: how long an "approve" holds from when it was given; an hour when absent."""
    urgent: bool = False
    """People are told of it in their quiet hours too, and before what is not."""
    require_reachable: bool | None = None
    """Of `approve=`: whether it is asked only while somebody can be reached. None: where an inbox is configured."""
    approvers: Sequence[str] = ()
    """Of `approve=`: who may answer, people, rotas or chains; anybody when empty. Never who asked for the run."""
    quorum: int = 1
    """Of `approve=`: how many different people must agree; they are asked one after the other."""
    quorum_opaque: int | None = None
    """The same where nobody can read off its arguments what a call does (`core.opaque`); None: no more than else."""

    def __post_init__(self) -> None:
        who: Any = self.who
        if not isinstance(who, str) or not who.strip():
            raise PolicyInvalid(f"Ask({who!r}) names nobody. Write who is asked, such as Ask('oncall').")
        if self.within is not None and seconds(self.within, "Ask(within=…)") == 0:
            raise PolicyInvalid('Ask(within=0) leaves nobody time to answer. Give a time such as "30m", or none.')
        if self.valid is not None and seconds(self.valid, "Ask(valid=…)") == 0:
            raise PolicyInvalid('Ask(valid=0) would never let anything begin. Give a time such as "1h".')
        if self.require_reachable not in (True, False, None):
            raise PolicyInvalid(f"Ask(require_reachable={self.require_reachable!r}) is neither true nor false.")
        if self.default is not None and self.within is None:
            raise PolicyInvalid("Ask(default=…) without within= would never be taken. Say how long to wait.")
        object.__setattr__(self, "approvers", _names(self.approvers))
        for name in ("quorum", "quorum_opaque"):
            many: Any = getattr(self, name)
            if (type(many) is not int or not 1 <= many <= QUORUM_MAX) and (many is not None or name == "quorum"):
                raise PolicyInvalid(f"Ask({name}={many!r}) is no number of people. Give 1 to {QUORUM_MAX}.")

    @property
    def within_s(self) -> float | None:
        """`within` in seconds."""
        return None if self.within is None else seconds(self.within)

    @property
    def name(self) -> str:
        """How the record calls it."""
        return f"ask {self.who}"


def _names(given: Any) -> tuple[str, ...]:
    names = tuple(given) if isinstance(given, list | tuple) else ()
    if (given and not names) or not all(isinstance(name, str) and name.strip() for name in names):
        raise PolicyInvalid(f"Ask(approvers={given!r}) is no list of names. Write approvers=['ada', 'oncall'].")
    return names


@dataclass(frozen=True, slots=True)
class Stop:
    """The run is stopped, with everything kept: what this tool does must not be missing. Written `"stop"`."""

    @property
    def name(self) -> str:
        """How the record calls it."""
        return STOP


@dataclass(frozen=True, slots=True)
class Model:
    """Another model; `account` is whose it is."""

    name: str
    account: str = ""


@dataclass(frozen=True, slots=True)
class Escalation:
    """Whoever the agent's `escalate=` names; never declared in a ladder, and there for `unauthorised` alone."""

    who: str

    @property
    def within_s(self) -> None:
        """Keys and money have no deadline of ours."""

    @property
    def default(self) -> None:
        """Nothing is taken instead of an answer."""

    @property
    def name(self) -> str:
        """How the record calls it."""
        return f"ask {self.who}"


Rung = Other | Cached | Ask | Stop
"""What can be declared."""
AnyRung = Rung | Model | Escalation
STOP: Final = "stop"
QUORUM_MAX: Final = 10
