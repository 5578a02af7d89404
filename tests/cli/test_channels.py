"""`holdfast channels`: at night, whoever reads the file for the first time must see who is called, and who is not."""

from __future__ import annotations

import socket
import threading
from typing import Any, Self

from holdfast.inbox.heartbeat import Told
from holdfast.journal.open import open_journal

CHAINS = """
[people.ada]
email = "ada@example.com"
[channels.mail]
kind = "email"
host = "smtp.example.com"
from = "holdfast@example.com"
[chains.finance]
levels = [{ to = ["ada"], by = ["mail"], wait = "10m" }]
"""


def test_show_prints_the_chains(shell: Any) -> None:
    """Lost: a configuration that can only be read as TOML."""
    (shell.home / "holdfast.toml").write_text(CHAINS, "utf-8")
    shown = shell.call("channels", "show")
    assert shown.code == 0 and "├─      at once  ada" in shown.out
    assert "of questions that name no chain, person or rota nobody is told" in shown.out.lower()
    picture = shell.call("channels", "show", "--json").document
    assert picture["chains"]["finance"]["levels"] == [{"to": ["ada"], "by": ["mail"], "wait_s": 600.0}]
    assert picture["warnings"] == []


def test_without_a_file_it_says_that_nobody_is_told(shell: Any) -> None:
    """Lost: an empty page, where it should say that nobody hears of any question."""
    shown = shell.call("channels")
    assert shown.code == 0 and shown.out == "" and "Nobody is told of questions" in shown.err


def test_a_mistake_is_named_and_the_code_is_that_of_wrong_use(shell: Any) -> None:
    """Lost: a traceback at night."""
    (shell.home / "holdfast.toml").write_text(CHAINS.replace('by = ["mail"]', 'by = ["mial"]'), "utf-8")
    shown = shell.call("channels", "show")
    assert shown.code == 2 and "[chains.finance] level 1 names 'mial' in by" in shown.err


class Taken:
    """A mail server that takes everything, and what was said to it."""

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.said = ""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rw", encoding="utf-8", newline="\r\n") as lines:
                self._talk(lines)

    def _talk(self, lines: Any) -> None:
        is_mail = False

        def answer(text: str) -> None:
            lines.write(f"{text}\n")
            lines.flush()

        answer("220 here")
        for line in lines:
            self.said += line
            said = line.rstrip()
            if is_mail and said != ".":
                continue
            is_mail = said.upper() == "DATA"
            answer("354 go on" if is_mail else "221 bye" if said.upper() == "QUIT" else "250 fine")


HOOK = """
[people.ada]
email = "ada@example.com"
[people.bob]
email = "bob@example.com"
[channels.mail]
kind = "email"
host = "127.0.0.1"
port = {port}
tls = "none"
from = "holdfast@example.com"
[chains.finance]
levels = [{{ to = ["ada"], by = ["mail"], wait = "10m" }}]
"""


def test_test_says_when_nobody_was_told_and_why(shell: Any) -> None:
    """Lost: a channel that is dead, and a command that says that all is well."""
    (shell.home / "holdfast.toml").write_text(HOOK.format(port=1), "utf-8")
    told = shell.call("channels", "test", "mail", "--to", "ada")
    assert told.code == 1 and "ada was not told by mail: mail: ConnectionRefusedError" in told.err
    assert shell.call("channels", "test", "mail").code == 2, "of several it must be said who"
    assert shell.call("channels", "test", "mail", "--to", "eve").code == 2
    assert shell.call("channels", "test", "pigeon").code == 3


def test_test_reaches_one_person(shell: Any) -> None:
    """Lost: the command says so, and nothing has left."""
    with Taken() as taken:
        (shell.home / "holdfast.toml").write_text(HOOK.format(port=taken.port), "utf-8")
        told = shell.call("channels", "test", "mail", "--to", "bob", "--json")
    assert told.code == 0 and told.document["state"] == "accepted"
    assert "rcpt TO:<bob@example.com>" in taken.said
    assert "Subject: A test: can questions of agents reach you?" in taken.said


def test_a_run_in_the_foreground_tells_people_before_it_goes(shell: Any) -> None:
    """Lost: `holdfast run` asks, ends with code 5, and no process is there to tell anybody."""
    with Taken() as taken:
        chain = HOOK.format(port=taken.port).replace("[chains.finance]", "[chains.default]")
        (shell.home / "holdfast.toml").write_text(chain, "utf-8")
        done = shell.run("run", "agents.py:asks", "x", "--key", "k")
    assert done.code == 5, done.err
    assert "rcpt TO:<ada@example.com>" in taken.said
    assert "@chain" not in shell.call("ls").out


def test_status_of_what_was_only_configured_is_unproven(shell: Any) -> None:
    """Lost: a green light over addresses that nobody has ever tried."""
    (shell.home / "holdfast.toml").write_text(CHAINS, "utf-8")
    told = shell.call("channels", "status")
    assert told.code == 0 and "chain finance: UNPROVEN" in told.out and "nobody has ever taken" in told.out
    [chain] = shell.call("channels", "status", "--json").document["chains"]
    assert chain["state"] == "unproven" and chain["ways"][0]["accepted_at"] is None


def test_status_says_when_nobody_can_be_reached(shell: Any) -> None:
    """Lost: a script that watches over the ways to people, and an operator who is told why."""
    chain = HOOK.format(port=1).replace("[chains.finance]", "[chains.default]")
    (shell.home / "holdfast.toml").write_text(chain, "utf-8")
    assert shell.run("run", "agents.py:asks", "x", "--key", "k").code == 5
    told = shell.call("channels", "status")
    assert told.code == 1 and "chain default: UNREACHABLE" in told.out
    assert "mail to ada failed last: mail: ConnectionRefusedError" in told.out
    unwell = shell.call("doctor")
    assert unwell.code == 0 and "default is unreachable: mail to ada failed last" in unwell.out
    assert shell.call("doctor", "--json").document["chains"][0]["state"] == "unreachable"


def test_status_without_a_chain_says_so(shell: Any) -> None:
    """Lost: nothing printed, taken for nothing wrong."""
    told = shell.call("channels", "status")
    assert told.code == 0 and "There is no chain" in told.err
    assert shell.call("channels", "status", "--json").document["chains"] == []


NEEDS = """
import holdfast as hf

@hf.tool(effect="once", approve=hf.Ask("finance", within="30m"))
async def pay(what: str) -> str:
    return "paid " + what

@hf.agent
async def payer(run: hf.Run, what: str) -> str:
    return await pay(what)
"""


def test_the_reason_stands_where_people_look(shell: Any) -> None:
    """Lost: a run that waits, and nobody can find out for what."""
    (shell.home / "needs.py").write_text(NEEDS, "utf-8")
    (shell.home / "holdfast.toml").write_text(HOOK.format(port=1), "utf-8")
    asked = shell.run("run", "needs.py:payer", "x", "--key", "asked", "--wait", "0s")
    assert asked.code == 5, asked.err  # nothing was known yet, and from now on it is
    held = shell.run("run", "needs.py:payer", "x", "--key", "held", "--wait", "0s")
    because = "mail to ada failed last: mail: ConnectionRefusedError"
    assert held.code == 75 and because in held.err
    assert "unreachable" in shell.call("ls").out
    assert because in shell.call("show", "held").out and because in shell.call("inbox").err
    [unasked] = shell.call("inbox", "--json").document["unasked"]
    assert unasked["key"] == "held" and unasked["tool"] == "pay"


def test_test_waits_for_the_person(shell: Any) -> None:
    """Lost: the only way to try a channel to its end; and a test that is kept nowhere."""
    with Taken() as taken:
        (shell.home / "holdfast.toml").write_text(HOOK.format(port=taken.port), "utf-8")
        waits = shell.start("channels", "test", "mail", "--to", "ada", "--wait", "60s")
        assert waits.stderr is not None and "ada is asked by mail to confirm it" in waits.stderr.readline()
        while not (asked := shell.call("inbox", "--json").document["questions"]):
            assert waits.poll() is None, "it has ended, and nobody was asked"
        assert shell.call("answer", asked[0]["run"], "confirm", "--by", "ada").code == 0
        _, said = waits.communicate(timeout=40)
        assert waits.returncode == 0 and "ada has confirmed it: mail reaches them." in said
    assert "Confirm it with: holdfast answer" in taken.said
    [chain] = shell.call("channels", "status", "--json").document["chains"]
    assert chain["state"] == "degraded" and chain["ways"][0]["taken_at"] is not None


def test_a_test_that_nobody_confirms_has_failed(shell: Any) -> None:
    """Lost: an exit code that a script can believe."""
    with Taken() as taken:
        (shell.home / "holdfast.toml").write_text(HOOK.format(port=taken.port), "utf-8")
        told = shell.call("channels", "test", "mail", "--to", "ada", "--wait", "0.2s")
    assert told.code == 1 and "ada has not confirmed within 0.2s" in told.err
    (shell.home / "holdfast.toml").write_text(HOOK.format(port=1), "utf-8")
    told = shell.call("channels", "test", "mail", "--to", "ada", "--wait", "60s")
    assert told.code == 1 and "ada was not told by mail" in told.err


def test_status_and_doctor_say_when_nobody_outside_takes_it(shell: Any) -> None:
    """Lost: an alarm that is dead, found out when it should have sounded."""
    beat = '[heartbeat]\nurl = "https://hc.example.com/secret"\n'
    (shell.home / "holdfast.toml").write_text(CHAINS + beat, "utf-8")
    assert "outside: told never that all is well" in shell.call("channels", "status").out
    store = open_journal(f"sqlite:///{shell.home}/holdfast.db", clock=lambda: 1_000_000_000.0)
    told = Told(None, 999_999_990.0, "hc.example.com answered 503")
    assert store.swap("heartbeat", 0, told.text())
    store.close()
    shown = shell.call("channels", "status")
    assert "nobody took it: hc.example.com answered 503" in shown.out and "secret" not in shown.out
    assert "hc.example.com answered 503" in shell.call("doctor").out
    assert shell.call("channels", "status", "--json").document["outside"]["told_at"] is None
    (shell.home / "holdfast.toml").write_text(CHAINS, "utf-8")
    assert "outside: nobody is told that holdfast lives" in shell.call("channels", "status").out
