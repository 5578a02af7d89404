"""`holdfast model-server`: what a program in any language sees of it, over real sockets and signals."""

from __future__ import annotations

import json
import signal
from typing import Any

import anthropic
from openai import OpenAI

from holdfast.testing.loopback import ask

POLICY = "from holdfast.testing.model_server import script, text\nsteps = script([text('one'), text('two')])\nn = 1\n"


def test_it_serves_a_client_and_ends_by_a_signal(shell: Any) -> None:
    """Without this, only Python tests could stage a provider."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as in a shell's background: it stays so
    for number in (signal.SIGTERM, signal.SIGTERM if ignored else signal.SIGINT):
        process = shell.start("model-server")
        url = json.loads(process.stdout.readline())["url"]
        with OpenAI(base_url=f"{url}/v1", api_key="t") as gpt:
            told = gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "Grüezi"}])
        assert told.choices[0].message.content == "You said: Grüezi"
        assert [each["api"] for each in ask(url, "GET", "/_holdfast/requests")[1]["requests"]] == ["chat"]
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "", "")


def test_it_says_what_was_not_used_as_planned(shell: Any) -> None:
    """Without this, a test in another language would pass though its script was never finished."""
    shell.write(POLICY, "policies.py")
    process = shell.start("model-server", "--policy", "policies.py:steps")
    url = json.loads(process.stdout.readline())["url"]
    with anthropic.Anthropic(base_url=url, api_key="t") as sdk:
        sdk.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "Hello"}])
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1 and "script step 2 of 2 was never used" in err


def test_it_ends_when_idle(shell: Any) -> None:
    """Without this, a server that a killed test left behind would stay for ever."""
    said = shell.run("model-server", "--idle-s", "0.05")
    assert said.code == 0 and said.document["url"].startswith("http://127.0.0.1:")


def test_what_cannot_be_a_policy_is_refused(shell: Any) -> None:
    """Without this, a typing error would show as a server that answers nothing."""
    shell.write(POLICY, "policies.py")
    for target, words in (
        ("policies.py:nothing", "no function or script 'nothing'"),
        ("policies.py:n", "no function or script 'n'"),
        ("policies.py", "Write FILE.py:NAME"),
        ("policies:steps", "names no policy"),
        ("none.py:steps", "There is no file none.py"),
    ):
        said = shell.call("model-server", "--policy", target)
        assert said.code == 2 and words in said.err, target


def test_a_port_that_is_taken_is_refused(shell: Any) -> None:
    """Without this, it would be reported as a bug in holdfast."""
    process = shell.start("model-server")
    port = json.loads(process.stdout.readline())["url"].rpartition(":")[2]
    said = shell.run("model-server", "--port", port)
    assert said.code == 2 and f"Port {port} cannot be had" in said.err
    process.terminate()
    process.communicate(timeout=20)
