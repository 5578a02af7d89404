"""Real processes whose effect is still under way: stopped past their lease, asked to end, killed. The ledger counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import warm

from holdfast.testing.ledger import Ledger

AGENTS = """
import asyncio
import http.client
import json
import os
import sys
import time

import holdfast as hf

def wait_for(gate):
    while not os.path.exists(gate):
        time.sleep(0.02)

def call(method, path, body=None, key=""):
    connection = http.client.HTTPConnection(os.environ["LEDGER"], timeout=60)
    try:
        connection.request(method, path, body, {"Idempotency-Key": key})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()

def was_paid(key, item):
    print("verify", flush=True)
    status, found = call("GET", "/effects/pay/" + key)
    return hf.Done("paid") if status == 200 else hf.NotDone()

@hf.tool(effect="once", verify=was_paid)
def pay(item: int, *, idempotency_key: str = hf.INJECTED) -> str:
    if "waits" in sys.argv:
        print("before", flush=True)
        wait_for("send")
    status, answer = call("POST", "/effects/pay?dedupe=1", json.dumps({"args": {"item": item}}), idempotency_key)
    if status >= 300:
        raise RuntimeError(status)
    return "paid"

@hf.agent(budget=hf.Budget(tool_calls=50))
async def shop(run: hf.Run, given: int) -> str:
    return await asyncio.to_thread(pay, 1)

async def main():
    settings = hf.Settings(lease_s=2, poll_s=0.1, settle_s=0.1, drain_s=0.2, close_s=0.2)
    async with hf.App("sqlite:///h.db", settings=settings) as app:
        if "leaves" in sys.argv:
            await app.start(shop, 1, key="k")
            await asyncio.to_thread(wait_for, "leave")
        else:
            try:
                print(await app.run(shop, 1, key="k", wait=float(os.environ.get("WAIT", "30"))), flush=True)
            except Exception as error:
                print(type(error).__name__, flush=True)
    if "lingers" in sys.argv:
        print("closed", flush=True)
        wait_for("exit")

asyncio.run(main())
"""


class Yard:
    """A directory with the agents, a ledger, and the processes that were started."""

    def __init__(self, home: Path, ledger: Ledger) -> None:
        self.home = home
        self.ledger = ledger
        self.started: list[subprocess.Popen[str]] = []
        (home / "agents.py").write_text(AGENTS)

    def start(self, *words: str, wait_s: float = 30) -> subprocess.Popen[str]:
        """A process that starts or goes on with the one run."""
        process = warm.start(
            [sys.executable, "agents.py", *words],
            cwd=self.home,
            env=os.environ | {"LEDGER": self.ledger.url.removeprefix("http://"), "WAIT": str(wait_s)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.started.append(process)
        return process

    def to_end(self, *words: str, wait_s: float = 30) -> list[str]:
        """The same, to its end; what it said."""
        out, err = self.start(*words, wait_s=wait_s).communicate(timeout=60)
        assert not err, err
        return out.split()

    def open(self, gate: str) -> None:
        """Let those go on who wait for it."""
        (self.home / gate).touch()

    def outcomes(self) -> list[str]:
        """Who gave the outcomes of the step that are in the record."""
        command = [sys.executable, "-m", "holdfast.cli", "show", "k", "--json", "--store", "h.db"]
        said = warm.run(command, cwd=self.home, timeout=30)
        assert said.returncode == 0, said.stderr
        (step,) = json.loads(said.stdout)["steps"]
        return [step["status"], step["served"], str(step["attempts"])]

    @property
    def paid(self) -> int:
        """Payments that happened."""
        return self.ledger.count("pay")


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """A place for processes; those that are left are ended."""
    with Ledger() as ledger:
        yard = Yard(tmp_path, ledger)
        yield yard
        for process in yard.started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()


def heard(process: subprocess.Popen[str]) -> str:
    """The next line that it says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.timeout(120)
def test_a_sender_that_is_stopped_past_its_lease_writes_nothing_afterwards(yard: Yard) -> None:
    """Lost: P3. The outcome of a worker that was replaced stands beside the new owner's."""
    yard.ledger.fault("pay", 1, "hang")
    stopped = yard.start()
    yard.ledger.wait_for("pay", 1)
    stopped.send_signal(signal.SIGSTOP)
    assert yard.to_end() == ["verify", "paid"], "the new owner settles it when the lease is over"
    assert yard.outcomes() == ["succeeded", "verify", "1"]
    stopped.send_signal(signal.SIGCONT)
    yard.ledger.release()
    out, _ = stopped.communicate(timeout=60)
    assert out.split()[-1] in ("LeaseLost", "paid"), out
    assert yard.outcomes() == ["succeeded", "verify", "1"] and yard.paid == 1


@pytest.mark.timeout(120)
def test_a_sender_that_is_stopped_before_it_sends_acts_under_the_same_key(yard: Yard) -> None:
    """Lost: P4's one exception, made worse. A worker that wakes up late pays under a key of its own, which the receiver
    has never seen; with the same key it sees a repeat."""
    stopped = yard.start("waits")
    assert heard(stopped) == "before"
    stopped.send_signal(signal.SIGSTOP)
    assert yard.to_end() == ["verify", "verify", "paid"], "not done, said twice; then the same intent"
    assert yard.outcomes() == ["succeeded", "step", "2"]
    stopped.send_signal(signal.SIGCONT)
    yard.open("send")
    yard.ledger.wait_for("pay", 2)
    stopped.communicate(timeout=60)
    effects = yard.ledger.effects("pay")
    assert [effect.first for effect in effects] == [True, False] and len({effect.key for effect in effects}) == 1
    assert yard.outcomes() == ["succeeded", "step", "2"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("had_run", [False, True])
def test_a_thread_that_never_ends_keeps_the_run_until_its_process_is_gone(yard: Yard, had_run: bool) -> None:
    """Lost: R14. A deploy gives the run away while the old process can still pay; the new one hears "not done" twice,
    and pays."""
    if had_run:
        yard.ledger.fault("pay", 1, "hang")
    leaving = yard.start("leaves", "lingers", *([] if had_run else ["waits"]))
    if had_run:
        yard.ledger.wait_for("pay", 1)
    else:
        assert heard(leaving) == "before"
    yard.open("leave")
    assert heard(leaving) == "closed", "the process is not kept from ending"
    assert yard.to_end(wait_s=0.5) == ["RunWaiting"], "nobody verifies or pays while it can"
    assert yard.to_end(wait_s=4) == ["RunWaiting"], "also when its lease would be over"
    yard.open("exit")
    leaving.wait(timeout=30)
    assert yard.to_end() == (["verify", "paid"] if had_run else ["verify", "verify", "paid"])
    assert yard.paid == 1 and len(yard.ledger.effects("pay")) == 1
    assert yard.outcomes() == (["succeeded", "verify", "1"] if had_run else ["succeeded", "step", "2"])


@pytest.mark.timeout(120)
def test_what_a_thread_comes_to_after_its_app_was_closed_is_the_outcome(yard: Yard) -> None:
    """Lost: a receipt that was there, and a question about a payment that is well known."""
    leaving = yard.start("leaves", "lingers", "waits")
    assert heard(leaving) == "before"
    yard.open("leave")
    assert heard(leaving) == "closed"
    yard.open("send")
    assert yard.to_end() == ["paid"]
    assert yard.outcomes() == ["succeeded", "step", "1"] and yard.paid == 1
    assert leaving.poll() is None, "its process is still there"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("had_run", [False, True])
def test_a_sender_that_was_killed_is_settled_at_once(yard: Yard, had_run: bool) -> None:
    """Lost: a wait for a lease that a dead process cannot renew; or a payment repeated, or skipped."""
    if had_run:
        yard.ledger.fault("pay", 1, "hang")
    killed = yard.start(*([] if had_run else ["waits"]))
    if had_run:
        yard.ledger.wait_for("pay", 1)
    else:
        assert heard(killed) == "before"
    killed.kill()
    killed.wait(timeout=30)
    assert yard.to_end() == (["verify", "paid"] if had_run else ["verify", "verify", "paid"])
    assert yard.paid == 1 and len(yard.ledger.effects("pay")) == 1
