"""Hostile input: a sample of every door, and doors that leak, which it must find."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from proof import fuzz
from proof.part import Plan, Seen

from holdfast.core import shape
from holdfast.core.heads import Head
from holdfast.journal import codec
from holdfast.journal.memory import MemoryJournal
from holdfast.runtime import config
from holdfast.testing.postgres_server import PostgresServer


def test_no_door_lets_anything_else_out_than_our_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer
) -> None:
    """Lost: a traceback, or a foreign tenant's bytes, for whoever finds the right characters."""
    monkeypatch.setattr(fuzz, "PostgresServer", lambda: nullcontext(postgres))
    seen = fuzz.run(Plan(tmp_path, scale=0.02))
    assert seen.problems == []
    assert seen.lacks(fuzz.WANTED, 0.02) == []


def found(door: Callable[[Random, Path], None], place: Path, times: int = 200) -> list[str]:
    """What is wrong with a door."""
    seen = Seen()
    for number in range(times):
        fuzz.try_one(str(number), "", partial(door, Random(number), place), seen)
    return seen.problems


def _raise(error: Exception) -> Any:
    raise error


def test_a_door_that_leaks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: the proof of the proof."""
    monkeypatch.setattr(codec, "decode", lambda data: _raise(KeyError("tag")))
    monkeypatch.setattr(config, "load", lambda file: _raise(ValueError("TOML")))
    monkeypatch.setattr(shape, "_KNOWN", {})
    monkeypatch.setattr(shape, "_NEEDED", {})
    monkeypatch.setattr(fuzz, "command_line", lambda arguments: 70)
    for door in (fuzz.decode_bytes, fuzz.load_config, fuzz.judge_message):
        assert found(door, tmp_path), door
    assert found(fuzz.command, tmp_path, 2)


class SeesTheOthers(MemoryJournal):
    """One store for all tenants; a prefix is a pattern."""

    def heads(self, *, prefix: str = "", **how: Any) -> list[Head]:
        """As LIKE would have it."""
        return super().heads(prefix=prefix.rstrip("%_"), **how)


def test_a_name_that_is_taken_for_a_pattern_and_a_foreign_byte_are_found() -> None:
    """Lost: the same for names in SQL."""
    seen, store = Seen(), SeesTheOthers(clock=lambda: 1e9)
    for number in range(30):
        door = partial(fuzz.compare_names, Random(number), lambda tenant: store, seen)
        fuzz.try_one(str(number), "", door, seen)
    assert any("finds" in problem for problem in seen.problems)
