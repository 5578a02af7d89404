"""What an operator sets of a tool's policy: one set of names for `holdfast.toml`, the command line and the desk.

    [tools.find_invoice]                          --policy find_invoice.retry.attempts=2
    timeout = "20s"                               --policy find_invoice.timeout=20s
    retry = { attempts = 2, wait = "1s" }
    approve = { who = "finance", within = "30m" }
    fallback = ["find_in_copy", "cached:1h", "ask:oncall", "stop"]
    classify = { 503 = "rate_limited", NoSuchCustomer = "permanent" }

Settings are kept by their dotted name (`retry.attempts`), so that a later layer changes one number and not its
neighbours. What is unknown, unbounded or contradictory is `PolicyInvalid`, and nothing is started. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from holdfast.core import approval
from holdfast.core.breaker import Breaker
from holdfast.core.duration import seconds
from holdfast.core.ladder import checked_rungs, checked_table
from holdfast.core.policy import Policy, Retry
from holdfast.core.rung import STOP, Ask, Cached, Other, Rung, Stop
from holdfast.errors import PolicyInvalid

Settings = Mapping[str, Any]
"""From a dotted name to a value."""
Overrides = Mapping[str, Settings]
"""From a tool's name to its settings."""

_DURATIONS: Final = ("timeout", "within", "heartbeat")
_PARTS: Final[dict[str, Any]] = {"retry": Retry, "breaker": Breaker, "approve": Ask}
"""Settings that are a policy of their own, and the class that checks them."""
_FLAG = re.compile(
    rf"(?P<tool>.+?)\.(?P<name>(?:{'|'.join(_PARTS)}|classify)\.[^=]+|{'|'.join((*_DURATIONS, *_PARTS, 'fallback'))})"
    r"=(?P<value>.*)"
)


def parse_flag(text: str) -> tuple[str, Settings]:
    """`NAME.retry.attempts=2`: the tool, and what is set of it."""
    found = _FLAG.fullmatch(text.strip())
    if found is None:
        raise PolicyInvalid(
            f"--policy {text!r} is not understood. Write TOOL.SETTING=VALUE, such as find_invoice.retry.attempts=2 "
            f"or find_invoice.timeout=20s. Settings: {_known()}."
        )
    return found["tool"], parse_table(found["tool"], {found["name"]: _value(found["value"])})


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_table(tool: str, table: Any) -> Settings:
    """A table of settings, nested or dotted, as settings by dotted name; each is checked by itself."""
    if not isinstance(table, Mapping):
        raise PolicyInvalid(f"[tools.{tool}] must be a table of settings: {_known()}.")
    settings: dict[str, Any] = {}
    for name, value in table.items():
        is_nested = isinstance(value, Mapping) and (name in _PARTS or name == "classify")
        settings |= {f"{name}.{part}": given for part, given in value.items()} if is_nested else {name: value}
    laid_over(Policy(), {name: value for name, value in settings.items() if name != "fallback"}, tool=tool)
    if "fallback" in settings:
        _rungs(tool, settings["fallback"], None)
    return settings


def parse_tables(tables: Any) -> dict[str, Settings]:
    """What is set of several tools, by their names."""
    if not isinstance(tables, Mapping):
        raise PolicyInvalid(f"policies={tables!r} is no table by tool. Write {{'look': {{'retry.attempts': 2}}}}.")
    return {tool: parse_table(tool, table) for tool, table in tables.items()}


def merged(*layers: Overrides) -> Overrides:
    """Layers in one, the later ones above the earlier."""
    tools = {tool for layer in layers for tool in layer}
    return {tool: {k: v for layer in layers for k, v in layer.get(tool, {}).items()} for tool in tools}


def laid_over(policy: Policy, settings: Settings, *, tool: str) -> Policy:
    """`policy` with these settings in place of its own."""
    changes: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        part, _, rest = name.partition(".")
        if name in _DURATIONS:
            changes[f"{name}_s"] = None if value is False else _positive(tool, name, value)
        elif name == "fallback":
            changes["fallback"] = _rungs(tool, value, policy.fallback)
        elif part in _PARTS or part == "classify":
            parts.setdefault(part, {})[rest] = value
        else:
            raise PolicyInvalid(f"{tool}.{name} is no setting of a tool. Known are: {_known()}.")
    for part, given in parts.items():
        changes[part] = _part(tool, part, getattr(policy, part), given)
    return replace(policy, **changes)


def _positive(tool: str, name: str, value: Any) -> float:
    length_s = seconds(value, f"{tool}.{name}")
    if length_s == 0:
        raise PolicyInvalid(f"{tool}.{name}={value!r} leaves no time at all. Give a time, or false for no limit.")
    return length_s


def _part(tool: str, part: str, present: Any, given: dict[str, Any]) -> Any:
    if part == "classify":
        return {**present, **checked_table(given)}
    kind = _PARTS[part]
    if given.keys() == {""}:  # the whole part, as `breaker = false`
        if given[""] is False and part != "retry":
            return None
        raise PolicyInvalid(f"{tool}.{part}={given['']!r} is not understood. Set {part}.{'/'.join(_fields(kind))}.")
    unknown = sorted(given.keys() - set(_fields(kind)))
    if unknown:
        raise PolicyInvalid(f"{tool}.{part}.{unknown[0]} is no setting. Known are: {', '.join(_fields(kind))}.")
    if present is None and kind is Ask and "who" not in given:
        raise PolicyInvalid(f'{tool}.approve does not say who: set approve.who, such as "finance".')
    part_of = kind(**given) if present is None else replace(present, **given)
    return approval.checked(tool, part_of) if kind is Ask else part_of


def _fields(kind: Any) -> list[str]:
    return [field.name for field in fields(kind)]


def _rungs(tool: str, value: Any, declared: Sequence[Rung] | None) -> tuple[Rung, ...]:
    """The ladder that a list of texts names. declared: whose other tools it may name; None when that is not known."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise PolicyInvalid(f'{tool}.fallback must be a list of texts, such as ["cached:1h", "ask:oncall", "stop"].')
    others = {rung.name: rung for rung in declared or () if isinstance(rung, Other)}
    return checked_rungs(tool, [_rung(tool, item, None if declared is None else others) for item in value])


def _rung(tool: str, text: str, others: Mapping[str, Other] | None) -> Rung:
    sort, _, rest = text.partition(":")
    if text == STOP:
        return Stop()
    if sort == "cached" and rest:
        return Cached(max_age=rest)
    if sort == "ask" and rest:
        who, _, within = rest.partition(":")
        return Ask(who, within=within or None)
    if others is None:
        return Other(text)
    if text not in others:
        raise PolicyInvalid(
            f"{tool}.fallback names {text!r}, which is no rung. Write cached:AGE, ask:WHO, ask:WHO:TIME, stop, or a "
            f"tool that {tool} itself declares in fallback= ({', '.join(others) or 'it declares none'})."
        )
    return others[text]


def _known() -> str:
    parts = [f"{part}.{name}" for part, kind in _PARTS.items() for name in _fields(kind)]
    return ", ".join((*_DURATIONS, *parts, "classify.WHAT", "fallback"))
