"""The example of an approval, as its first lines say: killed while it waits, answered from another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests import warm

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "approval.py"
STORE = ("--store", "sqlite:///approval.db")


def _start(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", str(EXAMPLE), "K-17", "4200"]
    return warm.start(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _holdfast(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.run([sys.executable, "-m", "holdfast.cli", *arguments, *STORE], cwd=directory, timeout=60)


@pytest.mark.parametrize(
    ("answer", "told", "paid"),
    [("approve", "Paid back, as R-K-17.\n", "K-17 4200\n"), ("decline", "ada said no.\n", "")],
)
def test_it_is_asked_once_and_done_as_it_was_answered(tmp_path: Path, answer: str, told: str, paid: str) -> None:
    """Lost: the README's word that the question outlives its process."""
    first = _start(tmp_path)
    while "approve" not in _holdfast(tmp_path, "show", "refund-K-17", "--json").stdout:
        assert first.poll() is None
    first.kill()
    first.communicate(timeout=30)
    assert _holdfast(tmp_path, "answer", "refund-K-17", answer, "--by", "ada").returncode == 0
    second = _start(tmp_path)
    out, errors = second.communicate(timeout=60)
    assert (second.returncode, out, errors) == (0, told, "")
    bank = tmp_path / "bank.txt"
    assert (bank.read_text("utf-8") if bank.exists() else "") == paid
