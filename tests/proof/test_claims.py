"""What the README claims is what docs/evidence.json says, and no word of it can be had without evidence."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from proof import claims, evidence, runner
from proof.__main__ import PARTS, main
from proof.claims import CLAIMS, rendered, written
from proof.evidence import State, why_not
from proof.part import Seen
from proof.runner import Asked, Found, Part

README = (evidence.ROOT / "README.md").read_text("utf-8")


def recorded() -> Any:
    """What the last full run has written."""
    return json.loads(evidence.FILE.read_bytes()) if evidence.FILE.exists() else None


def made(**other: Any) -> dict[str, Any]:
    """Evidence of a run of one part that is claimed, changed so."""
    claim = CLAIMS[0]
    seen = Seen()
    seen.count(claim.what, 3_000)
    found = Found(Part(claim.part, "m", {claim.what: 3_000}), seen, 2, 20.0, 21.0)
    here = evidence.state()
    whole = evidence.evidence([found], Asked(seed=7), 600.0, before=here, is_partial=False)
    return whole | {"is_dirty": False} | other


def test_the_readme_claims_what_the_evidence_says() -> None:
    """Lost: the reader's trust. Nothing else on the page is a number that nobody can check."""
    assert written(README, recorded()) == README, "run `make proof`, or put back what it had written"


def test_evidence_has_what_a_reader_needs_to_do_it_again() -> None:
    """Lost: a number without its commit, seed and place."""
    whole = made()
    part = whole["parts"][CLAIMS[0].part]
    assert whole["schema"] == 1 and whole["seed"] == 7 and whole["seconds"] == 600.0 and whole["cpu_seconds"] == 20.0
    assert len(whole["commit"]) == 40 or whole["commit"] == "unknown"
    assert whole["machine"].keys() >= {"cpus", "system", "python", "sqlite"}
    assert part["counts"] == {CLAIMS[0].what: 3_000} and part["failure_rate_max"] == {CLAIMS[0].what: 0.001}
    assert f"| {CLAIMS[0].words} | 3,000 |" in rendered(whole) and whole["commit"][:12] in rendered(whole)


BAD = {
    "nothing was run": None,
    "a part of it": {"is_partial": True},
    "no commit": {"is_dirty": True},
    "problems": {"problems": 1},
    "no parts": {"parts": {}},
}


@pytest.mark.parametrize("name", BAD)
def test_nothing_is_claimed_without_evidence(name: str) -> None:
    """Lost: the meaning of all claims: one of them could have been written by hand, or by a run that failed."""
    other = BAD[name]
    bad = None if other is None else made(**other)
    assert why_not(bad) and rendered(bad).startswith("No counts are claimed: ")
    assert not any(character.isdigit() for character in rendered(bad))


def test_what_a_part_found_wrong_or_did_not_see_is_in_the_evidence() -> None:
    """Lost: a failed proof that looks like one that passed."""
    few = Found(Part("p", "m", {"seeds": 10, "kills": 5}), Seen(problems=["seed 3: lost"]))
    whole = evidence.evidence([few], Asked(), 1.0, before=State("c", False), is_partial=False)
    assert whole["problems"] == 3 and whole["parts"]["p"]["problems"][0] == "seed 3: lost"
    assert whole["parts"]["p"]["failure_rate_max"] == {} and whole["is_dirty"], "the commit is not the one at the begin"
    assert evidence.evidence([], Asked(scale=0.5), 1.0, before=State("c", False), is_partial=False)["is_partial"]
    assert "WRONG: seeds: 0 of 10" in claims.summary(whole)


def test_a_page_without_its_markers_is_not_written() -> None:
    """Lost: claims that stand somewhere else, where nobody compares them."""
    with pytest.raises(ValueError, match="markers"):
        written("# A page", made())
    page = f"a\n{claims.BEGIN}\n\nold\n\n{claims.END}\nb"
    assert written(page, None) == f"a\n{claims.BEGIN}\n\n{rendered(None)}\n\n{claims.END}\nb"


@pytest.mark.parametrize("name", PARTS)
def test_each_part_wants_something_and_is_claimed(name: str) -> None:
    """Lost: a part that runs for minutes and of which nobody reads, or a claim of what is not counted."""
    module = importlib.import_module(f"proof.{PARTS[name]}")
    assert module.WANTED and all(count > 0 for count in module.WANTED.values())
    claimed = [claim.what for claim in CLAIMS if claim.part == name]
    assert claimed and set(claimed) <= set(module.WANTED), f"a claim of {name} needs one of {sorted(module.WANTED)}"


def test_no_claim_is_of_a_part_that_is_gone() -> None:
    """Lost: a row that silently vanishes from the README."""
    assert {claim.part for claim in CLAIMS} == set(PARTS)


def test_the_command_writes_both_or_only_what_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: claims in the README that came from a part of a run, or a full run that left none."""
    page = f"a\n{claims.BEGIN}\n\nold\n\n{claims.END}\nb"
    (tmp_path / "README.md").write_text(page)
    name = CLAIMS[0].part
    found = [Found(Part(name, "m", {CLAIMS[0].what: 1}), Seen(Counter({CLAIMS[0].what: 5})))]
    monkeypatch.setattr(evidence, "ROOT", tmp_path)
    monkeypatch.setattr(evidence, "FILE", tmp_path / "evidence.json")
    monkeypatch.setattr(evidence, "state", lambda: State("c" * 40, False))
    monkeypatch.setattr(runner, "run", lambda parts, asked: found)
    assert main(["--only", name]) == 0 and main(["--scale", "0.5"]) == 0 and main(["--hours", "0.1"]) == 0
    assert (tmp_path / "README.md").read_text() == page and not (tmp_path / "evidence.json").exists()
    assert json.loads((tmp_path / "evidence-partial.json").read_bytes())["is_partial"]
    assert main(["--hours", "1"]) == 0
    assert json.loads((tmp_path / "evidence.json").read_bytes())["scale"] == 3.0
    assert CLAIMS[0].words in (tmp_path / "README.md").read_text()
    found[0].seen.problems.append("lost")
    assert main([]) == 1
    assert "found problems" in (tmp_path / "README.md").read_text()
