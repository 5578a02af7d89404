"""The watch over the ways to people, by real processes that are killed: each is asked once, and somebody else hears."""

from __future__ import annotations

import signal
from typing import Any

from tests.cli.test_channels import Taken
from tests.inbox.test_heartbeat import Outside

FILE = """
[people.ada]
email = "ada@example.com"
[channels.mail]
kind = "email"
host = "127.0.0.1"
port = {port}
tls = "none"
from = "holdfast@example.com"
[chains.finance]
levels = [{{ to = ["ada"], by = ["mail"], wait = "10m" }}]
[heartbeat]
url = "env:BEAT"
allow = ["{place}"]
"""


def until(process: Any, *said: str) -> None:
    """It has said a line with each of these."""
    left = set(said)
    for line in process.stderr:
        left -= {each for each in left if each in line}
        if not left:
            return
    raise AssertionError(f"it has ended, and never said {left}")


def test_killed_workers_ask_once_and_who_confirms_is_reached(shell: Any) -> None:
    """Lost (R35): a probe that dies with the process that sent it, or that each process sends anew; and a dead-man's
    switch that goes on being told by nobody."""
    outside = Outside()
    try:
        with Taken() as taken:
            (shell.home / "holdfast.toml").write_text(FILE.format(port=taken.port, place=outside.place), "utf-8")
            beat = f"http://{outside.place}/ping"
            first = shell.start("worker", "agents.py", BEAT=beat)
            until(first, "(@watch) suspended (sleep)", "suspended (question)")
            assert outside.came == [("/ping", "")] and "rcpt TO:<ada@example.com>" in taken.said
            first.send_signal(signal.SIGKILL)
            first.wait(20)
            [asked] = shell.call("inbox", "--json").document["questions"]
            assert (asked["about"], asked["to"], asked["options"]) == ("probe", "ada", ["confirm"])
            assert shell.call("answer", asked["run"], "confirm", "--by", "ada").code == 0
            second = shell.start("worker", "agents.py", BEAT=beat)
            until(second, ") succeeded")
            second.send_signal(signal.SIGTERM)
            second.wait(40)
        assert taken.said.count("rcpt TO:<ada@example.com>") == 1
        assert {path for path, _ in outside.came} == {"/ping"} and len(outside.came) <= 2
        status = shell.call("channels", "status")
        [chain] = shell.call("channels", "status", "--json").document["chains"]
        assert chain["ways"][0]["taken_at"] is not None
        assert status.code == 0 and "chain finance: DEGRADED" in status.out and "only one level" in status.out
        assert "watches whether holdfast lives" not in status.out and "ago that all is well" in status.out
    finally:
        outside.end()
