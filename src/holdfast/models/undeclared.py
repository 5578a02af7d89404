"""Tools that a request offers to its model, and that holdfast knows nothing of: named once, at the first request.

The call of such a tool is no step: it runs again whenever the run is resumed. For a search that is waste, for a
payment it is the second one. Nothing else can tell: the wire is the first place where both are seen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

NAMES_MAX = 20
"""More are counted, not named."""

_log = logging.getLogger("holdfast")


def undeclared(offered: Iterable[str], *known: Iterable[str]) -> frozenset[str]:
    """The tools of a request that are neither declared nor steps of the run."""
    return frozenset(offered).difference(*known)


def warn(run: str, names: frozenset[str]) -> None:
    """Say what they are, what it means, and what to do."""
    listed = sorted(names)
    shown = ", ".join(listed[:NAMES_MAX])
    more = f" and {len(listed) - NAMES_MAX} more" if len(listed) > NAMES_MAX else ""
    _log.warning(
        "Run %s offers its model tools that holdfast does not know: %s%s. Their calls are not recorded, so they run "
        "again when the run is resumed. Decorate those with effects with @holdfast.tool, or call them with "
        "`run.step(name, …)`; those that only compute may stay as they are.",
        run,
        shown,
        more,
    )
