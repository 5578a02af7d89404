"""How long people take by each chain: read off the records of the runs that told them, and off nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from holdfast.core.chain import ACKNOWLEDGED, AGENT, NEWS
from holdfast.core.events import Event, Kind
from holdfast.core.heads import Status
from holdfast.core.response import Response, Sample, response
from holdfast.inbox.directory import Directory
from holdfast.journal.codec import decode
from holdfast.protocols import Journal

HEADS_MAX: Final = 10_000
QUESTIONS_MAX: Final = 500
"""The newest, among the runs that ended last."""


def times(directory: Directory, journal: Journal | None) -> Mapping[str, Response]:
    """By chain, of the newest questions that went by it and are closed. Those of people and rotas go by their name."""
    by_chain: dict[str, list[Sample]] = defaultdict(list)
    for asked, sample in _samples(journal) if journal is not None else ():
        chain = directory.chain_for(str(asked.get("to", "")))
        if chain is not None:
            by_chain[chain.name].append(sample)
    return {name: response(samples) for name, samples in by_chain.items()}


def _samples(journal: Journal) -> Iterator[tuple[dict[str, Any], Sample]]:
    heads = journal.heads(status=Status.SUCCEEDED, limit=HEADS_MAX)
    chains = [head.run_id for head in heads if head.agent == AGENT and not head.is_forgotten]
    for run in chains[:QUESTIONS_MAX]:
        events = journal.events(run)
        asked, became = decode(events[0].body or b"null"), decode(events[-1].body or b"null")
        if isinstance(asked, dict) and isinstance(became, dict) and "outcome" in became:
            yield asked, Sample(asked["asked_at"], became["outcome"], became["at"], _acknowledged_at(events))


def _acknowledged_at(events: list[Event]) -> float | None:
    for event in events:
        if event.kind is Kind.SIGNAL_RECEIVED and event.facts.get("name") == NEWS and event.body is not None:
            news = decode(event.body)
            if isinstance(news, dict) and news.get("what") == ACKNOWLEDGED:
                return event.at
    return None
