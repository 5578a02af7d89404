"""Orders of an operator to a project: refused to programs that one of its sessions has started."""

from __future__ import annotations

import os

from holdfast.errors import UsageError


def check() -> None:
    """An agent cannot change its list or let itself go on. That it can unset a variable is not what this is against."""
    from holdfast.memory.environment import WITHIN

    if within := os.environ.get(WITHIN):
        raise UsageError(
            f"This was called by a program of a session ({within}), and what a project is to be is not its own to "
            "change. Nothing was changed. A person does it, from a shell of their own."
        )
