"""What tools inherit. If this fails, what a tool starts can sign and send in the name of the inbox (S9)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.cli.reach import inbox_of

FILE = """
[people.ada]
email = "ada@example.com"
apprise = "env:ADA_URL"
[channels.mail]
kind = "email"
host = "localhost"
from = "h@example.com"
user = "h"
password = "env:MAIL_PASSWORD"
[channels.hook]
kind = "webhook"
url = "env:HOOK_URL"
secret = ["env:NEW_SECRET", "env:OLD_SECRET"]
"""
SECRETS = {
    "ADA_URL": "json://x.example",
    "MAIL_PASSWORD": "m-4711",
    "HOOK_URL": "https://h.example/x",
    "NEW_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "OLD_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx",
}


def test_what_a_tool_starts_has_no_secret_of_a_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: the difference between asking a person and being one; or channels that have lost their own password."""
    file = tmp_path / "holdfast.toml"
    file.write_text(FILE)
    for name, value in {**SECRETS, "MINE": "kept"}.items():
        monkeypatch.setenv(name, value)
    assert inbox_of(str(file)) is not None
    seen = subprocess.run(
        [sys.executable, "-c", "import os; print(sorted(os.environ))"], capture_output=True, text=True, check=True
    ).stdout
    assert "MINE" in seen and not any(name in seen or name in os.environ for name in SECRETS)
    assert inbox_of(str(file)) is not None, "in this process they are known"
