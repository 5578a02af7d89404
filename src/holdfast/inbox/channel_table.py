"""[channels.…] of holdfast.toml, each by its kind; see `config`."""

from __future__ import annotations

import re
from typing import Final, Literal
from urllib.parse import urlsplit

from holdfast.inbox.directory import Apprise, ChannelSettings, Email, FromEnvironment, Slack, Webhook
from holdfast.inbox.table import Table

URL: Final = "https://slack.com/api"
SLACK_ID: Final = re.compile(r"[A-Z][A-Z0-9]{4,20}")
_KINDS: Final = '"email", "webhook", "slack" or "apprise"'


def channel(name: str, table: Table) -> ChannelSettings:
    """What [channels.NAME] says."""
    match table.text("kind", _KINDS):
        case "email":
            return _email(name, table)
        case "webhook":
            return _webhook(name, table)
        case "slack":
            return _slack(name, table)
        case "apprise":
            table.only("kind")
            return Apprise(name=name)
        case other:
            table.wrong(f"is of the kind {other!r}", f"Write kind = {_KINDS}")


def _email(name: str, table: Table) -> Email:
    table.only("kind", "host", "port", "from", "user", "password", "tls")
    host, sender = table.text("host", '"smtp.example.com"'), table.text("from", '"holdfast@example.com"')
    check_address(table, "from", sender)
    tls = _tls(table)
    user = table.text("user", '"holdfast"', default="")
    if bool(user) != table.has("password"):
        table.wrong("has only one of user and password", 'Write both, password = "env:NAME", or neither')
    if user and tls == "none" and host not in ("localhost", "127.0.0.1", "::1"):
        table.wrong("would send the password in the clear", 'Write tls = "starttls" or "tls"')
    password = table.secret("password") if user else None
    port = table.whole("port", 465 if tls == "tls" else 587, 1, 65535)
    return Email(name=name, host=host, port=port, sender=sender, user=user, password=password, tls=tls)


def _tls(table: Table) -> Literal["starttls", "tls", "none"]:
    match table.text("tls", '"starttls"', default="starttls"):
        case "starttls" | "tls" | "none" as known:
            return known
        case other:
            table.wrong(f"has tls = {other!r}", 'Write tls = "starttls", "tls" or "none"')


def _webhook(name: str, table: Table) -> Webhook:
    table.only("kind", "url", "secret", "allow")
    value = table.text("url", '"https://example.com/in" or "env:NAME"')
    url: str | FromEnvironment = table.variable("url", value) if value.startswith("env:") else value
    allow = allowed(table)
    if isinstance(url, str):
        check_url(table, url, allow)
    return Webhook(name=name, url=url, secrets=_variables(table, "secret"), allow=tuple(allow))


def allowed(table: Table) -> list[str]:
    """HOST:PORT that may be in a private network."""
    allow = table.raw("allow") if table.has("allow") else []
    if not isinstance(allow, list) or not all(isinstance(each, str) and ":" in each for each in allow):
        table.wrong(f"has allow = {allow!r}", 'Write allow = ["127.0.0.1:8080"]')
    return allow


def _variables(table: Table, name: str) -> tuple[FromEnvironment, ...]:
    given = table.raw(name)
    return tuple(table.variable(name, each) for each in (given if isinstance(given, list) and given else [given]))


def _slack(name: str, table: Table) -> Slack:
    table.only("kind", "token", "team", "app", "signing_secret", "app_token", "shows_call", "url", "allow")
    is_heard = table.has("signing_secret") or table.has("app_token")
    team, app = (table.text(each, _example(each), default="") for each in ("team", "app"))
    for each, value in (("team", team), ("app", app)):
        if is_heard and not SLACK_ID.fullmatch(value):
            table.wrong(f"has buttons, and no {each} whose buttons count", f"Write {each} = {_example(each)}")
    shows_call = table.raw("shows_call") if table.has("shows_call") else False
    if type(shows_call) is not bool:
        table.wrong(f"has shows_call = {shows_call!r}", "Write shows_call = true, or leave it out")
    if shows_call and not is_heard:
        table.wrong("shows calls, and hears no answer", 'Write app_token or signing_secret = "env:NAME", too')
    url, allow = table.text("url", '"https://slack.com/api"', default=URL), allowed(table)
    check_url(table, url, allow)
    return Slack(
        name=name,
        token=table.secret("token"),
        team=team,
        app=app,
        signing=_variables(table, "signing_secret") if table.has("signing_secret") else (),
        app_token=table.secret("app_token") if table.has("app_token") else None,
        shows_call=shows_call,
        url=url,
        allow=tuple(allow),
    )


def _example(each: str) -> str:
    return f'"{each[0].upper()}012AB3CD"'


def check_url(table: Table, url: str, allow: list[str]) -> None:
    """Refuse what is no https URL, or holds a password."""
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname}:{parts.port or 443}"
    except ValueError:
        table.wrong(f"has url = {url!r}, which is no URL", 'Write url = "https://example.com/in"')
    if parts.username or parts.password:
        table.wrong("has a password in its url", 'Write url = "env:NAME"')
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and place in allow)):
        table.wrong(f"has url = {url!r}, which is no https URL", 'Write url = "https://example.com/in"')


def check_address(table: Table, name: str, value: str) -> None:
    """Refuse what is no address."""
    local, _, domain = value.rpartition("@")
    if not local or not domain or any(each.isspace() or each in '<>,;:"()[]\\' for each in value):
        table.wrong(f"has {name} = {value!r}, which is no address", f'Write {name} = "ada@example.com"')
