"""The operator's desk: what operators have switched for all runs of a tenant, and who did it and why.

The desk is a run without code, under the key `@desk`. A command to it is mail; whoever holds the desk turns mail into
events, and what they amount to is written into one cell that every worker looks at. Here it is decided what a command
may say (`refusal`), which events it becomes (`events_of`), and what all of them amount to (`Switches.after`). Pure.

Invariants
1. The switches are a fold over the desk's events, and over nothing else: the cell can be computed anew at any time.
2. A command is refused before it is stored or takes effect whole; one that changes nothing is recorded all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from holdfast.core.budget import Limits
from holdfast.core.events import Event, Kind, meta
from holdfast.core.override import Overrides, parse_table
from holdfast.errors import PolicyInvalid

DESK: Final = "@desk"
"""Key and agent of the desk."""
CELL: Final = "switches"
"""The cell that holds what is switched."""
ACCOUNTS: Final = ("day", "total")
"""What a tenant may use in a day (UTC), and in all."""
CAPPED: Final = ("model_calls", "tokens", "usd_nano")
"""What is counted there."""
DISABLE, ENABLE, POLICY, BUDGET, ABOUT = "disable", "enable", "policy", "budget", "about"
"""What a command may say. `about`: a command to one run, which went there; the desk only keeps it on record."""
NAMES_MAX: Final = 200
WHY_MAX: Final = 1_000
SWITCHES_MAX: Final = 32 * 1024
"""Characters of all that is switched together."""


class Off(NamedTuple):
    """A tool that is switched off."""

    by: str
    why: str
    at: float


@dataclass(frozen=True, slots=True)
class Switches:
    """What is switched."""

    off: Mapping[str, Off] = field(default_factory=dict)
    """Tools that are not called, by name."""
    policies: Overrides = field(default_factory=dict)
    """What was set of tools' policies, by tool."""
    caps: Mapping[str, Limits] = field(default_factory=dict)
    """Caps of the tenant's accounts."""

    def after(self, event: Event) -> Switches:
        """What is switched after one more event of the desk."""
        facts = event.facts
        if event.kind is Kind.BUDGET_CHANGED and "account" in facts:
            return replace(self, caps={**self.caps, facts["account"]: Limits(*facts["limits"])})
        if event.kind is not Kind.DECIDED or "tool" not in facts:
            return self
        tool = facts["tool"]
        match facts["what"]:
            case "disable":
                off = Off(facts.get("by", ""), facts["because"], event.at)
                return replace(self, off={**self.off, tool: self.off.get(tool, off)})
            case "enable":
                return replace(self, off=_without(self.off, tool))
            case "policy":
                return replace(self, policies=self._set(tool, facts.get("settings")))
            case _:
                return self

    def _set(self, tool: str, settings: Mapping[str, Any] | None) -> Overrides:
        if settings is None:
            return _without(self.policies, tool)
        return {**self.policies, tool: {**self.policies.get(tool, {}), **settings}}

    def text(self) -> str:
        """As it is kept in the cell."""
        off = {tool: list(off) for tool, off in self.off.items()}
        caps = {account: list(limits) for account, limits in self.caps.items()}
        return json.dumps({"off": off, "policies": self.policies, "caps": caps}, sort_keys=True)

    @staticmethod
    def of(text: str) -> Switches:
        """What `text` wrote; names that are not known are left out."""
        found = json.loads(text)
        return Switches(
            off={tool: Off(*off) for tool, off in found.get("off", {}).items()},
            policies=found.get("policies", {}),
            caps={account: Limits(*limits) for account, limits in found.get("caps", {}).items()},
        )


def _without(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {known: value for known, value in table.items() if known != name}


def fold(events: Iterable[Event]) -> Switches:
    """What these events, from the desk's first on, amount to."""
    switches = Switches()
    for event in events:
        switches = switches.after(event)
    return switches


# --- commands --------------------------------------------------------------------------------------------------


def refusal(facts: Mapping[str, Any]) -> str:
    """Why a command makes no sense; empty when it does."""
    name = facts.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > NAMES_MAX or not name.isprintable():
        return f"{name!r} is no name. Nothing was changed."
    if len(facts.get("why") or "") > WHY_MAX:
        return f"The reason is longer than {WHY_MAX} characters. Nothing was changed."
    match facts.get("verb"):
        case "disable" | "enable":
            return ""
        case "about":
            return "" if isinstance(facts.get("what"), str) else "It is not said what was done. Nothing was changed."
        case "policy":
            return _unfit_settings(name, facts.get("settings"))
        case "budget":
            return _unfit_caps(name, facts.get("caps"))
        case other:
            return f"The operator's desk does not know the command {other!r}. Nothing was changed."


def _unfit_settings(tool: str, settings: Any) -> str:
    if settings is None:
        return ""
    try:
        known = parse_table(tool, settings)
    except PolicyInvalid as wrong:
        return f"{wrong} Nothing was changed."
    others = [rung for rung in known.get("fallback", ()) if not _is_plain_rung(rung)]
    if others:
        return f"{tool}.fallback names the tool {others[0]!r}, which is declared in code. Nothing was changed."
    return "" if known else f"Nothing is set of {tool}. Write such as retry.attempts=1 or timeout=5s."


def _is_plain_rung(text: str) -> bool:
    return text == "stop" or text.partition(":")[0] in ("cached", "ask")


def _unfit_caps(account: str, caps: Any) -> str:
    if account not in ACCOUNTS:
        return f"There is no account {account!r}: {' or '.join(ACCOUNTS)}. Nothing was changed."
    if not isinstance(caps, Mapping) or not caps.keys() <= set(CAPPED):
        return "Of all runs together, model_calls, tokens and usd are counted. Nothing was changed."
    wrong = [name for name, amount in caps.items() if amount is not None and (type(amount) is not int or amount < 0)]
    return f"{wrong[0]}={caps[wrong[0]]!r} is no cap. Give a number that is not negative." if wrong else ""


def events_of(switches: Switches, facts: Mapping[str, Any], now: float) -> list[Event]:
    """The events that a command becomes, when this is switched."""
    name, why, by = facts["name"], facts.get("why") or "not said", facts.get("by")
    match facts["verb"]:
        case "disable":
            choice = "off already" if name in switches.off else "off"
            told = meta(what=DISABLE, choice=f"{name}: {choice}", because=why, by=by, tool=name)
        case "enable":
            choice = "on" if name in switches.off else "on already"
            told = meta(what=ENABLE, choice=f"{name}: {choice}", because=why, by=by, tool=name)
        case "policy":
            settings = facts.get("settings")
            choice = "as declared" if settings is None else ", ".join(f"{k}={v}" for k, v in settings.items())
            told = meta(what=POLICY, choice=f"{name}: {choice}", because=why, by=by, tool=name, settings=settings)
        case "budget":
            limits = switches.caps.get(name, Limits())._replace(**facts["caps"])
            changed = meta(account=name, limits=list(limits), because=why, by=by)
            return [Event(Kind.BUDGET_CHANGED, now, meta=changed)]
        case _:
            told = meta(what=facts["what"], choice=name, because=why, by=by)
    return [Event(Kind.DECIDED, now, meta=told)]


def carried_out(switches: Switches, facts: Mapping[str, Any], now: float) -> tuple[Switches, list[Event]]:
    """What is switched after a command, and the events that say so."""
    events = events_of(switches, facts, now)
    after = switches
    for event in events:
        after = after.after(event)
    size = len(after.text())
    if size > SWITCHES_MAX and size > len(switches.text()):
        because = f"more is switched than {SWITCHES_MAX} characters can hold"
        refused = meta(what="refuse", choice=f"{facts['verb']} {facts['name']}", because=because, by=facts.get("by"))
        return switches, [Event(Kind.DECIDED, now, meta=refused)]
    return after, events
