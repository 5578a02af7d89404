"""The brief of a directory, gathered from a real store and a real repository. Nothing in the directory is believed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast as hf
from holdfast.core.feature import digest, features
from holdfast.core.known import Hold
from holdfast.core.verdict import Result, judged
from holdfast.errors import NotFound
from holdfast.journal.open import open_journal
from holdfast.memory.brief import Opened, brief, gather
from holdfast.memory.glance import Glance, glance
from holdfast.memory.place import named, place_of, write_name
from holdfast.memory.record import ProjectRecord
from holdfast.runtime.clock import SystemClock

LISTED = features(
    [
        {"id": "add", "description": "adds two numbers", "check": "command:python calc.py 1 + 2"},
        {"id": "sub", "description": "subtracts", "check": "pytest:tests/test_sub.py"},
    ]
)
PASSED = [Result(True, True, exit_code=0)]


def git(directory: Path, *words: str) -> str:
    """What git says there."""
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def there(tmp_path: Path) -> Iterator[tuple[Opened, ProjectRecord]]:
    """A project of two features, its store open."""
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "calc.py").write_text("print(3)\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "start")
    place = place_of(tmp_path)
    (place.common / "holdfast").mkdir()
    url = f"sqlite:///{place.common / 'holdfast' / 'holdfast.db'}"
    write_name(place, "calc", url)
    journal = open_journal(url, clock=SystemClock().now)
    record = ProjectRecord(journal, "calc", clock=SystemClock())
    record.freeze(LISTED, by="ada", digest=digest(LISTED))
    yield Opened(journal, "calc", place), record
    journal.close()


def test_it_is_the_same_with_the_store_open_and_by_the_directory_alone(there: tuple[Opened, ProjectRecord]) -> None:
    """A fresh process would know less than the harness, or something else."""
    project, record = there
    run = record.begin(project.place.id, message_id="b", by="pid 1").run
    assert record.claim(run, "sub", message_id="c") == ""
    (project.place.directory / "below").mkdir()
    told = brief(project.place.directory / "below").split("\n", 2)[2]
    assert told == brief(project.place.directory, journal=project.journal).split("\n", 2)[2]
    assert "0 of 2 features pass" in told and "- feature sub: session 1 has begun it here" in told


def test_what_stands_in_the_directory_changes_nothing(there: tuple[Opened, ProjectRecord]) -> None:
    """An agent would be done by writing a file."""
    project, _ = there
    before = gather(project)
    (project.place.directory / "features.json").write_text('{"features": [{"id": "add", "state": "passing"}]}')
    (project.place.directory / "progress.md").write_text("All features pass.")
    after = gather(project)
    assert (after.board, after.work, after.dirty) == (before.board, before.work, ())


def test_a_note_that_claims_all_changes_only_the_notes(there: tuple[Opened, ProjectRecord]) -> None:
    """The record would be worth as much as the last agent's word."""
    project, record = there
    run = record.begin(project.place.id, message_id="b", by="pid 1").run
    before = brief(project.place.directory, journal=project.journal).split("\n")
    record.note(run, "all features pass\n## Next\n- nothing", message_id="n")
    after = brief(project.place.directory, journal=project.journal).split("\n")
    assert [line for line in after if line.startswith("- session 1, 0 s ago")] == [
        '- session 1, 0 s ago: "all features pass\\n## Next\\n- nothing"'
    ]
    assert "0 of 2 features pass, 2 open." in before and "0 of 2 features pass, 2 open." in after
    assert after.count("## Next") == 1


def test_evidence_does(there: tuple[Opened, ProjectRecord]) -> None:
    """A brief that cannot say that something is done sends each session to do it again."""
    project, record = there
    run = record.begin(project.place.id, message_id="b", by="pid 1").run
    record.claim(run, "add", message_id="c")
    record.evidence(
        run, "add", verdict=judged(PASSED), results=PASSED, commit="c" * 40, tree="t" * 40, message_id="e"
    )  # fmt: skip
    told = {"failed": [["build", "no rule"]], "in_doubt": [["pay"]], "decided": [["way", "short", "it is late"]]}
    record.ended(run, outcome="passed", commit="c", branch="", digest=told, revision=0, message_id="x")
    text = brief(project.place.directory, journal=project.journal)
    for sentence in ("1 of 2 features pass", "## Done: these pass\n- add", "- feature sub: next on the list"):
        assert sentence in text
    for sentence in ('step "build" failed: "no rule"', 'whether "pay" happened', '"way" is "short"'):
        assert sentence in text, "what the session's record said at its end"


def test_a_doubt_that_was_settled_since_is_none(there: tuple[Opened, ProjectRecord]) -> None:
    """Each session after it would look for a payment that was found long ago."""
    project, record = there
    told = {"in_doubt": [["pay"]], "decided": [["way", "short", "it is late"]]}
    for number in (1, 2):
        run = record.begin(project.place.id, message_id=f"b{number}", by="pid 1").run
        record.ended(run, outcome="lost", commit="", branch="", digest=told, revision=0, message_id=f"x{number}")

    @hf.agent
    async def settled(run: hf.Run, what: str) -> str:
        return await run.decide("way", what, because="it was looked at")

    hf.App(named(project.place).store).run_sync(settled, "long", key="calc/session-1")
    text = brief(project.place.directory, journal=project.journal)
    assert text.count('whether "pay" happened') == 1 and "since session 2: nobody knows" in text
    assert '- session 1, its agent: "way" is "long"' in text


def test_it_writes_nothing(there: tuple[Opened, ProjectRecord]) -> None:
    """Whoever looks would change what they look at; or wait for who writes."""
    project, record = there
    (project.place.directory / "calc.py").write_text("print(4)\n")
    (project.place.directory / "new.py").write_text("")

    def state() -> list[object]:
        files = {path: path.read_bytes() for path in project.place.directory.rglob("*") if path.is_file()}
        kept = {path: data for path, data in files.items() if "holdfast.db" not in path.name}
        return [kept, project.journal.events(record.id), project.journal.mail(record.id)]

    before = state()
    assert gather(project).dirty == ("calc.py", "new.py")
    brief(project.place.directory)
    assert state() == before


def test_it_loads_neither_an_event_loop_nor_what_models_need() -> None:
    """Each start of an agent would wait for what no brief needs."""
    code = "import sys, holdfast.memory.brief, holdfast.journal.sqlite; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"asyncio", "pydantic", "httpx", "httpx2", "rich", "holdfast.runtime.app"} & {*loaded}


def test_the_run_of_a_session_that_nobody_began_is_not_there(there: tuple[Opened, ProjectRecord]) -> None:
    """It would be waited for."""
    project, record = there
    run = record.begin(project.place.id, message_id="b", by="pid 1").run
    assert gather(project).live[run].hold is Hold.UNKNOWN


def test_a_directory_without_a_project_says_what_to_do(tmp_path: Path) -> None:
    """Whoever stands in the wrong directory would be told of a traceback, or given an empty project."""
    with pytest.raises(NotFound, match="holdfast project init"):
        brief(tmp_path)
    git(tmp_path, "init", "-q")
    with pytest.raises(NotFound, match="holdfast project init"):
        brief(tmp_path)


def test_a_store_that_is_gone_is_not_made_anew(there: tuple[Opened, ProjectRecord]) -> None:
    """All that was done would look as if it had never been."""
    project, _ = there
    write_name(project.place, "calc", f"sqlite:///{project.place.directory}/other.db")
    with pytest.raises(NotFound):
        brief(project.place.directory)
    assert not (project.place.directory / "other.db").exists()


# --- what git says -------------------------------------------------------------------------------------------------


def test_a_working_tree_of_every_sort(tmp_path: Path) -> None:
    """Work that no commit has would be lost unseen: renamed, removed, new, with any name."""
    git(tmp_path, "init", "-q", "-b", "main")
    for name in ("kept", "moved", "gone", "with space"):
        (tmp_path / name).write_text(name * 50)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "start")
    head = git(tmp_path, "rev-parse", "HEAD").strip()
    assert glance(tmp_path) == Glance(head, "main")
    git(tmp_path, "mv", "moved", "to\nhere")
    (tmp_path / "gone").unlink()
    (tmp_path / "with space").write_text("other")
    (tmp_path / "new \u202e").write_text("")
    (tmp_path / "progress.md").write_text("ours")
    seen = glance(tmp_path)
    assert sorted(seen.dirty) == sorted(["to\nhere", "gone", "with space", "new \u202e"])
    git(tmp_path, "stash", "-q", "-u")
    git(tmp_path, "checkout", "-q", "--detach")
    assert glance(tmp_path) == Glance(head, "")


def test_nothing_that_the_repository_names_is_run(tmp_path: Path) -> None:
    """To look would run what an agent has left there."""
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("a")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "start")
    ran = tmp_path.parent / f"{tmp_path.name}-ran"
    bad = tmp_path / "bad.sh"
    bad.write_text(f"#!/bin/sh\ntouch {ran}\n")
    bad.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(bad))
    git(tmp_path, "config", "filter.bad.clean", str(bad))
    (tmp_path / ".gitattributes").write_text("* filter=bad\n")
    os.utime(tmp_path / "a", (1, 1))
    assert "bad.sh" in glance(tmp_path).dirty
    assert not ran.exists()


def test_without_git_it_is_said(there: tuple[Opened, ProjectRecord], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine without git cannot know would be taken for a clean tree; or there would be no brief."""
    project, _ = there
    monkeypatch.setenv("PATH", "/nowhere")
    text = brief(project.place.directory, journal=project.journal)
    assert "what of this working tree no commit has is not known" in text and "as its last commit" not in text
