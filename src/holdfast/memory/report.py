"""What pytest reports of its tests, and what that makes of its exit code: nothing that was skipped has passed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

from holdfast.core.verdict import Result

SIZE_MAX: Final = 16 << 20
_SAYS: Final = {
    2: "was interrupted, or could not load a test",
    3: "failed itself",
    4: "was called wrongly or found no such test",
}
NO_TEST: Final = 5


class Counts(NamedTuple):
    """How its tests went."""

    passed: int = 0
    skipped: int = 0
    """Also those that were expected to fail."""
    failed: int = 0


def read(path: Path) -> Counts | None:
    """The counts that it wrote; None: it wrote none that can be read."""
    try:
        if path.stat().st_size > SIZE_MAX:
            return None
        text = path.read_bytes()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            return None
        cases = list(ElementTree.fromstring(text).iter("testcase"))  # noqa: S314 - bounded, and without entities
    except (OSError, ElementTree.ParseError):
        return None
    ways = [{child.tag for child in case} for case in cases]
    failed = sum(bool(way & {"failure", "error"}) for way in ways)
    skipped = sum("skipped" in way and not way & {"failure", "error"} for way in ways)
    return Counts(len(cases) - failed - skipped, skipped, failed)


def judged(result: Result, counts: Counts | None) -> Result:
    """The result of pytest's process, with what its tests say."""
    code = result.exit_code
    if counts is None:
        return replace(result, has_run=False, passed=False, why=f"pytest reported nothing (exit code {code})")
    if code == NO_TEST or not any(counts):
        return replace(result, has_run=False, passed=False, why="no test was collected")
    if code in _SAYS:
        return replace(result, has_run=False, passed=False, why=f"pytest {_SAYS[code]} (exit code {code})")
    if code == 0 and not counts.passed:
        said = f"none of its tests has run: {counts.skipped} skipped or expected to fail"
        return replace(result, has_run=False, passed=False, why=said)
    passed = code == 0 and not counts.failed
    return replace(result, passed=passed, why="" if passed else f"{counts.failed} failed, {counts.passed} passed")
