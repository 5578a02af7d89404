"""The arrows between packages, and the few modules that may touch the outside.

If these fail, a module reached for something above it, or for the clock, randomness or the environment
behind its caller's back: replay and the manual clock would no longer control it.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "holdfast"
ENVIRONMENT = {"os.environ", "os.getenv"}
STORED_CODE = {"pickle", "marshal", "shelve"}


def banned() -> dict[str, dict[str, str]]:
    """The names that pyproject.toml bans, each with its message."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names: dict[str, dict[str, str]] = settings["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    return names


def uses(names: set[str], path: Path, config: Path) -> list[str]:
    """Where `path` uses one of `names`, as ruff sees it, without the exemptions in pyproject.toml."""
    assert path.exists(), path
    lines = [f"{json.dumps(name)}.msg = {json.dumps(banned()[name]['msg'])}" for name in sorted(names)]
    config.write_text("\n".join(["[lint.flake8-tidy-imports.banned-api]", *lines]))
    options = ["--no-cache", "--quiet", "--select", "TID251", "--output-format", "concise"]
    command = [sys.executable, "-m", "ruff", "check", "--config", str(config), *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def test_imports_point_down_only() -> None:
    """Without this, two packages grow into one knot, or `core` starts to do I/O."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_line_reads_the_environment_and_nothing_else_of_the_list(tmp_path: Path) -> None:
    """Its exemption in pyproject.toml covers a whole file; a clock in `cli` would escape the manual clock."""
    assert uses(set(banned()) - ENVIRONMENT, SOURCE / "cli", tmp_path / "ruff.toml") == []


def test_what_passes_the_environment_on_reads_nothing_else_of_the_list(tmp_path: Path) -> None:
    """Its exemption in pyproject.toml covers a whole file, too."""
    path = SOURCE / "memory" / "environment.py"
    assert uses(set(banned()) - ENVIRONMENT, path, tmp_path / "ruff.toml") == []


def test_the_clock_reads_time_and_chance_and_nothing_else_of_the_list(tmp_path: Path) -> None:
    """Its exemption in pyproject.toml covers a whole file; settings reach it as arguments."""
    assert uses(ENVIRONMENT | STORED_CODE, SOURCE / "runtime" / "clock.py", tmp_path / "ruff.toml") == []


def test_the_check_itself_finds_what_it_looks_for(tmp_path: Path) -> None:
    """Without this, a change in ruff could turn the two tests above into tests of nothing."""
    (tmp_path / "bad.py").write_text("import random\nimport time\n\nprint(time.time(), random.random())\n")
    found = uses(set(banned()), tmp_path / "bad.py", tmp_path / "ruff.toml")
    assert any("time.time" in line for line in found), found
    assert any("random" in line for line in found), found
