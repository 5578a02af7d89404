"""docs/reference.md names everything public: what it leaves out nobody finds, and on what is wrong somebody builds."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from tests import warm
from tests.source import parsed

import holdfast as hf
from holdfast.cli.__main__ import VERBS
from holdfast.cli.exit import Exit
from holdfast.core.address import run_id
from holdfast.core.budget import DEFAULT_LIMITS
from holdfast.core.events import Event, Kind
from holdfast.errors import RunCancelled, RunFailed
from holdfast.inbox.config import load as load_people
from holdfast.journal.memory import MemoryJournal
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.config import load_prices

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "docs" / "reference.md").read_text("utf-8")
CODE = re.compile(r"`([^`]+)`")


def table(header: str) -> dict[str, list[str]]:
    """The rows under a header line, by each name in the first cell."""
    found: dict[str, list[str]] = {}
    lines = TEXT.splitlines()
    for number, line in enumerate(lines):
        if line.startswith(header):
            for row in lines[number + 2 :]:
                if not row.startswith("|"):
                    break
                cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
                found |= {name: cells for name in CODE.findall(cells[0]) or [cells[0]]}
    assert found, f"no table {header!r}"
    return found


def public(path: Path) -> set[str]:
    """Names that a module of the test kit defines for others."""
    names: set[str] = set()
    for node in parsed(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")} - {"main"}


def test_every_public_name_is_documented_and_none_is_made_up() -> None:
    """Lost: a name that users find by reading our source only, or a name that does not exist."""
    documented = table("| name | what it is |").keys() | table("| name | meaning |").keys()
    assert sorted(documented) == sorted(hf.__all__)


KIT = sorted(path for path in (ROOT / "src" / "holdfast" / "testing").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("path", KIT, ids=lambda path: path.stem)
def test_every_public_name_of_the_test_kit_is_documented(path: Path) -> None:
    """Lost: a part of the kit that nobody knows, or a part that is gone."""
    assert sorted(table(f"| `holdfast.testing.{path.stem}` |")) == sorted(public(path))


def test_every_error_is_documented() -> None:
    """Lost: an exception that a user meets and cannot look up."""
    part = TEXT[TEXT.index("## Errors") : TEXT.index("## Values")]
    errors = public(ROOT / "src" / "holdfast" / "errors.py") - {"NotDone"}
    assert sorted(name for name in errors if f"`{name}`" not in part) == []


def test_every_kind_of_event_is_documented() -> None:
    """Lost: the meaning of a line in somebody's record."""
    assert sorted(table("| kind | facts in `meta` |")) == sorted(Kind)


def test_every_member_of_run_and_app_is_documented() -> None:
    """Lost: a step or a message that users do not know of."""
    for cls, header in ((hf.Run, "| member of `Run` |"), (hf.App, "| member of `App` |")):
        members = {name for name in vars(cls) if not name.startswith("_")}
        documented = {re.split(r"[(.]", name.partition(".")[2])[0] for name in table(header)}
        assert documented == members


def test_every_option_of_tool_is_documented() -> None:
    """Lost: a declaration that decides what happens after a crash."""
    source = parsed(ROOT / "src" / "holdfast" / "runtime" / "tool.py")
    found = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name == "tool"]
    options = {argument.arg for argument in found[1].args.kwonlyargs}
    assert table("| option | default |").keys() == options


def test_every_number_of_settings_and_its_default() -> None:
    """Lost: an operator who waits for the documented time and not for the real one."""
    documented = {name: float(cells[1]) for name, cells in table("| number | default |").items()}
    assert documented == {field.name: float(field.default) for field in dataclasses.fields(hf.Settings)}


def test_the_defaults_in_the_text() -> None:
    """Lost: a budget or a policy that is another than the page says."""
    tools, models, tokens, *others = DEFAULT_LIMITS
    assert f"{tools:,} tool calls, {models:,} model calls and {tokens:,} tokens" in TEXT and not any(others)
    retry = hf.Retry()
    stated = f"Retry(attempts={retry.attempts}, wait={retry.wait}, wait_max={retry.wait_max:g}, total={retry.total:g}"
    assert f"{stated}, shared={retry.shared})" in TEXT
    shut = hf.Breaker()
    assert (shut.of, shut.wait) == (60.0, 30.0)
    assert f'Breaker(errors={shut.errors}, of="60s", calls={shut.calls}, timeouts={shut.timeouts}, wait="30s")' in TEXT


def test_every_verb_is_documented() -> None:
    """Lost: a command that nobody knows, or one that the page invents."""
    assert sorted(table("| command | what it does |")) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_options_named_in_the_table_exist(verb: str) -> None:
    """Lost: a command line that is typed from the page and refused."""
    command = [sys.executable, "-m", "holdfast.cli", verb, "--help"]
    shown = warm.run(command, timeout=30)
    assert shown.returncode == 0, shown.stderr
    stated = set(re.findall(r"--\w+", table("| command | what it does |")[verb][1]))
    assert sorted(stated - set(re.findall(r"--\w+", shown.stdout))) == []


def test_every_exit_code_is_documented() -> None:
    """Lost: a script that takes "in doubt" for "failed"."""
    documented = {int(code): cells[1].strip("`") for code, cells in table("| exit code | name |").items()}
    assert documented == {int(code): code.name for code in Exit}


def test_the_holdfast_toml_of_the_page_is_understood(tmp_path: Path) -> None:
    """Lost: a price that the operator wrote as shown and that nobody read."""
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    file = tmp_path / "holdfast.toml"
    file.write_text(block, "utf-8")
    price = load_prices(file)["claude-sonnet-5"]
    assert (float(price.input), float(price.output), float(price.cache_write)) == (3.0, 15.0, 3.75)
    finance = load_people(file).chain_for("finance")
    assert finance is not None and [step.by for step in finance.levels] == [("mail", "hook"), ("hook", "mail")]


# --- what runs write -------------------------------------------------------------------------------------------


class Refused(Exception):
    """A failure that the tool declares."""


async def _cannot_tell(key: str, what: str) -> hf.Unknown:
    return hf.Unknown("the line is down")


@hf.tool(effect="read", retry=hf.Retry(attempts=2, wait=0, wait_max=0))
async def flaky(what: str) -> str:
    raise ConnectionError("gone")


@hf.tool(effect="read", timeout=5)
async def look(what: str) -> str:
    return what


@hf.tool(effect="once", raises=(Refused,), definite=(Refused,))
async def refuse(what: str) -> str:
    raise Refused("no", 1)


@hf.tool(effect="once", verify=_cannot_tell)
async def dubious(what: str) -> object:
    raise ConnectionError("the answer was lost")


@hf.tool(effect="once")
async def opaque(what: str) -> Any:
    return object()


@hf.agent(name="many", budget=hf.Budget(tool_calls=20))
async def many(run: hf.Run, way: str) -> str:
    """Writes as many kinds of events as one agent can without a model."""
    await look("a")
    for failing in (flaky, refuse, dubious):
        try:
            await failing("a")
        except (hf.RunError, Refused):
            pass
    await opaque("a")
    try:
        async with asyncio.timeout(0.01):
            await run.sleep(10, name="abandoned")
    except TimeoutError:
        pass
    await run.sleep(0.01)
    await run.ask("now or later?", within=0.01, default="later", show={"why": "because"})
    await run.ask("who?", options=["a", "b"], to="ops", name="who")
    await run.note("done")
    if way == "fail":
        await flaky("b")
    return "end"


@hf.agent(name="greedy", budget=hf.Budget(tool_calls=1))
async def greedy(run: hf.Run, way: str) -> str:
    """Stops at its budget, and goes on when it is raised."""
    await look("a")
    return await look("b")


async def _play(journal: MemoryJournal) -> None:
    quick = hf.Settings(quiet_s=0.02, park_s=0.3, poll_s=0.02, settle_s=0.0)
    async with hf.App(journal, settings=quick, agents=[many, greedy], serves=False) as app:
        await _to_the_end(app, "succeed")
        with pytest.raises(RunFailed):
            await _to_the_end(app, "fail")
        await app.cancel(await app.start(many, "cancel", key="cancel"), by="ann", why="a test")
        with pytest.raises(RunCancelled):
            await app.run(many, "cancel", key="cancel")
        with pytest.raises(hf.errors.BudgetExceeded):
            await app.run(greedy, "x", key="greedy")
        await app.resume(await app.start(greedy, "x", key="greedy"), by="ann", budget=hf.Budget(tool_calls=5))
        assert await app.run(greedy, "x", key="greedy") == "b"


async def _to_the_end(app: hf.App, way: str) -> None:
    """Run, and answer what is asked on the way."""
    for _ in range(2):
        with pytest.raises(hf.errors.RunWaiting):
            await app.run(many, way, key=way, wait=20)
        run = await app.start(many, way, key=way)
        head = app.journal.head(run)
        assert head is not None
        (asked,) = head.questions
        await app.answer(run, asked.id, "tell_the_agent" if asked.about == "in_doubt" else "a", by="ann")
    await app.run(many, way, key=way, wait=20)


@pytest.fixture(scope="module")
def written() -> list[Event]:
    """The events of a few runs."""
    journal = MemoryJournal(clock=SystemClock().now)
    asyncio.run(_play(journal))
    keys = ("succeed", "fail", "cancel", "greedy")
    return [event for key in keys for event in journal.events(run_id(journal.hash_key, "default", key))]


UNSEEN = {
    Kind.DECIDED,
    Kind.SIGNAL_RECEIVED,
    Kind.BUDGET_WARNED,
    Kind.DRIFT_FOUND,
    Kind.STEP_REPEATED,
    Kind.STEP_STREAMED,
}
"""Written only when something is decided, on a signal, with a model's usage,
when the code has changed, when a model fails, and while an answer is read."""


def test_what_runs_write_is_what_the_table_says(written: list[Event]) -> None:
    """Lost: whoever reads records with their own tools, and looks for a fact that is not there."""
    rows = table("| kind | facts in `meta` |")
    assert {event.kind for event in written} >= set(Kind) - UNSEEN
    for event in written:
        cells = rows[event.kind]
        named = set(CODE.findall(cells[1]))
        if event.kind is Kind.ATTEMPT_FAILED:
            named |= set(CODE.findall(rows[Kind.STEP_FAILED][1]))
        assert event.facts.keys() <= named, f"{event.kind}: {sorted(event.facts.keys() - named)}"
        assert event.body is None or cells[2] != "–", event.kind
