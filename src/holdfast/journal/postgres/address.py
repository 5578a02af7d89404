"""The URL of a store in Postgres, read.

    postgresql://user@host:5432/database?sslmode=verify-full&schema=holdfast

It is libpq's URL; `schema` alone is ours and never reaches libpq. What libpq leaves open and a store needs is set here:
a server that is gone is noticed, and of several hosts the one that takes writes is meant.

Never: connects; shows a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from holdfast.errors import UsageError

SCHEMES = ("postgresql", "postgres")
SCHEMA = "holdfast"
"""The schema of a URL that names none."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_NONE = (
    "This is no URL that Postgres knows: its host or its port is none. Nothing was done. "
    "In a password write @ as %40, : as %3A and / as %2F, or keep it in PGPASSFILE."
)
_LEFT_OPEN: dict[str, Any] = {
    "application_name": "holdfast",
    "client_encoding": "UTF8",
    "connect_timeout": 10,  # seconds for each host
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # ms that what was sent may stay unanswered by the other machine
    "target_session_attrs": "read-write",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is."""

    parameters: dict[str, Any]
    """What libpq is given."""
    schema: str
    shown: str
    """The URL for people: without a password."""

    @property
    def answer_s(self) -> float:
        """How long to wait for a server that says nothing, where nothing else bounds it: libpq's `tcp_user_timeout`,
        which knows only of machines that are gone. Zero stands for our own."""
        return (int(self.parameters["tcp_user_timeout"] or 0) or int(_LEFT_OPEN["tcp_user_timeout"])) / 1000


def read(url: str) -> Address:
    """The address behind a URL; UsageError when it is none."""
    place, _, query = url.partition("?")
    if "@" in place.partition("://")[2].partition("/")[2]:  # of a password with a / in it: digits pass for a port
        raise UsageError(_NONE)
    asked = [part for part in query.split("&") if part]
    ours = [part for part in asked if part.partition("=")[0] == "schema"]
    names = [unquote(part.partition("=")[2]) for part in ours] or [SCHEMA]
    if len(names) > 1 or _NAME.fullmatch(names[0]) is None or names[0].startswith("pg_"):
        raise UsageError(
            f"{', '.join(names)!r} can be no schema of a store. Nothing was done. Give one name of lower-case letters, "
            f"digits and underscores that does not begin with pg_, such as ?schema={SCHEMA}."
        )
    others = "&".join(part for part in asked if part not in ours)  # as they are: libpq has its own way to read them
    try:
        given = conninfo_to_dict(f"{place}?{others}" if others else place)
        int(given.get("tcp_user_timeout") or 0)
    except (psycopg.Error, ValueError) as error:
        raise UsageError(f"This is no URL that Postgres knows ({_why(error)}). Nothing was done.") from None
    _check(given)
    return Address(_LEFT_OPEN | given, names[0], _shown(given, names[0]))


def _why(error: Exception) -> str:
    """What libpq says; not the part of the URL that it quotes, unless that is the name of a parameter."""
    said = str(error).strip()
    return said if said.startswith("invalid URI query parameter:") else re.split("[\"']", said)[0].rstrip(" :")


def _check(given: dict[str, Any]) -> None:
    """Refuse what a password would be taken for that has an @, a : or a / in it; it is not shown."""
    ports, hosts = str(given.get("port") or "").split(","), str(given.get("host") or "").split(",")
    is_port = all(not port or (port.isascii() and port.isdigit()) for port in ports)
    if not is_port or any("@" in host.removeprefix("@") and not host.startswith("/") for host in hosts):
        raise UsageError(_NONE)


def _shown(given: dict[str, Any], schema: str) -> str:
    """Rebuilt from what libpq understood, so that a password stands nowhere in it."""
    user = f"{given['user']}@" if given.get("user") else ""
    host = str(given.get("host", ""))
    port = f":{given['port']}" if given.get("port") else ""
    place = f"?host={host}&schema={schema}" if host.startswith("/") else f"?schema={schema}"
    return f"postgresql://{user}{'' if host.startswith('/') else host + port}/{given.get('dbname', '')}{place}"
