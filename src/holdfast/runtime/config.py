"""`holdfast.toml`: what an operator may set without a deploy: prices of models, policies of tools, caps of all runs.

[prices."claude-sonnet-5"]      # US dollars per million tokens
input = 3.0
output = 15.0
cache_read = 0.3                # input, when absent
cache_write = 3.75              # 1.25 × input, when absent
web_search = 10.0               # US dollars per thousand searches that the provider makes
output_max = 64000              # tokens; what a request without max_tokens can cost
context = 200000                # tokens; no request can be more

[tools.find_invoice]            # see `core.override`
retry = { attempts = 2, wait = "1s" }
timeout = "20s"

[budget.day]                    # of all runs together, in a day (UTC); [budget.total]: in all
usd = 50
tokens = 10_000_000

[retention]                     # which ended runs `holdfast gc` forgets; see `core.retention`
ended_before = "30d"
keep = 1000                     # but not the newest so many of each agent
"""

from __future__ import annotations

import hashlib
import tomllib
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.core import retention
from holdfast.core.budget import Budget, Limits, Price
from holdfast.core.desk import ACCOUNTS
from holdfast.core.override import Overrides, Settings, merged, parse_table
from holdfast.core.retention import Retention
from holdfast.errors import PolicyInvalid

NAME = "holdfast.toml"
TABLES = (
    "holdfast",
    "prices",
    "tools",
    "budget",
    "retention",
    "people",
    "channels",
    "rotas",
    "chains",
    "reach",
    "heartbeat",
)
"""The last six are whom questions reach: `holdfast.inbox.config` reads them."""


class Stated(NamedTuple):
    """Policies and caps that file and command line state: read when an App opens, and never changed by a run."""

    digest: str = ""
    """Empty when nothing is stated."""
    text: str = ""


class Config(NamedTuple):
    """What the file says."""

    prices: dict[str, Price]
    """By model."""
    tools: dict[str, Settings]
    """What is set of tools' policies, by tool and dotted name."""
    caps: dict[str, Limits]
    """Caps of the tenant's accounts."""
    retention: Retention = Retention()
    """Which ended runs `holdfast gc` forgets."""

    def stated(self, flags: Overrides) -> Stated:
        """What binds runs, with what the command line says."""
        lines = [
            f"{tool}.{name}={value}"
            for tool, table in merged(self.tools, flags).items()
            for name, value in sorted(table.items())
        ]
        lines += [f"budget.{account}={list(limits)}" for account, limits in self.caps.items()]
        text = ", ".join(sorted(lines))
        return Stated(hashlib.sha256(text.encode()).hexdigest()[:16] if text else "", text)


def load(path: str | Path | None) -> Config:
    """What this file says; without a path ./holdfast.toml, if there is one."""
    file, tables = read(path)
    prices = _table(file, tables, "prices", '[prices."claude-sonnet-5"]')
    tools = _table(file, tables, "tools", "[tools.find_invoice]")
    caps = _table(file, tables, "budget", "[budget.day]")
    stated = tables.get("retention", {})
    if not isinstance(stated, dict):
        raise PolicyInvalid(f'{file}: [retention] must be a table, such as ended_before = "30d".')
    return Config(
        {model: _price(file, model, table) for model, table in prices.items()},
        {tool: dict(parse_table(tool, table)) for tool, table in tools.items()},
        {account: _caps(file, account, table) for account, table in caps.items()},
        retention.parse(stated),
    )


def read(path: str | Path | None) -> tuple[Path, dict[str, Any]]:
    """The file and its tables, all of a name that is known; none when no path is given and there is no file."""
    file = Path(path) if path is not None else Path(NAME)
    if path is None and not file.is_file():
        return file, {}
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except OSError as missing:
        raise PolicyInvalid(f"{file} cannot be read: {missing.strerror}. Nothing was started.") from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise PolicyInvalid(f"{file} is no TOML: {wrong}. Nothing was started.") from wrong
    _check_names(file, tables)
    return file, tables


def load_prices(path: str | Path | None) -> dict[str, Price]:
    """Prices by model name from this file."""
    return load(path).prices


def _check_names(file: Path, tables: dict[str, Any]) -> None:
    """A cap or policy under a mistyped name would bind nothing, and nobody would know."""
    unknown = sorted(tables.keys() - set(TABLES))
    if unknown:
        names = ", ".join(f"[{name}]" for name in TABLES)
        raise PolicyInvalid(f"{file}: [{unknown[0]}] is not understood. There are {names}. Nothing was started.")


def _table(file: Path, tables: dict[str, Any], name: str, example: str) -> dict[str, Any]:
    found = tables.get(name, {})
    if not isinstance(found, dict):
        raise PolicyInvalid(f"{file}: [{name}] must hold one table each, such as {example}.")
    return found


def _caps(file: Path, account: str, table: Any) -> Limits:
    if account not in ACCOUNTS or not isinstance(table, dict) or not table:
        raise PolicyInvalid(f"{file}: [budget.{account}] is not understood. Write [budget.day] or [budget.total].")
    unknown = sorted(table.keys() - {"model_calls", "tokens", "usd"})
    if unknown:
        raise PolicyInvalid(f"{file}: [budget.{account}] {unknown[0]} is not counted. Write model_calls, tokens, usd.")
    return Budget(**table).limits()


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
