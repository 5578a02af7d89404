"""holdfast keeps Python agents running: durable steps, bounded retries, budgets, people, records.

Nothing is loaded until it is used: `import holdfast` brings in no third party and no event loop.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from holdfast import errors as errors

if TYPE_CHECKING:
    from holdfast.core.breaker import Breaker as Breaker
    from holdfast.core.budget import Budget as Budget
    from holdfast.core.failure import ONE_REQUEST as ONE_REQUEST
    from holdfast.core.loops import Stuck as Stuck
    from holdfast.core.policy import Retry as Retry
    from holdfast.core.rung import Ask as Ask
    from holdfast.core.rung import Cached as Cached
    from holdfast.errors import InternalError as InternalError
    from holdfast.errors import JournalError as JournalError
    from holdfast.errors import NotApproved as NotApproved
    from holdfast.errors import NotDone as NotDone
    from holdfast.errors import RunError as RunError
    from holdfast.errors import ToolFailed as ToolFailed
    from holdfast.errors import Unverified as Unverified
    from holdfast.errors import UsageError as UsageError
    from holdfast.journal.codec import Opaque as Opaque
    from holdfast.memory.project import Project as Project
    from holdfast.memory.search import search_runs as search_runs
    from holdfast.memory.session import Session as Session
    from holdfast.models.client import http_client as http_client
    from holdfast.models.client import instrument as instrument
    from holdfast.models.client import uninstrument as uninstrument
    from holdfast.models.for_model import ForModel as ForModel
    from holdfast.models.for_model import for_model as for_model
    from holdfast.models.options import Fallback as Fallback
    from holdfast.models.toolset import Toolset as Toolset
    from holdfast.runtime.agent import Agent as Agent
    from holdfast.runtime.agent import agent as agent
    from holdfast.runtime.app import App as App
    from holdfast.runtime.asking import Answer as Answer
    from holdfast.runtime.command import command as command
    from holdfast.runtime.current import detached as detached
    from holdfast.runtime.heartbeat import heartbeat as heartbeat
    from holdfast.runtime.meter import Meter as Meter
    from holdfast.runtime.run import Run as Run
    from holdfast.runtime.settings import Settings as Settings
    from holdfast.runtime.signature import INJECTED as INJECTED
    from holdfast.runtime.spec import Done as Done
    from holdfast.runtime.spec import Unknown as Unknown
    from holdfast.runtime.thread import Unwind as Unwind
    from holdfast.runtime.tool import Tool as Tool
    from holdfast.runtime.tool import tool as tool

__version__ = "0.1.0"

_HOMES = {
    "Agent": "runtime.agent",
    "Answer": "runtime.asking",
    "App": "runtime.app",
    "Ask": "core.rung",
    "Breaker": "core.breaker",
    "Budget": "core.budget",
    "Cached": "core.rung",
    "Done": "runtime.spec",
    "ForModel": "models.for_model",
    "Fallback": "models.options",
    "INJECTED": "runtime.signature",
    "InternalError": "errors",
    "JournalError": "errors",
    "Meter": "runtime.meter",
    "NotApproved": "errors",
    "NotDone": "errors",
    "ONE_REQUEST": "core.failure",
    "Opaque": "journal.codec",
    "Project": "memory.project",
    "Retry": "core.policy",
    "Run": "runtime.run",
    "RunError": "errors",
    "Session": "memory.session",
    "Settings": "runtime.settings",
    "Stuck": "core.loops",
    "Tool": "runtime.tool",
    "ToolFailed": "errors",
    "Toolset": "models.toolset",
    "Unknown": "runtime.spec",
    "Unverified": "errors",
    "Unwind": "runtime.thread",
    "UsageError": "errors",
    "agent": "runtime.agent",
    "command": "runtime.command",
    "detached": "runtime.current",
    "for_model": "models.for_model",
    "heartbeat": "runtime.heartbeat",
    "http_client": "models.client",
    "instrument": "models.client",
    "search_runs": "memory.search",
    "tool": "runtime.tool",
    "uninstrument": "models.client",
}

__all__ = sorted(["errors", *_HOMES])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"holdfast.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
