"""One repository, and calls of the git binary in it: no shell, a deadline, and nothing run that the tree brings along.

What a repository's own config or hooks could start is switched off, as an agent can write there: hooks,
`core.fsmonitor`, editors, pagers, signing (commits are made without it), external diffs (only names are compared),
filters that the repository's own config defines, and every transport (missing objects are not fetched). Filters that
the user's own config defines, outside of the repository, stay: Git LFS is one. Replaced and grafted history does not
count. The working tree is the one that holds `.git`, whatever `core.worktree` says.

What is left: whoever can write the user's own git config, or the git binary, can run what they like.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from holdfast.errors import UsageError
from holdfast.memory import environment

DEADLINE_S: Final = 60.0
LOCK_LOOK_S: Final = 0.05
LOCK_LOOKS: Final = 40
"""A lock of git's that does not change for so many looks was left by a process that was killed."""
_LOCK = re.compile(r"'([^'\n]+\.lock)': File exists")
_FIXED: Final = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.editor", ":"),
    ("sequence.editor", ":"),
    ("core.pager", "cat"),
    ("core.safecrlf", "false"),
    ("core.trustctime", "true"),
    ("core.ignoreStat", "false"),
    ("core.untrackedCache", "false"),
    ("core.splitIndex", "false"),
    ("core.sparseCheckout", "false"),
    ("core.commitGraph", "false"),
    ("submodule.recurse", "false"),
    ("diff.ignoreSubmodules", "dirty"),
    ("log.showSignature", "false"),
    ("protocol.allow", "never"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.graftFileDeprecated", "false"),
    ("i18n.commitEncoding", "UTF-8"),
    ("i18n.logOutputEncoding", "UTF-8"),
)
_VARIABLES: Final = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": ":",
    "GIT_SEQUENCE_EDITOR": ":",
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_OPTIONAL_LOCKS": "0",
}
_AUTHOR: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "holdfast"), ("EMAIL", "holdfast@localhost"))
}
_OWN = ("local", "worktree")


class GitFailed(OSError):
    """git did not do what it was asked to; the message has what it said."""


class Done(NamedTuple):
    """How a call ended."""

    code: int
    out: bytes
    said: str
    """The beginning of its stderr."""

    @property
    def text(self) -> str:
        """Its stdout without the last line's end."""
        return os.fsdecode(self.out).removesuffix("\n")

    @property
    def names(self) -> list[str]:
        """Its stdout as a list of paths, each ended by NUL."""
        return [os.fsdecode(name) for name in self.out.split(b"\0")[:-1]]


class Repository:
    """Where it is, and how git is called there."""

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise UsageError(f"{directory} is no directory. Nothing was done.")
        self._variables = {**environment.for_git(), **_VARIABLES}
        self.directory = directory = directory.resolve()
        self._binary = self._found()
        self._overrides: list[tuple[str, str]] = []
        self.git_dir, self.common = self._located(directory)
        self.directory = self._top(directory)
        if self.call("rev-parse", "-q", "--verify", "HEAD^{commit}", ok=(0, 1, 128)).code:
            raise UsageError(
                f"The repository in {self.directory} has no commit yet, so there is nothing to go back to. Nothing was "
                "done. Make one: git add -A && git commit --allow-empty -m start"
            )

    # --- where it is -----------------------------------------------------------------------------------------

    def _found(self) -> str:
        """The binary; never one within the tree that is worked in."""
        top = self._top_or_none(self.directory) or self.directory
        path = [
            part
            for part in self._variables.get("PATH", os.defpath).split(os.pathsep)
            if os.path.isabs(part) and not Path(part).resolve().is_relative_to(top)
        ]
        self._variables["PATH"] = os.pathsep.join(path)
        found = shutil.which("git", path=self._variables["PATH"]) if path else None
        if found is None:
            raise UsageError(
                "There is no git among the programs of this machine (PATH), and a project is kept in a git repository. "
                "Nothing was done. Install git, or add it to PATH."
            )
        return found

    def _located(self, directory: Path) -> tuple[Path, Path]:
        words = [self._binary, "rev-parse", "--absolute-git-dir", "--git-common-dir"]
        done = _run(words, directory, {**self._variables, **_config(_FIXED)}, b"")
        if done.code:
            if "not a git repository" in done.said:
                raise UsageError(f"{directory} is in no git repository. Nothing was done. Make one: git init")
            raise UsageError(f"git does not accept the repository of {directory}: {done.said} Nothing was done.")
        lines = done.text.split("\n")
        return Path(lines[0]), Path(os.path.realpath(directory / lines[1]))

    def _top(self, directory: Path) -> Path:
        top = self._top_or_none(directory)
        if top is None:
            raise UsageError(f"{directory} is in no working tree of its git repository. Nothing was done.")
        return top

    @staticmethod
    def _top_or_none(directory: Path) -> Path | None:
        return next((each for each in (directory, *directory.parents) if os.path.lexists(each / ".git")), None)

    # --- calls -----------------------------------------------------------------------------------------------

    def call(
        self,
        *words: str,
        stdin: bytes = b"",
        index: Path | None = None,
        top: Path | None = None,
        git_dir: Path | None = None,
        config: Sequence[tuple[str, str]] = (),
        author: bool = False,
        ok: Sequence[int] = (0,),
    ) -> Done:
        """Run git. index: the index it works on, instead of the repository's; top: the same of the working tree;
        git_dir: the same of git's own directory (`bare`). config: settings that come before all others. author: it
        needs one, and gets ours where the user has none. `GitFailed`: it ended with another code than those of `ok`, or
        not in time."""
        variables = {
            **(_AUTHOR if author and not self._has_author() else {}),
            **self._variables,
            **_config((*_FIXED, *self._overrides, *config)),
            "GIT_DIR": str(git_dir or self.git_dir),
            "GIT_WORK_TREE": str(top or self.directory),
            **({"GIT_INDEX_FILE": str(index)} if index else {}),
        }
        argv, cwd = [self._binary, *words], top or self.directory
        done = _run(argv, cwd, variables, stdin)
        if done.code not in ok and (lock := _LOCK.search(done.said)) and self._is_left(Path(lock[1])):
            done = _run(argv, cwd, variables, stdin)
        if done.code not in ok:
            raise GitFailed(f"git {words[0]} ended with code {done.code} in {self.directory}: {done.said}")
        return done

    def _has_author(self) -> bool:
        return self.call("-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT", ok=(0, 128)).code == 0

    def _is_left(self, lock: Path) -> bool:
        """Whether a lock is gone, or was left by a process that was killed and could be removed."""
        seen = _stamp(lock)
        for _ in range(LOCK_LOOKS):
            threading.Event().wait(LOCK_LOOK_S)
            if _stamp(lock) != seen:
                return True
        if not any(lock.parent.resolve().is_relative_to(ours) for ours in (self.git_dir, self.common)):
            return False
        lock.unlink(missing_ok=True)
        return True

    def without_own_programs(self) -> None:
        """From now on no program is run that the repository's own config names as a filter or a hook."""
        listed = self.call("config", "-z", "--show-scope", "--get-regexp", r"^(filter|hook)\.", ok=(0, 1)).out
        parts = [os.fsdecode(part) for part in listed.split(b"\0")[:-1]]
        named = [(scope, *entry.partition("\n")[::2]) for scope, entry in zip(parts[::2], parts[1::2], strict=True)]
        users = {key: value for scope, key, value in named if scope not in (*_OWN, "command")}
        switched: dict[str, str] = {}
        for scope, key, _ in named:
            stem, _, last = key.rpartition(".")
            if scope in _OWN and stem.startswith("filter.") and last in ("clean", "smudge", "process"):
                switched[key] = users.get(key, "")
                switched[f"{stem}.required"] = users.get(f"{stem}.required", "false")
            elif scope in _OWN and stem.startswith("hook."):
                switched[f"{stem}.enabled"] = "false"
        self._overrides = list(switched.items())

    def bare(self, directory: Path) -> Path:
        """Make a directory of git's with the objects and settings of this repository, and nothing else of it: no refs,
        no attributes of its own."""
        (directory / "refs").mkdir(parents=True)
        (directory / "HEAD").write_text("ref: refs/heads/none\n", "ascii")
        for name in ("objects", "config"):
            (directory / name).symlink_to(self.common / name)
        return directory

    @contextmanager
    def index(self, tree: str) -> Iterator[Path]:
        """A temporary index that holds a tree."""
        with tempfile.TemporaryDirectory(prefix="holdfast-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "index"
            self.call("read-tree", tree, index=path)
            yield path


def _config(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """As variables: unlike `-c`, they take names with any character, and programs that git starts see them too."""
    told = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for number, (key, value) in enumerate(pairs):
        told |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return told


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        seen = os.lstat(path)
    except OSError:
        return ()
    return (seen.st_ino, seen.st_size, seen.st_mtime_ns)


def _run(argv: Sequence[str], cwd: Path, variables: dict[str, str], stdin: bytes) -> Done:
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, said = process.communicate(stdin, timeout=DEADLINE_S)
    except BaseException as raised:
        _end(process)
        if isinstance(raised, subprocess.TimeoutExpired):
            raise GitFailed(
                f"{' '.join(argv[:2])} had not ended within {DEADLINE_S:g} s in {cwd}; it was ended"
            ) from None
        raise
    return Done(process.returncode, out, said[:2_000].decode("utf-8", "replace").strip())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it and what it started; what it wrote is of no use."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
