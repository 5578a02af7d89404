"""[people], [channels], [rotas] and [chains] of holdfast.toml.

[people.ada]
email = "ada@example.com"
zone = "Europe/Zurich"
quiet = "22:00-07:00"           # what is not urgent waits until they are over
per_hour = 20                   # so many notices; what comes beyond that is told in one, once an hour

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

[channels.chat]
kind = "slack"                  # people have slack = "U012AB3CD", their member id
token = "env:SLACK_TOKEN"       # of the bot (xoxb-…)
team = "T012AB3CD"              # for buttons: whose count …
app = "A012AB3CD"
signing_secret = "env:SLACK_SIGNING"  # … and how they are heard: by POST to /slack of `holdfast serve`,
app_token = "env:SLACK_APP_TOKEN"     # or by Socket Mode in `holdfast serve` and `holdfast worker`
shows_call = true               # what would be done may be seen, and approved, in Slack

[channels.push]
kind = "apprise"                # people have apprise = "env:NAME", an Apprise URL each

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
from typing import Any, Final

from holdfast.core.load import PER_HOUR, PER_HOUR_MAX
from holdfast.core.quiet import Quiet
from holdfast.core.rota import TURN_MIN, Leave, Rota
from holdfast.inbox.channel_table import SLACK_ID, channel, check_address
from holdfast.inbox.directory import (
    ACK_S,
    REPEAT,
    WAIT_S,
    Chain,
    Directory,
    Person,
    Step,
)
from holdfast.inbox.measures import heartbeat, probes
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
    channels = {name: channel(name, table) for name, table in inner["channels"].items()}
    _check_members(inner["people"], people)
    rotas = {name: _rota(table, people) for name, table in inner["rotas"].items()}
    for name in rotas.keys() & people.keys():
        inner["rotas"][name].wrong("is the name of a person, too", "Give the rota another one")
    directory = Directory(people, channels, rotas)
    chains = {name: _chain(name, table, directory) for name, table in inner["chains"].items()}
    return Directory(people, channels, rotas, chains, probes(file, tables), heartbeat(file, tables))


# --- people ------------------------------------------------------------------------------------------------------


def _person(name: str, table: Table) -> Person:
    table.only("email", "slack", "apprise", "zone", "quiet", "per_hour")
    zone = table.zone() if table.has("zone") else None
    email = table.text("email", '"ada@example.com"', default="")
    if email:
        check_address(table, "email", email)
    quiet = None
    if table.has("quiet"):
        begins, ends = table.clock("quiet", '"22:00-07:00"')
        quiet = Quiet(begins, ends, table.zone())  # by whose clock is not guessed
    slack = table.text("slack", '"U012AB3CD"', default="")
    if slack and not SLACK_ID.fullmatch(slack):
        table.wrong(f"has slack = {slack!r}, which is no member id", 'Copy it from the profile: slack = "U012AB3CD"')
    apprise = table.secret("apprise") if table.has("apprise") else None
    per_hour = table.whole("per_hour", PER_HOUR, 1, PER_HOUR_MAX)
    return Person(name, email, slack, quiet, apprise, zone, per_hour)


def _check_members(tables: dict[str, Table], people: dict[str, Person]) -> None:
    """Who presses a button in Slack must be one person."""
    names: dict[str, str] = {}
    for name, someone in people.items():
        other = names.setdefault(someone.slack, name) if someone.slack else name
        if other != name:
            tables[name].wrong(f"has the slack = {someone.slack!r} of {other}", "Give each person their own member id")


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
