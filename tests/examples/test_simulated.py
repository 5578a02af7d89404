"""The example of a simulated agent. Each test says what would be lost."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from holdfast.core.policy import Again
from holdfast.runtime import steps

FILE = Path(__file__).resolve().parents[2] / "examples" / "simulated.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The example, loaded."""
    spec = importlib.util.spec_from_file_location("example_simulated", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_agent_of_the_example_survives(example: ModuleType) -> None:
    """Lost: the example that users begin with."""
    assert example.main(40) == []


def test_a_bug_in_what_the_user_declares_is_found(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: the use of it. A refund that is begun again after each crash is paid twice, and no world tells."""
    monkeypatch.setattr(steps, "after_crash", lambda *args, **how: Again(0.0, "as if nothing had been"))
    assert any("P4: refund" in problem for problem in example.main(150))
