"""The cyclic garbage collector rests where holdfast makes many objects at once that all live.

Loading a long record, or writing for a thousand runs in one transaction, makes tens of thousands of objects. Looking
through them again and again for garbage took a third of the time of loading and a sixth of that of writing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Within the block nothing is collected; for short blocks that never wait."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
