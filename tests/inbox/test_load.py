"""From the file and the environment to channels: a worker that could tell nobody must not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import PolicyInvalid
from holdfast.inbox.load import load

FILE = """
[people.ada]
email = "ada@example.com"
[channels.mail]
kind = "email"
host = "smtp.example.com"
from = "holdfast@example.com"
user = "holdfast"
password = "env:SMTP_PASSWORD"
[channels.hook]
kind = "webhook"
url = "env:HOOK_URL"
secret = "env:HOOK_SECRET"
[chains.finance]
levels = [{ to = ["ada"], by = ["mail", "hook"] }]
"""
ENVIRON = {
    "SMTP_PASSWORD": "p",
    "HOOK_URL": "https://hook.example.com/in",
    "HOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "HOLDFAST_BASE_URL": "https://hold.example.com",
}


def written(tmp_path: Path, text: str) -> Path:
    """A file with this text."""
    file = tmp_path / "holdfast.toml"
    file.write_text(text, "utf-8")
    return file


def test_all_of_it(tmp_path: Path) -> None:
    """Lost: a file that is understood and followed by nobody."""
    inbox = load(written(tmp_path, FILE), ENVIRON, lambda: 0.0)
    assert inbox is not None and inbox.agent.name == "@chain"


def test_whoever_is_taken_out_of_the_file_is_nobody_from_then_on(tmp_path: Path) -> None:
    """Lost: the word of somebody who has left counts, until the worker is started anew."""
    inbox = load(written(tmp_path, FILE), ENVIRON, lambda: 0.0)
    assert inbox is not None and list(inbox.members(("finance",))) == ["ada"]
    written(tmp_path, FILE.replace("ada", "bob"))
    assert list(inbox.members(("finance",))) == ["bob"] and list(inbox.members(("ada",))) == []
    written(tmp_path, FILE + "[people")
    assert list(inbox.members(("finance",))) == [], "who that is nobody knows: then nobody may"


@pytest.mark.parametrize("missing", ["SMTP_PASSWORD", "HOOK_URL", "HOOK_SECRET"])
def test_a_secret_that_is_not_there_is_named(tmp_path: Path, missing: str) -> None:
    """Lost: the missing password is found at night, by the first question."""
    with pytest.raises(PolicyInvalid, match=rf"needs {missing}, which the environment does not have"):
        load(written(tmp_path, FILE), {name: value for name, value in ENVIRON.items() if name != missing}, lambda: 0.0)


def test_a_file_without_channels_needs_nothing(tmp_path: Path) -> None:
    """Lost: an inbox for those who want none."""
    assert load(written(tmp_path, ""), {}, lambda: 0.0) is None
