"""Files that tell pytest how to run a check: a new one must not make pass what its pinned tests do not.

Beside the tests, pytest reads each conftest.py on the way to them and one file of settings. Those that are there when a
list is frozen, and that there are none, is kept with the feature (`Feature.fixed`), and is so again in the checkout in
which its check is performed. In the working tree they stay as the agent has written them: other tests may need them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from holdfast.core.feature import Check
from holdfast.errors import UsageError
from holdfast.memory import plain_file
from holdfast.memory.git import Git, blob_of

CONFTEST: Final = "conftest.py"
_OWN: Final = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")
_SHARED: Final = ("pyproject.toml", "tox.ini", "setup.cfg")
"""Of these only what they say of pytest counts."""
_AT_THE_TOP: Final = tuple(f"{name}customize{end}" for name in ("site", "user") for end in (".py", "/__init__.py"))
"""Python runs them when it starts, where PYTHONPATH leads here."""


def made_of(check: Check, directory: Path) -> Iterator[str]:
    """Of a pytest id the file, and each conftest.py on the way to it, as far as they are there."""
    file = Path(check.target.partition("::")[0])
    for path in (file, *(folder / CONFTEST for folder in file.parents)):
        if not path.is_absolute() and (directory / path).is_file():
            yield str(path)


def fixed(check: Check, git: Git) -> dict[str, str]:
    """Of a pinned pytest check the id of each such file as it is now, by path; empty: there is none."""
    if check.kind != "pytest" or not check.pins:
        return {}
    found: dict[str, str] = {}
    for path in _candidates(check):
        if _link_before(git.directory, path) is not None:
            continue  # a person has it so: what lies behind is what the tests are run with
        there = plain_file.seen(git.directory, path)
        is_the_agents = path.endswith(CONFTEST) and there.what == ""  # a person has named pins without it
        if path not in check.pins and not is_the_agents:
            found[path] = "" if there.data is None else git.put(there.data)
    return found


def _candidates(check: Check) -> Iterator[str]:
    file = PurePosixPath(check.target.partition("::")[0])
    is_inside = not file.is_absolute() and ".." not in file.parts
    for folder in file.parents if is_inside else ():
        yield from (str(folder / name) for name in (CONFTEST, *_OWN, *_SHARED))
    yield from _AT_THE_TOP


def changed(files: Mapping[str, str], directory: Path, git: Git) -> list[str]:
    """The paths of those that say something else in this directory."""
    return [path for path, blob in files.items() if not _is_as_it_was(path, blob, directory, git)]


def put_back(files: Mapping[str, str], directory: Path, git: Git) -> list[str]:
    """Make them what they were, in a checkout; the paths of those that said something else."""
    others = changed(files, directory, git)
    for path in others:
        if files[path]:
            plain_file.put(directory, path, _kept(path, files[path], git))
        else:
            (_link_before(directory, path) or directory / path).unlink(missing_ok=True)
    return others


def _link_before(directory: Path, path: str) -> Path | None:
    """The first link among the folders on the way there: Python and pytest go on behind it."""
    folders = (directory / folder for folder in reversed(PurePosixPath(path).parents))
    return next((folder for folder in folders if folder != directory and folder.is_symlink()), None)


def _kept(path: str, blob: str, git: Git) -> bytes:
    data = git.get(blob)
    if data is None:
        raise UsageError(
            f"What {path!r} was when the list was frozen is gone from the repository, so how its tests are to "
            "run is not known, and they were not performed. Freeze the list anew."
        )
    return data


def _is_as_it_was(path: str, blob: str, directory: Path, git: Git) -> bool:
    if _link_before(directory, path) is not None:
        return False
    there = plain_file.seen(directory, path)
    if there.what in ("missing", "a directory", "below what is no directory"):
        now = None
    elif there.data is None:
        return False  # a link, which may lead anywhere, or what cannot be read
    elif blob and blob_of(there.data, len(blob)) == blob:
        return True
    else:
        now = there.data
    return bool(_says(path, now) == _says(path, _kept(path, blob, git) if blob else None))


def _says(path: str, data: bytes | None) -> Any:
    """What a file says of pytest; None: nothing."""
    name = PurePosixPath(path).name
    if data is None or name not in _SHARED:
        return data
    if name != "pyproject.toml":
        return data if b"pytest" in data else None
    try:
        return tomllib.loads(data.decode("utf-8-sig")).get("tool", {}).get("pytest")
    except (ValueError, AttributeError):
        return data  # pytest will not read it either, or in a way of its own
