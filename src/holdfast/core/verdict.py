"""What a check of a feature found, and what several performances of it amount to. Pure.

An agent can say that a feature is done; what counts is what holdfast saw when it ran the check.

Invariant: a check that did not run, or ran nothing, has not passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

LINE_MAX: Final = 200


class Artefact(NamedTuple):
    """A file that a check made."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Result:
    """One performance of a check."""

    has_run: bool
    """False: it never came to say anything (not found, no test collected, nothing to ask)."""
    passed: bool
    why: str = ""
    """One line: why it did not pass, or did not run."""
    exit_code: int | None = None
    output: str = ""
    """The end of what it said; for people and the agent."""
    output_sha256: str = ""
    """Of all that it said."""
    took_s: float = 0.0
    artefacts: tuple[Artefact, ...] = ()


def as_result(facts: Mapping[str, Any]) -> Result:
    """The result whose fields `facts` has, as plain data."""
    return Result(**{**facts, "artefacts": tuple(Artefact(*each) for each in facts.get("artefacts", ()))})


class Verdict(NamedTuple):
    """What several performances of one check amount to."""

    passed: bool
    has_run: bool
    is_flaky: bool
    """It said one thing and then another, of the same tree."""
    because: str


RERUNS: Final = 2
"""How often a check that did not pass is performed again, to find out whether it is flaky."""


def wants_another(results: Sequence[Result]) -> bool:
    """Whether the check is to be performed once more before it is judged."""
    if results[0].passed or not results[-1].has_run or len(results) > RERUNS:
        return False
    return len(results) == 1 or results[-1].passed


def judged(results: Sequence[Result]) -> Verdict:
    """What these performances, one after the other on one tree, amount to.

    The first passes: passed. The first does not and the second does not: failed. They differ: flaky, and passed only
    when the last two passed.
    """
    first, last = results[0], results[-1]
    if first.passed and len(results) == 1:
        return Verdict(True, True, False, "passed")
    if not last.has_run:
        return Verdict(False, False, any(r.passed for r in results), last.why or "did not run")
    said = {result.passed for result in results}
    if len(said) == 1:
        return Verdict(
            first.passed,
            True,
            False,
            "passed" if first.passed else f"{first.why}, {len(results)} times{_last_line(last.output)}",
        )
    passed = len(results) > RERUNS and all(result.passed for result in results[-2:])
    count = sum(result.passed for result in results)
    return Verdict(passed, True, True, f"flaky: passed {count} of {len(results)} times")


def _last_line(output: str) -> str:
    """What a check said last, for whoever reads why it does not pass."""
    said = [line.strip() for line in output.splitlines() if line.strip()]
    return f": {said[-1][:LINE_MAX]}" if said else ""
