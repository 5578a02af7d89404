"""ARCHITECTURE.md is a map: a name on it that is no longer there sends a newcomer to the wrong place."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tests.source import parsed

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
TEXT = PAGE.read_text("utf-8")
PATH = re.compile(r"`([\w./]+(?:\.py|\.sql|\.md|/))`")


def rows(header: str) -> list[list[str]]:
    """The cells of the table whose first line begins so."""
    lines = TEXT.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(header))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def names_in(path: Path) -> set[str]:
    """What a file defines at its top level; of a schema, its tables."""
    text = path.read_text("utf-8")
    if path.suffix == ".sql":
        return set(re.findall(r"^CREATE (?:TABLE|VIEW) (\w+)", text, re.MULTILINE))
    found: set[str] = set()
    for node in parsed(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


WHERE = rows("| what | path | name |")


@pytest.mark.parametrize("row", WHERE, ids=[row[2] for row in WHERE])
def test_each_name_is_where_the_table_says(row: list[str]) -> None:
    """Lost: the way from a question to the file that answers it."""
    path = ROOT / row[1].strip("`")
    assert path.is_file(), f"{row[1]} does not exist"
    named = re.findall(r"`(\w+)`", row[2])
    assert named, f"the row {row[0]!r} names nothing"
    assert set(named) <= names_in(path)


def test_the_table_is_read() -> None:
    """Lost: all of the above, if the table changed its form and nobody noticed."""
    assert len(WHERE) >= 40


def test_each_path_and_link_exists() -> None:
    """Lost: the reader, at a dead link."""
    named = set(PATH.findall(TEXT)) | {row[1].strip("`") for row in rows("| tests | path |")}
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", TEXT)}
    gone = [path for path in named if not any((base / path).exists() for base in (ROOT, ROOT / "src" / "holdfast"))]
    assert gone == []
    assert [path for path in linked if not (ROOT / path).exists()] == []


def methods() -> set[str]:
    """`Class.method` of everything in the package."""
    found: set[str] = set()
    for path in (ROOT / "src" / "holdfast").rglob("*.py"):
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef):
                own = [part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
                found |= {f"{node.name}.{name}" for name in own}
    return found


def test_each_method_of_the_life_of_a_step_exists() -> None:
    """Lost: the one sequence that explains how the modules work together."""
    life = TEXT[TEXT.index("## Life of one step") : TEXT.index("## Where is X")]
    calls = set(re.findall(r"`([A-Z]\w+\.\w+)`", life))
    assert len(calls) >= 6
    assert sorted(calls - methods()) == []


def test_every_package_and_module_is_on_the_map() -> None:
    """Lost: a new module that nobody can find from here."""
    packages = {path.name for path in (ROOT / "src" / "holdfast").iterdir() if (path / "__init__.py").is_file()}
    rings = TEXT[TEXT.index("## Rings") : TEXT.index("## Life of one step")]
    assert [package for package in sorted(packages) if not re.search(rf"\b{package}\b", rings)] == []
    tested = {row[1].strip("`") for row in rows("| tests | path |")}
    suites = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("*/test_*.py")}
    assert sorted(suites - tested - {"tests/typing"}) == []
    mapped = {row[1].strip("`") for row in WHERE}
    core = {path.relative_to(ROOT).as_posix() for path in (ROOT / "src" / "holdfast" / "core").glob("[a-z]*.py")}
    assert sorted(core - mapped) == []


def test_the_newcomers_path_is_about_as_long_as_it_says() -> None:
    """Lost: the promise that an evening is enough, when those files have grown."""
    first = TEXT[: TEXT.index("## Rings")]
    said = int(re.findall(r"about ([\d,]+) lines", first)[0].replace(",", ""))
    files = [link for link in re.findall(r"\]\(([^)]+)\)", first)]
    assert len(files) == 5
    lines = sum(len((ROOT / file).read_text("utf-8").splitlines()) for file in files)
    assert abs(lines - said) <= said * 0.15, f"it is {lines} lines"
