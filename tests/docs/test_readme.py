"""What README.md and the concepts page show is run here: a first impression that fails is the last one."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests import warm
from tests.source import parsed

from holdfast.cli.__main__ import command_line
from holdfast.cli.exit import HELP, Exit
from holdfast.testing.model_server import ModelServer, script, text, tool_uses

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = ("README.md", "docs/concepts.md")
PROVED = re.compile(r"`(tests/[\w/]+\.py)((?:::\w+)+)`")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of this language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


PYTHON = [(page, number, block) for page in PAGES for number, block in enumerate(blocks(page, "python"), 1)]
SHELL = [line.partition("  #")[0].strip() for block in blocks("README.md", "sh") for line in block.splitlines()]


def here(command: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, with nothing of the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "HOLDFAST_"))}
    local = {
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment = {**kept, **local, **more}
    if command[0] == sys.executable:
        return warm.run(command, cwd=folder, env=environment, timeout=50)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=50)


def prepared(folder: Path, block: str) -> None:
    """The block as `agent.py`, beside the configuration that the README shows."""
    (folder / "agent.py").write_text(block, "utf-8")
    (folder / "holdfast.toml").write_text(blocks("README.md", "toml")[0], "utf-8")


@pytest.mark.parametrize(("page", "number", "block"), PYTHON, ids=[f"{page}-{number}" for page, number, _ in PYTHON])
def test_every_python_block_runs(page: str, number: int, block: str, tmp_path: Path) -> None:
    """Lost: the reader who copies it."""
    prepared(tmp_path, block)
    with ModelServer(lambda request: text("K-17")) as model:
        done = here(
            [sys.executable, "-W", "error", "agent.py"],
            tmp_path,
            ANTHROPIC_BASE_URL=model.url,
            ANTHROPIC_API_KEY="none",
        )
    assert done.returncode == 0, done.stderr


def test_there_are_blocks() -> None:
    """Lost: the test above, when the pages change their form."""
    assert len(blocks("README.md", "python")) == 4 and len(PYTHON) >= 6 and len(SHELL) >= 6


def test_the_same_line_goes_on_and_asks_the_model_once(tmp_path: Path) -> None:
    """Lost: "the same line starts and goes on", and the commands as the README prints them."""
    prepared(tmp_path, blocks("README.md", "python")[0])
    with ModelServer(script([text("K-17")])) as model:
        env = {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "none"}
        for _ in range(2):
            done = here([sys.executable, "agent.py"], tmp_path, **env)
            assert done.returncode == 0 and done.stdout.endswith("refunded\n"), done.stderr
        for line in SHELL:
            if line.startswith("holdfast "):
                shown = here(shlex.split(line), tmp_path, **env)
                assert shown.returncode == 0, f"{line}: {shown.stderr}"
        assert model.count == 1


def test_a_raw_loop_with_streaming_and_parallel_tools_is_25_lines(tmp_path: Path) -> None:
    """Lost: what somebody with a loop of their own hopes for: little to write, and nothing asked twice."""
    block = blocks("README.md", "python")[1]
    assert len([line for line in block.splitlines() if line]) <= 25
    prepared(tmp_path, block)
    calls = [("find_order", {"order": "K-17"}), ("find_order", {"order": "K-18"}), ("find_oder", {"order": "K-19"})]
    with ModelServer(script([tool_uses(calls, text="I look."), text("Both 42.00.")])) as model:
        env = {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "none"}
        first, second = (here([sys.executable, "-W", "error", "agent.py"], tmp_path, **env) for _ in range(2))
        assert (first.stdout, first.returncode) == ("I look.Both 42.00.", 0), first.stderr
        assert (second.stdout, second.returncode, model.count) == ("", 0, 2), second.stderr
        told = model.requests[1].body["messages"][-1]["content"]
    assert [(block["content"], block["is_error"]) for block in told] == [
        ('{"cents": 4200}', False),
        ('{"cents": 4200}', False),
        ("There is no tool 'find_oder'. The tools are: find_order.", True),
    ]


def test_whom_the_readme_names_can_be_told(tmp_path: Path) -> None:
    """Lost: the file that somebody copies to be asked at all, refused when the first worker starts."""
    (tmp_path / "holdfast.toml").write_text(blocks("README.md", "toml")[1], "utf-8")
    shown = here([sys.executable, "-m", "holdfast.cli", "channels", "show"], tmp_path)
    assert shown.returncode == 0 and "finance" in shown.stdout and "ada" in shown.stdout, shown.stderr


@pytest.mark.parametrize("line", SHELL)
def test_every_command_exists(line: str) -> None:
    """Lost: the first thing that anybody types."""
    words = shlex.split(line)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE), line
    else:
        assert words[0] == "holdfast", f"no test knows how to try {line!r}"
        assert here([sys.executable, "-m", "holdfast.cli", words[1], "--help"], ROOT).returncode == 0


def test_every_command_in_the_text_exists() -> None:
    """Lost: a verb that is only named, and that is gone."""
    named: dict[str, str] = {}
    for page in (*PAGES, "docs/reference.md", "ARCHITECTURE.md"):
        words = (ROOT / page).read_text("utf-8")
        named |= dict.fromkeys(re.findall(r"`holdfast\s+([a-z]+)", words), page)
        for target in set(re.findall(r"`make ([a-z]+)`", words)):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE), target
    for verb, page in sorted(named.items()):
        assert here([sys.executable, "-m", "holdfast.cli", verb, "--help"], ROOT).returncode == 0, f"{page}: {verb}"


def test_the_demo_prints_what_the_readme_shows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: the numbers on the first page. Process ids differ each time, and the width of the line they stand in."""
    if warm.IS_THERE:
        monkeypatch.setattr(subprocess, "Popen", warm.Warm)  # the agents of the demo start warm
    assert command_line(["demo"]) == 0
    printed = _without_pids(blocks("README.md", "text")[0])
    assert _without_pids(capsys.readouterr().out) == printed, (
        "run `holdfast demo` and put what it prints into README.md"
    )


def _without_pids(screen: str) -> str:
    return re.sub(r"-+ (.*?) -+", r"- \1 -", re.sub(r"process \d+", "process N", screen)).strip()


def test_the_exit_codes_of_the_readme() -> None:
    """Lost: a script that waits for a code that never comes."""
    part = README[README.index("Exit codes:") : README.index("All options:")]
    stated = {int(code) for code in re.findall(r"(?:^|[\s·])(\d+)(?= )", part)}
    assert stated == ({int(code) for code in Exit} - {Exit.CLOSED_PIPE}) | {143}
    assert "143" in HELP


def test_each_promise_names_tests_that_exist() -> None:
    """Lost: the proof behind a promise; a name that is gone would look like one."""
    rows = [line for line in README.splitlines() if re.match(r"\| P\d+ \|", line)]
    assert [row.split("|")[1].strip() for row in rows] == [f"P{number}" for number in range(1, 11)]
    for row in rows:
        named = PROVED.findall(row)
        assert named, row
        for file, path in named:
            assert path.split("::")[1:] in _tests_in(ROOT / file), f"{file}{path}"


def _tests_in(path: Path) -> list[list[str]]:
    """Tests of a file; those of the public suite for each class that inherits it."""
    found: list[list[str]] = []
    for node in parsed(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append([node.name])
        if isinstance(node, ast.ClassDef):
            bodies = [node.body]
            if "JournalConformance" in {base.id for base in node.bases if isinstance(base, ast.Name)}:
                suite = parsed(ROOT / "src/holdfast/testing/conformance.py").body
                bodies += [part.body for part in suite if getattr(part, "name", "") == "JournalConformance"]
            defined = [part.name for body in bodies for part in body if isinstance(part, ast.FunctionDef)]
            found += [[node.name, name] for name in defined if name.startswith("test")]
    return found


DOCUMENTS = [path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))]


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    """Lost: the reader, at a dead link."""
    words = page.read_text("utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", words):
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, link


def test_everything_is_two_clicks_away() -> None:
    """Lost: a page that nobody finds."""
    first = set(re.findall(r"\]\(([^)#\s]+)", README))
    second = {
        os.path.normpath(os.path.join(os.path.dirname(page), link))
        for page in first
        if page.endswith(".md")
        for link in re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text("utf-8"))
    }
    pages = {path.relative_to(ROOT).as_posix() for path in DOCUMENTS} - {"README.md"}
    assert sorted(pages - first - second) == []


def test_the_readme_takes_two_minutes() -> None:
    """Lost: the reader. 240 words a minute, without code, tables and output."""
    prose = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    words = [word for line in prose.splitlines() if not line.startswith("|") for word in line.split()]
    assert len(words) <= 600


def test_exactly_once_never_stands_without_its_noun() -> None:
    """Lost: the reader's trust. Nobody can promise that another system acts exactly once."""
    for page in DOCUMENTS:
        for line in re.findall(r".{0,60}exactly[ -]once.{0,10}", page.read_text("utf-8"), re.IGNORECASE):
            assert re.search(r"effect|record|outcome|message|event", line), line


def test_measured_numbers_are_those_of_the_benchmark() -> None:
    """Lost: the truth of a number on a page, once `bench/results.json` says another."""
    results = ROOT / "bench" / "results.json"
    known = set(re.findall(r"\d+\.\d+", results.read_text("utf-8"))) if results.exists() else set()
    for page in (ROOT / "README.md", ROOT / "docs" / "concepts.md"):
        prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        for number in re.findall(r"(\d+\.\d+)\s?(?:×|ms|steps/s)", prose):
            assert number in known, f"{page.name}: {number}"
