"""A feature's check, performed on exactly one tree of git: what is committed when it passes is what it saw.

Each performance has a checkout of its own (`memory.checkout`), in which the files that the check is made of are as they
were frozen (`memory.pins`, `memory.conditions`). A check that a person has declared to need the working tree itself
(`in_tree`) is performed there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from holdfast.core.feature import Feature
from holdfast.core.verdict import Result
from holdfast.errors import UsageError
from holdfast.memory import check, conditions, pins, plain_file
from holdfast.memory.checkout import Checkout
from holdfast.memory.git import Git
from holdfast.runtime.thread import in_thread

WHY_MAX: Final = 400


async def perform(feature: Feature, tree: str, git: Git, functions: Mapping[str, check.Function]) -> Result:
    """Perform it once, on this tree. What keeps it from being performed is the result, which then has not run."""
    asked = feature.check
    if asked.kind == "http":
        return await check.perform(asked, git.directory)
    if asked.in_tree:
        return await _in_tree(feature, git, functions)
    try:
        made = await in_thread("checkout", lambda: Checkout(git, tree, asked.keep))
    except (UsageError, OSError) as failed:
        return Result(False, False, f"its checkout could not be made: {failed}"[:WHY_MAX])
    try:
        without = await in_thread("pins", lambda: _put_back(feature, made.directory, git))
        result = await check.perform(asked, made.directory, functions, of=git.directory)
        await in_thread("artefacts", lambda: _keep(feature, result, made.directory, git))
    finally:
        await in_thread("checkout", made.remove)
    return result if result.passed or not without else replace(result, why=f"{result.why} ({_some(without)})")


def _put_back(feature: Feature, directory: Path, git: Git) -> list[str]:
    pins.put_back(feature.pinned, git, directory)
    return conditions.put_back(feature.fixed, directory, git)


async def _in_tree(feature: Feature, git: Git, functions: Mapping[str, check.Function]) -> Result:
    def ready() -> list[str]:
        pins.put_back(feature.pinned, git)
        return conditions.changed(feature.fixed, git.directory, git)

    if others := await in_thread("pins", ready):
        return Result(False, False, f"it is performed in the working tree, {_some(others)}"[:WHY_MAX])
    return await check.perform(feature.check, git.directory, functions)


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"where {', '.join(paths[:3])}{more} would change how the pinned tests run: not part of the frozen list"


def _keep(feature: Feature, result: Result, directory: Path, git: Git) -> None:
    """What it made goes with the checkout: the files of its last performance are kept beside the store."""
    place = git.common / "holdfast" / "artefacts" / feature.id
    for made in result.artefacts:
        data: Any = plain_file.seen(directory, made.path, check.ARTEFACT_BYTES_MAX).data
        if data is not None:
            place.mkdir(parents=True, exist_ok=True)
            plain_file.put(place, made.path, data)
