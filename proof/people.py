"""Questions to people whose channels, pages, processes and habits fail: each ends in a decision or in the default.

They are tests: the table of failures, people and failures that are drawn, and answers that are forged, played again,
too late or altered. What they count they tell by `record_property`.
"""

from __future__ import annotations

from proof.origin import origin
from proof.part import Plan, Seen, in_memory
from proof.suite import ROOT, ran

DRAWN = "inbox/matrix/test_shaken.py::test_whatever_fails_it_ends_by_its_deadline_many_times"
TESTS = (
    *(f"{DRAWN}[{way}-{half}]" for way in ("web", "mail", "slack", "hook") for half in range(2)),
    "inbox/matrix/test_failures.py",
    "runtime/test_approving.py",
)
WANTED = {"questions": 400, "failures": 100, "false_answers": 4_000}
COST = 100
SHARDS = len(TESTS)
WAITS = True


def run(plan: Plan) -> Seen:
    """One file, or one way of being told, is a trial."""
    seen = Seen()
    with in_memory(plan.directory) as place, origin(ROOT) as forked:
        for trial in plan.trials(len(TESTS)):
            if trial < len(TESTS):  # they are what they are: more hours make no more of them
                outcome = ran([TESTS[trial]], place, "-m", "proof or not proof", "-o", "timeout=3600", origin=forked)
                if outcome.code or not outcome.passed:
                    seen.problems.append(f"{TESTS[trial]} ends with {outcome.code}: {outcome.said}")
                seen.counts.update(outcome.counts)
    return seen
