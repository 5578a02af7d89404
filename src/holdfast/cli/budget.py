"""`holdfast budget`: what the tenant used in a day and in all, its caps, and the caps of one run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli import option
from holdfast.cli.caps import caps_of
from holdfast.cli.order import tell, to_desk, to_run
from holdfast.cli.output import SCHEMA, document, paint, say, text
from holdfast.cli.store import find, opened
from holdfast.errors import UsageError

if TYPE_CHECKING:
    from holdfast.protocols import Journal

_ACCOUNTS = ("day", "total")
_COUNTED = ("model_calls", "tokens", "usd_nano")


@click.command()
@click.argument("target", metavar="[day|total|KEY|RUN]", required=False)
@click.argument("parts", nargs=-1, metavar="[PART=CAP]...")
@click.option("--off", "is_off", is_flag=True, help="Take the caps of day or total away.")
@option.why
@option.by
@option.store
@option.json
def budget(
    target: str | None,
    parts: tuple[str, ...],
    is_off: bool,
    why: str,
    by: str | None,
    store: str | None,
    is_json: bool,
) -> int:
    """Show what is used and capped, or set caps: usd=50, tokens=5000, tokens=off.

    A cap below what is used stops a run at its next step; `holdfast resume` goes on when there is room again.
    """
    caps, who = caps_of(parts), option.name_of(by)
    if target is not None and not caps and not is_off:
        raise UsageError(f"Give a cap, such as `holdfast budget {target} usd=50`. Nothing was changed.")
    if is_off and caps:
        raise UsageError(f"--off takes all caps away, {parts[0]} sets one. Give one of both. Nothing was changed.")
    with opened(store) as journal:
        if target is None:
            return _list(journal, is_json=is_json)
        if target in _ACCOUNTS:
            _cap_account(journal, target, dict.fromkeys(_COUNTED) if is_off else caps, who, why)
            return _list(journal, is_json=is_json)
        return _cap_run(journal, target, {} if is_off else caps, who, why, is_json=is_json)


def _cap_account(journal: Journal, account: str, caps: dict[str, int | None], by: str, why: str) -> None:
    from holdfast.core.accept import command
    from holdfast.core.desk import BUDGET

    to_desk(journal, command(BUDGET, account, by=by, why=why, caps=caps))


def _cap_run(journal: Journal, run: str, caps: dict[str, int | None], by: str, why: str, *, is_json: bool) -> int:
    from holdfast.core import accept

    if not caps:
        raise UsageError("--off is for day and total. Of a run, name the part: tokens=off. Nothing was changed.")
    head = find(journal, run)
    to_run(journal, head, accept.cap(caps, by=by, why=why))
    tell(journal, head, "gets other caps.", is_json=is_json)
    return 0


def accounts(journal: Journal) -> list[dict[str, Any]]:
    """What all runs have used today (UTC) and in all, and the caps."""
    from holdfast.views.show import amounts  # loads the codec

    day = datetime.fromtimestamp(journal.now(), UTC).strftime("%Y-%m-%d")
    rows = []
    for name, used_in in (("day", f"day/{day}"), ("total", "total")):
        used, capped = journal.account(used_in), journal.account(name)
        rows.append(
            {
                "account": name,
                "of": day if name == "day" else None,
                "usage": None if used is None else amounts(used.spent) | {"reserved": amounts(used.reserved)},
                "limits": None if capped is None else amounts(capped.limits),
            }
        )
    return rows


def _list(journal: Journal, *, is_json: bool) -> int:
    rows = accounts(journal)
    if is_json:
        document({"schema": SCHEMA, "accounts": rows})
        return 0
    paint(*(text(line(row)) for row in rows))
    if not any(row["usage"] or row["limits"] for row in rows):
        say("Nothing is capped for all runs together, and nothing was counted.")
    return 0


def line(row: dict[str, Any]) -> str:
    """One of the `accounts`, for people."""
    usage, limits = row["usage"] or {}, row["limits"] or {}
    told = []
    for name in ("model_calls", "tokens", "usd"):
        form = "${:.4f}" if name == "usd" else "{}"
        cap, reserved = limits.get(name), (usage.get("reserved") or {}).get(name)
        held = f" (+{form.format(reserved)} reserved)" if reserved else ""
        of = "no cap" if cap is None else f"of {form.format(cap)}"
        told.append(f"{name.replace('_', ' ')} {form.format(usage.get(name) or 0)}{held} {of}")
    return f"{row['account']:<6} {row['of'] or '':<11} " + " · ".join(told)
