"""The examples for frameworks, as text: `tests/frameworks` runs them, with the packages that they need."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = {"shop.py", "policy.py", "shell.py"}
EXAMPLES = [file for file in sorted((ROOT / "examples" / "frameworks").glob("*.py")) if file.name not in SHARED]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_it_is_short_and_on_the_page_and_in_the_sweep(example: Path) -> None:
    """Lost: "any framework, unmodified" with a page of glue; or an example that nothing runs."""
    lines = example.read_text("utf-8").splitlines()
    assert len(lines) < 40
    assert example.name in (ROOT / "docs" / "frameworks.md").read_text("utf-8"), "docs/frameworks.md does not name it"
    assert f'"{example.stem}"' in (ROOT / "tests" / "frameworks" / "conftest.py").read_text("utf-8"), "no row sweeps it"
