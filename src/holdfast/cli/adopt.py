"""`holdfast adopt`: says what a store is that is not where it was, so that it can be written again."""

from __future__ import annotations

import click

from holdfast.cli import option
from holdfast.cli.output import SCHEMA, document, say
from holdfast.cli.store import address
from holdfast.errors import UsageError


@click.command()
@click.option("--moved", "is_moved", is_flag=True, help="It is the store itself, and nothing works on it elsewhere.")
@click.option("--copied", "is_copied", is_flag=True, help="It is a copy, or a backup: its open runs are paused.")
@option.by
@option.store
@option.json
def adopt(is_moved: bool, is_copied: bool, by: str | None, store: str | None, is_json: bool) -> int:
    """Let a store that was moved, copied or restored be used. Until then it can only be read.

    A copy has the same runs as its original: whoever drives both does everything twice. So each run of a copy that has
    not ended is paused, and goes on when you say so: `holdfast resume RUN`.
    """
    from holdfast.journal.adopt import adopt as adopted  # loads apsw
    from holdfast.journal.open import file_of
    from holdfast.runtime.clock import SystemClock

    if is_moved is is_copied:
        raise UsageError(
            "Say what it is: --moved (the store itself) or --copied (a copy, or a backup that was put back)."
        )
    path = file_of(address(store), must_exist=True)
    paused = adopted(path, is_copy=is_copied, by=option.name_of(by), clock=SystemClock().now)
    if is_json:
        document({"schema": SCHEMA, "store": path, "is_copy": is_copied, "paused": paused})
    elif is_copied:
        say(f"{path} is a store of its own now. {len(paused)} runs are paused; look with `holdfast ls`.")
    else:
        say(f"{path} is used here now.")
    return 0
