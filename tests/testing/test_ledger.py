"""The oracle of the crash tests has to be right itself: each test says which lie it would tell otherwise."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from holdfast.testing.ledger import Ledger
from holdfast.testing.loopback import ask


@pytest.fixture(scope="module")
def shared() -> Iterator[Ledger]:
    """One process for the tests that only use names of their own."""
    with Ledger() as ledger:
        yield ledger


def send(url: str, name: str, args: Any, *, key: str = "", epoch: str = "", dedupe: bool = False) -> tuple[int, Any]:
    """One effect, as a tool would send it."""
    headers = {"Idempotency-Key": key} if key else {}
    headers |= {"Holdfast-Epoch": epoch} if epoch else {}
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        path = f"/effects/{name}" + ("?dedupe=1" if dedupe else "")
        connection.request("POST", path, json.dumps({"args": args}), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def killed_sender(url: str, name: str) -> subprocess.Popen[bytes]:
    """A process in the middle of sending one effect."""
    code = "import sys; from holdfast.testing.loopback import ask; ask(*sys.argv[1:4], {'args': {'order': 7}})"
    return subprocess.Popen([sys.executable, "-c", code, url, "POST", f"/effects/{name}"])


def test_an_effect_is_answered_with_its_number_and_kept_with_all_it_carried(shared: Ledger) -> None:
    """Else a test could not tell which key and which owner caused an effect."""
    status, body = send(shared.url, "mail", {"to": "a"}, key="k1", epoch="3")
    assert (status, body) == (201, {"id": "mail-1", "seq": 1, "args": {"to": "a"}})
    (effect,) = shared.effects("mail")
    assert (effect.name, effect.key, effect.epoch, effect.args) == ("mail", "k1", 3, {"to": "a"})
    assert effect.first and effect.seq == 1 and effect.at > 1_600_000_000 and len(effect.args_digest) == 64


def test_a_name_may_have_slashes(shared: Ledger) -> None:
    """Else a sweep could not put its trials apart by a prefix, and would need a ledger for each."""
    assert send(shared.url, "t17/refund", {"order": 1}, key="a/b")[1]["id"] == "t17/refund-1"
    assert send(shared.url, "t18/refund", {"order": 1})[1]["id"] == "t18/refund-1"
    assert ask(shared.url, "GET", "/effects/t17/refund/a%2Fb")[1]["args"] == {"order": 1}
    assert ask(shared.url, "GET", "/effects/t18/refund/a%2Fb")[0] == 404
    assert shared.count("t17/refund") == 1


def test_the_digest_ignores_the_order_of_fields(shared: Ledger) -> None:
    """Else a repeated effect would look like two different ones and a double charge would go unseen."""
    send(shared.url, "order", {"a": 1, "b": 2})
    send(shared.url, "order", {"b": 2, "a": 1})
    assert len({effect.args_digest for effect in shared.effects("order")}) == 1


def test_without_dedupe_every_post_happens_even_with_an_equal_key(shared: Ledger) -> None:
    """Else the ledger would hide the double charge it exists to show."""
    for _ in range(2):
        send(shared.url, "charge", {"order": 1}, key="same")
    send(shared.url, "charge", {"order": 2})
    assert shared.count("charge") == 3
    ((one, two),) = shared.repeated("charge")
    assert (one.seq, two.seq, one.args) == (1, 2, {"order": 1})


def test_repeats_can_be_found_by_a_business_id(shared: Ledger) -> None:
    """Else an effect repeated with a new timestamp in its args would count as a new one."""
    send(shared.url, "ship", {"order": 1, "sent": "10:00"})
    send(shared.url, "ship", {"order": 1, "sent": "10:05"})
    assert shared.repeated("ship") == []
    assert [len(group) for group in shared.repeated("ship", by="order")] == [2]


def test_a_deduplicating_receiver_repeats_its_first_answer_and_notes_the_repeat(shared: Ledger) -> None:
    """Else a retry with the same key could not be told from a second refund."""
    first = send(shared.url, "refund", {"order": 1}, key="k", dedupe=True)
    again = send(shared.url, "refund", {"order": 1}, key="k", dedupe=True)
    other = send(shared.url, "refund", {"order": 2}, key="l", dedupe=True)
    assert (first[0], again[0], other[0]) == (201, 200, 201)
    assert first[1] == again[1] and other[1]["id"] == "refund-2"
    assert [(e.seq, e.first) for e in shared.effects("refund")] == [(1, True), (1, False), (2, True)]
    assert shared.count("refund") == 2 and shared.repeated("refund") == []


def test_dedupe_without_a_key_or_with_a_reused_one_is_refused(shared: Ledger) -> None:
    """Else a lost or colliding key would pass as protection."""
    assert send(shared.url, "strict", {}, dedupe=True)[0] == 400
    send(shared.url, "strict", {"order": 1}, key="k", dedupe=True)
    assert send(shared.url, "strict", {"order": 2}, key="k", dedupe=True)[0] == 422
    assert len(shared.effects("strict")) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"nonsense", b'{"args": NaN}'])
def test_a_malformed_effect_is_refused_and_not_recorded(shared: Ledger, body: bytes) -> None:
    """Else a broken tool would look like one that worked."""
    connection = HTTPConnection(urlsplit(shared.url).netloc, timeout=20)
    connection.request("POST", "/effects/malformed", body)
    assert connection.getresponse().status == 400
    connection.close()
    assert shared.effects("malformed") == []


def test_verify_finds_an_effect_by_its_key(shared: Ledger) -> None:
    """Else a step in doubt could not be settled by asking the receiver."""
    send(shared.url, "wire", {"to": "b"}, key="run/1#a b")
    status, record = ask(shared.url, "GET", "/effects/wire/run%2F1%23a%20b")
    assert status == 200 and record["args"] == {"to": "b"} and record["first"]
    assert ask(shared.url, "GET", "/effects/wire/other")[0] == 404
    assert [e["name"] for e in ask(shared.url, "GET", "/effects?name=wire&key=run%2F1%23a%20b")[1]["effects"]] == [
        "wire"
    ]


def test_the_record_is_on_disk_when_the_answer_arrives(tmp_path: Path) -> None:
    """Else an effect that an agent saw confirmed could be missing from the evidence."""
    with Ledger(tmp_path / "store") as ledger:
        send(ledger.url, "mail", {"to": "a"})
        (line,) = (tmp_path / "store").read_bytes().splitlines(keepends=True)
        assert line.endswith(b"\n") and json.loads(line)["args"] == {"to": "a"}


def test_a_killed_ledger_goes_on_where_it_was_without_its_torn_last_line(tmp_path: Path) -> None:
    """Else a ledger that died with the machine would forget, or refuse to start."""
    with Ledger.start(tmp_path / "store") as ledger:
        send(ledger.url, "mail", {"to": "a"}, key="k")
        assert ledger.pid is not None
        os.kill(ledger.pid, signal.SIGKILL)
    with (tmp_path / "store").open("ab") as store:
        store.write(b'{"name": "mai')
    with Ledger(tmp_path / "store") as ledger:
        assert send(ledger.url, "mail", {"to": "b"})[1]["id"] == "mail-2"
        assert [effect.args["to"] for effect in ledger.effects()] == ["a", "b"]
    lines = (tmp_path / "store").read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2]


def test_drop_after_records_and_says_nothing(shared: Ledger) -> None:
    """Else R2's worst case, done but never confirmed, could not be staged."""
    shared.fault("cut", 2, "drop_after")
    send(shared.url, "cut", {"order": 1})
    with pytest.raises(RemoteDisconnected):
        send(shared.url, "cut", {"order": 2})
    send(shared.url, "cut", {"order": 3})
    assert [effect.args["order"] for effect in shared.effects("cut")] == [1, 2, 3]


def test_drop_before_leaves_no_trace_but_counts_as_a_request(shared: Ledger) -> None:
    """Else "not done" and "done but not confirmed" would be staged alike."""
    shared.fault("lost", 1, "drop_before")
    with pytest.raises(RemoteDisconnected):
        send(shared.url, "lost", {})
    shared.fault("lost", 2, "drop_before")
    with pytest.raises(RemoteDisconnected):
        send(shared.url, "lost", {})
    assert shared.effects("lost") == []


def test_a_status_fault_refuses_once_and_records_nothing(shared: Ledger) -> None:
    """Else a clean refusal, which may be retried, would look like an effect."""
    shared.fault("busy", 1, "status:503")
    assert [send(shared.url, "busy", {})[0] for _ in range(2)] == [503, 201]
    assert shared.count("busy") == 1


def test_delay_records_before_it_waits(shared: Ledger) -> None:
    """Else a kill during the delay would fall before the effect, not in the middle of it."""
    shared.fault("slow", 1, "delay:30")
    sender = killed_sender(shared.url, "slow")
    try:
        assert len(shared.wait_for("slow", 1, 20)) == 1
        assert sender.poll() is None
    finally:
        sender.kill()
        sender.wait()
    shared.fault("slow", 2, "delay:0.01")
    assert send(shared.url, "slow", {})[0] == 201


def test_hang_answers_only_when_released_and_can_hang_again(shared: Ledger) -> None:
    """Else a test could not hold an agent in the middle of an effect as long as it needs."""
    statuses: list[int] = []
    for on in (1, 2):
        shared.fault("stuck", on, "hang")
        sender = threading.Thread(target=lambda: statuses.append(send(shared.url, "stuck", {})[0]))
        sender.start()
        shared.wait_for("stuck", on)
        assert len(statuses) == on - 1
        shared.release()
        sender.join(20)
    assert statuses == [201, 201]


def test_a_client_killed_in_the_middle_of_an_effect_has_still_caused_it(shared: Ledger) -> None:
    """Else a crash test would not see the effect whose outcome the agent never learned."""
    shared.fault("doubt", 1, "hang")
    sender = killed_sender(shared.url, "doubt")
    shared.wait_for("doubt", 1, 20)
    sender.kill()
    assert sender.wait() == -signal.SIGKILL
    assert shared.count("doubt") == 1
    assert shared.effects("doubt")[0].args == {"order": 7}


def test_waiting_in_vain_says_what_there_is(shared: Ledger) -> None:
    """Else a test that staged nothing would hang, or pass."""
    send(shared.url, "few", {})
    with pytest.raises(TimeoutError, match="for 2 'few' effects, the ledger has 1"):
        shared.wait_for("few", 2, 0.01)


@pytest.mark.parametrize("fault", ["explode", "status:200", "status:x", "delay:-1", "delay:soon", "hang:1"])
def test_an_unknown_fault_is_refused(shared: Ledger, fault: str) -> None:
    """Else a misspelt fault would make a crash test one of nothing."""
    with pytest.raises(ValueError, match=r"fault|float"):
        shared.fault("any", 1, fault)


def test_a_fault_for_a_request_that_has_passed_is_refused(shared: Ledger) -> None:
    """Else a fault planned too late would silently never come."""
    send(shared.url, "late", {})
    with pytest.raises(ValueError, match="request 1 of 'late' is past"):
        shared.fault("late", 1, "hang")


def test_the_ledger_survives_the_killing_of_its_starters_process_group(tmp_path: Path) -> None:
    """Else the oracle would die with the agent it is to judge."""
    code = (
        "import sys, signal; from holdfast.testing.ledger import Ledger; ledger = Ledger.start(sys.argv[1]);"
        "print(ledger.url, ledger.pid, flush=True); signal.pause()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as agent:
        assert agent.stdout is not None
        url, pid = agent.stdout.readline().decode().split()
        os.killpg(agent.pid, signal.SIGKILL)
    try:
        send(url, "mail", {"to": "a"})
        with Ledger.at(url) as seen:
            assert seen.count("mail") == 1 and seen.pid is None
        assert Ledger.at(url).count("mail") == 1, "closing a handle from `at` leaves the ledger alone"
    finally:
        os.kill(int(pid), signal.SIGTERM)


def test_a_closed_ledger_is_gone_with_its_process_and_its_temporary_store() -> None:
    """Else each test run would leave a process and a directory behind."""
    ledger = Ledger.start()
    pid, url = ledger.pid, ledger.url
    assert pid is not None
    ledger.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ConnectionRefusedError):
        ask(url, "GET", "/effects")
    with pytest.raises(RuntimeError, match="not running"):
        _ = ledger.url
    ledger.close()


def test_an_idle_ledger_ends_by_itself(tmp_path: Path) -> None:
    """Else the ledger of a killed test run would stay for ever."""
    command = [sys.executable, "-m", "holdfast.testing.ledger", "--store", str(tmp_path / "s"), "--idle-s", "0.01"]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert json.loads(done.stdout)["url"].startswith("http://127.0.0.1:") and done.stderr == b""


def test_a_ledger_that_cannot_start_says_why(tmp_path: Path) -> None:
    """Else a wrong path would show as a hang or as an empty ledger."""
    with pytest.raises(RuntimeError, match=r"did not start(.|\n)*FileNotFoundError"):
        Ledger.start(tmp_path / "missing" / "store")


def test_many_clients_at_once_lose_no_effect(shared: Ledger) -> None:
    """Else a storm of workers would be judged by an incomplete record."""
    senders = [
        threading.Thread(target=send, args=(shared.url, "storm", {"order": n}), kwargs={"key": str(n)})
        for n in range(30)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(30)
    effects = shared.effects("storm")
    assert [effect.seq for effect in effects] == list(range(1, 31))
    assert {effect.args["order"] for effect in effects} == set(range(30))


def test_what_the_ledger_does_not_know_is_404(shared: Ledger) -> None:
    """Else a tool that asks the wrong question would read an answer out of it."""
    assert ask(shared.url, "GET", "/nothing")[0] == 404
    assert ask(shared.url, "PUT", "/effects/mail", {"args": 1})[0] == 404
