"""A project of two features, killed at one point of all its sessions: before or after a write of its store, or a git
command.

Then the brief tells what is there, no feature passes without its commit, and the same command, called again, ends it
whole: each feature passes and is committed once, nothing is left in the tree, nobody holds anything.

The points of one whole run are divided into equal parts, and each trial draws its point from a part of its own.
"""

from __future__ import annotations

import subprocess
from math import ceil

from tests.memory.swept import Swept

from proof.part import Plan, Seen, in_memory

KILLS = 60
WANTED = {"session_kills": KILLS, "session_kills_at_a_write": KILLS // 8, "session_kills_at_git": KILLS // 8}
COST = 80
SHARDS = 2
WAITS = True


def run(plan: Plan) -> Seen:
    """Kill it once in each part of its points."""
    seen, parts = Seen(), ceil(KILLS * plan.scale)
    with in_memory(plan.directory) as place:
        swept = Swept(place)
        for trial in plan.trials(KILLS):
            kill(swept, 1 + int((trial + plan.random(trial).random()) * swept.points / parts), seen)
    return seen


def kill(swept: Swept, at: int | str, seen: Seen) -> None:
    """One trial, at the point of this number, or at the first one with this name."""
    try:
        where, wrong = swept.kill(at)
    except (AssertionError, ValueError, OSError, subprocess.SubprocessError) as error:
        where, wrong = "", [f"{type(error).__name__}: {error}"]
    seen.problems += [f"killed at point {at}, {where}: {one}" for one in wrong]
    if where:
        seen.count("session_kills")
        seen.count("session_kills_at_git" if " git " in where else "session_kills_at_a_write")
