"""The ladder: what is tried when a step has failed for good, rung after rung, and why. Pure.

Order of everything: classify, retry, then the rungs as they were declared (another tool, the last good result, a
person, a stop), and in the end the failure is told to the agent. What ended unknown is in doubt first (`core.doubt`);
only a definite failure climbs.

What passes a rung over
1. A request that is wrong (`invalid`) is told to the agent at once: only who wrote it can mend it.
2. An answer that stays the same elsewhere (a status such as 404) makes neither another tool nor an old result right.
3. A rung `escalation` is there for `unauthorised` alone: keys and money are a person's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.core.failure import FailureKind
from holdfast.core.rung import Ask, Cached, Other, Rung, Stop
from holdfast.errors import PolicyInvalid

FINE = "ok"
"""In a table of `classify`: what looks like a failure is none."""


def checked_rungs(tool: str, rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """The ladder, when each of its rungs can be reached and none is there twice; otherwise `PolicyInvalid`."""
    seen: set[str] = set()
    for place, rung in enumerate(rungs):
        if not isinstance(rung, (Other, Cached, Ask, Stop)):
            raise PolicyInvalid(
                f"{tool}: fallback holds {rung!r}, which is no rung. Give another tool, Cached(max_age=…), Ask(who) or "
                '"stop".'
            )
        if rung.name in seen:
            raise PolicyInvalid(f"{tool}: fallback names {rung.name!r} twice. Each rung is climbed once.")
        seen.add(rung.name)
        if isinstance(rung, Ask):
            _check_asking(tool, rung, rungs[place + 1 :])
        if isinstance(rung, Stop) and place + 1 < len(rungs):
            after = rungs[place + 1].name
            raise PolicyInvalid(f'{tool}: fallback has {after!r} after "stop", where nothing can come. Put it before.')
    return tuple(rungs)


def _check_asking(tool: str, rung: Ask, after: Sequence[Rung]) -> None:
    if rung.default is not None and rung.default not in DEFAULTS:
        raise PolicyInvalid(f"{tool}: {rung.default!r} cannot be a default here. Choose one of: {', '.join(DEFAULTS)}.")
    if after and (rung.within is None or rung.default is not None):
        why = "has a default" if rung.default is not None else "waits for ever (no within=)"
        raise PolicyInvalid(
            f"{tool}: fallback has {after[0].name!r} after {rung.name!r}, which {why}: it is never reached."
        )


DEFAULTS = ("tell_the_agent", "abort")
"""What may be taken when nobody answers. To try again without end is no default."""


def checked_table(table: Mapping[Any, Any]) -> dict[str, str]:
    """A table of `classify` by text: statuses, names of error classes and provider codes to kinds of failure."""
    kinds = {str(kind) for kind in FailureKind} | {FINE}
    checked: dict[str, str] = {}
    for what, kind in table.items():
        name = what.__name__ if isinstance(what, type) else str(what)
        if str(kind) not in kinds or not name:
            raise PolicyInvalid(f"classify: {name!r} cannot be {kind!r}. Choose one of: {', '.join(sorted(kinds))}.")
        checked[name] = str(kind)
    return checked
