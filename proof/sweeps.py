"""The long tests: above all example agents, killed at every point of their lives and again in recovery.

They are tests marked `proof`; the default run holds a sample of each beside it. What they count they tell by
`record_property`: trials, kills. And all laws that Hypothesis tries, with many examples.
"""

from __future__ import annotations

from pathlib import Path

from proof.origin import Origin, origin
from proof.part import Plan, Seen, in_memory
from proof.suite import ROOT, ran

TESTS = {
    "crash/test_support_sweep.py::test_twelve_tickets_killed_at_every_point[0]": 250,
    "crash/test_support_sweep.py::test_twelve_tickets_killed_at_every_point[1]": 250,
    "crash/test_family_sweep.py": 200,
    "crash/test_saga.py": 60,
    "crash/test_sweep.py": 60,
    "crash/test_ladder_sweep.py": 40,
    "examples/test_todo.py": 24,
    "memory/test_quarantine.py": 0,
    "memory/test_record.py": 0,
    "models/test_retry_owner.py": 0,
    "runtime/test_large_values.py": 20,
    "runtime/test_shared_budget.py": 0,
    "e2e/test_field_probes.py": 0,
    "e2e/test_demo.py": 0,
}
"""And how many kills each sees at least, with all its parameters."""
LAWS = ("-m", "hypothesis", "--hypothesis-profile", "many")
TRIALS = len(TESTS) + 1
WANTED = {"sweeps": TRIALS, "kills": sum(TESTS.values())}
COST = 440
SHARDS = 4
"""Each loads once what its tests share."""
WAITS = True


def run(plan: Plan) -> Seen:
    """One test is a trial."""
    seen = Seen()
    with in_memory(plan.directory) as place, origin(ROOT) as forked:
        for trial in plan.trials(TRIALS):  # they are what they are: more hours make no more of them
            if trial < len(TESTS):
                _swept(list(TESTS)[trial], place, seen, forked)
            elif trial == len(TESTS):
                _tried(place, seen, forked)
    return seen


def _tried(place: Path, seen: Seen, forked: Origin | None) -> None:
    outcome = ran([""], place, *LAWS, "-o", "timeout=3600", origin=forked)
    if outcome.code or not outcome.passed:
        seen.problems.append(f"laws end with {outcome.code}: {outcome.said}")
        return
    seen.count("sweeps")


def _swept(test: str, place: Path, seen: Seen, forked: Origin | None) -> None:
    outcome = ran([test], place, "-m", "proof", "-o", "timeout=3600", origin=forked)
    if outcome.code or not outcome.passed:
        seen.problems.append(f"{test} ends with {outcome.code}: {outcome.said}")
        return
    if outcome.counts["kills"] < TESTS[test]:
        seen.problems.append(f"{test} has killed {outcome.counts['kills']} times, and not {TESTS[test]}")
    seen.counts.update(outcome.counts)
    seen.count("sweeps")
