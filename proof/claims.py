"""What the README says was proved: written by the command from the evidence, between two markers, and by nobody else.

Invariants
1. Each number in a claim is a count of the evidence. What the evidence lacks is not claimed.
2. Equal evidence gives equal text; a test holds the README to docs/evidence.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from proof.evidence import why_not

BEGIN = "<!-- Written by `make proof` from docs/evidence.json; a test compares them. -->"
END = "<!-- The end of what `make proof` writes. -->"


class Claim(NamedTuple):
    """A count of a part, and the words for it."""

    part: str
    what: str
    words: str
    is_sample: bool = True
    """Of something that is drawn at random or is one of many, so that the rule of three says something."""


CLAIMS: tuple[Claim, ...] = (
    Claim("double_kills", "double_kills", "pairs of kills: an agent dies, and again while it recovers"),
    Claim("sweeps", "kills", "kills of example agents, at every point of their lives"),
    Claim(
        "session_kills", "session_kills", "kills of a project's sessions, at any write or git command: it ends whole"
    ),
    Claim("storm", "process_kills", "SIGKILLs of workers that share a store, at any moment of their work"),
    Claim("fencing", "fencing_trials", "workers stopped past their lease, replaced, and woken"),
    Claim("simulation", "seeds", "simulated worlds of several processes, with up to four faults each"),
    Claim("power_cut", "images", "power cuts: disks as a cut may leave them, opened by the real engine"),
    Claim("power_cut_runs", "runs_gone_on", "runs cut by the power that went on: no once effect repeated or lost"),
    Claim("bit_flips", "damages", "turned bits and cut files: no answer that was not written"),
    Claim("io_errors", "faults", "I/O errors of the disk: nothing false, nothing half, and the store goes on"),
    Claim("postgres_faults", "cuts", "connections to Postgres cut around a COMMIT, each unknown commit read back"),
    Claim("postgres_faults", "restarts", "restarts of Postgres without a checkpoint, under running agents"),
    Claim("fuzz", "inputs", "hostile inputs: values, rows, messages, URLs, configurations, command lines, names"),
    Claim("state_machine", "programs", "programs of all calls of the store's contract, each engine against a model"),
    Claim("people", "failures", "ways to fail between a question and a person, by each way of being told: none silent"),
    Claim("people", "questions", "questions to people who, like channels and processes, do what is drawn: none silent"),
    Claim("people", "false_answers", "forged, replayed, late and altered approvals: no effect"),
    Claim("planted", "caught", "planted bugs, each caught by its test", is_sample=False),
)
"""In the order in which they stand in the README. Each part has one."""


def rendered(evidence: Mapping[str, Any] | None) -> str:
    """What stands between the markers."""
    reason = why_not(evidence)
    if reason or evidence is None:
        return f"No counts are claimed: {reason}."
    rows = [_row(claim, evidence["parts"]) for claim in CLAIMS if _count(claim, evidence["parts"])]
    said = f"Counted by one run of `make proof` at commit `{evidence['commit'][:12]}`, seed {evidence['seed']}"
    took = f"on {evidence['date'][:10]}, {evidence['seconds'] / 60:.0f} minutes on {evidence['machine']['cpus']} CPUs"
    head = ["| what was tried | so often, with 0 wrong | goes wrong in fewer than |", "|---|---|---|"]
    return "\n".join([f"{said}, {took} ([all counts](docs/evidence.json)), with 95 % confidence:", "", *head, *rows])


def _count(claim: Claim, parts: Mapping[str, Any]) -> int:
    part = parts.get(claim.part)
    return int(part["counts"].get(claim.what, 0)) if part else 0


def _row(claim: Claim, parts: Mapping[str, Any]) -> str:
    count = _count(claim, parts)
    bound = f"1 in {count // 3:,}" if claim.is_sample and count >= 3 else "–"
    return f"| {claim.words} | {count:,} | {bound} |"


def written(page: str, evidence: Mapping[str, Any] | None) -> str:
    """The page with what this evidence says."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for claims: its markers are gone")
    return f"{before}{BEGIN}\n\n{rendered(evidence)}\n\n{END}{after}"


def write(page: Path, evidence: Mapping[str, Any] | None) -> None:
    """Write them into a page."""
    page.write_text(written(page.read_text("utf-8"), evidence), "utf-8")


def summary(evidence: Mapping[str, Any]) -> str:
    """For whoever ran it: what each part saw, and everything that is wrong."""
    lines = []
    for name, part in evidence["parts"].items():
        counts = ", ".join(f"{count:,} {what}" for what, count in part["counts"].items())
        lines.append(f"{name:<18}{part['cpu_seconds']:>7.0f} CPU s  {counts}")
        lines += [f"  WRONG: {problem}" for problem in part["problems"]]
    took = f"{evidence['seconds'] / 60:.1f} minutes, {evidence['cpu_seconds'] / 60:.1f} of processors"
    return "\n".join([*lines, f"{took}, {evidence['problems']} problems"])
