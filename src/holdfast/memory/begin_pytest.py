"""A program of its own: begins pytest as `python -m pytest` does, with what the tree brings along kept out of pytest.

    python -P -S begin_pytest.py TREE WORDS...     # in a checkout of the working tree TREE

1. Python's own start (`site`), and pytest's, see neither the tree nor the directory on the path: no `sitecustomize` or
   `usercustomize` of theirs is run, and no module there is taken for one of pytest's. Those from elsewhere are run.
2. No plugin is loaded that metadata in the directory names.
3. What the tests start by `multiprocessing` starts as Python always does.
4. What is installed from the working tree by its path (`pip install -e .`), or named by PYTHONPATH, is found in the
   checkout. An installation with a finder of its own still leads into the working tree.
"""

import os
import sys  # these two are there already; everything else is imported when the path is free of both, see `start`

_INSTALLED = "site-packages"
_STANDARD = os.path.dirname(os.__file__)
_CUSTOMIZE = ("sitecustomize", "usercustomize")


def _within(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip(os.sep) + os.sep)


class Ground:
    """The working tree and its checkout, and what of the path is theirs."""

    def __init__(self, tree: str, here: str) -> None:
        self._tree, self._here = os.path.realpath(tree), os.path.realpath(here)

    def has(self, path: str) -> bool:
        """Whether what this names, which may be relative, lies in one of them; an environment there does not count."""
        where = os.path.realpath(path)
        is_installed = _INSTALLED in path or _within(os.path.abspath(path), _STANDARD)
        return not is_installed and any(_within(where, top) for top in (self._tree, self._here))

    def led_back(self, path: str) -> str:
        """The same place in the checkout, of what they have; everything else as it is."""
        if not self.has(path):
            return path
        where = os.path.realpath(path)
        is_here = _within(where, self._here)
        return where if is_here else os.path.join(self._here, os.path.relpath(where, self._tree))


def start(ground: Ground) -> list[str]:
    """Do what Python does when it starts, apart from both; what the path would be."""
    before = list(sys.path)
    sys.path[:] = [path for path in before if not ground.has(path)]
    import site
    import types

    _start_as_always()
    sys.modules.update({name: types.ModuleType(name) for name in _CUSTOMIZE})  # found, so that no file is looked for
    site.main()
    added = [path for path in sys.path if path not in before]
    sys.path[:] = [path for path in sys.path if not ground.has(path)]
    for name in _CUSTOMIZE:
        del sys.modules[name]
    site.execsitecustomize()
    if site.ENABLE_USER_SITE:
        site.execusercustomize()
    return [*before, *added]


def _start_as_always() -> None:
    """Python gives its own options to those that `multiprocessing` starts; without `site` they lack its packages."""
    import subprocess

    given = subprocess._args_from_interpreter_flags  # type: ignore[attr-defined]
    subprocess._args_from_interpreter_flags = lambda: [word for word in given() if word != "-S"]  # type: ignore[attr-defined]


def begin(tree: str, words: list[str]) -> int:
    """Run it with these words; its exit code."""
    here = os.getcwd()
    ground = Ground(tree, here)
    path = start(ground)
    import importlib.metadata
    from typing import Any

    import pytest

    found = importlib.metadata.distributions
    sys.path[:] = dict.fromkeys([here, *map(ground.led_back, path)])

    def elsewhere(**given: Any) -> Any:
        places = [(each, str(each.locate_file(""))) for each in found(**given)]
        return [each for each, at in places if _INSTALLED in at or not _within(os.path.abspath(at), here)]

    importlib.metadata.distributions = elsewhere
    return int(pytest.main(words))


if __name__ == "__main__":
    sys.exit(begin(sys.argv[1], sys.argv[2:]))
