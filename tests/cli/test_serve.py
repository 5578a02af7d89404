"""`holdfast serve`: a real process, that is told to end by a signal, and what it refuses to be started as.

If these fail, the page is open to whom it should not be, or does not end.
"""

from __future__ import annotations

import re
import signal
from typing import Any

import httpx
import pytest

import holdfast as hf


@hf.agent
async def asks(run: hf.Run, given: Any) -> Any:
    """Asks one question."""
    return (await run.ask("Which?", options=("one", "two"))).value


def begin() -> None:
    """A run asks."""
    app = hf.App("sqlite:///holdfast.db", settings=hf.Settings(quiet_s=0.01))
    with pytest.raises(hf.errors.RunWaiting):
        app.run_sync(asks, None, key="k", wait=0)


def served(shell: Any, *arguments: str, **environment: str) -> tuple[Any, str, dict[str, str]]:
    """A process, its URL, and the codes that it has printed."""
    process = shell.start("serve", "--port", "0", *arguments, **environment)
    codes: dict[str, str] = {}
    url = ""
    wanted = max(1, arguments.count("--by"))
    while not url or len(codes) < wanted:
        line = process.stderr.readline()
        assert line, process.communicate()[1]
        if found := re.search(r"is at (http\S+)", line):
            url = found[1]
        if found := re.search(r"One-time code for (\S+): (\S+)", line):
            codes[found[1]] = found[2]
    return process, url, codes


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_person_signs_in_answers_and_the_page_ends_by_a_signal(shell: Any, number: int, code: int) -> None:
    """Lost: the page as people get it; a server that must be killed, also while a page is open."""
    begin()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and number == signal.SIGINT:
        number, code = signal.SIGTERM, 143  # as in a shell's background: it stays ignored
    process, url, codes = served(shell, "--by", "ada", "--by", "bob")
    assert codes.keys() == {"ada", "bob"}
    with httpx.Client(base_url=url, headers={"origin": url}, timeout=20) as bob:
        assert bob.post("/login", data={"code": codes["bob"]}).status_code == 303
        (path,) = re.findall(r'href="(/q/\w+/\w+)"', bob.get("/inbox").text)
        form = dict(
            re.findall(r'name="(token|digest)" value="([^"]*)"', bob.get(path).text.partition('id="answer"')[2])
        )
        assert bob.post(f"{path}/answer", data={**form, "option": "1"}).status_code == 303
        with bob.stream("GET", "/events") as stream:
            next(stream.iter_lines())
            process.send_signal(number)
            assert process.wait(timeout=20) == code
    assert process.stdout.read() == ""
    (item,) = shell.call("inbox", "--json").document["questions"]
    assert (item["state"], item["choice"], item["by"], item["via"]) == ("posted", "two", "bob", "web")


def test_it_says_that_approvals_are_advisory_where_the_agent_could_write_them(shell: Any) -> None:
    """Lost: the warning that a page alone keeps no agent from answering itself (S9)."""
    begin()
    process = shell.start("serve", "--port", "0")
    told = [process.stderr.readline(), process.stderr.readline()]
    assert any("advisory" in line for line in told)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "0.0.0.0"), "lets other machines in"),
        (("--origin", "inbox.example"), "is none"),
        (("--origin", "http://inbox.example"), "in the clear"),
        (("--origin", "https://inbox.example/path"), "is none"),
        (("--trust-header", "X-User"), "needs --origin"),
        (("--host", "203.0.113.9", "--origin", "https://inbox.example"), "cannot be had"),
    ],
)
def test_what_would_open_it_by_mistake_is_refused(shell: Any, arguments: tuple[str, ...], words: str) -> None:
    """Lost: an inbox that the whole network can reach, since somebody wanted to try it (S29)."""
    begin()
    said = shell.call("serve", "--port", "0", *arguments)
    assert said.code == 2 and words in said.err and "code for" not in said.err


def test_there_is_no_page_without_a_store(shell: Any) -> None:
    """Lost: an empty inbox in the place of the right one."""
    assert shell.call("serve", "--port", "0").code == 3
