"""`holdfast doctor`: versions, the store's facts, and what is wrong. Exit code 7 when the store is unwell."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from holdfast import __version__
from holdfast.cli import option
from holdfast.cli.budget import accounts, line
from holdfast.cli.channels import COLOURS
from holdfast.cli.exit import Exit
from holdfast.cli.output import SCHEMA, document, paint, text
from holdfast.cli.store import address, each_tenant, opened
from holdfast.core.standing import shown
from holdfast.errors import JournalError, NotFound, UsageError

if TYPE_CHECKING:
    from holdfast.protocols import Journal


@click.command()
@click.option("--rebuild", "is_rebuild", is_flag=True, help="Compute heads, accounts and cells anew from the logs.")
@click.option("--dry-run", "is_trial", is_flag=True, help="With --rebuild: tell the differences, change nothing.")
@option.store
@option.json
def doctor(is_rebuild: bool, is_trial: bool, store: str | None, is_json: bool) -> int:
    """Versions, the store's health, and what is wrong with it."""
    if is_trial and not is_rebuild:
        raise UsageError("--dry-run says what --rebuild would do. Nothing was done. Write both.")
    rebuilt = _rebuilt(store, is_trial=is_trial) if is_rebuild else None
    facts, shared, problems = _store(store)
    engine = str(facts["sqlite"]) if facts and "sqlite" in facts else _probe(problems)
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "versions": _versions(engine),
        "url": shown(address(store)),
        "store": facts,
        **shared,
        **({"chains": [], "outside": None} if facts is None else _reach(store)),
        "problems": problems,
    }
    if rebuilt is not None:
        found["rebuilt"] = rebuilt
        problems += rebuilt["left"]
    if is_json:
        document(found)
    else:
        _print(found)
    return Exit.STORE if found["problems"] else Exit.DONE


def _rebuilt(given: str | None, *, is_trial: bool) -> dict[str, Any]:
    """What was not as the logs say, and what became of it."""
    from holdfast.journal.rebuild import Rebuilt, rebuild  # loads the core

    found = Rebuilt()
    for tenant, journal, upkeep in each_tenant(given):
        part = rebuild(journal, upkeep, tenant, is_trial=is_trial)
        found.runs += part.runs
        found.differences += part.differences
        found.left += part.left
    differences = [difference._asdict() for difference in found.differences]
    return {"dry_run": is_trial, "runs": found.runs, "differences": differences, "left": found.left}


def _versions(engine: str) -> dict[str, str]:
    return {
        "holdfast": __version__,
        "python": platform.python_version(),
        "sqlite": engine,
        "apsw": version("apsw"),
        "platform": platform.platform(),
    }


def _reach(given: str | None) -> dict[str, Any]:
    """Whether questions reach anybody; nothing of the inbox is loaded where the file names no chain."""
    from holdfast.runtime.config import read

    if "chains" not in read(None)[1]:
        return {"chains": [], "outside": None}
    from holdfast.cli.reach import measured  # loads the inbox
    from holdfast.inbox.report import facts

    found = facts(measured(None, given))
    return {"chains": found["chains"], "outside": found["outside"]}


_NOTHING: dict[str, list[Any]] = {"accounts": [], "breakers": []}


def _store(given: str | None) -> tuple[dict[str, Any] | None, dict[str, list[Any]], list[str]]:
    """The store's facts, None where there is no store yet or it cannot be read, what runs share, and its problems."""
    from holdfast.runtime.breakers import open_breakers  # loads the core's policies

    try:
        with opened(given) as journal:
            facts, gone = journal.facts(), _gone(journal, shown(address(given)))
            shared = {"accounts": accounts(journal), "breakers": open_breakers(journal)}
    except NotFound:
        return None, _NOTHING, []
    except JournalError as error:
        return None, _NOTHING, [f"{type(error).__name__}: {error}"]
    problems = gone + list(facts.pop("problems", ()))
    integrity = facts.get("integrity", "ok")
    return facts, shared, problems if integrity == "ok" else [f"damaged: {integrity}", *problems]


def _gone(journal: Journal, here: str) -> list[str]:
    """That its runs go on in another store, or are on their way: it takes no writes, however whole it is."""
    from holdfast.journal.open import upkeep_of  # loads the engine
    from holdfast.journal.refusal import moved

    standing = upkeep_of(journal).standing()
    return [] if standing.is_open else [str(moved(standing, here))]


def _probe(problems: list[str]) -> str:
    """The engine's version, without a store that could tell it: from one that is made for this and removed."""
    from holdfast.journal.open import open_journal  # loads the engine
    from holdfast.runtime.clock import SystemClock

    try:
        with TemporaryDirectory(prefix="holdfast-doctor-") as directory:
            journal = open_journal(f"{directory}/probe.db", clock=SystemClock().now)
            try:
                return str(journal.facts()["sqlite"])
            finally:
                journal.close()
    except (OSError, JournalError) as error:
        problems.append(f"No store can be made in the directory for temporary files: {error}")
        return "unknown"


def _print(found: dict[str, Any]) -> None:
    lines = [text(f"{name:<10} {value}") for name, value in found["versions"].items()]
    if found["store"] is None and not found["problems"]:
        lines.append(text(f"{'store':<10} no store yet at {found['url']}; `holdfast run` makes one"))
    for name, value in (found["store"] or {"url": found["url"]}).items():
        if isinstance(value, dict):
            value = ", ".join(f"{count} {status}" for status, count in value.items()) or "none"
        lines.append(text(f"{name:<10} {value}"))
    lines += [text(line(row)) for row in found["accounts"]]
    for shut in found["breakers"]:
        until = datetime.fromtimestamp(shut["until"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        lines.append(text(f"breaker    {shut['tool']} is not called until {until}: {shut['because']}", "yellow"))
    for chain in found["chains"]:
        because = f": {'; '.join(chain['because'])}" if chain["because"] else ""
        lines.append(text(f"chain      {chain['chain']} is {chain['state']}{because}", COLOURS[chain["state"]]))
    if (outside := found["outside"]) is not None and (outside["wrong"] or outside["refusal"]):
        lines.append(text(f"outside    {'; '.join(outside['wrong']) or outside['refusal']}", "yellow"))
    lines += _told(found["rebuilt"]) if "rebuilt" in found else []
    lines += [text(f"problem    {problem}", "red") for problem in found["problems"]]
    paint(*lines, text("Unwell: see above." if found["problems"] else "All is well.", "bold"))


def _told(rebuilt: dict[str, Any]) -> list[Any]:
    """What `--rebuild` found, for people."""
    done = {True: "mended", False: "would be mended" if rebuilt["dry_run"] else "left"}
    lines = [text(f"rebuilt    {rebuilt['runs']} runs read, {len(rebuilt['differences'])} differences")]
    for one in rebuilt["differences"]:
        lines.append(
            text(f"rebuilt    {one['what']}: {one['was']} -> {one['now']} ({done[one['is_mended']]})", "yellow")
        )
    return lines
