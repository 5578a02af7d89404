"""`holdfast run … --dry-run`: what would be run, under which caps, prices and policies. It starts and opens nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from holdfast.cli.output import SCHEMA, document, paint, text
from holdfast.core.budget import DEFAULT_LIMITS, Budget, Limits, Price
from holdfast.core.override import Overrides
from holdfast.core.policy import Policy
from holdfast.core.rates import ModelPrice
from holdfast.core.worst import Model, worst
from holdfast.models.bounds import window_of
from holdfast.runtime.agent import Agent
from holdfast.runtime.config import load
from holdfast.runtime.policies import Policies
from holdfast.runtime.pricing import SEARCH, Prices, check_prices
from holdfast.runtime.tool import declared
from holdfast.views.decisions import caps


def dry_run(
    agent: Agent[Any, Any], budget: Budget | None, config: str | None, flags: Overrides, *, is_json: bool
) -> int:
    """Show it; refused as the run itself would be."""
    file = load(config)
    stated = budget.limits().over(agent.limits) if budget is not None else agent.limits
    limits = stated or DEFAULT_LIMITS
    check_prices(agent.name, agent.models, stated, file.prices)
    prices, policies = Prices(file.prices), Policies(file.tools, flags)
    picture = {
        "schema": SCHEMA,
        "agent": agent.name,
        "limits": _limits(limits),
        "is_default": stated is None,
        "models": [{"name": name, "price": _price(prices, name)} for name in agent.models],
        "tools": [
            {"name": spec.name, "effect": str(spec.effect), "policy": _plain(policies.of(spec))}
            for spec in sorted((tool.spec for tool in declared()), key=lambda spec: spec.name)
        ],
        "most": _most(limits, agent, file.prices, prices),
        "account_limits": {account: _limits(capped) for account, capped in file.caps.items()},
    }
    if is_json:
        document(picture)
    else:
        paint(*(text(line) for line in _lines(picture, limits)))
    return 0


def _limits(limits: Limits) -> dict[str, int | None]:
    return dict(zip(Limits._fields, limits, strict=True))


def _price(prices: Prices, model: str) -> dict[str, Any] | None:
    """The dearest of those who sell it, in USD per million tokens; None when nobody's is known."""
    dearest = _dearest(prices, model)
    if dearest is None:
        return None
    rates = dearest.tiers[0].rates
    return {"input": float(rates.input), "output": float(rates.output), "source": dearest.source}


def _dearest(prices: Prices, model: str) -> ModelPrice | None:
    found: list[ModelPrice] = [p for p in (prices.find(provider, model) for provider in SEARCH) if p is not None]
    return max(found, key=lambda price: price.tiers[0].rates.output, default=None)


def _most(limits: Limits, agent: Agent[Any, Any], stated: Mapping[str, Price], prices: Prices) -> dict[str, Any]:
    """The most that the run can use of each part, and what bounds it."""
    models = []
    for name in agent.models:
        window = window_of(name, stated)
        models.append(Model(name, _dearest(prices, name), window.context, window.output))
    found = worst(limits, models)
    parts = {"tool_calls": found.tool_calls, "model_calls": found.model_calls, "tokens": found.tokens, "usd": found.usd}
    return {part: {"most": amount, "because": found.because[part]} for part, amount in parts.items()}


def _plain(policy: Policy) -> dict[str, Any]:
    found = {}
    for field in fields(policy):
        value = getattr(policy, field.name)
        found[field.name] = _shown(value)
    return found


def _shown(value: Any) -> Any:
    """A part of a policy as plain JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _shown(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [getattr(item, "name", str(item)) for item in value]  # rungs of a ladder
    if isinstance(value, dict):
        return {str(name): str(kind) for name, kind in value.items()}
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _lines(picture: dict[str, Any], limits: Limits) -> list[str]:
    default = " (none was stated: the defaults)" if picture["is_default"] else ""
    lines = [f"agent {picture['agent']}", f"caps: {caps(limits)}{default}"]
    for model in picture["models"]:
        price = model["price"]
        told = "no price is known" if price is None else f"${price['input']:g} in, ${price['output']:g} out per million"
        lines.append(f"model {model['name']}: {told}")
    if not picture["models"]:
        lines.append("models: the agent names none (@agent(models=…)), so their prices are not checked before the run")
    for tool in picture["tools"]:
        lines.append(f"tool {tool['name']} ({tool['effect']}): {_policy(tool['policy'])}")
    lines += [f"at most {_amount(part, item['most'])}: {item['because']}" for part, item in picture["most"].items()]
    lines += [f"all runs, {account}: {caps(held.values())}" for account, held in picture["account_limits"].items()]
    return [*lines, "Nothing was started."]


def _amount(part: str, amount: Any) -> str:
    if amount is None:
        return f"any {part.replace('_', ' ')}"
    return f"${amount:.4f}" if part == "usd" else f"{amount} {part.replace('_', ' ')}"


def _policy(policy: dict[str, Any]) -> str:
    parts = []
    for name, value in policy.items():
        if isinstance(value, dict):
            parts += [f"{name}.{part}={item}" for part, item in value.items() if item not in (None, [], {})]
        elif value not in (None, [], {}):
            parts.append(f"{name}={value}")
    return ", ".join(parts)
