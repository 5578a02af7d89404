"""What a forked child has loaded, loaded in its parent: all later children then begin with it.

An app loads most of what it needs at first use, which is most of what a cold child does.
"""

from __future__ import annotations

import importlib
import sys
import sysconfig
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_INSTALLED = (*map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), str(Path(__file__).parents[1]))


def loaded_since(count: int) -> list[str]:
    """Modules that came when there were so many; of what is installed, no files of whoever is tested. Counted, since a
    forked child that takes their names in hand copies the memory of each."""
    if len(sys.modules) <= count:
        return []
    return sorted(name for name in list(sys.modules)[count:] if _is_installed(name))


def load(names: Iterable[str]) -> None:
    """Load them here too; what they warn of when they are loaded, the child has heard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            with suppress(ImportError):  # of a package that is loaded as a whole only
                importlib.import_module(name)


def _is_installed(name: str) -> bool:
    file = getattr(sys.modules[name], "__file__", None)
    return file is not None and file.startswith(_INSTALLED)
