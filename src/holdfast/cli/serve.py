"""`holdfast serve`: the inbox as a web page, until a signal ends it."""

from __future__ import annotations

import signal
from types import FrameType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from holdfast.cli import option
from holdfast.cli.output import say
from holdfast.cli.store import opened
from holdfast.errors import UsageError

if TYPE_CHECKING:
    import socket

    from holdfast.protocols import Journal
    from holdfast.web.server import Server

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any free one.")
@click.option(
    "--origin", "origins", multiple=True, metavar="URL", help="How it is reached, such as https://in.example."
)
@click.option("--by", "names", multiple=True, metavar="NAME", help="Who may sign in; you when left out. Repeatable.")
@click.option("--trust-header", metavar="NAME", help="In which a proxy states who has signed in there; no codes then.")
@click.option("--trust-from", "proxies", multiple=True, metavar="ADDRESS", help="The proxy's; loopback when left out.")
@option.config
@option.store
def serve(
    host: str,
    port: int,
    origins: tuple[str, ...],
    names: tuple[str, ...],
    trust_header: str | None,
    proxies: tuple[str, ...],
    config: str | None,
    store: str | None,
) -> int:
    """The inbox as a web page. Whoever can read what this prints can sign in and answer."""
    _check(host, origins, trust_header)
    try:
        from holdfast.web.server import bound  # optional, and heavy
    except ImportError as error:
        raise UsageError(
            f"The page needs more packages ({error}). Nothing was started. Install them: pip install 'holdfast[web]'"
        ) from None
    with opened(store) as journal:
        try:
            listening = bound(host, port)
        except OSError as error:
            raise UsageError(f"{host}:{port} cannot be had: {error.strerror}. Nothing was started.") from error
        with listening:
            people = [option.name_of(None)] if not names else [*names]
            return _serve(journal, listening, origins, people, trust_header, proxies, config)


def _check(host: str, origins: tuple[str, ...], trust_header: str | None) -> None:
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}" or not parts.hostname:
            raise UsageError(
                f"--origin {origin!r} is none. Write it as https://inbox.example.org. Nothing was started."
            )
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise UsageError(
                f"--origin {origin}: answers would go over the network in the clear. Put a proxy before it that speaks "
                "https. Nothing was started."
            )
    if host not in _LOOPBACK and not origins:
        raise UsageError(
            f"--host {host} lets other machines in. Say with --origin how they reach the page, best through a proxy "
            "that speaks https. Nothing was started."
        )
    if trust_header is not None and not origins:
        raise UsageError("--trust-header needs --origin: how the proxy is reached. Nothing was started.")


def _serve(
    journal: Journal,
    listening: socket.socket,
    origins: tuple[str, ...],
    names: list[str],
    trust_header: str | None,
    proxies: tuple[str, ...],
    config: str | None,
) -> int:
    from holdfast.cli.chat import door_of, sockets
    from holdfast.inbox.measuring import FileMeasures
    from holdfast.inbox.roll import FileRoll
    from holdfast.runtime.clock import SystemClock
    from holdfast.views.advice import advice
    from holdfast.web.app import Inbox
    from holdfast.web.feed import Feed
    from holdfast.web.login import Login
    from holdfast.web.server import Server
    from holdfast.web.session import Sessions
    from holdfast.web.who import LOOPBACK, Who

    port = listening.getsockname()[1]
    reached = [*origins] or [f"http://{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    clock = SystemClock()
    sessions = Sessions(clock)
    is_secure = all(origin.startswith("https:") for origin in reached)
    who = Who(sessions, f"holdfast-{port}", is_secure, trust_header or "", proxies or LOOPBACK)
    say(f"The inbox is at {reached[0]} (Ctrl-C ends it).")
    if advised := advice(journal):
        say(advised)
    login = Login([] if trust_header else names, clock, _tell)
    feed = Feed(journal, clock, sessions)
    door = door_of(config, journal, clock)
    inbox = Inbox(journal, clock, who, login, feed, FileRoll(config), FileMeasures(config), door)
    with sockets(config, journal, must=True):
        return _until_signal(Server(inbox.app(reached), feed), listening)


def _tell(name: str, code: str) -> None:
    say(f"One-time code for {name}: {code}")


def _until_signal(server: Server, listening: socket.socket) -> int:
    import asyncio  # heavy, as all that serves

    heard: list[int] = []

    def arrived(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        server.end()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, arrived)
    asyncio.run(server.serve([listening]))
    return 128 + heard[0] if heard else 0
