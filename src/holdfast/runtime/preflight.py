"""What an agent needs that its app does not have: found before a run of it begins, and not in the middle of it.

It looks at the tools that the agent's code can reach (`runtime.reachable`), and calls nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.errors import PolicyInvalid
from holdfast.protocols import Escalation
from holdfast.runtime.reachable import reachable
from holdfast.runtime.reaching import NO_INBOX
from holdfast.runtime.spec import Spec
from holdfast.runtime.tool import Tool, declared_specs

if TYPE_CHECKING:
    from holdfast.runtime.agent import Agent


def _needs(spec: Spec) -> bool:
    asked = spec.policy.approve
    return asked is not None and asked.require_reachable is True


def check(agent: Agent[Any, Any], escalation: Escalation | None) -> None:
    """Refuse an agent that calls what needs people who can be reached, where nobody is told of anything."""
    if escalation is not None or not any(_needs(spec) for spec in declared_specs()):
        return  # the usual case, found out without a look at the agent's code
    for used in reachable(agent.fn, Tool):
        asked = used.spec.policy.approve
        if asked is not None and _needs(used.spec):
            raise PolicyInvalid(
                f"{used.name}, which {agent.name} can call, needs an approval by {asked.who}, who must be reachable "
                f"(require_reachable=True), and {NO_INBOX}. Nothing was started."
            )
