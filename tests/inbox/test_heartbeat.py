"""Somebody outside alarms when holdfast no longer says that it lives. If these fail, a dead inbox looks alive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.inbox.conftest import Office
from tests.inbox.test_chain import until
from tests.inbox.test_evidence import known
from tests.runtime.conftest import World

import holdfast as hf
from holdfast.core.reach import Fact, cell_of, text_of
from holdfast.errors import PolicyInvalid, RunWaiting
from holdfast.inbox import heartbeat, watch
from holdfast.inbox.config import load
from holdfast.inbox.directory import Directory, FromEnvironment, Heartbeat, Probes
from holdfast.inbox.heartbeat import Pulse, told
from holdfast.inbox.inbox import Inbox
from holdfast.inbox.load import load as load_inbox
from holdfast.inbox.routes import all_judged


class Outside:
    """Whoever is told: keeps what came, and answers as it is told to."""

    def __init__(self) -> None:
        self.came: list[tuple[str, str]] = []
        self.status = 200
        outside = self

        class Takes(BaseHTTPRequestHandler):
            """One request."""

            timeout: ClassVar[float] = 10

            def do_POST(self) -> None:
                """Take it."""
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outside.came.append((self.path, body.decode()))
                self.send_response(outside.status)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Takes)
        self._server.daemon_threads = True
        self.place = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Nobody is there any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def outside() -> Iterator[Outside]:
    made = Outside()
    yield made
    made.end()


class Beating(Office):
    """An office of which somebody outside is told."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.beat = Heartbeat(f"http://{place}/ping/secret", 0.1, (place,))
        self.probes = Probes(None)

    @property
    def directory(self) -> Directory:
        """With a heartbeat."""
        made = super().directory
        return Directory(made.people, made.channels, made.rotas, made.chains, self.probes, self.beat)

    @property
    def inbox(self) -> Inbox:
        """One for the next process."""
        return Inbox(self.directory, {"mail": self.mail, "page": self.page}, pulse=Pulse(self.beat, {}))


@pytest.fixture
def office(outside: Outside) -> Beating:
    return Beating(outside.place)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks so often that a test can wait for it, and does not try a request again."""
    monkeypatch.setattr(watch, "LOOK_S", 0.05)
    monkeypatch.setattr(watch, "Retry", lambda **declared: hf.Retry(attempts=1))


def serve(world: World, office: Office, scenario: Any) -> None:
    """A process that serves."""
    world.play(scenario, serves=True, inbox=office.inbox)


@hf.agent(name="asker", budget=hf.Budget(tool_calls=5))
async def asker(run: hf.Run, to: str) -> str:
    """Asks for a while."""
    return str((await run.ask("May I?", to=to, within="30m")).outcome)


def test_somebody_outside_is_told_that_all_is_well(world: World, office: Beating, outside: Outside) -> None:
    """Lost: the alarm when all processes are dead: nobody would miss what was never said."""

    async def scenario(app: hf.App) -> None:
        await until(lambda: len(outside.came) >= 3)

    serve(world, office, scenario)
    assert set(outside.came) == {("/ping/secret", "")}
    found = told(world.store)
    assert found.told_at is not None and found.refusal == "" and found.wrong == ()
    assert world.store.swap(cell_of("mail", "ada", Fact.TAKEN), 0, text_of(world.store.now()))
    [judged] = all_judged(office.directory, world.store, world.store.now())
    assert "outside" not in " ".join(judged.found.because)
    [judged] = all_judged(office.directory, world.store, world.store.now() + 60)
    assert "not told in its period" in " ".join(judged.found.because)


def test_what_is_wrong_is_told_and_then_not_that_all_is_well(world: World, office: Beating, outside: Outside) -> None:
    """Lost: a process that is alive and carries nothing out: it must be missed as if it were dead."""
    with pytest.raises(RunWaiting):
        world.run(asker, "nobody", wait=0)
    world.clock.by_s += 30 * 60 + 11 * 60  # and no process drives it

    async def scenario(app: hf.App) -> None:
        await until(lambda: len(outside.came) >= 3)

    serve(world, office, scenario)
    assert {path for path, _ in outside.came} == {"/ping/secret/fail"}
    assert "a question is open 11 min after its time" in outside.came[0][1] and "May I" not in outside.came[0][1]
    assert told(world.store).told_at is None and told(world.store).wrong


def test_that_it_is_down_is_kept_and_stops_nothing_else(world: World, office: Beating, outside: Outside) -> None:
    """Lost: an outage of the alarm that is an outage of ours, or of which nobody ever hears."""
    outside.status, office.probes = 503, Probes(86_400.0)

    async def scenario(app: hf.App) -> None:
        await until(lambda: len(outside.came) >= 2)
        await until(lambda: known(world).accepted_at is not None)
        assert told(world.store).refusal == "127.0.0.1 answered 503" and told(world.store).told_at is None
        outside.status = 200
        await until(lambda: told(world.store).told_at is not None)

    serve(world, office, scenario)
    assert told(world.store).refusal == ""


def test_it_goes_to_public_addresses_alone(world: World, office: Beating, outside: Outside) -> None:
    """Lost: a file that lets a worker ask the services of its own cloud (S29)."""
    office.beat = Heartbeat(office.beat.url, 0.1)

    async def scenario(app: hf.App) -> None:
        await until(lambda: told(world.store).refusal)

    serve(world, office, scenario)
    assert outside.came == [] and "secret" not in told(world.store).refusal


def test_nobody_is_told_by_a_process_that_only_runs_a_command(world: World, office: Beating, outside: Outside) -> None:
    """Lost: an alarm that is put off by whoever calls `holdfast run`, while no worker is alive."""

    async def scenario(app: hf.App) -> None:
        return None

    world.play(scenario, inbox=office.inbox)
    assert outside.came == []


FILE = """
[people.ada]
email = "ada@example.com"
[channels.mail]
kind = "email"
host = "smtp.example.com"
from = "holdfast@example.com"
[chains.finance]
levels = [{ to = ["ada"], by = ["mail"] }]
"""


def written(tmp_path: Path, text: str) -> Path:
    """A file with this text, too."""
    file = tmp_path / "holdfast.toml"
    file.write_text(FILE + text, "utf-8")
    return file


def test_it_is_declared_in_the_file(tmp_path: Path) -> None:
    """Lost: a heartbeat that is written down and never sent."""
    file = written(tmp_path, '[heartbeat]\nurl = "env:BEAT"\nevery = "2m"\n[reach]\nprobe = "1w"\n')
    directory = load(file)
    assert directory.heartbeat == Heartbeat(FromEnvironment("BEAT"), 120.0)
    assert directory.probes == Probes(7 * 86_400.0, 86_400.0)
    assert load(written(tmp_path, "[reach]\nprobe = false\n")).probes.every_s is None
    assert load(written(tmp_path, "")).heartbeat is None and load(written(tmp_path, "")).probes.every_s is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[heartbeat]\nurl = "http://example.com"', "no https URL"),
        ('[heartbeat]\nurl = "https://a:b@example.com"', "password in its url"),
        ('[heartbeat]\nurl = "https://example.com"\nevery = "1s"', "every"),
        ('[heartbeat]\nevery = "5m"', "does not say url"),
        ('[heartbeat]\nurl = "https://example.com"\nevry = "5m"', "'evry'"),
        ('[reach]\nprobe = "10m"', "probe"),
        ("[reach]\nprobe = true", "probe"),
        ('[reach]\nprobes = "1w"', "'probes'"),
        ('[reach]\nwithin = "1s"', "within"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    """Lost: a watch that was written down wrongly, and that nobody misses."""
    with pytest.raises(PolicyInvalid, match=said):
        load(written(tmp_path, text))


def test_a_url_that_the_environment_does_not_have_is_no_start(tmp_path: Path) -> None:
    """Lost: a worker that tells nobody, and nobody knows."""
    file = written(tmp_path, '[heartbeat]\nurl = "env:BEAT"\n')
    with pytest.raises(PolicyInvalid, match=r"\[heartbeat\] needs BEAT"):
        load_inbox(file, {}, lambda: 0.0)
    inbox = load_inbox(file, {"BEAT": "https://example.com/x"}, lambda: 0.0)
    assert inbox is not None and inbox.lasting is not None


def test_a_cell_that_says_nothing_says_nothing(world: World) -> None:
    """Lost: `channels status`, by a damaged cell."""
    assert told(world.store) == told(None) == heartbeat.Told()
    assert world.store.swap(heartbeat.CELL, 0, "{")
    assert told(world.store) == heartbeat.Told()
