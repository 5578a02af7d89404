"""The origin of many runs of pytest: each run is one as any other, ends in time, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from proof.origin import IS_THERE, Origin, origin
from proof.suite import OPTIONS, ROOT

pytestmark = pytest.mark.skipif(not IS_THERE, reason="needs pidfd_open, which this system does not have")
ALONE = ("--noconftest", "-c", str(ROOT / "pyproject.toml"))
LOOKS = """
import os, sys
import holdfast
def test_where_it_is():
    assert holdfast.__file__ == os.environ["WHERE"] and os.getpgrp() == os.getpid()
"""
STARTS = """
import os, sys
from tests import warm
ASKED = "import sys, holdfast; print(holdfast.__file__, 'tests.warm' in sys.modules)"
def test_what_it_starts():
    done = warm.run([sys.executable, "-c", ASKED], timeout=60)
    assert (done.stdout.split(), done.stderr) == ([os.environ["WHERE"], "True"], "")
"""
LEAVES = """
import subprocess, sys, threading
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
child.returncode = 0  # nobody is to say that it still runs
Path(__file__).with_name("child").write_text(str(child.pid))
def test_it():
    {}
"""
ASKS = """
import os, sys
from pathlib import Path
from proof.origin import origin
with origin(Path.cwd(), packages=()) as forked:
    forked.run(sys.argv[1:], Path(os.devnull), os.environ, 60)
"""


@pytest.fixture(scope="module")
def forked() -> Iterator[Origin]:
    """One for all of these."""
    with origin(ROOT, packages=()) as made:
        assert made is not None
        yield made


def ran(forked: Origin, file: Path, limit_s: float = 60, **env: str) -> tuple[int | None, str]:
    """How it ended, and what it said."""
    out = file.with_suffix(".log")
    return forked.run([*OPTIONS, *ALONE, str(file)], out, os.environ | env, limit_s), out.read_text()


def is_gone(pid: int) -> bool:
    """Whether the process has ended; one that is nobody's child any more may still be listed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def source_at(home: Path) -> tuple[str, dict[str, str]]:
    """The file of a package `holdfast` that is made there, and how a run is given it."""
    package = home / "holdfast"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    return str(package / "__init__.py"), {"PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"}


def test_each_run_loads_the_source_it_is_given(forked: Origin, tmp_path: Path) -> None:
    """Lost: every planted bug would be looked for in the source without it, and the first source be that of all."""
    (tmp_path / "test_looks.py").write_text(LOOKS)
    for name in ("one", "other"):
        package, env = source_at(tmp_path / name)
        code, said = ran(forked, tmp_path / "test_looks.py", WHERE=package, **env)
        assert code == 0 and "1 passed" in said, said
        code, said = ran(forked, tmp_path / "test_looks.py", WHERE="elsewhere", **env)
        assert code == 1 and "1 failed" in said


def test_a_process_that_a_run_starts_begins_with_what_the_origin_has_loaded(forked: Origin, tmp_path: Path) -> None:
    """Lost: two seconds of each bug whose test starts an agent, or its own source in that agent."""
    (tmp_path / "test_starts.py").write_text(STARTS)
    for name in ("one", "other"):
        package, env = source_at(tmp_path / name)
        code, said = ran(forked, tmp_path / "test_starts.py", WHERE=package, **env)
        assert code == 0 and "1 passed" in said, said


@pytest.mark.parametrize(
    "end, code", [("pass", 0), ("import os; os.kill(os.getpid(), 9)", -9), ("threading.Event().wait()", None)]
)
def test_how_it_ends_is_told_and_nothing_of_it_is_left(
    forked: Origin, tmp_path: Path, end: str, code: int | None
) -> None:
    """Lost: the night, when a bug makes a test hang; and the verdicts beside a process that nobody knows of."""
    (tmp_path / "test_leaves.py").write_text(LEAVES.format(end))
    assert ran(forked, tmp_path / "test_leaves.py", 2 if code is None else 60)[0] == code
    child = int((tmp_path / "child").read_text())
    while not is_gone(child):
        pass  # it has been killed


def test_a_run_ends_with_who_asked(tmp_path: Path) -> None:
    """Lost: a proof that was killed would go on in what it had begun."""
    (tmp_path / "test_leaves.py").write_text(LEAVES.format("threading.Event().wait()"))
    with subprocess.Popen(
        [sys.executable, "-c", ASKS, *OPTIONS, *ALONE, str(tmp_path / "test_leaves.py")], cwd=ROOT
    ) as asks:
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            assert asks.poll() is None
        asks.kill()
    child = int((tmp_path / "child").read_text())
    while not is_gone(child):
        pass
