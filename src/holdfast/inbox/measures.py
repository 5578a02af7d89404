"""[reach] and [heartbeat] of holdfast.toml: how it is measured whether anybody can be reached, and that holdfast lives.

[reach]
probe = "1w"                    # how often each person is asked by each channel to confirm; false: never
within = "24h"                  # how long they have

[heartbeat]
url = "env:HEARTBEAT_URL"       # who alarms when nothing comes; or "https://…"
every = "5m"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from holdfast.inbox.channel_table import allowed, check_url
from holdfast.inbox.directory import FromEnvironment, Heartbeat, Probes
from holdfast.inbox.table import Table

PROBE_S: Final = 5 * 86_400.0
"""Of a file that does not say: in working hours once a week, and before what was confirmed lapses (seven days)."""
_EXAMPLE: Final = '[reach] with probe = "1w"'


def probes(file: Path, tables: dict[str, Any]) -> Probes:
    """How often people are asked."""
    table = Table(file, "[reach]", tables.get("reach", {}), _EXAMPLE)
    table.only("probe", "within")
    is_off = table.raw("probe") is False
    every_s = None if is_off else table.length("probe", PROBE_S, '"1w"', low_s=3600.0)
    within_s = table.length("within", Probes().within_s, '"24h"', low_s=60.0, high_s=7 * 86_400.0)
    return Probes(every_s, within_s) if "chains" in tables else Probes()


def heartbeat(file: Path, tables: dict[str, Any]) -> Heartbeat | None:
    """Who is told that holdfast lives; None: nobody."""
    if "heartbeat" not in tables:
        return None
    table = Table(file, "[heartbeat]", tables["heartbeat"], '[heartbeat] with url = "env:HEARTBEAT_URL"')
    table.only("url", "every", "allow")
    value = table.text("url", '"env:HEARTBEAT_URL" or "https://example.com/ping"')
    url: str | FromEnvironment = table.variable("url", value) if value.startswith("env:") else value
    allow = allowed(table)
    if isinstance(url, str):
        check_url(table, url, allow)
    return Heartbeat(url, table.length("every", 300.0, '"5m"', low_s=30.0, high_s=86_400.0), tuple(allow))
