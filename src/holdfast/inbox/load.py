"""From holdfast.toml and the environment to an `Inbox`: channels with their secrets, as this process has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from holdfast.errors import PolicyInvalid
from holdfast.inbox import config
from holdfast.inbox.directory import ChannelSettings, Directory, Email, FromEnvironment
from holdfast.inbox.email import EmailChannel
from holdfast.inbox.inbox import Inbox
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
    return Inbox(directory, channels(directory, environ, now), base_url=environ.get(BASE_URL, ""))


def channels(directory: Directory, environ: Mapping[str, str], now: Callable[[], float]) -> dict[str, Channel]:
    """All channels of the directory, by name."""
    return {name: made(settings, environ, now) for name, settings in directory.channels.items()}


def made(settings: ChannelSettings, environ: Mapping[str, str], now: Callable[[], float]) -> Channel:
    """One channel."""
    for secret in _secrets(settings):
        if not environ.get(secret.name):
            raise PolicyInvalid(
                f"[channels.{settings.name}] needs {secret.name}, which the environment does not have. Nothing was "
                f"started. Set it where this process starts."
            )
    match settings:
        case Email():
            return EmailChannel(settings, environ, now)
        case _:
            return WebhookChannel(settings, environ, now)


def _secrets(settings: ChannelSettings) -> Iterator[FromEnvironment]:
    match settings:
        case Email(password=password):
            yield from () if password is None else (password,)
        case _:
            yield from settings.secrets
            if isinstance(settings.url, FromEnvironment):
                yield settings.url
