"""Secrets of channels, taken out of the environment: what a tool starts must not be able to speak in their name.

They stay in this process, for whatever of it needs them later. Who can read this process's memory, or what it was
started with, as its own user can, has them all the same.
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Iterable, Mapping

_kept: dict[str, str] = {}


def environ() -> Mapping[str, str]:
    """The environment with what was taken out of it."""
    return ChainMap(dict(os.environ), _kept)


def withhold(names: Iterable[str]) -> None:
    """From now on no process that is started has these."""
    for name in names:
        value = os.environ.pop(name, None)
        if value is not None:
            _kept[name] = value
