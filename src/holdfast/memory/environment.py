"""What programs that we start see of our environment: never what looks like a secret, and nothing of holdfast's own.

A check runs code that an agent has written, and git runs what a repository's config names: neither is to find a key
there that the agent was not given. The environment is read here to be passed on, never as a setting.

What a check in a checkout imports: a module that the checkout has is found there, before the one of the working tree,
where PYTHONPATH or an installation by path (`pip install -e .`, a .pth file) leads to that. What still leads to the
working tree: a module that the checkout has not, by such a .pth file; all of an installation with a finder of its own.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_NAME = re.compile(r"auth(?!or)|cookie|credential|key|passw|_pwd$|secret|session|signature|token|dsn", re.IGNORECASE)
_VALUE = re.compile(
    r"://[^/\s:@]*:[^/\s@]+@"  # an address with a password
    r"|-----BEGIN|\b(?:sk|rk|xox[a-z]|gh[a-z]|glpat|AKIA)[-_]?[0-9A-Za-z_-]{12}"
)
WITHIN = "HOLDFAST_WITHIN"
"""Set in programs that a session starts: orders of an operator are refused there."""
_OURS = ("HOLDFAST_", "PYTEST_")
_INSTALLED = "site-packages"
_GIT = frozenset(
    {
        "GIT_AUTHOR_NAME",
        "GIT_AUTHOR_EMAIL",
        "GIT_COMMITTER_NAME",
        "GIT_COMMITTER_EMAIL",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_EXEC_PATH",
    }
)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable looks like a credential, by its name or its value."""
    return _NAME.search(name) is not None or _VALUE.search(value) is not None


def visible(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of the environment (ours, when none is given) what a program of the project may see."""
    given = os.environ if environ is None else environ
    return {
        name: value
        for name, value in given.items()
        if not name.startswith((*_OURS, "GIT_")) and not is_secret(name, value)
    }


def for_agent(run_id: str) -> dict[str, str]:
    """Of an agent that is a program: all of ours, and a mark by which `holdfast` knows that it is called by one."""
    return {**os.environ, WITHIN: run_id}


def for_check(tree: Path, directory: Path) -> dict[str, str]:
    """Of a check in this directory, a checkout of the working tree or that itself: `python` is the interpreter that we
    run in, and leaves no compiled files in the tree."""
    seen = visible()
    if directory != tree and (path := _path(seen.get("PYTHONPATH", ""), tree.resolve(), directory)):
        seen["PYTHONPATH"] = path
    here = os.path.dirname(sys.executable)
    seen["PATH"] = os.pathsep.join(part for part in (here, seen.get("PATH", os.defpath)) if part)
    return {**seen, "PYTHONDONTWRITEBYTECODE": "1", WITHIN: "a check"}


def _path(given: str, tree: Path, directory: Path) -> str:
    """PYTHONPATH, and then what is installed by its path: what lies in the tree, led back to the checkout."""
    led = [_led_back(part, tree, directory) for part in given.split(os.pathsep)] if given else []
    return os.pathsep.join(dict.fromkeys([*led, *_installed(tree, directory)]))


def _led_back(part: str, tree: Path, directory: Path) -> str:
    """One that is relative leads there by itself."""
    where = os.path.realpath(part)
    is_the_trees = os.path.isabs(part) and _INSTALLED not in part and Path(where).is_relative_to(tree)
    return str(directory / os.path.relpath(where, tree)) if is_the_trees else part


def _installed(tree: Path, directory: Path) -> Iterator[str]:
    """Directories of the tree that .pth files name: they come after the packages that these lie among."""
    behind = False
    for part in sys.path:
        behind = behind or part.endswith(_INSTALLED)
        if behind and (led := _led_back(part, tree, directory)) != part:
            yield led


def for_git() -> dict[str, str]:
    """Of git: also who the author is and where the user's config lies, and no other variable of git's."""
    kept = {name: value for name, value in os.environ.items() if name in _GIT}
    return {**visible(), **kept}
