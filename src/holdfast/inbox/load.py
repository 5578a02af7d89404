"""From holdfast.toml and the environment to an `Inbox`: channels with their secrets, as this process has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from holdfast.errors import PolicyInvalid
from holdfast.inbox import config
from holdfast.inbox.apprise import AppriseChannel
from holdfast.inbox.directory import Apprise, ChannelSettings, Directory, Email, FromEnvironment, Slack, Webhook
from holdfast.inbox.email import EmailChannel
from holdfast.inbox.heartbeat import Pulse
from holdfast.inbox.inbox import Inbox
from holdfast.inbox.roll import FileRoll
from holdfast.inbox.slack import SlackChannel
from holdfast.inbox.webhook import WebhookChannel
from holdfast.protocols import Channel

BASE_URL: Final = "HOLDFAST_BASE_URL"
"""Where the pages are that questions are answered on, such as https://holdfast.example.com."""


def load(path: str | Path | None, environ: Mapping[str, str], now: Callable[[], float]) -> Inbox | None:
    """What this file says, with secrets from `environ`; None when it names no channel.

    environ: such as `os.environ`. now: the time that mails and signatures carry. `PolicyInvalid` for a secret that is
    not there: a worker that could tell nobody does not start.
    """
    directory = config.load(path)
    if not directory.channels:
        return None
    made_channels, pulse = channels(directory, environ, now), None
    if directory.heartbeat is not None:
        url = directory.heartbeat.url
        _check("[heartbeat]", (url,) if isinstance(url, FromEnvironment) else (), environ)
        pulse = Pulse(directory.heartbeat, environ)
    return Inbox(directory, made_channels, base_url=environ.get(BASE_URL, ""), pulse=pulse, roll=FileRoll(path))


def secrets_of(directory: Directory) -> list[str]:
    """The variables that hold a secret of any channel or person, also those that this process does not need."""
    tables: list[Any] = [*directory.channels.values(), *directory.people.values()]
    if directory.heartbeat is not None:
        tables.append(directory.heartbeat)
    values = [value for table in tables for value in (getattr(table, field.name) for field in fields(table))]
    each = [one for value in values for one in (value if type(value) is tuple else (value,))]
    return sorted({one.name for one in each if isinstance(one, FromEnvironment)})


def channels(directory: Directory, environ: Mapping[str, str], now: Callable[[], float]) -> dict[str, Channel]:
    """All channels of the directory, by name."""
    if any(isinstance(settings, Apprise) for settings in directory.channels.values()):
        for person in directory.people.values():
            _check(f"[people.{person.name}]", () if person.apprise is None else (person.apprise,), environ)
    return {name: made(settings, environ, now) for name, settings in directory.channels.items()}


def made(settings: ChannelSettings, environ: Mapping[str, str], now: Callable[[], float]) -> Channel:
    """One channel."""
    _check(f"[channels.{settings.name}]", _secrets(settings), environ)
    match settings:
        case Email():
            return EmailChannel(settings, environ, now)
        case Webhook():
            return WebhookChannel(settings, environ, now)
        case Slack():
            return SlackChannel(settings, environ)
        case Apprise():
            return AppriseChannel(settings, environ)


def _check(where: str, secrets: Iterable[FromEnvironment], environ: Mapping[str, str]) -> None:
    for secret in secrets:
        if not environ.get(secret.name):
            raise PolicyInvalid(
                f"{where} needs {secret.name}, which the environment does not have. Nothing was started. Set it where "
                "this process starts."
            )


def _secrets(settings: ChannelSettings) -> Iterator[FromEnvironment]:
    match settings:
        case Email(password=password):
            yield from () if password is None else (password,)
        case Webhook(secrets=secrets, url=url):
            yield from secrets
            if isinstance(url, FromEnvironment):
                yield url
        case Slack(token=token):  # by the others buttons are heard, which this process need not do
            yield token
        case Apprise():  # its URLs are people's
            pass
