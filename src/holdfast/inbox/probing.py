"""A notice that asks for nothing but a word that it has come."""

from __future__ import annotations

from datetime import UTC, datetime

from holdfast.protocols import Notice


def probe(person: str, to: str, key: str, now: float, *, run: str = "", question: str = "", link: str = "") -> Notice:
    """For this person; key: by which they can say which one it was. run, question: where they can confirm it; without
    them nobody waits for that."""
    at = datetime.fromtimestamp(now, UTC).isoformat(" ", "minutes")[:16]
    how = "Nothing is asked, and nothing waits for an answer."
    if run:
        how = "Please confirm that it has reached you. Nothing else happens."
    where = f"Confirm it there: {link}" if link else f"Confirm it with: holdfast answer {run} confirm"
    facts = {"about": "probe"} | ({"run": run, "question": question} if run else {})
    return Notice(
        id=key,
        thread=f"{run}/{question}" if run else f"probe/{key}",
        kind="probe",
        person=person,
        to=to,
        title="A test: can questions of agents reach you?",
        lines=(f"Sent at {at} UTC. {how}", *([where] if run else [])),
        link=link,
        is_urgent=False,
        facts=facts,
    )
