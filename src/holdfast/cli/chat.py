"""Slack as a command hears it: which apps the file names, with the secrets that the environment has for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from holdfast.cli import secret
from holdfast.cli.output import say
from holdfast.cli.store import opened_at
from holdfast.errors import PolicyInvalid

if TYPE_CHECKING:
    from holdfast.inbox.directory import FromEnvironment, Slack
    from holdfast.protocols import Clock, Journal
    from holdfast.web.slack_desk import Desk
    from holdfast.web.slack_door import Door


def door_of(config: str | None, journal: Journal, clock: Clock) -> Door | None:
    """Where signed requests of Slack arrive; None when the file names no app that signs any."""
    from holdfast.web.slack_door import Door, Signed  # optional

    apps = [
        Signed(_desk(app, config, journal), [_secret(app, each) for each in app.signing])
        for app in _apps(config)
        if app.signing
    ]
    return Door(apps, clock.now) if apps else None


@contextmanager
def sockets(config: str | None, journal: Journal, *, must: bool) -> Iterator[None]:
    """Socket Mode for each app that the file has a token for, while the block lasts. must: the environment has to have
    them; else it is heard where it has."""
    with ExitStack() as stack:
        for app in _apps(config):
            token = app.app_token
            if token is None:
                continue
            if not must and not secret.environ().get(token.name):
                say(f"Buttons of {app.name} are not heard here: the environment has no {token.name}.")
                continue
            from holdfast.inbox.slack_api import SlackApi  # these load http.client and ssl
            from holdfast.web.slack_socket import Socket

            api = SlackApi(_secret(app, token), url=app.url, allow=app.allow)
            heard = Socket(_desk(app, config, journal), api, say)
            stack.callback(heard.close)
            heard.start()
        yield


@contextmanager
def sockets_at(config: str | None, url: str) -> Iterator[None]:
    """The same over a store by its URL, which is opened only where something is to be heard."""
    if url.startswith("memory") or not any(app.app_token for app in _apps(config)):
        yield
        return
    with opened_at(url) as journal, sockets(config, journal, must=False):
        yield


def _apps(config: str | None) -> list[Slack]:
    from holdfast.runtime.config import read

    if "channels" not in read(config)[1]:
        return []
    from holdfast.inbox.config import load  # loads the core
    from holdfast.inbox.directory import Slack

    return [channel for channel in load(config).channels.values() if isinstance(channel, Slack)]


def _desk(app: Slack, config: str | None, journal: Journal) -> Desk:
    from holdfast.inbox.roll import FileRoll  # these load http.client and ssl
    from holdfast.inbox.slack_api import SlackApi
    from holdfast.web.slack_desk import Desk

    api = SlackApi(_secret(app, app.token), url=app.url, allow=app.allow)
    return Desk(journal, FileRoll(config), app, api)


def _secret(app: Slack, named: FromEnvironment) -> str:
    value = secret.environ().get(named.name)
    if not value:
        raise PolicyInvalid(
            f"[channels.{app.name}] needs {named.name}, which the environment does not have. Nothing was started. Set "
            "it where this process starts."
        )
    return value
