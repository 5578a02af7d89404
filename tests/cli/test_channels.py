"""`holdfast channels`: at night, whoever reads the file for the first time must see who is called, and who is not."""

from __future__ import annotations

from typing import Any

CHAINS = """
[people.ada]
email = "ada@example.com"
[channels.mail]
kind = "email"
host = "smtp.example.com"
from = "holdfast@example.com"
[chains.finance]
levels = [{ to = ["ada"], by = ["mail"], wait = "10m" }]
"""


def test_show_prints_the_chains(shell: Any) -> None:
    """Lost: a configuration that can only be read as TOML."""
    (shell.home / "holdfast.toml").write_text(CHAINS, "utf-8")
    shown = shell.call("channels", "show")
    assert shown.code == 0 and "├─      at once  ada" in shown.out
    assert "of questions that name no chain, person or rota nobody is told" in shown.out.lower()
    picture = shell.call("channels", "show", "--json").document
    assert picture["chains"]["finance"]["levels"] == [{"to": ["ada"], "by": ["mail"], "wait_s": 600.0}]
    assert picture["warnings"] == []


def test_without_a_file_it_says_that_nobody_is_told(shell: Any) -> None:
    """Lost: an empty page, where it should say that nobody hears of any question."""
    shown = shell.call("channels")
    assert shown.code == 0 and shown.out == "" and "Nobody is told of questions" in shown.err


def test_a_mistake_is_named_and_the_code_is_that_of_wrong_use(shell: Any) -> None:
    """Lost: a traceback at night."""
    (shell.home / "holdfast.toml").write_text(CHAINS.replace('by = ["mail"]', 'by = ["mial"]'), "utf-8")
    shown = shell.call("channels", "show")
    assert shown.code == 2 and "[chains.finance] level 1 names 'mial' in by" in shown.err
