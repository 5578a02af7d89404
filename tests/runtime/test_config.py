"""`holdfast.toml`: an operator's typing error must not become a wrong bill."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import PolicyInvalid
from holdfast.runtime.config import load, load_prices
from holdfast.runtime.settings import Settings


def written(tmp_path: Path, text: str) -> Path:
    """A file with this text."""
    file = tmp_path / "holdfast.toml"
    file.write_text(text, "utf-8")
    return file


def test_what_bounds_a_model_is_read(tmp_path: Path) -> None:
    """Lost: a model of the house for which two million tokens are reserved at each call."""
    table = "[prices.m]\ninput = 1\noutput = 2\nweb_search = 12.5\noutput_max = 64_000\ncontext = 200_000\n"
    price = load_prices(written(tmp_path, table))["m"]
    assert (price.web_search, price.output_max, price.context) == (Decimal("12.5"), 64_000, 200_000)
    plain = load_prices(written(tmp_path, "[prices.m]\ninput = 1\noutput = 2\n"))["m"]
    assert (plain.web_search, plain.output_max, plain.context) == (None, None, None)
    assert (plain.cache_read, plain.cache_write) == (Decimal(1), Decimal("1.25"))


@pytest.mark.parametrize(
    "line",
    [
        "input = -1",
        'input = "cheap"',
        "input = true",
        "input = nan",
        "web_search = -1",
        "output_max = -1",
        "output_max = 1.5",
        'context = "large"',
        "context = true",
    ],
)
def test_nonsense_is_refused_before_anything_starts(tmp_path: Path, line: str) -> None:
    """Lost: a cap in dollars that is kept with a wrong price."""
    given = {"input": "input = 1", "output": "output = 1"} | {line.split(" ")[0]: line}
    with pytest.raises(PolicyInvalid, match="m"):
        load_prices(written(tmp_path, "\n".join(["[prices.m]", *given.values()])))


@pytest.mark.parametrize("text", ["prices = 7", "[prices.m]\ninput = 1\n", "[prices]\nm = 3\n", "[prices", "\x00"])
def test_what_is_no_table_of_prices_is_refused(tmp_path: Path, text: str) -> None:
    """Lost: the same, by a missing line."""
    with pytest.raises(PolicyInvalid):
        load_prices(written(tmp_path, text))


def test_only_a_file_that_was_named_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: a program that does not start in an empty folder; or one that starts without the prices it was given."""
    monkeypatch.chdir(tmp_path)
    assert load_prices(None) == {}
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        load_prices(tmp_path / "missing.toml")


@pytest.mark.parametrize("name", ["tool.look", "budgets.day", "Tools.look", "price.m"])
def test_a_table_under_a_mistyped_name_is_refused(tmp_path: Path, name: str) -> None:
    """Lost: a cap that an operator has set, and that binds nothing."""
    with pytest.raises(PolicyInvalid, match="not understood"):
        load(written(tmp_path, f"[{name}]\nusd = 5\n"))
    load(written(tmp_path, '[holdfast]\nstore = "a.db"\n[tools.look]\ntimeout = 5\n[budget.day]\nusd = 5\n'))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lease_s", -1),
        ("lease_s", 0),
        ("poll_s", 0.0),
        ("quiet_s", float("nan")),
        ("park_s", float("inf")),
        ("drain_s", "25"),
        ("close_s", True),
        ("model_calls_max", 0),
        ("retries_max", -1),
        ("children_max", 1.5),
    ],
)
def test_settings_with_which_nothing_would_go_on_are_refused(name: str, value: Any) -> None:
    """Lost: an app that hangs without a word, since no lease can be taken or no model call may begin."""
    with pytest.raises(PolicyInvalid, match=name):
        Settings(**{name: value})


def test_settings_may_be_nothing_where_nothing_has_a_meaning() -> None:
    """Lost: tests, and deployments that want no retries."""
    assert Settings(settle_s=0, throttle_s=0.0, drain_s=0, retries_max=0, parked_max=0).lease_s == 30.0
