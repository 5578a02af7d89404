"""Checks as they are performed: real programs, a real pytest, a real server. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.feature import Check
from holdfast.core.verdict import Result, judged
from holdfast.memory.check import perform

PYTHON = sys.executable
BIG = 100 * 1024 * 1024


async def run(target: str, directory: Path, **more: Any) -> Result:
    """A command's check."""
    return await perform(replace(Check("command", target), **more), directory, {})


async def script(text: str, directory: Path, **more: Any) -> Result:
    """A check that is a program in Python."""
    (directory / "program.py").write_text(text)
    return await run(f"{PYTHON} program.py", directory, **more)


# --- commands ----------------------------------------------------------------------------------------------------


async def test_a_command_passes_by_its_exit_code(tmp_path: Path) -> None:
    """A feature passes that does not work, or its evidence says nothing."""
    done = await script("print('it works')", tmp_path)
    assert (done.has_run, done.passed, done.exit_code, done.why) == (True, True, 0, "")
    assert done.output == "it works\n" and done.output_sha256 == hashlib.sha256(b"it works\n").hexdigest()
    assert 0 < done.took_s < 60
    done = await script("import sys; print('a'); sys.exit('no')", tmp_path)
    assert (done.has_run, done.passed, done.exit_code, done.why) == (True, False, 1, "exit code 1")
    assert sorted(done.output.split()) == ["a", "no"], "what it writes to stderr counts, too"
    done = await script("import os; os.kill(os.getpid(), 9)", tmp_path)
    assert (done.has_run, done.passed, done.why) == (True, False, "was ended by signal 9")


async def test_no_shell_reads_it(tmp_path: Path) -> None:
    """A `;` in the command of a check runs another program."""
    done = await run("echo 'a b' ; touch evil $HOME `id`", tmp_path)
    assert done.output == "a b ; touch evil $HOME `id`\n" and not (tmp_path / "evil").exists()


async def test_what_cannot_be_started_has_not_run(tmp_path: Path) -> None:
    """A check that is not there counts as one that found a fault, or as a pass."""
    (tmp_path / "plain").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "folder").mkdir()
    for target in ("no-such-program", "./no-such-program", "./plain", "./folder", "./plain/x"):
        done = await run(target, tmp_path)
        assert (done.has_run, done.passed, done.exit_code) == (False, False, None), target
        assert target in done.why
        assert not judged([done]).passed and not judged([done]).has_run
    done = await run("true", tmp_path / "nowhere")
    assert (done.has_run, done.passed) == (False, False)


async def test_python_is_the_interpreter_that_we_run_in(tmp_path: Path) -> None:
    """`python tool.py` of a check is another interpreter, without the packages of the project, or none."""
    done = await run("python -c 'import sys; print(sys.executable)'", tmp_path)
    assert done.passed and Path(done.output.strip()).parent == Path(PYTHON).parent


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pipe = os.open("alive", os.O_WRONLY)
if os.fork() == 0:
    os.fork()
print("hangs", flush=True)
time.sleep(600)
"""


async def test_a_deadline_ends_all_of_it(tmp_path: Path) -> None:
    """A check that hangs holds the session for ever, or its children go on and write into the next one's tree."""
    os.mkfifo(tmp_path / "alive")
    fd = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    began = time.monotonic()
    done = await script(STUBBORN, tmp_path, timeout_s=1.5)
    assert (done.has_run, done.passed, done.exit_code) == (True, False, None)
    assert "had not ended within 1.5 s" in done.why and "hangs" in done.output
    assert time.monotonic() - began < 20
    os.set_blocking(fd, True)
    assert os.read(fd, 10) == b"", "the pipe ends when the last of them is gone"
    os.close(fd)


async def test_what_goes_on_when_its_program_has_ended_is_ended_too(tmp_path: Path) -> None:
    """A server that a check has left behind answers the next check in its place."""
    os.mkfifo(tmp_path / "alive")
    fd = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    text = "import os, time\nos.open('alive', os.O_WRONLY)\nif os.fork() == 0: time.sleep(600)\n"
    assert (await script(text, tmp_path)).passed
    os.set_blocking(fd, True)
    assert os.read(fd, 10) == b""
    os.close(fd)


async def test_cancelled_it_leaves_nothing_behind(tmp_path: Path) -> None:
    """A session that is stopped leaves its check running."""
    os.mkfifo(tmp_path / "alive")
    fd = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    keep = os.open(tmp_path / "alive", os.O_WRONLY)
    os.set_blocking(fd, True)
    text = "import os, time\nos.write(os.open('alive', os.O_WRONLY), b'r')\ntime.sleep(600)\n"
    task = asyncio.create_task(script(text, tmp_path))
    await asyncio.to_thread(os.read, fd, 1)
    os.close(keep)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(os.read, fd, 1) == b""
    os.close(fd)


async def test_a_hundred_megabytes_stay_bounded_and_are_all_in_the_digest(tmp_path: Path) -> None:
    """A check that says much takes the memory of the harness, or its evidence is of the end alone."""
    text = f"import os\nblock = b'0123456789abcdef' * 65536\nfor _ in range({BIG} // len(block)): os.write(1, block)\n"
    before = peak_kb()
    done = await script(text + "os.write(1, b'the end')", tmp_path)
    assert done.passed and len(done.output) == 2_000 and done.output.endswith("fthe end")
    expected = hashlib.sha256()
    for _ in range(BIG // 1_048_576):
        expected.update(b"0123456789abcdef" * 65536)
    expected.update(b"the end")
    assert done.output_sha256 == expected.hexdigest()
    assert peak_kb() - before < 40_000


def peak_kb() -> int:
    """What this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 if Path("/proc").is_dir() else 0


async def test_output_that_is_no_text(tmp_path: Path) -> None:
    """Bytes of a binary in its output end the session."""
    done = await script("import os; os.write(1, bytes(range(256)) + '€'.encode() * 3000)", tmp_path)
    assert done.passed and done.output == "€" * 2_000


SECRETS = {
    "ANTHROPIC_API_KEY": "x",
    "GITHUB_TOKEN": "x",
    "DB_PASSWORD": "x",
    "aws_secret_access_key": "x",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "HOLDFAST_STORE": "store.db",
    "PYTEST_ADDOPTS": "--collect-only",
    "GIT_DIR": "/elsewhere",
    "DATABASE_URL": "postgres://me:hunter2@host/db",
    "INNOCENT": "sk-ant-0123456789abcdef",
}
KEPT = {"LANG": "C.UTF-8", "GREETING": "hello", "SERVICE_URL": "http://127.0.0.1:8000/x", "AUTHOR": "Ada"}


async def test_no_secret_is_in_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that an agent has written reads the keys of the harness."""
    for name, value in {**SECRETS, **KEPT}.items():
        monkeypatch.setenv(name, value)
    seen = (await run("env", tmp_path)).output
    names = {line.partition("=")[0] for line in seen.splitlines()}
    assert not names & SECRETS.keys() and names >= {*KEPT, "PATH", "HOME"}
    for text in ("hunter2", "sk-ant"):
        assert text not in seen


async def test_artefacts_are_what_it_made(tmp_path: Path) -> None:
    """A screenshot of last week, or a file outside of the tree, is kept as evidence of today."""
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots/old.png").write_bytes(b"old")
    (tmp_path / "outside.txt").write_bytes(b"secret")
    os.symlink("/etc", tmp_path / "linked")
    text = (
        "import os\nopen('shots/new.png', 'wb').write(b'new')\nopen('shots/.hidden.png', 'wb').write(b'h')\n"
        "os.symlink('../outside.txt', 'shots/link.png')\nos.mkfifo('shots/pipe.png')\nos.mkdir('shots/dir.png')\n"
    )
    done = await script(text, tmp_path, artefacts=("shots/*.png", "shots/**", "linked/host*"))
    assert [(made.path, made.size) for made in done.artefacts] == [("shots/.hidden.png", 1), ("shots/new.png", 3)]
    assert done.artefacts[1].sha256 == hashlib.sha256(b"new").hexdigest()


# --- pytest ------------------------------------------------------------------------------------------------------

PASSES = "def test_a(): assert True\n"
REPORTS = {
    "passes": (PASSES, "", True, True, ""),
    "fails": ("def test_a(): assert 1 == 2\n", "", True, False, "1 failed, 0 passed"),
    "one of two fails": (PASSES + "def test_b(): assert 0\n", "", True, False, "1 failed, 1 passed"),
    "one of two is skipped": (
        PASSES + "import pytest\n@pytest.mark.skip\ndef test_b(): assert 0\n",
        "",
        True,
        True,
        "",
    ),
    "error in its fixture": (
        "import pytest\n@pytest.fixture\ndef f(): raise OSError\ndef test_a(f): pass\n",
        "",
        True,
        False,
        "1 failed, 0 passed",
    ),
    "all skipped": ("import pytest\n@pytest.mark.skip\ndef test_a(): pass\n", "", False, False, "none of its tests"),
    "skips itself": ("import pytest\ndef test_a(): pytest.skip('x')\n", "", False, False, "none of its tests"),
    "skipped as a module": (
        "import pytest\npytest.skip('x', allow_module_level=True)\n",
        "",
        False,
        False,
        "none of its tests has run|no test was collected",
    ),
    "expected to fail": (
        "import pytest\n@pytest.mark.xfail\ndef test_a(): assert 0\n",
        "",
        False,
        False,
        "none of its tests",
    ),
    "no tests": ("x = 1\n", "", False, False, "no test was collected"),
    "cannot be loaded": ("import nothing_of_that_name\n", "", False, False, "could not load a test"),
    "no such test": (PASSES, "::test_other", False, False, "no such test|no test was collected"),
    "ends the process": ("import os\ndef test_a(): os._exit(0)\n", "", False, False, "pytest reported nothing"),
}


@pytest.mark.usefixtures("bare_pytest")
@pytest.mark.parametrize("name", REPORTS)
async def test_what_pytest_says(tmp_path: Path, name: str) -> None:
    """A test that was skipped, not found or never ran passes a feature."""
    text, node, has_run, passed, why = REPORTS[name]
    (tmp_path / "test_it.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = await perform(Check("pytest", "test_it.py" + node), tmp_path, {})
    assert (done.has_run, done.passed) == (has_run, passed), done
    assert any(each in done.why for each in why.split("|")), done
    assert done.output_sha256
    assert sorted(os.listdir(tmp_path)) == ["pytest.ini", "test_it.py"], "it leaves nothing in the tree"


@pytest.mark.usefixtures("bare_pytest")
async def test_a_pytest_that_is_not_there_or_hangs_has_not_passed(tmp_path: Path) -> None:
    """The same for a file that was removed, and for a test that never ends."""
    done = await perform(Check("pytest", "test_gone.py"), tmp_path, {})
    assert (done.has_run, done.passed) == (False, False)
    (tmp_path / "test_it.py").write_text("import time\ndef test_a(): time.sleep(600)\n")
    done = await perform(Check("pytest", "test_it.py", timeout_s=2), tmp_path, {})
    assert not done.passed and "had not ended" in done.why


# --- functions ---------------------------------------------------------------------------------------------------


async def call(function: Callable[..., Any], directory: Path, timeout_s: float = 20) -> Result:
    """A check that is a function."""
    return await perform(Check("python", "adds", timeout_s=timeout_s), directory, {"adds": function})


async def test_a_function_passes_by_true_alone(tmp_path: Path) -> None:
    """A function that forgets to return, or gives something that looks true, passes a feature."""
    assert (await call(lambda: True, tmp_path)).passed
    given: list[Path] = []
    assert (await call(lambda directory: given.append(directory) is None, tmp_path)).passed and given == [tmp_path]
    for value in (1, "yes", [1], None, False, 0, object):
        done = await call(lambda value=value: value, tmp_path)  # type: ignore[misc]
        assert (done.has_run, done.passed) == (True, False) and "which is not True" in done.why

    async def later() -> bool:
        await asyncio.sleep(0)
        return True

    assert (await call(later, tmp_path)).passed


@pytest.mark.parametrize("error", [ValueError("broken"), AssertionError(), SystemExit(0), KeyboardInterrupt()])
async def test_a_function_that_raises(tmp_path: Path, error: BaseException) -> None:
    """A check that ends the interpreter with code 0 ends the harness, or passes."""

    def adds() -> bool:
        raise error

    done = await call(adds, tmp_path)
    assert (done.has_run, done.passed) == (True, False)
    assert type(error).__name__ in done.why and type(error).__name__ in done.output


async def test_a_function_that_hangs(tmp_path: Path) -> None:
    """A check in our own process holds the session for ever."""
    over = threading.Event()
    try:
        done = await call(over.wait, tmp_path, timeout_s=0.2)
    finally:
        over.set()
    assert not done.passed and "had not returned within 0.2 s" in done.why


async def test_a_function_that_nobody_gave(tmp_path: Path) -> None:
    """A name in a list is imported from wherever it leads."""
    done = await perform(Check("python", "os.getcwd"), tmp_path, {"adds": lambda: True})
    assert (done.has_run, done.passed) == (False, False) and "'os.getcwd'" in done.why and "adds" in done.why
