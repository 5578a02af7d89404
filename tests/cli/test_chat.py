"""Slack with real processes: a worker that tells people and hears them, and the page that Slack posts to."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.cli.test_serve import served
from tests.inbox.servers.slack_server import ADA, APP, APP_TOKEN, BOT_TOKEN, SIGNING_SECRET, TEAM, SlackServer

pytest.importorskip("websockets", reason="needs websockets, for Socket Mode")

AGENT = """
import holdfast as hf

@hf.tool(effect="once", approve=hf.Ask("ada", within="30m", require_reachable=False))
async def refund(order: str) -> str:
    return "refunded " + order

@hf.agent
async def pays(run: hf.Run, order: str) -> str:
    try:
        return await refund(order)
    except hf.NotApproved as no:
        return no.outcome
"""
FILE = f"""
[people.ada]
slack = "{ADA}"
[channels.chat]
kind = "slack"
token = "env:SLACK_TOKEN"
team = "{TEAM}"
app = "{APP}"
shows_call = true
url = "URL/api"
allow = [ALLOWED]
HEARS
[chains.ada-now]
levels = [{{ to = ["ada"], by = ["chat"] }}]
"""
SECRETS = {"SLACK_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN, "SLACK_SIGNING": SIGNING_SECRET}


def until(is_so: Callable[[], Any], within_s: float = 30.0) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end, "it did not come to be so"
        time.sleep(0.01)


def written(slack: SlackServer, url: str, hears: str) -> None:
    """The file and the agent."""
    allowed = ", ".join(f'"{each.split("/")[2]}"' for each in (url, slack.socket_url))
    Path("holdfast.toml").write_text(
        FILE.replace("URL", url).replace("ALLOWED", allowed).replace("HEARS", hears), "utf-8"
    )
    Path("agents.py").write_text(AGENT, "utf-8")


def wanted(slack: SlackServer) -> Any:
    """The message about the approval: there may be probes, too."""
    return next((each for each in slack.of(ADA) if "Approval wanted" in each.text), None)


def asked(shell: Any) -> None:
    """A process in which the run asks, and tells ada; it does not stay."""
    said = shell.run("run", "agents.py:pays", "K-17", "--key", "k", "--wait", "0s", **SECRETS)
    assert said.code == 5, said  # it waits


def test_a_worker_tells_hears_and_goes_on(shell: Any) -> None:
    """Lost: ask, press, done, in one process that nobody can reach from outside."""
    slack = SlackServer(time.time)
    with slack.listening() as url:
        written(slack, url, 'app_token = "env:SLACK_APP_TOKEN"')
        asked(shell)
        worker = shell.start("worker", "agents.py", **SECRETS)
        until(lambda: wanted(slack) and slack.sockets)
        message = wanted(slack)
        assert slack.push(slack.press(ADA, message, "look"), wait_s=10) is not None
        until(lambda: slack.views)
        assert "K-17" in slack.views[0].shown and "K-17" not in message.shown
        answered = slack.push(slack.submit(slack.views[0], {"choice": "0"}), wait_s=10)
        assert answered is not None and "Your answer is taken." in str(answered)
        until(lambda: message.edits and not message.elements)
        assert "Answered by ada" in message.shown
        until(lambda: "refunded K-17" in shell.call("show", "k", "--json").out)
        worker.terminate()
        worker.communicate(timeout=30)


def test_the_page_hears_what_slack_has_signed(shell: Any) -> None:
    """Lost: buttons of those who let Slack in."""
    slack = SlackServer(time.time)
    with slack.listening() as url:
        written(slack, url, 'signing_secret = "env:SLACK_SIGNING"')
        asked(shell)
        worker = shell.start("worker", "agents.py", SLACK_TOKEN=BOT_TOKEN)
        until(lambda: wanted(slack))
        message = wanted(slack)
        process, page, _ = served(shell, "--by", "ada", **SECRETS)
        headers, body = slack.request(slack.press(ADA, message, "decline"))
        assert httpx.post(f"{page}/slack", content=body, headers=headers).status_code == 200
        assert httpx.post(f"{page}/slack", content=body + b" ", headers=headers).status_code == 401
        until(lambda: message.edits)
        assert "Answered by ada" in message.shown
        for each in (process, worker):
            each.terminate()
            each.communicate(timeout=30)


def test_a_worker_without_the_token_says_that_it_does_not_hear(shell: Any) -> None:
    """Lost: everybody thinks that somebody else's process hears the buttons."""
    slack = SlackServer(time.time)
    with slack.listening() as url:
        written(slack, url, 'app_token = "env:SLACK_APP_TOKEN"')
        worker = shell.start("worker", "agents.py", "--until-idle", SLACK_TOKEN=BOT_TOKEN)
        _, said = worker.communicate(timeout=30)
    assert "Buttons of chat are not heard here: the environment has no SLACK_APP_TOKEN." in said and not slack.sockets


@pytest.mark.parametrize("missing", ["SLACK_SIGNING", "SLACK_APP_TOKEN", "SLACK_TOKEN"])
def test_a_page_that_would_not_hear_does_not_start(shell: Any, missing: str) -> None:
    """Lost: buttons that nobody hears, and nobody knows."""
    slack = SlackServer(time.time)
    with slack.listening() as url:
        written(slack, url, 'signing_secret = "env:SLACK_SIGNING"\napp_token = "env:SLACK_APP_TOKEN"')
        asked(shell)
        left = {name: value for name, value in SECRETS.items() if name != missing}
        process = shell.start("serve", "--port", "0", "--by", "ada", **left)
        _, said = process.communicate(timeout=30)
        assert f"needs {missing}, which the environment does not have" in said and process.returncode == 2
