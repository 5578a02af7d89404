"""The runner of the proof, with parts that lie, see nothing, crash or hang: each must be a failed part."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from proof import runner
from proof.runner import Asked, Found, Part

WELL = """
WANTED = {"seen": 8}
def run(plan):
    from proof.part import Seen
    seen = Seen()
    for trial in plan.trials(8):
        seen.count("seen")
    return seen
"""
BAD = {
    "blind": WELL.replace('seen.count("seen")', "pass"),
    "too_few": WELL.replace('seen.count("seen")', 'seen.count("seen", trial % 2)'),
    "same_in_each_shard": WELL.replace("plan.trials(8)", "range(8)"),
    "early": WELL.replace('seen.count("seen")', 'seen.count("seen", 8); break'),
    "negative": WELL.replace('seen.count("seen")', 'seen.count("seen", 9); seen.count("other", -1)'),
    "not_a_count": WELL.replace('seen.count("seen")', 'seen.count("seen", 2.5)'),
    "crashed": WELL.replace('seen.count("seen")', "1 / 0"),
    "killed": WELL.replace('seen.count("seen")', "__import__('os').kill(__import__('os').getpid(), 9)"),
    "left": WELL.replace('seen.count("seen")', "__import__('os')._exit(0)"),
    "problem": WELL.replace('seen.count("seen")', 'seen.count("seen"); seen.problems.append("lost")'),
    "no_seen": WELL.replace("return seen", "return None"),
}
SAID = {
    "blind": "seen: 0 of 8",
    "too_few": "seen: 4 of 8",
    "same_in_each_shard": "each shard did the same",
    "early": "took 1 of 4 trials",
    "negative": "cannot be counted",
    "not_a_count": "cannot be counted",
    "crashed": "ZeroDivisionError",
    "killed": "ended with -9",
    "left": "left no result",
    "problem": "lost",
    "no_seen": "AttributeError",
}
HANGS = """
WANTED = {"seen": 1}
def run(plan):
    import os, subprocess, sys
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with open("child", "w") as file:
        file.write(str(child.pid))
    child.wait()
"""

MEETS = """
WANTED, WAITS = {{"seen": 2}}, {waits}
def run(plan):
    import os, time
    from pathlib import Path
    from proof.part import Seen
    Path("{name}").touch()
    while not Path("{other}").exists():
        time.sleep(0.01)
    seen = Seen()
    for trial in plan.trials(2):
        seen.count("seen")
    seen.count("nice", os.nice(0))
    return seen
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the parts of a test stand; also their working directory."""
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(tmp_path)]))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def part(name: str, cost: float = 1) -> Part:
    """As it is loaded, in two shards when it costs more than one shard does."""
    loaded = runner.load(name, name)
    return Part(name, name, loaded.wanted, cost, fault=loaded.fault, waits=loaded.waits)


def ran(parts: list[Part], limit_s: float = 60) -> tuple[dict[str, Found], list[str]]:
    """What was found by name, and what was told on the way."""
    told: list[str] = []
    found = runner.run(parts, Asked(seed=3, cores=2, limit_s=limit_s, tell=told.append))
    return {one.part.name: one for one in found}, told


def test_a_bad_part_fails_and_the_others_are_counted(modules: Path) -> None:
    """Lost: the meaning of a proof that passed. A part that lies, dies or looks away would be taken at its word."""
    for name, text in BAD.items():
        (modules / f"bad_{name}.py").write_text(text)
    (modules / "well.py").write_text(WELL)
    parts = [part("well", 120), *(part(f"bad_{name}", 120) for name in ("same_in_each_shard", "early"))]
    parts += [part(f"bad_{name}") for name in BAD if name not in ("same_in_each_shard", "early")]
    found, told = ran(parts)
    assert found["well"].problems(1.0) == [] and found["well"].seen.counts == {"seen": 8}
    assert found["well"].shards == 2 and found["well"].cpu_seconds > 0
    for name, said in SAID.items():
        problems = found[f"bad_{name}"].problems(1.0)
        assert any(said in problem for problem in problems), (name, problems)
    assert len(told) == 3 * 2 + len(BAD) - 2 and told[-1].endswith("0 more to do")


def test_what_only_computes_gives_way_to_what_waits(modules: Path) -> None:
    """Lost: times that are kept, as by leases, or a core that is idle while something waits for its turn. Each of the
    two ends only when the other one has begun."""
    for name, other in (("waits", "computes"), ("computes", "waits")):
        (modules / f"{name}.py").write_text(MEETS.format(name=name, other=other, waits=name == "waits"))
    found, _ = ran([part("computes", 120), part("waits")])
    assert found["computes"].problems(1.0) == found["waits"].problems(1.0) == []
    assert found["computes"].seen.counts["nice"] == 2 * found["waits"].seen.counts["nice"] + 2 * runner.GIVES_WAY


def test_a_part_that_hangs_is_ended_with_all_that_it_started(modules: Path) -> None:
    """Lost: the night. A proof that never ends says nothing, and what it left running disturbs the next one."""
    (modules / "hangs.py").write_text(HANGS)
    found, _ = ran([part("hangs")], limit_s=2)
    assert any("did not end within 2 s" in problem for problem in found["hangs"].problems(1.0))
    child = int((modules / "child").read_text())
    with pytest.raises(ProcessLookupError):
        while True:
            os.kill(child, 0)
            if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
                raise ProcessLookupError


def test_a_part_that_cannot_be_loaded_is_a_problem(modules: Path) -> None:
    """Lost: all other parts, and the evidence of this one's failure."""
    (modules / "broken.py").write_text("raise OSError('no disk')")
    (modules / "well2.py").write_text(WELL)
    found, _ = ran([part("broken"), part("nowhere"), part("well2")])
    assert found["broken"].problems(1.0) == ["cannot be loaded: OSError: no disk"]
    assert "ModuleNotFoundError" in found["nowhere"].problems(1.0)[0]
    assert found["well2"].problems(1.0) == []


def test_what_is_dear_begins_first_and_is_divided() -> None:
    """Lost: minutes at the end in which one core waits for the other."""
    cheap, dear = Part("cheap", "c", {}, 30), Part("dear", "d", {}, 750)
    whole = Part("whole", "w", {}, 160, shards_max=1)
    jobs = runner.jobs([cheap, dear, whole], 1.0)
    assert [job.name for job in jobs[:2]] == ["whole 1/1", "dear 1/13"] and jobs[-1].name == "cheap 1/1"
    assert len(runner.jobs([dear], 3.0)) == 38 and len(runner.jobs([dear], 0.01)) == 1
    assert {(job.shard, job.shards) for job in jobs if job.part is dear} == {(n, 13) for n in range(13)}
    assert all(job.limit_s >= 10 * job.cost for job in jobs)
