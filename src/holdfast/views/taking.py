"""Who has opened a question, and who takes care of it, as the run that tells people of it has heard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from holdfast.core import chain
from holdfast.core.accept import MessageKind
from holdfast.core.events import Kind
from holdfast.errors import JournalCorrupt
from holdfast.journal.codec import decode
from holdfast.protocols import Journal
from holdfast.runtime.escalating import chain_id
from holdfast.views.asking import Item


def taken(journal: Journal, item: Item) -> Item:
    """The same, with whoever has opened it, and who said last that they take care of it. Nobody, where no chain tells
    people of it."""
    if item.state != "open":
        return item
    try:
        return _heard(journal, item, chain_id(journal, item.run, item.id))
    except JournalCorrupt:  # of the chain's own record; the question is shown all the same
        return item


def _heard(journal: Journal, item: Item, teller: str) -> Item:
    if journal.head(teller) is None:
        return item
    heard = [
        (event.facts.get("name"), event.body, event.at)
        for event in journal.events(teller)
        if event.kind is Kind.SIGNAL_RECEIVED
    ]
    heard += [
        (mail.message.facts.get("name"), mail.message.body, mail.at)
        for mail in journal.mail(teller)
        if mail.message.kind is MessageKind.SIGNAL
    ]
    seen: dict[str, None] = {}
    for name, body, at in heard:
        news: Any = None if body is None or name != chain.NEWS else decode(body)
        match news:
            case {"what": chain.ACKNOWLEDGED, "by": str(by)}:
                item = replace(item, taken_by=by, taken_at=at)
            case {"what": chain.SEEN, "by": str(by)}:
                seen[by] = None
            case _:
                pass
    return replace(item, seen_by=tuple(seen))
