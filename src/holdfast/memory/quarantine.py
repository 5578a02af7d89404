"""Work that nobody finished is put aside on a branch, and the working tree made as HEAD is, without losing a byte.

Invariants
1. Nothing is removed from the tree before a commit on the branch has it: git itself compares each file with what was
   stored when it goes over to HEAD, and refuses where somebody has written since.
2. Killed anywhere and called again, it goes on: a branch with the same trailers is this quarantine's own, and what is
   in the tree and in neither it nor HEAD is added to it.
3. Files that git ignores, and nested repositories, are left as they are.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from holdfast.errors import UsageError
from holdfast.memory import snapshot
from holdfast.memory.message import trailers_of, written
from holdfast.memory.repository import GitFailed, Repository

ROUNDS: Final = 6
NAMES_MAX: Final = 1_000
_BRANCHES = "refs/heads/"
_QUITS = {"am": ("am",), "cherry-pick": ("cherry-pick",), "revert": ("revert",)}


def put_aside(
    repository: Repository, branch: str, message: str, trailers: Mapping[str, str], apart: Collection[str]
) -> str:
    """See `Git.quarantine`."""
    if repository.call("check-ref-format", _BRANCHES + branch, ok=(0, 1)).code:
        raise UsageError(f"{branch!r} is no name of a branch. Nothing was done.")
    name = ""
    for _ in range(ROUNDS):
        now, what = snapshot.taken(repository), under_way(repository)
        name, tip = _own(repository, branch, trailers)
        if not what and _is_clean(repository, now, apart):
            return name
        if tip:
            _add(repository, name, tip, now, apart, written(message, trailers))
        elif what == "rebase" or not _is_clean(repository, now, apart):
            said = f"{message}\n\nA {what} was under way, and was given up." if what else message
            name = _begin(repository, branch, now, written(said, trailers))
        _leave_rebase(repository, what)
        if _go_over(repository, now, apart):
            _give_up(repository, what)
    raise GitFailed(f"Somebody is writing into {repository.directory}: all is on the branch {name}, and more comes.")


def go_back(repository: Repository, branch: str, name: str, to: tuple[str, str], text: str) -> str:
    """The tree is clean; what was in it is on `name`, empty when nothing was. See `Git.take_back`."""
    onto, commit = to
    head = repository.call("rev-parse", "HEAD").text
    stands_on = repository.call("symbolic-ref", "-q", "--short", "HEAD", ok=(0, 1)).text
    if not name and repository.call("merge-base", "--is-ancestor", head, commit, ok=(0, 1)).code:
        tree = repository.call("rev-parse", "HEAD^{tree}").text
        name = _free(repository, branch)
        made = commit_tree(repository, tree, [head], text)  # with our trailers, by which it is known again
        repository.call("update-ref", "-m", "holdfast: put aside", _BRANCHES + name, made, "")
    if stands_on != onto:
        is_there = not repository.call("rev-parse", "-q", "--verify", _BRANCHES + onto, ok=(0, 1)).code
        repository.call("checkout", "-q", *((onto,) if is_there else ("-B", onto, commit)), "--")
    if repository.call("rev-parse", "HEAD").text != commit:
        repository.call("reset", "-q", "--keep", commit)
    return name


def commit_tree(repository: Repository, tree: str, parents: Sequence[str], text: str) -> str:
    """A commit object, which nothing names yet."""
    after = [word for parent in parents for word in ("-p", parent)]
    return repository.call("commit-tree", tree, *after, "-F", "-", stdin=text.encode(), author=True).text


def under_way(repository: Repository) -> str:
    """What has begun in the working tree and not ended."""
    there = repository.git_dir
    if (there / "rebase-merge").is_dir() or (there / "rebase-apply").is_dir():
        return "am" if (there / "rebase-apply" / "applying").exists() else "rebase"
    for mark, what in (("MERGE_HEAD", "merge"), ("CHERRY_PICK_HEAD", "cherry-pick"), ("REVERT_HEAD", "revert")):
        if (there / mark).exists():
            return what
    return "cherry-pick" if (there / "sequencer").is_dir() else ""


def _is_clean(repository: Repository, now: str, apart: Collection[str]) -> bool:
    changed = {*snapshot.names(repository, "HEAD", now), *snapshot.staged_names(repository)}
    return not changed - set(apart)


# --- the branch --------------------------------------------------------------------------------------------------


def _own(repository: Repository, branch: str, trailers: Mapping[str, str]) -> tuple[str, str]:
    """The branch that this quarantine has made before it was killed, and its tip."""
    wanted = trailers_of(written("", trailers))
    taken = _branches(repository) if wanted else {}
    for name in _candidates(branch):
        if name not in taken and not _is_blocked(name, taken):
            break
        text = (
            repository.call("log", "-1", "--no-show-signature", "--format=%B", taken[name]).text
            if name in taken
            else ""
        )
        if wanted and wanted.items() <= trailers_of(text).items():
            return name, taken[name]
    return "", ""


def _begin(repository: Repository, branch: str, now: str, text: str) -> str:
    """Store the tree on a new branch."""
    parent = repository.call("rev-parse", "HEAD").text
    index, unmerged = snapshot.index_tree(repository)
    only_staged = {*snapshot.names(repository, "HEAD", index)} & {*snapshot.names(repository, index, now)} - unmerged
    if only_staged:  # the index has what the files do not
        parent = commit_tree(repository, index, [parent], f"What was in the index\n\n{text}")
    made = commit_tree(repository, now, [parent], text)
    name = _free(repository, branch)
    repository.call("update-ref", "-m", "holdfast: put aside", _BRANCHES + name, made, "")
    return name


def _free(repository: Repository, branch: str) -> str:
    """The first name that can be taken."""
    taken = _branches(repository)
    return next(name for name in _candidates(branch) if name not in taken and not _is_blocked(name, taken))


def _add(repository: Repository, name: str, tip: str, now: str, apart: Collection[str], text: str) -> None:
    """Store also what the branch does not have yet: a kill, or ignore rules that went with the tree, had left it."""
    new = {*snapshot.names(repository, "HEAD", now)} & {*snapshot.names(repository, tip, now)} - set(apart)
    if new:
        tree = snapshot.overlaid(repository, tip, now, sorted(new))
        made = commit_tree(repository, tree, [tip], text)
        repository.call("update-ref", "-m", "holdfast: put aside", _BRANCHES + name, made, tip)


def _trailers(repository: Repository, commit: str) -> dict[str, str]:
    return trailers_of(repository.call("log", "-1", "--no-show-signature", "--format=%B", commit).text)


def _branches(repository: Repository) -> dict[str, str]:
    listed = repository.call("for-each-ref", "--format=%(refname) %(objectname)", _BRANCHES).text.splitlines()
    pairs = (line.rpartition(" ")[::2] for line in listed)
    return {name.removeprefix(_BRANCHES): commit for name, commit in pairs}


def _candidates(branch: str) -> Iterator[str]:
    """Names to take, the wanted one first; the flat ones are for when a branch stands where a folder would have to."""
    for stem in dict.fromkeys((branch, branch.replace("/", "-"))):
        yield stem
        for number in range(2, NAMES_MAX):
            yield f"{stem}-{number}"


def _is_blocked(name: str, taken: Collection[str]) -> bool:
    """Whether the name of another branch goes through this one, or this one through another's."""
    return any(name.startswith(f"{other}/") or other.startswith(f"{name}/") for other in taken)


# --- the tree ----------------------------------------------------------------------------------------------------


def _go_over(repository: Repository, now: str, apart: Collection[str]) -> bool:
    """From the tree that was stored to that of HEAD; False when a file is not any more as it was stored."""
    target = (
        snapshot.overlaid(repository, "HEAD", now, apart) if apart else repository.call("rev-parse", "HEAD^{tree}").text
    )
    _make_way(repository.directory, snapshot.names(repository, now, target, of="A"))
    repository.call("read-tree", now)
    repository.call("update-index", "-q", "--refresh", ok=(0, 1))
    if repository.call("read-tree", "-m", "-u", now, target, ok=(0, 1, 128)).code:
        return False
    repository.call("reset", "-q")  # also forgets a merge that was under way
    return True


def _make_way(directory: Path, paths: Sequence[str]) -> None:
    """What lies where a file of HEAD has to be, and is not stored since git ignores it, is renamed and stays."""
    for path in paths:
        steps = [directory.joinpath(*Path(path).parts[:size]) for size in range(1, len(Path(path).parts) + 1)]
        for step in steps:
            is_folder = step.is_dir() and not step.is_symlink()
            if os.path.lexists(step) and (step == steps[-1] or not is_folder):
                names = (step.with_name(f"{step.name}.put-aside{number or ''}") for number in range(NAMES_MAX))
                step.rename(next(name for name in names if not os.path.lexists(name)))
                break


def _leave_rebase(repository: Repository, what: str) -> None:
    """HEAD is again the branch that was being rebased, where it was before; what was stored has the rest."""
    if what != "rebase":
        return
    folder = next(each for each in ("rebase-merge", "rebase-apply") if (repository.git_dir / each).is_dir())
    branch, commit = (_line(repository.git_dir / folder / name) for name in ("head-name", "orig-head"))
    if branch.startswith(_BRANCHES) and not repository.call("rev-parse", "-q", "--verify", branch, ok=(0, 1, 128)).code:
        repository.call("symbolic-ref", "-m", "holdfast: put aside", "HEAD", branch)
    elif commit:
        repository.call("update-ref", "--no-deref", "-m", "holdfast: put aside", "HEAD", commit)


def _give_up(repository: Repository, what: str) -> None:
    """Forget what was under way, once HEAD's tree is there."""
    if what == "rebase":
        repository.call("rebase", "--quit")
    for verb in _QUITS.get(what, ()):
        repository.call(verb, "--quit", ok=(0, 1, 128))


def _line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
