"""`holdfast demo` kills real processes and counts what happened; here it is counted whether it counts."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests import warm

from holdfast.cli import demo
from holdfast.cli.__main__ import command_line
from holdfast.cli.demo_measure import Evidence, measure
from holdfast.cli.demo_picture import WIDTH, picture
from holdfast.errors import RunFailed, UsageError

DEMO = [sys.executable, "-m", "holdfast.cli", "demo"]
MARK = "DEMO_TEST_MARK"


def marked(mark: str) -> list[int]:
    """Every process that was started, at whatever remove, with this mark in its environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}\0".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:  # it ended just now, or is not ours
            continue
    return found


@pytest.fixture
def warmly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agents of the demo are processes that start warm."""
    if warm.IS_THERE:
        monkeypatch.setattr(subprocess, "Popen", warm.Warm)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """One demo, played once for the tests that only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        if warm.IS_THERE:
            patch.setattr(subprocess, "Popen", warm.Warm)
        return demo.play(tmp_path_factory.mktemp("demo"), "after")


def test_the_numbers_of_a_kill_after_the_refund_happened() -> None:
    """Else nobody would notice that a resumed agent pays twice, forgets a customer or asks the model again."""
    done = subprocess.run([*DEMO, "--json"], capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["steps"], facts["killed_at"], facts["resumed_at"]) == (12, 7, 7)
    assert (facts["effects"], facts["repeated"], facts["lost"], facts["unrecorded"]) == (19, 0, 0, 0)
    assert (facts["model_calls"], facts["model_calls_repeated"]) == (42, 0)
    assert (facts["in_doubt"], facts["verify"]) == (1, ["done"])
    assert (facts["sent"], facts["keys"]) == (1, 1)
    assert (facts["steps_kept"], facts["steps_redone"]) == (37, 0)
    assert facts["faults"] == [] and facts["tokens"] > 10_000 and facts["usd"] > 0


@pytest.mark.usefixtures("warmly")
def test_the_screen_of_a_kill_before_the_refund_happened(capsys: pytest.CaptureFixture[str]) -> None:
    """Else a refund that never left would be taken for done, and the customer would wait for ever."""
    assert command_line(["demo", "--kill", "before"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "7 T-07 2 - killed in refund: in doubt" in lines
    assert "7 T-07 2 refund 72.70, mail verify said not done, not done" in lines
    assert "killed at step 7 of 12: refund begun, no outcome in the journal" in lines
    assert "in doubt 1: refund of T-07; verify said not done, not done: sent again, same key" in lines
    assert "effects 19 in the ledger (12 mail, 7 refund): 0 repeated, 0 lost" in lines
    assert lines[-1] == "Nothing was done twice, and nothing was lost."


def test_what_goes_wrong_is_seen(seen: Evidence) -> None:
    """Else the demo would say "0 repeated, 0 lost" whatever happens."""
    assert measure(seen).faults == []
    refund = next(effect for effect in seen.effects if effect.name == "refund")
    twice = replace(seen, effects=[*seen.effects, replace(refund, seq=99)])
    assert measure(twice).faults == ["effects repeated: 1"]
    deduplicated = replace(seen, effects=[*seen.effects, replace(refund, first=False)])
    assert measure(deduplicated).faults == []
    missing = replace(seen, effects=[effect for effect in seen.effects if effect is not refund])
    assert measure(missing).faults == ["effects lost: 1"]
    strange = replace(seen, effects=[*seen.effects, replace(refund, args=refund.args | {"ticket": "T-02"})])
    assert measure(strange).faults == ["effects that the journal does not know: 1"]
    two_keys = measure(replace(seen, keys=(*seen.keys, "another")))
    assert two_keys.faults == ["keys of one refund: 2, not 1"] and "under 2 keys" in picture(two_keys)
    asked_again = replace(seen, requests=[*seen.requests, replace(seen.requests[0], repeated=True)])
    assert measure(asked_again).faults == ["model calls repeated: 1"]
    redone = replace(seen, at_end=[*seen.at_end[:-1], seen.at_kill[3], seen.at_end[-1]])
    assert measure(redone).faults == ["recorded steps done again: 1"]
    unfinished = measure(replace(seen, at_end=seen.at_end[:-1]))
    assert unfinished.faults == ["tickets closed: 0 of 12"]
    assert "NOT AS PROMISED: tickets closed: 0 of 12" in picture(unfinished)


@pytest.mark.usefixtures("warmly")
def test_an_agent_that_pays_twice_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the demo would praise an agent whose refund is declared as something that may simply be sent again."""
    careless = shutil.copytree(demo.examples(), tmp_path / "examples")
    code = (careless / "support.py").read_text("utf-8")
    (careless / "support.py").write_text(code.replace('effect="once"', 'effect="idempotent"'), "utf-8")
    monkeypatch.setattr(demo, "examples", lambda: careless)
    faults = measure(demo.play(tmp_path / "place", "after")).faults
    assert faults == ["effects repeated: 1", "steps in doubt: 0, not 1"]


def test_the_screen_is_narrow_and_obeys_no_ticket(seen: Evidence) -> None:
    """Else it would wrap on a usual terminal, or a model's text could steer it."""
    screen = picture(replace(measure(seen), results={"T-01": "\x1b[2J" * 40}))
    assert max(map(len, screen.splitlines()[1:])) <= WIDTH + 3
    assert "\x1b" not in screen


def test_an_agent_that_ends_by_itself_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a missing package in the agent's process would look like a demo that hangs."""
    broken = shutil.copytree(demo.examples(), tmp_path / "examples")
    (broken / "support.py").write_text("raise RuntimeError('no tea today')\n")
    monkeypatch.setattr(demo, "examples", lambda: broken)
    with pytest.raises(RunFailed, match=r"(?s)exit code 2 before it was killed.*no tea today"):
        demo.play(tmp_path / "place", "after")


def test_a_folder_with_a_demo_in_it_is_left_alone(tmp_path: Path) -> None:
    """Else the second demo would go on with the first one's run, and measure nothing."""
    (tmp_path / "demo.db").write_text("mine")
    with pytest.raises(UsageError, match="Name another folder"):
        demo.play(tmp_path, "after")
    assert (tmp_path / "demo.db").read_text() == "mine"


MOMENTS = list(itertools.product(("agent-1.log", "agent-2.log", "effects.jsonl"), (signal.SIGINT, signal.SIGTERM)))
SOME = (MOMENTS[0], MOMENTS[3])
"""In the default run: both signals, before the kill and after it. `make proof` has all."""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="children are found through /proc")
@pytest.mark.parametrize(
    ("moment", "number"), [pytest.param(*one, marks=() if one in SOME else pytest.mark.proof) for one in MOMENTS]
)
def test_a_signal_leaves_no_child_behind(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    """Else each demo that somebody stops would leave servers, and an agent that goes on paying."""
    mark = f"{number}-{tmp_path}"
    command = [*DEMO, "--kill", "before", "--dir", str(tmp_path / "place")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=os.environ | {MARK: mark}, **pipes) as process:
        while not (tmp_path / "place" / moment).exists():
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.02)  # it must not end before that moment
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert marked(mark) == []
