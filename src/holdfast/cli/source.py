"""`FILE.py:AGENT`: loads the user's file by its path and finds the agent in it.

What goes wrong in the user's file is told with its file and line, never with our traceback. The file is read anew each
time, past any cached byte code: two edits within a second must not run as one.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from holdfast.errors import UsageError

if TYPE_CHECKING:
    from holdfast.runtime.agent import Agent
    from holdfast.testing.policy import Policy


_modules: dict[Path, ModuleType] = {}
"""The files that were loaded."""
_SUCH_AS = {"agent": "support", "policy": "policy"}


class _Fresh(importlib.machinery.SourceFileLoader):
    """Compiles the file as it is now."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def load(target: str) -> Agent[Any, Any]:
    """The agent that `FILE.py:AGENT` names; AGENT may be left out when the file has one agent."""
    path, name = _parts(target)
    module = _module(path)
    return _agent(module, path, name)


def agents_of(file: Path, agent: Agent[Any, Any]) -> list[Agent[Any, Any]]:
    """The agent and those beside it in its file, whose runs it may start."""
    from holdfast.runtime.agent import Agent  # loads asyncio

    module = _modules.get(file.resolve())
    beside = [value for value in vars(module).values() if isinstance(value, Agent)] if module is not None else []
    return list(({other.name: other for other in beside} | {agent.name: agent}).values())


def agents_in(targets: Iterable[str]) -> list[Agent[Any, Any]]:
    """Of each `FILE.py` all agents, of each `FILE.py:AGENT` that one; a file is loaded once."""
    from holdfast.runtime.agent import Agent  # loads asyncio

    found: dict[int, Agent[Any, Any]] = {}
    for target in dict.fromkeys(targets):
        path, name = _parts(target)
        module = _modules.get(path.resolve()) or _module(path)
        here = [_agent(module, path, name)] if name else [v for v in vars(module).values() if isinstance(v, Agent)]
        found |= {id(agent): agent for agent in here or [_agent(module, path, name)]}
    return list(found.values())


def policy_of(target: str) -> Policy:
    """The policy of a model server that `FILE.py:NAME` names."""
    path, name = _parts(target, "policy")
    found: Policy | None = getattr(_module(path), name, None) if name else None
    if not callable(found):
        raise UsageError(f"{path} has no function or script {name!r}. Write FILE.py:NAME. Nothing was started.")
    return found


def checks_of(target: str) -> dict[str, Any]:
    """The functions that the file of `FILE.py:AGENT` lists as `checks = {"adds": adds}`; it is loaded already."""
    path, _ = _parts(target)
    found = getattr(_modules.get(path.resolve()), "checks", {})
    if not isinstance(found, dict) or not all(isinstance(name, str) and callable(fn) for name, fn in found.items()):
        raise UsageError(f"`checks` in {path} is no dict of functions by name. Nothing was started.")
    return found


def path_of(target: str) -> Path:
    """The file in `FILE.py:AGENT`."""
    return _parts(target)[0]


def where(error: BaseException, path: Path) -> str:
    """ "file:line" of the innermost frame in the user's own code, beside `path`; empty when there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno or 0}"
    home = path.resolve().parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_under(Path(frame.filename), home)]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""


def _is_under(file: Path, home: Path) -> bool:
    return file.resolve().is_relative_to(home) and "site-packages" not in file.parts and file.suffix == ".py"


def _parts(target: str, what: str = "agent") -> tuple[Path, str]:
    path, colon, name = target.rpartition(":")
    file = Path(path if colon else target)
    if file.suffix != ".py":
        raise UsageError(
            f"{target!r} names no {what}. Write FILE.py:{what.upper()}, such as support.py:{_SUCH_AS[what]}."
        )
    if not file.is_file():
        raise UsageError(f"There is no file {file}. Nothing was started.")
    return file, name if colon else ""


def _module(path: Path) -> ModuleType:
    file = path.resolve()
    name = file.stem
    if not name.isidentifier() or name in sys.modules or name in sys.stdlib_module_names:
        name = f"_agent_file_{abs(hash(file)):x}"
    spec = importlib.util.spec_from_file_location(name, file, loader=_Fresh(name, str(file)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look a class's module up
    sys.path.insert(0, str(file.parent))  # as `python FILE.py` does, so that it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's code: whatever it raises is told as its own
        del sys.modules[name]
        place = where(error, file) or str(path)
        raise UsageError(f"{place}: {type(error).__name__}: {_text(error)}. Nothing was started.") from error
    _modules[file] = module
    return module


def _text(error: BaseException) -> str:
    return str(error.msg if isinstance(error, SyntaxError) else error).rstrip(".")


def _agent(module: ModuleType, path: Path, name: str) -> Agent[Any, Any]:
    from holdfast.runtime.agent import Agent  # loads asyncio

    agents = {key: value for key, value in vars(module).items() if isinstance(value, Agent)}
    found = agents.get(name) or next((agent for agent in agents.values() if agent.name == name), None)
    if found is not None:
        return found
    different = {id(agent): agent for agent in agents.values()}
    if not name and len(different) == 1:
        return next(iter(different.values()))
    if name in vars(module):
        raise UsageError(f"{name!r} in {path} is no agent. Decorate the function with @holdfast.agent.")
    known = f"It has {', '.join(agents)}." if agents else "It has none: decorate a function with @holdfast.agent."
    asked = f"no agent {name!r}" if name else f"{len(different)} agents; say which, FILE.py:AGENT"
    raise UsageError(f"{path} has {asked}. {known} Nothing was started.")
