"""Who takes care of an open question, as the run that tells people of it has heard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from holdfast.core import chain
from holdfast.core.accept import MessageKind
from holdfast.core.events import Kind
from holdfast.journal.codec import decode
from holdfast.protocols import Journal
from holdfast.runtime.escalating import chain_id
from holdfast.views.asking import Item


def taken(journal: Journal, item: Item) -> Item:
    """The same, with whoever said last that they take care of it. Nobody, where no chain tells people of it."""
    if item.state != "open":
        return item
    teller = chain_id(journal, item.run, item.id)
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
    for name, body, at in reversed(heard):
        news: Any = None if body is None or name != chain.NEWS else decode(body)
        if isinstance(news, dict) and news.get("what") == chain.ACKNOWLEDGED:
            return replace(item, taken_by=str(news.get("by", "")), taken_at=at)
    return item
