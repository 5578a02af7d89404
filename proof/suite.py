"""Tests of the repository, run by a part: what passed, what failed and how, and what the tests have counted.

A test counts by pytest's own `record_property("kills", 12)`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from proof.origin import Origin

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
BY_DEFAULT = "addopts=--import-mode=importlib --strict-markers -m 'not proof and not frameworks'"
OPTIONS = (
    *("-q", "--tb=native", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *("-o", BY_DEFAULT, "-o", "junit_family=xunit1"),
)
"""Of the forms of a report, the one that keeps what a test has counted. Of those of a traceback
the one that parses no source: a test that fails deep in a recursion has failed, and is no error of pytest."""
BROKEN = ("-p", "proof.broken")
LIMIT_S = 3_600
TAIL = 1_500


@dataclass(slots=True)
class Outcome:
    """What a run of tests came to."""

    code: int
    """Pytest's own: 0 all passed, 1 some failed; others (no such test, an error on the way) are no verdict."""
    said: str
    passed: list[str] = field(default_factory=list)
    """Their ids: paths below tests/, and names with their parameters."""
    failed: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def ran(
    tests: Sequence[str],
    directory: Path,
    *more: str,
    source: Path | None = None,
    is_broken: bool = False,
    limit_s: float = LIMIT_S,
    origin: Origin | None = None,
) -> Outcome:
    """Run these tests (paths below tests/, or node ids) in a process of their own, against this source: one that is
    forked from the origin, if there is one. What is compiled of a source that is broken on purpose is not kept."""
    report, out = directory / "report.xml", directory / "said.log"
    report.unlink(missing_ok=True)
    where = ["--basetemp", str(directory / "tmp"), "--junitxml", str(report)]
    arguments = [*OPTIONS, *(BROKEN if is_broken else ()), *where, *more, *(str(TESTS / test) for test in tests)]
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1" if is_broken else ""}
    if source is not None:
        env["PYTHONPATH"] = str(source)
    code = origin.run(arguments, out, env, limit_s) if origin else _cold(arguments, out, env, limit_s)
    if code is None:
        return Outcome(-1, f"did not end within {limit_s:.0f} s")
    outcome = Outcome(code, out.read_text("utf-8", "replace")[-TAIL:])
    if report.exists():
        _read(report, outcome)
    return outcome


def _cold(arguments: list[str], out: Path, env: Mapping[str, str], limit_s: float) -> int | None:
    with out.open("wb") as said:
        try:
            command = [sys.executable, "-m", "pytest", *arguments]
            return subprocess.run(
                command, cwd=ROOT, env=env, stdout=said, stderr=subprocess.STDOUT, timeout=limit_s
            ).returncode
        except subprocess.TimeoutExpired:
            return None


def _read(report: Path, outcome: Outcome) -> None:
    for case in ElementTree.parse(report).iter("testcase"):
        name = _id(case)
        if any(case.find(what) is not None for what in ("failure", "error")):
            outcome.failed.append(name)
        elif case.find("skipped") is None:
            outcome.passed.append(name)
            for counted in case.iter("property"):
                outcome.counts[counted.get("name", "")] += int(counted.get("value", "0"))


def _id(case: ElementTree.Element) -> str:
    """By which `ran` runs it alone: what is before its name is its file, and the classes in it."""
    names = case.get("classname", "").split(".")
    for count in range(len(names), 1, -1):
        path = ROOT.joinpath(*names[:count]).with_suffix(".py")
        if path.is_file():
            return "::".join([str(path.relative_to(TESTS)), *names[count:], case.get("name", "")])
    return case.get("name", "")
