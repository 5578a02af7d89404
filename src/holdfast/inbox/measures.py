"""[reach] of holdfast.toml: how it is measured whether anybody can be reached.

[reach]
probe = "1w"                    # how often each person is asked by each channel to confirm; false: never
within = "24h"                  # how long they have
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from holdfast.inbox.directory import Probes
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
