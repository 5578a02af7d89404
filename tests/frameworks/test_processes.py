"""The command that a person repeats: real processes of each example, killed in the middle of a refund."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.testing.ledger import Ledger
from holdfast.testing.model_server import ModelServer

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:Function .* has decorators other than @tool"),  # smolagents: of remote ones
]

TASK = "Refund order K-17, it came broken."
ANSWER = "Refunded K-17 with receipt R-17."


def started(example: Path, home: Path, services: dict[str, str]) -> subprocess.Popen[str]:
    """`holdfast run` of the example; always the same command."""
    command = ["-W", "error::RuntimeWarning", "-m", "holdfast.cli", "run", f"{example}:desk", TASK, "--key", "k"]
    return subprocess.Popen(
        [sys.executable, *command, "--store", "h.db"],
        cwd=home,
        env={name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")} | services,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_in_the_middle_of_a_refund_and_started_again(
    row: Any, load: Any, examples: Path, services: Any, tmp_path: Path
) -> None:
    """Lost: the whole promise, as somebody meets it first: kill -9, the same command, one refund, one answer."""
    load(row)
    with Ledger() as ledger, ModelServer.spawn(examples / "policy.py", "policy") as model:
        ledger.fault("refund", 1, "hang")
        where = examples / f"{row.file}.py", tmp_path, services(model, f"{ledger.url}/effects")
        first = started(*where)
        ledger.wait_for("refund", 1, timeout_s=60)
        first.kill()
        ledger.release()
        first.communicate(timeout=20)  # also waits for a shell that it left behind
        assert first.returncode == -signal.SIGKILL
        out, err = started(*where).communicate(timeout=60)
        assert out.strip() == ANSWER, err
        assert ledger.count("refund") == 1 and model.repeated() == 0 and model.count == 3
