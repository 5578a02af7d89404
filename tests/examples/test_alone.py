"""One part alone with a raw vendor SDK (R43), each example as it stands. Each test says what would be lost."""

from __future__ import annotations

import ast
import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests import warm
from tests.source import parsed

import holdfast as hf
from holdfast.testing.model_server import ModelServer, Request, text

FILES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("alone_*.py"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelServer]:
    """The provider, numbering its answers."""
    said: list[str] = []

    def policy(request: Request) -> object:
        said.append(str(request.messages[-1]))
        return text(f"line {len(said)}")

    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    monkeypatch.chdir(tmp_path)
    with ModelServer(policy) as server:  # type: ignore[arg-type]
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        yield server


@pytest.fixture
def load() -> object:
    """Loads an example by its name."""
    import importlib.util

    def loaded(name: str) -> ModuleType:
        (path,) = (file for file in FILES if file.stem == name)
        spec = importlib.util.spec_from_file_location(f"example_{name}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return loaded


def test_there_are_six_and_each_is_short() -> None:
    """Lost: parts that only work together, which is a framework."""
    assert len(FILES) == 6
    assert {path.stem: len(path.read_text("utf-8").splitlines()) for path in FILES if long(path)} == {}


def long(path: Path) -> bool:
    """More than R43 allows."""
    return len(path.read_text("utf-8").splitlines()) > 40


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_prompts_are_in_the_file(path: Path) -> None:
    """Lost: somebody reads an example and cannot tell what the model is told."""
    texts = [node.value for node in ast.walk(parsed(path)) if isinstance(node, ast.Constant)]
    assert any(isinstance(value, str) and value.startswith("Write ") for value in texts)
    has_app = "hf.App(" in path.read_text("utf-8")
    assert has_app == (path.stem in ("alone_model_calls", "alone_questions", "alone_project"))


def test_retry(server: ModelServer, load: object) -> None:
    """Lost: the policy without the rest; a refused key that is tried four times, an overload that is raised at once."""
    example = load("alone_retry")  # type: ignore[operator]
    server.fault(on=1, status=529, retry_after_s=0.01)
    server.fault(on=2, status=429, retry_after_s=0.01)
    assert example.main() == "line 1" and server.count == 3
    server.fault(on=4, status=401)
    with pytest.raises(Exception, match="401"):
        example.main()
    assert server.count == 4


def test_budget(server: ModelServer, load: object) -> None:
    """Lost: a loop that costs more than was said, or that stops although everything fits."""
    example = load("alone_budget")  # type: ignore[operator]
    assert [line.split()[0] for line in example.main()] == ["line"] * 8
    *lines, stopped = example.main(usd=0.0075)
    assert lines and len(lines) < 8 and server.count == 8 + len(lines)
    assert stopped.startswith("Stopped: budget: usd: $0.00") and "cap $0.0075" in stopped


def test_journal(server: ModelServer, tmp_path: Path) -> None:
    """Lost: the store as a part that others can build on, and read with any SQLite tool."""

    def process() -> subprocess.CompletedProcess[str]:
        (path,) = (file for file in FILES if file.stem == "alone_journal")
        return warm.run([sys.executable, str(path)], timeout=60)

    server.fault(on=2, times=1, status=400)
    died = process()
    assert died.returncode == 1 and "planned by the test" in died.stderr
    went_on = process()
    assert (went_on.stdout, went_on.stderr) == ("line 1\nline 2\nline 3\n", "")
    assert process().stdout == went_on.stdout and server.count == 4
    with sqlite3.connect(tmp_path / "by_hand.db") as store:
        assert store.execute("SELECT count(*) FROM journal").fetchone() == (4,)
    shown = warm.run(
        [sys.executable, "-m", "holdfast.cli", "show", "poems", "--store", "by_hand.db", "--json"], timeout=60
    )
    assert '"tea"' in shown.stdout


def test_model_calls(server: ModelServer, load: object) -> None:
    """Lost: durable model calls for somebody who wants nothing else."""
    example = load("alone_model_calls")  # type: ignore[operator]
    server.fault(on=2, status=400)
    with pytest.raises(hf.RunError):
        example.main()
    app = hf.App("poems.db")

    async def resume() -> None:
        async with app:
            (head,) = app.journal.heads(key="tea")
            await app.resume(head.run_id)

    asyncio.run(resume())
    assert example.main() == "line 2" == example.main()
    assert server.count == 3


def test_questions(server: ModelServer, load: object) -> None:
    """Lost: a person's decision about one text, taken in another process, that a second run does not ask for again."""
    example = load("alone_questions")  # type: ignore[operator]
    with pytest.raises(hf.errors.RunWaiting, match="Send it"):
        asyncio.run(example.main())
    assert asyncio.run(example.main("yes")) == "sent: line 1" == asyncio.run(example.main())
    assert server.count == 1


def test_project(server: ModelServer, load: object, tmp_path: Path) -> None:
    """Lost: a list, checks and commits for somebody whose agent is one call of an SDK."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / ".gitignore").write_text("*.db*\n", "utf-8")
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "begin"], check=True)
    example = load("alone_project")  # type: ignore[operator]
    assert example.main()["passed"] is True and server.count == 1
    assert example.main(2)["feature"] is None and server.count == 1
    log = subprocess.run([*git, "log", "--format=%s"], check=True, capture_output=True, text=True).stdout
    assert log.splitlines() == ["poem: poem.txt is about tea", "begin"]
