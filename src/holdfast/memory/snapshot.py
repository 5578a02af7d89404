"""The working tree as git would store it now, and how two trees differ. The repository's own index is not touched,
unless it cannot be read.

Counted are all files that git does not ignore, and ignored ones that are in HEAD or were added to the index by force;
also those that flags of the index hide (assume-unchanged, skip-worktree), as the index is made anew from HEAD each
time. Nested repositories that are not submodules are left out: what is in them is theirs.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from holdfast.memory.repository import Repository


def taken(repository: Repository, without: Collection[str] = ()) -> str:
    """The tree of what is there now. without: paths that are not in it, whatever they hold."""
    repository.without_own_programs()
    _mend(repository)
    staged = staged_names(repository, "A")
    with repository.index("HEAD") as index:
        repository.call("update-index", "-q", "--refresh", index=index, ok=(0, 1))
        listed = repository.call("diff-files", "-z", "--name-status", "--ignore-submodules=dirty", index=index).names
        changed = dict(zip(listed[1::2], listed[::2], strict=True))
        found = repository.call("ls-files", "-z", "--others", "--exclude-standard", index=index).names
        forced = [name for name in staged if _is_file(repository.directory / name)]
        present = [name for name, how in changed.items() if how != "D"]
        added = [name for name in dict.fromkeys((*present, *found, *forced)) if not name.endswith("/")]
        gone = [*(name for name, how in changed.items() if how == "D"), *without]
        _feed(repository, index, "--force-remove", gone)
        _feed(repository, index, "--replace", [name for name in added if name not in without])
        return repository.call("write-tree", index=index).text


def names(repository: Repository, old: str, new: str, of: str = "") -> list[str]:
    """The paths that differ between two trees or commits. of: only these kinds of change, such as "A"."""
    kinds = [f"--diff-filter={of}"] if of else []
    return repository.call("diff-tree", "-r", "-z", "--name-only", "--no-renames", *kinds, old, new).names


def staged_names(repository: Repository, of: str = "") -> list[str]:
    """The paths that differ between HEAD and the repository's own index."""
    kinds = [f"--diff-filter={of}"] if of else []
    words = ("diff-index", "--cached", "-z", "--name-only", "--no-renames", "--ignore-submodules=dirty")
    return list(dict.fromkeys(repository.call(*words, *kinds, "HEAD").names))


def overlaid(repository: Repository, base: str, top: str, paths: Iterable[str]) -> str:
    """The tree `base`, with these paths as they are in `top`."""
    wanted = list(paths)
    with repository.index(base) as index:
        _feed(repository, index, "--force-remove", wanted)
        there = repository.call("ls-tree", "-r", "-z", "--full-tree", top).out.split(b"\0")[:-1]
        asked = {os.fsencode(path) for path in wanted}
        lines = [line for line in there if line.partition(b"\t")[2] in asked]
        if lines:
            told = b"".join(line + b"\0" for line in lines)
            repository.call("update-index", "-z", "--add", "--replace", "--index-info", stdin=told, index=index)
        return repository.call("write-tree", index=index).text


def index_tree(repository: Repository) -> tuple[str, set[str]]:
    """The tree of the repository's own index without what is in conflict, and the paths that are."""
    with repository.index("HEAD") as index:
        own = repository.git_dir / "index"
        if own.exists():
            index.write_bytes(own.read_bytes())
        unmerged = conflicts(repository)
        _feed(repository, index, "--force-remove", sorted(unmerged))
        return repository.call("write-tree", index=index).text, unmerged


def conflicts(repository: Repository) -> set[str]:
    """The paths that are in conflict."""
    return {line.partition("\t")[2] for line in repository.call("ls-files", "-z", "--unmerged").names}


def _mend(repository: Repository) -> None:
    """An index that cannot be read is renamed, and made anew from HEAD: a power cut may have taken it."""
    if repository.call("ls-files", "-z", "--cached", ok=(0, 128)).code:
        own = repository.git_dir / "index"
        own.replace(own.with_name("index.damaged"))
        repository.call("read-tree", "HEAD")


def _feed(repository: Repository, index: Path, how: str, paths: Collection[str]) -> None:
    if paths:
        told = b"".join(os.fsencode(path) + b"\0" for path in paths)
        repository.call("update-index", "--add", "--remove", how, "-z", "--stdin", stdin=told, index=index)


def _is_file(path: Path) -> bool:
    return path.is_symlink() or path.is_file()
