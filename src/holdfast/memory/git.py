"""A project's working tree: what is in it, commits of all of it, and pins; a thin layer over the git binary.

Never: a shell, a remote, a hook, a push; nothing of the repository's config is run (`memory.repository` says what is
switched off). Callers that run on a loop use a thread.

Invariants
1. The tree as it is now is looked at through a temporary index; only `commit` and `quarantine` touch the repository's.
2. Killed anywhere, both can be called again, and nothing that was in the tree or the index is lost.
3. What git ignores is neither stored nor removed.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from holdfast.errors import UsageError
from holdfast.memory import quarantine, snapshot
from holdfast.memory.message import KEY, trailers_of, written
from holdfast.memory.repository import Repository

LOOKED_AT: Final = 50
"""So many commits back it is seen whether one with the same key was made."""
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PINS = "refs/holdfast/pins/"
_LINK = "120000 "
_AS_STORED: Final = (
    ("core.autocrlf", "false"),
    ("core.eol", "lf"),
    ("core.symlinks", "true"),
    ("core.attributesFile", os.devnull),
)


class Head(NamedTuple):
    """Where the working tree stands."""

    commit: str
    branch: str
    """Empty: on no branch (detached)."""
    subject: str


class Git:
    """The working tree that a directory is in."""

    def __init__(self, directory: Path, apart: Collection[str] = ()) -> None:
        """apart: paths from the top that count neither as a change nor as part of the tree, such as rendered views;
        `commit` stores them like everything else. `UsageError`: no git, no repository, no commit in it yet."""
        self._repository = Repository(directory)
        self._apart = frozenset(apart)
        self.directory = self._repository.directory
        """The top of the working tree."""
        self.common = self._repository.common
        """Git's own directory, which all working trees of the repository share."""

    # --- reading ---------------------------------------------------------------------------------------------

    def head(self) -> Head:
        """Where it stands."""
        call = self._repository.call
        commit, _, subject = call("log", "-1", "--no-show-signature", "--format=%H%x00%s").text.partition("\0")
        branch = call("symbolic-ref", "-q", "HEAD", ok=(0, 1)).text
        return Head(commit, branch.removeprefix("refs/heads/"), subject)

    def dirty(self) -> list[str]:
        """The paths that are not as HEAD has them, in the working tree or in the index; ignored ones do not count."""
        changed = snapshot.names(self._repository, "HEAD", snapshot.taken(self._repository))
        return sorted({*changed, *snapshot.staged_names(self._repository)} - self._apart)

    def tree(self) -> str:
        """Git's name of the tree as it is now, untracked files too."""
        return snapshot.taken(self._repository, self._apart)

    def under_way(self) -> str:
        """merge, rebase, am, cherry-pick or revert when one has begun and not ended; else empty."""
        return quarantine.under_way(self._repository)

    def contains(self, commit: str) -> bool:
        """Whether it is HEAD or comes before it; False for one that is not known."""
        if not _COMMIT.fullmatch(commit):
            return False
        return self._repository.call("merge-base", "--is-ancestor", commit, "HEAD", ok=(0, 1, 128)).code == 0

    def branches_with(self, commit: str) -> list[str]:
        """The branches that have this commit; none for one that is not known."""
        if not _COMMIT.fullmatch(commit):
            return []
        words = ("for-each-ref", "--format=%(refname:lstrip=2)", f"--contains={commit}", "refs/heads")
        return self._repository.call(*words, ok=(0, 129)).text.split()

    def changed(self, since: str) -> list[str]:
        """The paths that differ between a commit or tree and what is there now; all paths when it is not known."""
        call, now = self._repository.call, snapshot.taken(self._repository)
        found = (
            snapshot.names(self._repository, since + "^{tree}", now)
            if self._knows(since)
            else call("ls-tree", "-r", "-z", "--name-only", "--full-tree", now).names
        )
        return [path for path in found if path not in self._apart]

    def _knows(self, name: str) -> bool:
        """Whether this commit or tree is in the repository."""
        there = ("cat-file", "-e", name + "^{tree}")
        return bool(_COMMIT.fullmatch(name)) and not self._repository.call(*there, ok=(0, 1, 128)).code

    def newest(self, since: str) -> float:
        """When what differs from this commit was written or committed last, as far as files and commits say, by the
        clock of this host; of what is gone, when its folder was changed. 0: nothing differs; infinite: the commit is
        not known any more, so nobody can say."""
        if not self._knows(since):
            return math.inf
        times = [_changed_at(self.directory / path) for path in {*self.changed(since), *self.dirty()}]
        words = ("log", "--no-show-signature", "--format=%ct", f"{since}..HEAD")
        times += [float(line) for line in self._repository.call(*words).text.split()]
        return max(times, default=0.0)

    def ignores(self, path: str) -> bool:
        """Whether it is there and git takes no notice of it."""
        there = os.path.lexists(self.directory / path)
        return there and self._repository.call("check-ignore", "-q", "--", path, ok=(0, 1)).code == 0

    def check_out(self, tree: str, directory: Path) -> list[str]:
        """Write the files of a tree or commit into an empty directory, which becomes no working tree, as everybody gets
        them who has it: no line end or attribute is changed that no commit names. The paths of those that are links.
        `GitFailed`: the tree is gone."""
        self._repository.without_own_programs()
        with tempfile.TemporaryDirectory(prefix="holdfast-", ignore_cleanup_errors=True) as folder:
            index = Path(folder) / "index"
            bare = self._repository.bare(Path(folder) / "git")
            words = ("read-tree", "--reset", "-u", tree)
            self._repository.call(*words, index=index, top=directory, git_dir=bare, config=_AS_STORED)
            listed = self._repository.call("ls-files", "-s", "-z", index=index, top=directory).names
        return [path for mode, _, path in (line.partition("\t") for line in listed) if mode.startswith(_LINK)]

    # --- writing ---------------------------------------------------------------------------------------------

    def commit(self, message: str, trailers: Mapping[str, str], tree: str = "") -> str:
        """Commit everything, and give the commit. When there is nothing to commit: the one of the last 50 that has the
        same Holdfast-Key, or HEAD. tree: as `tree` gave it, and committed as it was then; what was written since stays
        in the working tree. `UsageError` in the middle of a merge with conflicts, a rebase and the like."""
        repository, text = self._repository, written(message, trailers)
        now = snapshot.taken(repository)
        if tree:
            now = snapshot.overlaid(repository, tree, now, self._apart)
        parents = [self.head().commit, *self._merged()]
        if len(parents) > 1 or {*snapshot.names(repository, "HEAD", now)} - (self._apart if tree else set()):
            made = quarantine.commit_tree(repository, now, parents, text)
            repository.call("update-ref", "-m", "holdfast: commit", "HEAD", made, parents[0])
        else:
            made = self._keyed(trailers.get(KEY, "")) or parents[0]
        repository.call("reset", "-q")  # the index is as HEAD now; also when a kill had left it behind
        return made

    def _merged(self) -> list[str]:
        """What a merge that is under way, and has no conflict any more, merges."""
        what = self.under_way()
        if not what:
            return []
        if what != "merge" or snapshot.conflicts(self._repository):
            raise UsageError(
                f"A {what} is under way in {self.directory}, so what is there is nothing whole. Nothing was committed. "
                "Finish it or give it up, or put the tree aside (`quarantine`)."
            )
        return (self._repository.git_dir / "MERGE_HEAD").read_text().split()

    def _keyed(self, key: str) -> str:
        words = ("log", f"-{LOOKED_AT}", "-z", "--no-show-signature", "--format=%H%n%B", "HEAD")
        for each in self._repository.call(*words).text.split("\0") if key else ():
            commit, _, text = each.partition("\n")
            if trailers_of(text).get(KEY) == key:
                return commit
        return ""

    def quarantine(self, branch: str, message: str, trailers: Mapping[str, str]) -> str:
        """Put everything that is not in HEAD aside, as a commit on `branch` on top of it, and make the tree as HEAD is;
        gives the branch's name, which has a number when the name was taken, and is empty when the tree was clean.

        What was under way (a merge, a rebase) is given up after that, and the commit says so. Called again for the same
        branch and trailers it goes on where it was killed, and gives the same name."""
        return quarantine.put_aside(self._repository, branch, message, trailers, self._apart)

    def take_back(self, branch: str, to: Head, message: str, trailers: Mapping[str, str]) -> str:
        """Put everything aside that `to` has not, commits on top of it too, and stand on its branch, at its commit,
        again. The branch's name, as of `quarantine`; killed anywhere, it can be called again."""
        name = self.quarantine(branch, message, trailers)
        return quarantine.go_back(self._repository, branch, name, (to.branch, to.commit), written(message, trailers))

    def rejoin(self, to: Head) -> None:
        """Have the branch of `to` name HEAD, and stand on it, where somebody has gone over to another branch that goes
        on from it. `UsageError`: theirs does not."""
        now = self.head()
        if now.branch == to.branch:
            return
        if not self.contains(to.commit):
            raise UsageError(
                f"{now.branch or 'A detached HEAD'} does not go on from {to.branch} at {to.commit[:12]}, where this "
                "session began, so what is here cannot be committed to that. Nothing was committed."
            )
        self._repository.call("checkout", "-q", "-B", to.branch)

    # --- pins ------------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> str:
        """Keep bytes, and give their id. They stay when git tidies up."""
        blob = self._repository.call("hash-object", "-w", "--stdin", stdin=data).text
        self._repository.call("update-ref", _PINS + blob, blob)
        return blob

    def get(self, blob: str) -> bytes | None:
        """The bytes of an id; None when they are gone, or are not what they were."""
        if not _COMMIT.fullmatch(blob):
            return None
        done = self._repository.call("cat-file", "blob", blob, ok=(0, 1, 128))
        return done.out if done.code == 0 and blob_of(done.out, len(blob)) == blob else None


def _changed_at(path: Path) -> float:
    while not os.path.lexists(path):
        path = path.parent
    there = os.lstat(path)
    return max(there.st_mtime, there.st_ctime)  # a file that was moved here keeps the first


def blob_of(data: bytes, size: int = 40) -> str:
    """Git's id of bytes. size: of the id, 40 or 64 digits."""
    make = hashlib.sha256 if size == 64 else hashlib.sha1
    return make(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
