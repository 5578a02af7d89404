"""A program of its own: begins pytest as `python -m pytest` does, with what the tree brings along kept out of pytest.

    python -P begin_pytest.py TREE WORDS...     # in a checkout of the working tree TREE

1. pytest is loaded before the directory is on the path, so that no module there is taken for one of its own.
2. No plugin is loaded that metadata in the directory names.
3. What is installed from the working tree by its path (`pip install -e .`) is found in the checkout.
"""

import importlib.metadata
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

_INSTALLED = "site-packages"
_all = importlib.metadata.distributions


def _led_back(path: str, tree: str, here: str) -> str:
    is_of_the_tree = path == tree or path.startswith(tree + os.sep)
    return here + path[len(tree) :] if is_of_the_tree and _INSTALLED not in path else path


def begin(tree: str, words: list[str]) -> int:
    """Run it with these words; its exit code."""
    here = os.getcwd()
    sys.path[:] = [here, *(_led_back(path, tree, here) for path in sys.path)]

    def elsewhere(**given: Any) -> Iterator[Any]:
        for each in _all(**given):
            where = str(each.locate_file(""))
            if _INSTALLED in where or not os.path.abspath(where).startswith(here):
                yield each

    importlib.metadata.distributions = elsewhere
    return int(pytest.main(words))


if __name__ == "__main__":
    sys.exit(begin(sys.argv[1], sys.argv[2:]))
