"""The example's own files, loaded as a user's process would load them: by their path."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name: str) -> ModuleType:
    """A fresh copy of `examples/{name}.py`."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of the examples."""
    return EXAMPLES


@pytest.fixture(scope="session")
def policy() -> ModuleType:
    """`examples/policy.py`."""
    return load("policy")


@pytest.fixture
def support(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`examples/support.py` with a shop database of its own, without keys or services of the user's."""
    for name in ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "PAYMENTS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    monkeypatch.setenv("SHOP_DB", str(tmp_path / "shop.db"))
    return load("support")
