"""`holdfast search`: what is printed, what is refused, and that nothing of a stranger's text steers the terminal.

If these fail, people who look for an earlier run are told of another one, or of none.
"""

from __future__ import annotations

from typing import Any

import holdfast as hf
from holdfast.errors import RunFailed


@hf.agent
async def support(run: hf.Run, what: str) -> str:
    """Notes it."""
    await run.note(f"about {what}\x1b[2K\u202e")
    if "lost" in what:
        raise LookupError(f"nowhere: {what}")
    return "done"


def begin(given: str, key: str) -> None:
    try:
        hf.App("sqlite:///holdfast.db", settings=hf.Settings(quiet_s=0.01)).run_sync(support, given, key=key)
    except RunFailed:
        pass


def test_what_is_found_is_shown_with_the_words_marked(shell: Any) -> None:
    """Lost: why a run was found, and which one it is."""
    begin("the first parcel", "ticket-1")
    begin("the lost parcel", "ticket-2")
    said = shell.call("search", "PARCEL", "lost")
    assert said.code == 0 and "ticket-2" in said.out and "ticket-1" not in said.out
    assert "«lost» «parcel»" in said.out and "failed" in said.out and "LookupError" in said.out
    assert "\x1b" not in said.out and "\u202e" not in said.out and "⟨U+202E⟩" in said.out
    assert shell.call("search", '"first parcel"', "--outcome", "succeeded").out.count("ticket-") == 1
    assert shell.call("search", "parcel -lost").out.count("ticket-") == 1


def test_every_filter_and_order_by_json(shell: Any) -> None:
    """Lost: an option that is taken and not used."""
    begin("the first parcel", "ticket-1")
    begin("the lost parcel", "ticket-2")

    def keys(*arguments: str) -> list[str]:
        said = shell.call("search", *arguments, "--json")
        assert said.code == 0 and said.document["schema"] == 1 and said.document["unread"] == []
        return [run["key"] for run in said.document["runs"]]

    both = ["ticket-2", "ticket-1"]
    assert keys() == both == keys("--agent", "support") == keys("--sort", "newest") == keys("--since", "1h")
    assert keys("--outcome", "failed") == ["ticket-2"] == keys("--error", "LookupError") == keys("--limit", "1")
    assert keys("--key", "ticket-1") == ["ticket-1"]
    assert keys("--usd-max", "0") == both and keys("--usd-min", "0.1") == [] == keys("--until", "1h")
    assert keys("--tool", "look") == [] == keys("--agent", "another")
    [run] = shell.call("search", "lost", "--json").document["runs"]
    assert {"id", "key", "agent", "outcome", "why", "tools", "errors", "usd", "snippet", "marks"} <= run.keys()


def test_what_cannot_be_asked_is_a_usage_error(shell: Any) -> None:
    """Lost: a mistyped filter that shows all runs to a script."""
    begin("a parcel", "k")
    for arguments in (
        ("--outcome", "success"),
        ("--sort", "key; DROP TABLE runs"),
        ("--since", "yesterday"),
        ("--limit", "0"),
        ("--usd-min", "nan"),
        ("--agent", ""),
        ("--tenant", "other"),
        ("!!!",),
    ):
        said = shell.call("search", *arguments)
        assert said.code == 2 and said.out == "", arguments
    nothing = shell.call("search", "nowhere")
    assert nothing.code == 0 and nothing.out == "" and "No run matches" in nothing.err


def test_without_a_store_nothing_is_made(shell: Any) -> None:
    """Lost: an empty store, and an index, at a place that was named by mistake."""
    assert shell.call("search", "x").code == 3
    assert list(shell.home.glob("*.db*")) == []


def test_the_side_file_is_no_problem_of_the_store(shell: Any) -> None:
    """Lost: a store that is called unwell, or that cannot be adopted, since somebody has searched in it."""
    begin("a parcel", "k")
    assert shell.call("search", "parcel").code == 0
    side = shell.home / "holdfast.db-search"
    assert side.stat().st_mode & 0o777 == 0o600
    doctor = shell.call("doctor", "--json")
    assert doctor.code == 0 and doctor.document["problems"] == []
    side.chmod(0o644)
    told = shell.call("doctor", "--json")
    assert told.code == 7 and "chmod 600" in told.document["problems"][0]
    side.chmod(0o600)
    copy = shell.home / "copy.db"
    for suffix in ("", "-search"):
        copy.with_name(copy.name + suffix).write_bytes((shell.home / f"holdfast.db{suffix}").read_bytes())
    assert shell.call("search", "parcel", "--store", "sqlite:///copy.db").code == 0, "a copy may be read"
    assert shell.call("adopt", "--copied", "--store", "sqlite:///copy.db").code == 0
    assert "k" in shell.call("search", "parcel", "--store", "sqlite:///copy.db").out
