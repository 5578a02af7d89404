"""A notice that asks for nothing but a word that it has come."""

from __future__ import annotations

from datetime import UTC, datetime

from holdfast.protocols import Notice


def probe(person: str, to: str, key: str, now: float) -> Notice:
    """For this person; key: by which they can say which one it was."""
    at = datetime.fromtimestamp(now, UTC).isoformat(" ", "minutes")[:16]
    return Notice(
        id=key,
        thread=f"probe/{key}",
        kind="probe",
        person=person,
        to=to,
        title="A test: can questions of agents reach you?",
        lines=(f"Sent at {at} UTC. Nothing is asked, and nothing waits for an answer.",),
        link="",
        is_urgent=False,
        facts={"about": "probe"},
    )
