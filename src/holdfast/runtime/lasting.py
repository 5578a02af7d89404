"""The run of holdfast's own that lasts: begun where an app that serves opens, once for all processes on the store.

1. Its key is fixed, and so is the id of each of its chapters: processes that open at once begin one run.
2. One that has ended, or whose code is not this process's, is followed by another chapter: an upgrade leaves nothing
   blocked. What it must remember is in cells, and not in its record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.core import accept
from holdfast.core.address import chapter_id, run_id
from holdfast.core.heads import MISMATCHED, Head
from holdfast.journal.codec import digest, encode
from holdfast.protocols import Post

if TYPE_CHECKING:
    from holdfast.runtime.settings import Services

KEY: Final = "@watch"
_INPUT: Final = encode({})


def keep(services: Services) -> None:
    """See to it that it runs, where the app has one."""
    agent = services.escalation.lasting if services.escalation is not None else None
    if agent is None:
        return
    journal = services.journal
    known = next(iter(journal.heads(key=KEY, limit=1)), None)
    if known is not None and known.agent == agent.name and not _is_over(known):
        return
    limits = None if agent.limits is None else list(agent.limits)
    start = accept.start(agent=agent.name, key=KEY, input_digest=digest(_INPUT), limits=limits, body=_INPUT)
    if known is None:
        at = run_id(journal.hash_key, services.tenant, KEY)
    else:
        at = chapter_id(journal.hash_key, known.run_id)
    posts = [Post(at, f"start {agent.name}", start)]
    if known is not None and not known.status.is_end:
        why = "another chapter of it, of other code, has begun"
        posts.append(Post(known.run_id, f"followed by {at}", accept.cancel(by="holdfast", why=why)))
    journal.post_all(posts)


def _is_over(head: Head) -> bool:
    return head.status.is_end or head.why in MISMATCHED
