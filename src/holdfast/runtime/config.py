"""`holdfast.toml`: what an operator may set without a deploy. In this version: the prices of models.

[prices."claude-sonnet-5"]      # US dollars per million tokens
input = 3.0
output = 15.0
cache_read = 0.3                # input, when absent
cache_write = 3.75              # 1.25 × input, when absent
web_search = 10.0               # US dollars per thousand searches that the provider makes
output_max = 64000              # tokens; what a request without max_tokens can cost
context = 200000                # tokens; no request can be more
"""

from __future__ import annotations

import tomllib
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from holdfast.core.budget import Price
from holdfast.errors import PolicyInvalid

NAME = "holdfast.toml"


def load_prices(path: str | Path | None) -> dict[str, Price]:
    """Prices by model name from this file; without a path from ./holdfast.toml, if there is one."""
    file = Path(path) if path is not None else Path(NAME)
    if path is None and not file.is_file():
        return {}
    try:
        tables = tomllib.loads(file.read_text("utf-8")).get("prices", {})
    except OSError as missing:
        raise PolicyInvalid(f"{file} cannot be read: {missing.strerror}. Nothing was started.") from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise PolicyInvalid(f"{file} is no TOML: {wrong}. Nothing was started.") from wrong
    if not isinstance(tables, dict):
        raise PolicyInvalid(f'{file}: [prices] must hold one table a model, such as [prices."claude-sonnet-5"].')
    return {model: _price(file, model, table) for model, table in tables.items()}


def _price(file: Path, model: str, table: Any) -> Price:
    if not isinstance(table, dict) or not {"input", "output"} <= table.keys():
        raise PolicyInvalid(f"{file}: the prices of {model!r} need `input` and `output`, in USD per million tokens.")
    base = _usd(file, model, table["input"])
    given = {part: _usd(file, model, table[part]) for part in ("output", "cache_read", "cache_write") if part in table}
    dearest = base * Decimal("1.25")  # Anthropic's price of a cache write: too much is better than too little
    return Price(
        base,
        given["output"],
        given.get("cache_read", base),
        given.get("cache_write", dearest),
        web_search=_usd(file, model, table["web_search"]) if "web_search" in table else None,
        output_max=_tokens(file, model, table.get("output_max")),
        context=_tokens(file, model, table.get("context")),
    )


def _usd(file: Path, model: str, value: Any) -> Decimal:
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        price = Decimal(-1)
    if isinstance(value, bool) or not price.is_finite() or price < 0:
        raise PolicyInvalid(f"{file}: {value!r} is no price for {model!r}. Give USD per million tokens.")
    return price


def _tokens(file: Path, model: str, value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise PolicyInvalid(f"{file}: {value!r} is no number of tokens for {model!r}. Give a whole number.")
    return value
