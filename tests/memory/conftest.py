"""A real repository for each test, and the git that a user would have: their config is none, their name is set."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


class Tree:
    """A working tree, and what a person or an agent does in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *words: str, ok: bool = True) -> str:
        """Their own git, as it is."""
        done = subprocess.run(["git", *words], cwd=self.path, capture_output=True, timeout=30)
        assert not ok or done.returncode == 0, done.stderr.decode()
        return os.fsdecode(done.stdout).strip()

    def write(self, name: str, text: str | bytes = "x\n") -> Path:
        """A file, in folders that are made for it."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def commit(self, message: str = "work") -> str:
        """All of it."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def files(self, commit: str) -> dict[str, bytes]:
        """What a commit holds."""
        names = self.git("ls-tree", "-r", "-z", "--name-only", commit).split("\0")[:-1]
        show = ["git", "cat-file", "blob"]
        return {
            name: subprocess.run([*show, f"{commit}:{name}"], cwd=self.path, capture_output=True, check=True).stdout
            for name in names
        }


@pytest.fixture(autouse=True)
def _user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config of whoever runs the tests is not what is tested."""
    home = tmp_path_factory.mktemp("home")
    (home / "gitconfig").write_text("[user]\n name = Ada\n email = ada@example.org\n[init]\n defaultBranch = main\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(home))


@pytest.fixture
def bare_pytest(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pytest of a check loads no plugins of ours: more than half of its time goes into those."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "sitecustomize.py").write_text("import os\nos.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A repository with one commit: a.txt, sub/b.txt, run.sh (executable), and build/ ignored."""
    made = Tree(tmp_path / "tree")
    made.path.mkdir()
    made.git("init", "-q")
    made.write("a.txt", "one\n")
    made.write("sub/b.txt", "two\n")
    made.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    made.write(".gitignore", "build/\n*.log\n")
    made.commit("start")
    return made
