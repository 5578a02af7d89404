"""[people], [channels], [rotas] and [chains] of holdfast.toml.

[people.ada]
email = "ada@example.com"
zone = "Europe/Zurich"
quiet = "22:00-07:00"           # what is not urgent waits until they are over

[channels.mail]
kind = "email"
host = "smtp.example.com"       # port = 587, tls = "starttls" (or "tls", "none")
from = "holdfast@example.com"
user = "holdfast"
password = "env:SMTP_PASSWORD"  # the name of a variable: no secret stands in the file

[channels.hook]
kind = "webhook"
url = "https://example.com/in"  # or "env:NAME"
secret = "env:HOOK_SECRET"      # or several, the newest first

[rotas.oncall]
people = ["ada", "bob"]
from = "2026-01-05T09:00"
turns = "1w"
zone = "Europe/Zurich"
off = [{ who = "ada", from = "2026-02-02", to = "2026-02-09" }]

[chains.finance]
levels = [
  { to = ["ada"], by = ["mail", "hook"], wait = "10m" },
  { to = ["oncall"], by = ["hook"], wait = "10m" },
]
repeat = 2                      # how often it begins from the top again
ack = "30m"                     # how long whoever acknowledges is left in peace

What is misspelt, names what is not there, or could reach nobody is refused when the file is read.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from holdfast.core.quiet import Quiet
from holdfast.core.rota import TURN_MIN, Leave, Rota
from holdfast.inbox.directory import (
    ACK_S,
    REPEAT,
    WAIT_S,
    Chain,
    ChannelSettings,
    Directory,
    Email,
    FromEnvironment,
    Person,
    Step,
    Webhook,
)
from holdfast.inbox.table import Table
from holdfast.runtime.config import read

_EXAMPLES: Final = {
    "people": '[people.ada] with email = "ada@example.com"',
    "channels": '[channels.mail] with kind = "email"',
    "rotas": '[rotas.oncall] with people = ["ada", "bob"]',
    "chains": '[chains.finance] with levels = [{to = ["ada"], by = ["mail"], wait = "10m"}]',
}
_LEVEL: Final = '{to = ["ada"], by = ["mail"], wait = "10m"}'
LEVELS_MAX: Final = 20


def load(path: str | Path | None) -> Directory:
    """What this file says of it; without a path ./holdfast.toml, if there is one."""
    file, tables = read(path)
    return parsed(file, tables)


def parsed(file: Path, tables: dict[str, Any]) -> Directory:
    """The same of tables that were read already."""
    groups = {name: Table(file, f"[{name}]", tables.get(name, {}), example) for name, example in _EXAMPLES.items()}
    inner = {name: group.tables(_EXAMPLES[name]) for name, group in groups.items()}
    people = {name: _person(name, table) for name, table in inner["people"].items()}
    channels = {name: _channel(name, table) for name, table in inner["channels"].items()}
    rotas = {name: _rota(table, people) for name, table in inner["rotas"].items()}
    for name in rotas.keys() & people.keys():
        inner["rotas"][name].wrong("is the name of a person, too", "Give the rota another one")
    directory = Directory(people, channels, rotas)
    chains = {name: _chain(name, table, directory) for name, table in inner["chains"].items()}
    return Directory(people, channels, rotas, chains)


# --- people ------------------------------------------------------------------------------------------------------


def _person(name: str, table: Table) -> Person:
    table.only("email", "slack", "zone", "quiet")
    email = table.text("email", '"ada@example.com"', default="")
    if email:
        _check_address(table, "email", email)
    quiet = None
    if table.has("quiet"):
        begins, ends = table.clock("quiet", '"22:00-07:00"')
        quiet = Quiet(begins, ends, table.zone())  # by whose clock is not guessed
    elif table.has("zone"):
        table.zone()
    return Person(name, email, table.text("slack", '"U012AB3CD"', default=""), quiet)


def _check_address(table: Table, name: str, value: str) -> None:
    local, _, domain = value.rpartition("@")
    if not local or not domain or any(each.isspace() or each in '<>,;:"()[]\\' for each in value):
        table.wrong(f"has {name} = {value!r}, which is no address", f'Write {name} = "ada@example.com"')


# --- channels ----------------------------------------------------------------------------------------------------


def _channel(name: str, table: Table) -> ChannelSettings:
    match table.text("kind", '"email" or "webhook"'):
        case "email":
            return _email(name, table)
        case "webhook":
            return _webhook(name, table)
        case other:
            table.wrong(f"is of the kind {other!r}", 'Write kind = "email" or "webhook"')


def _email(name: str, table: Table) -> Email:
    table.only("kind", "host", "port", "from", "user", "password", "tls")
    host, sender = table.text("host", '"smtp.example.com"'), table.text("from", '"holdfast@example.com"')
    _check_address(table, "from", sender)
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
    allow = table.raw("allow") if table.has("allow") else []
    if not isinstance(allow, list) or not all(isinstance(each, str) and ":" in each for each in allow):
        table.wrong(f"has allow = {allow!r}", 'Write allow = ["127.0.0.1:8080"]')
    if isinstance(url, str):
        _check_url(table, url, allow)
    given = table.raw("secret")
    secrets = given if isinstance(given, list) and given else [given]
    return Webhook(
        name=name,
        url=url,
        secrets=tuple(table.variable("secret", each) for each in secrets),
        allow=tuple(allow),
    )


def _check_url(table: Table, url: str, allow: list[str]) -> None:
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname}:{parts.port or 443}"
    except ValueError:
        table.wrong(f"has url = {url!r}, which is no URL", 'Write url = "https://example.com/in"')
    if parts.username or parts.password:
        table.wrong("has a password in its url", 'Write url = "env:NAME"')
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and place in allow)):
        table.wrong(f"has url = {url!r}, which is no https URL", 'Write url = "https://example.com/in"')


# --- rotas -------------------------------------------------------------------------------------------------------


def _rota(table: Table, people: dict[str, Person]) -> Rota:
    table.only("people", "from", "turns", "zone", "off")
    zone = table.zone()
    example = '["ada", "bob"]'
    turn = timedelta(seconds=table.length("turns", 7 * 86400.0, '"1w"', low_s=TURN_MIN.total_seconds()))
    return Rota(
        table.names("people", example, people, "people"),
        table.moment("from", '"2026-01-05T09:00"', zone),
        turn,
        zone,
        tuple(_leave(table, number, item, people) for number, item in enumerate(_list(table, "off"), 1)),
    )


def _list(table: Table, name: str) -> list[Any]:
    value = table.raw(name) if table.has(name) else []
    if not isinstance(value, list):
        table.wrong(f"has {name} = {value!r}, which is no list", f"Write {name} = [{{…}}]")
    return value


def _leave(table: Table, number: int, item: Any, people: dict[str, Person]) -> Leave:
    example = '{who = "ada", from = "2026-02-02", to = "2026-02-09"}'
    off = Table(table.file, f"{table.where} off, number {number},", item, example)
    off.only("who", "from", "to")
    zone, who = table.zone(), off.text("who", '"ada"')
    if who not in people:
        off.wrong(f"names {who!r}, who is none of the people of this file", f"There are {', '.join(people)}")
    begins, ends = (off.moment(name, '"2026-02-02"', zone) for name in ("from", "to"))
    if begins >= ends:
        off.wrong(f"ends at {ends}, not after {begins}", f"Write {example}")
    return Leave(who, *(_at(each, zone) for each in (begins, ends)))


def _at(local: datetime, zone: Any) -> float:
    return local.replace(tzinfo=zone).timestamp()


# --- chains ------------------------------------------------------------------------------------------------------


def _chain(name: str, table: Table, directory: Directory) -> Chain:
    table.only("levels", "repeat", "ack")
    levels = _list(table, "levels")
    if not 1 <= len(levels) <= LEVELS_MAX:
        table.wrong(f"has {len(levels)} levels", f"Write 1 to {LEVELS_MAX}: levels = [{_LEVEL}]")
    if name in directory.people or name in directory.rotas:
        table.wrong("is the name of a person or a rota, too", "Give the chain another one")
    return Chain(
        name,
        tuple(_level(table, number, item, directory) for number, item in enumerate(levels, 1)),
        table.whole("repeat", REPEAT, 0, 100),
        table.length("ack", ACK_S, '"30m"', low_s=60.0),
    )


def _level(table: Table, number: int, item: Any, directory: Directory) -> Step:
    level = Table(table.file, f"{table.where} level {number}", item, _LEVEL)
    level.only("to", "by", "wait")
    to = level.names("to", '["ada"]', [*directory.people, *directory.rotas], "people and rotas")
    by = level.names("by", '["mail"]', directory.channels, "channels")
    step = Step(to, by, level.length("wait", WAIT_S, '"10m"', low_s=10.0))
    for person in directory.members(step):
        if not directory.ways(person, by):
            level.wrong(
                f"cannot reach {person} by {' or '.join(by)}",
                f"Write their address in [people.{person}], or name a channel that has one",
            )
    return step
