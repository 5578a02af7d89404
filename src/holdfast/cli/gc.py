"""`holdfast gc`: forgets ended runs as retention says, removes what nothing names, gives space back."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli import option
from holdfast.cli.exit import Exit
from holdfast.cli.output import SCHEMA, document, paint, text
from holdfast.cli.store import each_tenant
from holdfast.core.heads import Status

_ENDS = [str(status) for status in Status if status.is_end]


@click.command()
@click.option("--ended-before", metavar="TIME", help="Forget runs that ended at least so long ago, such as 30d.")
@click.option("--keep", type=click.IntRange(0), metavar="N", help="But keep the newest so many of each agent.")
@click.option("--status", type=click.Choice(_ENDS), multiple=True, help="Only runs that ended so.")
@click.option("--agent", "agents", multiple=True, metavar="NAME", help="Only runs of this agent.")
@click.option("--dry-run", "is_trial", is_flag=True, help="Say what would be forgotten; change nothing.")
@click.option("--config", metavar="FILE", help="The holdfast.toml whose [retention] holds.")
@option.store
@option.json
def gc(
    ended_before: str | None,
    keep: int | None,
    status: tuple[str, ...],
    agents: tuple[str, ...],
    is_trial: bool,
    config: str | None,
    store: str | None,
    is_json: bool,
) -> int:
    """Forget ended runs by policy, and give their space back.

    What is forgotten is stated here or in [retention] of holdfast.toml; without a word nothing is, and only what no
    run names is removed: large values, and workers that are gone. A forgotten run keeps its key: it never runs again.
    """
    from holdfast.core.retention import parse  # with what follows: loads the core
    from holdfast.journal.collect import Collected, collect
    from holdfast.runtime.config import load

    given = {"ended_before": ended_before, "keep": keep, "status": status, "agents": agents}
    stated = load(config).retention
    flags = parse({name: value for name, value in given.items() if value not in (None, ())}, "--ended-before")
    retention = stated.under(flags)
    done, before, after = Collected(), 0, 0
    for _, journal, upkeep in each_tenant(store):
        before = before or _size(journal.facts())
        part = collect(journal, upkeep, retention, is_trial=is_trial)
        done.add(part)
        after = _size(journal.facts())
    found = {
        "schema": SCHEMA,
        "retention": str(retention),
        "dry_run": is_trial,
        "forgotten": done.forgotten,
        "kept": done.kept,
        "blobs": done.blobs,
        "blob_bytes": done.blob_bytes,
        "workers": done.workers,
        "bytes_before": before,
        "bytes_after": after,
    }
    document(found) if is_json else _print(found)
    return Exit.DONE


def _size(facts: dict[str, Any]) -> int:
    return int(facts.get("bytes", 0)) + int(facts.get("wal_bytes", 0))


def _print(found: dict[str, Any]) -> None:
    would = "would be forgotten" if found["dry_run"] else "forgotten"
    lines = [f"retention  {found['retention']}", f"{would:<10} {len(found['forgotten'])} runs; their keys stay taken"]
    lines += [f"kept       {count} ended runs: {why}" for why, count in sorted(found["kept"].items())]
    lines.append(f"workers    {found['workers']} {'would be ' if found['dry_run'] else ''}removed, which are gone")
    if not found["dry_run"]:
        lines.append(f"blobs      {found['blobs']} removed, {found['blob_bytes']:,} bytes")
        lines.append(f"store      {found['bytes_before']:,} bytes before, {found['bytes_after']:,} after")
    paint(*(text(line) for line in lines))
