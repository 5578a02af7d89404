"""`gc`, `migrate` and `doctor --rebuild`, as somebody who keeps a store types them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import apsw
import pytest

from holdfast.journal.process import this_worker
from holdfast.journal.sqlite import SqliteJournal


def runs(shell: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shell.call("ls", "--json").document["runs"]
    return found


@pytest.fixture
def used(shell: Any) -> Any:
    """A store with a run that succeeded and one that waits for an answer."""
    assert shell.call("run", "agents.py:pays", "a", "--key", "paid").code == 0
    assert shell.call("run", "agents.py:asks", "a", "--key", "asked", "--wait", "0s").code == 5
    return shell


def test_gc_forgets_what_is_told_and_its_key_stays_taken(used: Any) -> None:
    """Lost: a payment that is made again, since its run was tidied away; and a word about it."""
    trial = used.call("gc", "--ended-before", "0s", "--dry-run")
    assert trial.code == 0 and "would be forgotten 1 runs" in trial.out and len(runs(used)) == 2
    done = used.call("gc", "--ended-before", "0s", "--json").document
    assert len(done["forgotten"]) == 1 and done["retention"] == "ended at least 0 s ago" and not done["dry_run"]
    again = used.call("run", "agents.py:pays", "a", "--key", "paid")
    assert again.code == 3 and "removed by retention. It is not run again" in again.err
    assert (used.home / "ledger").read_text() == "a\n"
    assert used.call("run", "agents.py:pays", "b", "--key", "paid").code == 2
    shown = used.call("show", "paid", "--json").document
    assert shown["run"]["status"] == "succeeded" and shown["steps"] == [] and shown["run"]["result"] is None
    assert shown["run"]["forgotten_at"] is not None
    told = used.call("show", "paid")
    assert told.code == 0 and "its record was removed by retention. It is not run again." in told.out
    assert "removed by retention" in used.call("ls").out
    assert used.call("answer", "asked", "yes").code == 0


def test_gc_removes_workers_that_are_gone_and_says_how_many(used: Any) -> None:
    """Lost: the rows of killed processes would stay for ever; or go in a trial, or without a word."""
    journal = SqliteJournal(used.home / "holdfast.db", clock=time.time)
    journal.register(this_worker("alive"), 30.0)
    journal.register(replace(this_worker("killed"), started="another"), 30.0)
    journal.close()
    assert "workers    1 would be removed, which are gone" in used.call("gc", "--dry-run").out
    assert used.call("gc", "--dry-run", "--json").document["workers"] == 1
    assert "workers    1 removed, which are gone" in used.call("gc").out
    assert used.call("gc", "--json").document["workers"] == 0


def test_gc_without_a_policy_forgets_nothing(used: Any) -> None:
    """Lost: every result, by a command that somebody tried out."""
    done = used.call("gc", "--json").document
    assert done["forgotten"] == [] and done["retention"] == "none"
    refused = used.call("gc", "--ended-before", "soon")
    assert refused.code == 2 and "--ended-before 'soon' is not understood" in refused.err
    assert "[retention]" not in refused.err, "it is named as it was written"


def test_gc_reads_the_policy_of_the_file(used: Any) -> None:
    """Lost: one place for what a team has agreed on."""
    used.write('[retention]\nended_before = "30d"\n', "holdfast.toml")
    assert used.call("gc", "--json").document["forgotten"] == []
    assert used.call("gc", "--ended-before", "0s", "--json").document["forgotten"] != []
    used.write("[retention]\nolder = 3\n", "holdfast.toml")
    refused = used.call("gc")
    assert refused.code == 2 and "older is not understood" in refused.err


def test_migrate_moves_runs_that_wait(used: Any) -> None:
    """Lost: the runs of a project that outgrows its file."""
    done = used.call("migrate", "holdfast.db", "sqlite:///moved.db")
    assert done.code == 0 and "Moved 2 runs" in done.out, done.err
    refused = used.call("run", "agents.py:pays", "c", "--key", "more")
    assert refused.code == 7 and "its runs go on in sqlite:///" in refused.err and "moved.db" in refused.err
    assert used.call("answer", "asked", "yes").code == 7
    worker = used.call("worker", "agents.py")
    assert worker.code == 7 and "its runs go on in" in worker.err
    assert len(runs(used)) == 2, "it can still be read"
    assert used.call("answer", "asked", "yes", "--store", "moved.db").code == 0
    gone_on = used.call("run", "agents.py:asks", "a", "--key", "asked", "--store", "moved.db")
    assert gone_on.code == 0 and '"yes"' in gone_on.out
    assert used.call("migrate", "holdfast.db", "moved.db", "--json").document["moved"] is None
    assert used.call("migrate", "holdfast.db", "third.db").code == 7
    assert used.call("migrate", "gone.db", "third.db").code == 3
    assert used.call("migrate", "holdfast.db", "moved.db", "--give-up").code == 2


def test_doctor_tells_that_a_store_was_left(used: Any) -> None:
    """Without it `doctor` would say that all is well with a store to which nobody can write."""
    used.call("migrate", "holdfast.db", "sqlite:///moved.db")
    said = used.call("doctor", "--json")
    assert said.code == 7 and "takes no writes: its runs go on in sqlite:///" in said.document["problems"][0]
    assert used.call("doctor", "--store", "moved.db").code == 0


@pytest.mark.parametrize(
    "url",
    ["postgresql://ada:s3cret@127.0.0.1:1/x?password=s3cret", "mysql://ada:s3cret@h/x", "postgres://a:s3cret@[/x"],
)
def test_no_verb_prints_a_password(used: Any, url: str) -> None:
    """Without it a password would stand on terminals and in logs."""
    for words in (("doctor",), ("doctor", "--json"), ("ls",), ("migrate", "holdfast.db", url), ("gc", "--json")):
        said = used.call(*words) if url in words else used.call(*words, "--store", url)
        assert said.code in (2, 7) and "s3cret" not in said.out + said.err, words


def test_rebuild_tells_and_mends(used: Any) -> None:
    """Lost: a store that anybody could mend, and nobody does."""
    connection = apsw.Connection(str(used.home / "holdfast.db"))
    connection.execute("UPDATE runs SET head = '{}' WHERE key = 'paid'")
    connection.close()
    assert used.call("show", "paid").code == 7
    trial = used.call("doctor", "--rebuild", "--dry-run", "--json").document["rebuilt"]
    assert [one["is_mended"] for one in trial["differences"]] == [False] and trial["runs"] == 2
    told = used.call("doctor", "--rebuild")
    assert told.code == 0 and "1 differences" in told.out and "damaged -> status succeeded" in told.out
    assert used.call("show", "paid").code == 0
    assert used.call("doctor", "--rebuild", "--json").document["rebuilt"]["differences"] == []
    assert used.call("doctor", "--dry-run").code == 2


def test_only_a_file_is_adopted(used: Any) -> None:
    """Without it `adopt` would say that a Postgres is no store, and name it among those that are."""
    said = used.call("adopt", "--copied", "--store", "postgresql://ada@h/x")
    assert said.code == 2 and "not a file" in said.err and "Accepted" not in said.err
