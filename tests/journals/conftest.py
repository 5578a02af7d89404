"""The recorded stores, unpacked, and the modules that stand beside them."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from holdfast.runtime.clock import SystemClock

HERE = Path(__file__).parent
RECORDED = tuple(sorted(path.name.removesuffix(".json.gz") for path in HERE.glob("*.json.gz")))
HOUR_S = 3600.0


class Then(SystemClock):
    """The machine's clock, set to two hours after the store was recorded."""

    def __init__(self, recorded_at: float) -> None:
        self._back_s = super().now() - recorded_at - 2 * HOUR_S

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return super().now() - self._back_s


class Recorded(NamedTuple):
    """One store, and what the code that recorded it saw in it."""

    name: str
    path: Path
    seen: dict[str, Any]
    clock: Then


@pytest.fixture(name="beside")
def beside_fixture() -> Any:
    """Gives a module of this folder by its name."""
    return beside


def beside(name: str) -> ModuleType:
    """The module of this name in this folder, which is no package."""
    known = sys.modules.get(f"journals_{name}")
    if known is not None:
        return known
    spec = importlib.util.spec_from_file_location(f"journals_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[f"journals_{name}"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def agents() -> Iterator[ModuleType]:
    """The agents whose runs are in the stores."""
    module = beside("agents")
    before = module.world
    yield module
    module.world = before


@pytest.fixture
def picture() -> Any:
    """What the code of now makes of a store."""
    return beside("picture").picture


@pytest.fixture(params=RECORDED)
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> Recorded:
    """A copy of each store."""
    path = tmp_path / "h.db"
    path.write_bytes(gzip.decompress((HERE / f"{request.param}.db.gz").read_bytes()))
    path.chmod(0o600)
    seen = json.loads(gzip.decompress((HERE / f"{request.param}.json.gz").read_bytes()))
    return Recorded(request.param, path, seen, Then(max(run["head"]["updated_at"] for run in seen["runs"].values())))
