"""Real processes: killed, stopped and continued, asked to end; on a store on disk, with the ledger as oracle.

Nothing here waits for a time of its own: the ledger, a pipe or an exit says when.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import warm

from holdfast.journal.open import open_journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.ledger import Ledger

Starts = Callable[..., "subprocess.Popen[str]"]
ITEMS = 12
AGENTS = """
import asyncio
import http.client
import json
import os
import sys

import holdfast as hf

def call(method, path, body=None, key=""):
    connection = http.client.HTTPConnection(os.environ["LEDGER"], timeout=30)
    try:
        connection.request(method, path, body, {"Idempotency-Key": key})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()

async def send(path, item, key):
    status, answer = await asyncio.to_thread(call, "POST", path, json.dumps({"args": {"item": item}}), key)
    if status >= 300:
        raise RuntimeError(status)
    return answer["id"]

async def was_charged(key, item):
    status, found = await asyncio.to_thread(call, "GET", "/effects/charge/" + key)
    return hf.Done(f"charge-{found['seq']}") if status == 200 else hf.NotDone()

@hf.tool(effect="read")
async def price(item: int) -> int:
    return 100 + item

@hf.tool(effect="once", verify=was_charged)
async def charge(item: int, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("/effects/charge", item, idempotency_key)

@hf.tool(effect="idempotent", retry=hf.Retry(attempts=99, wait=0))
async def mail(item: int, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("/effects/mail?dedupe=1", item, idempotency_key)

@hf.agent(budget=hf.Budget(tool_calls=500))
async def shop(run: hf.Run, items: int) -> list[str]:
    done = []
    for item in range(items):
        await price(item)
        done.append(await charge(item))
        done.append(await mail(item))
    return done

@hf.agent(name="pair", budget=hf.Budget(tool_calls=50))
async def pair(run: hf.Run, waits: bool) -> list[str]:
    first = await charge(1)
    print("between", flush=True)
    if sys.argv[1:] == ["waits"]:
        await asyncio.to_thread(sys.stdin.readline)
    return [first, await charge(2)]

def main():
    settings = hf.Settings(lease_s=1, poll_s=0.1, settle_s=0.1)
    try:
        print(hf.App("sqlite:///h.db", settings=settings).run_sync(pair, True, key="k"), flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
        sys.exit(1)

if __name__ == "__main__":
    main()
"""
EXPECTED = [f"{kind}-{number}" for number in range(1, ITEMS + 1) for kind in ("charge", "mail")]


class Shop:
    """A directory with the agents in it, and a ledger."""

    def __init__(self, home: Path, ledger: Ledger) -> None:
        self.home = home
        self.ledger = ledger
        self.started: list[subprocess.Popen[str]] = []
        (home / "agents.py").write_text(AGENTS)

    def start(self, *command: str, starts: Starts = subprocess.Popen) -> subprocess.Popen[str]:
        """`python COMMAND` in that directory."""
        process = starts(
            [sys.executable, *command],
            cwd=self.home,
            env=os.environ | {"LEDGER": self.ledger.url.removeprefix("http://")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, starts: Starts = subprocess.Popen) -> subprocess.Popen[str]:
        """`holdfast run` of the agent; always the same command."""
        words = ("-m", "holdfast.cli", "run", "agents.py:shop", str(ITEMS), "--key", "k", "--store", "h.db")
        return self.start(*words, starts=starts)

    def show(self) -> Any:
        """`holdfast show --json`."""
        shown = self.start("-m", "holdfast.cli", "show", "k", "--json", "--store", "h.db", starts=warm.start)
        out, err = shown.communicate(timeout=20)
        assert shown.returncode == 0, err
        return json.loads(out)

    def owner(self) -> int | None:
        """Pid of the process that holds the run."""
        journal = open_journal(str(self.home / "h.db"), clock=SystemClock().now, must_exist=True)
        try:
            owner = journal.owner(journal.heads(key="k")[0].run_id)
            return None if owner is None else owner[0].pid
        finally:
            journal.close()

    def charged(self) -> list[int]:
        """The charges that happened, in order."""
        return [effect.args["item"] for effect in self.ledger.effects("charge")]

    def check(self) -> None:
        """Everything happened once."""
        assert self.charged() == list(range(ITEMS)), "charges lost or repeated"
        mails = self.ledger.effects("mail")
        assert [e.args["item"] for e in mails if e.first] == list(range(ITEMS)), "mails lost or repeated"
        assert len({e.key for e in mails}) == ITEMS, "a mail has had two keys"

    def end(self) -> None:
        """End what is left."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop in a directory of its own."""
    with Ledger() as ledger:
        shop = Shop(tmp_path, ledger)
        yield shop
        shop.end()


def says(process: subprocess.Popen[str], expected: str) -> None:
    """Wait until its next line of output is this."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 30)[0], f"it never said {expected!r}"
    line = process.stdout.readline().strip()
    assert line == expected, (line, process.communicate(timeout=10)[1] if process.poll() is not None else "")


def stop(process: subprocess.Popen[str]) -> None:
    """SIGSTOP; comes back when it stands still."""
    process.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])


# --- R9: SIGKILL -----------------------------------------------------------------------------------------------


def storm(shop: Shop, kills: int, seed: int) -> int:
    """SIGKILL at or soon after a next effect, and start again, until the run ends; how many processes were killed."""
    draw = random.Random(seed)
    killed = 0
    while killed < kills and len(shop.charged()) < ITEMS:
        name = draw.choice(["charge", "mail"])
        count = 1 + len(shop.ledger.effects(name))
        if draw.random() < 0.7:  # in the middle of the effect, otherwise soon after it
            try:
                shop.ledger.fault(name, count, "hang")
            except ValueError:  # a request of the process that was killed arrived just now
                continue
        process = shop.run(warm.start)
        shop.ledger.wait_for(name, count)
        process.kill()
        process.communicate(timeout=20)
        killed += process.returncode == -signal.SIGKILL
    process = shop.run(warm.start)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out) == EXPECTED
    shop.check()
    return killed


@pytest.mark.timeout(120)
def test_a_storm_of_kills(shop: Shop) -> None:
    """Lost: R9 on real processes. Machines die in the middle of a payment, and somebody only repeats the command."""
    assert storm(shop, kills=8, seed=1) >= 6
    run = shop.show()["run"]
    assert run["status"] == "succeeded" and run["usage"]["tool_calls"] >= 3 * ITEMS


# --- R13: one writer -------------------------------------------------------------------------------------------


def test_a_stopped_process_that_wakes_up_changes_nothing(shop: Shop) -> None:
    """Lost: R13. A laptop that was closed for the night would pay for the second time in the morning."""
    first = shop.start("agents.py", "waits")
    says(first, "between")
    stop(first)
    shop.ledger.fault("charge", 2, "hang")
    second = shop.start("agents.py")
    says(second, "between")  # it has replayed the first charge
    shop.ledger.wait_for("charge", 2)
    assert shop.owner() == second.pid
    first.send_signal(signal.SIGCONT)
    out, err = first.communicate("go on\n", timeout=20)
    assert first.returncode == 1 and out.startswith("LeaseLost") and "taken over" in out, (out, err)
    assert shop.owner() == second.pid, "the first one renewed, or took, what is not its own"
    shop.ledger.release()
    out, err = second.communicate(timeout=20)
    assert (second.returncode, out) == (0, "['charge-1', 'charge-2']\n"), err
    assert shop.charged() == [1, 2]


def test_a_process_stopped_in_the_middle_of_an_effect_begins_no_other(shop: Shop) -> None:
    """Lost: R13. Its late answer would stand beside the new owner's, and the next payment would be made twice."""
    shop.ledger.fault("charge", 1, "hang")
    first = shop.start("agents.py")
    shop.ledger.wait_for("charge", 1)
    stop(first)
    second = shop.start("agents.py")
    out, err = second.communicate(timeout=30)
    assert (second.returncode, out) == (0, "between\n['charge-1', 'charge-2']\n"), err
    first.send_signal(signal.SIGCONT)
    shop.ledger.release()
    out, err = first.communicate(timeout=20)
    assert first.returncode == 1 and out.startswith("LeaseLost"), (out, err)
    assert shop.charged() == [1, 2]
    charge = next(step for step in shop.show()["steps"] if step["name"] == "charge")
    assert charge["served"] == "verify", "it was in doubt, and the record says who settled it"


def test_two_processes_at_once_on_one_key(shop: Shop) -> None:
    """Lost: R13. Two workers that get the same request would both act on it."""
    both = [shop.run(), shop.run()]
    said = [(process.communicate(timeout=60), process.returncode) for process in both]
    assert sorted(code for _, code in said) in ([0, 0], [0, 75]), said
    assert all(json.loads(out) == EXPECTED for (out, _), code in said if code == 0)
    shop.check()


# --- R14: SIGTERM ----------------------------------------------------------------------------------------------


def test_sigterm_in_the_middle_of_an_effect(shop: Shop) -> None:
    """Lost: R14. Each deploy would leave a payment in doubt, and ask a person about nothing."""
    shop.ledger.fault("charge", 2, "hang")
    process = shop.run()
    shop.ledger.wait_for("charge", 2)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    assert any("finishes first" in line for line in iter(process.stderr.readline, ""))
    shop.ledger.release()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143 and "is resumable" in err
    shown = shop.show()
    assert shown["run"]["status"] == "suspended" and shown["questions"] == []
    assert [s["status"] for s in shown["steps"] if s["name"] == "charge"] == ["succeeded", "succeeded"]
    again = shop.run()
    out, err = again.communicate(timeout=30)
    assert (again.returncode, json.loads(out)) == (0, EXPECTED), err
    shop.check()
    assert shop.show()["questions"] == []
