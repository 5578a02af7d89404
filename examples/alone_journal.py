"""The journal alone: a raw SDK loop that writes each answer down by hand, and goes on after a crash. No App, no agent.
Look at it: `sqlite3 by_hand.db "SELECT * FROM journal"`, or `holdfast show poems --store by_hand.db`."""

import time

from anthropic import Anthropic

from holdfast.core import accept, events, state
from holdfast.journal import codec, process
from holdfast.journal.open import open_journal
from holdfast.protocols import Append

TOPICS, RUN, PROMPT = ["tea", "rain", "ink"], "run_poems", "Write one line about {}. No title."
GIVEN = codec.encode(TOPICS)


def main(store: str = "by_hand.db") -> list[str]:
    journal, worker = open_journal(store, clock=time.time), process.this_worker(f"poet {time.time()}")
    facts = {"agent": "by hand", "key": "poems", "input_digest": codec.digest(GIVEN), "limits": None}
    journal.post(RUN, "start", accept.start(**facts, body=GIVEN))  # type: ignore[arg-type]
    journal.register(worker, 600)  # a lease: nobody else writes to this run, and another process takes over if we die
    lease, record = journal.claim(worker.id, run_ids=[RUN])[0].lease, journal.events(RUN)

    def write(kind: events.Kind, step: events.Address | None, body: bytes, **meta: object) -> None:
        record.append(events.Event(kind, journal.now(), step, meta=events.meta(**meta), body=body))
        added = Append(lease, len(record) - 1, record[-1:], state.fold(record).head(), mail_read=1)
        assert journal.append([added]) == [None], "another process has taken over"

    if not record:
        write(events.Kind.RUN_STARTED, None, GIVEN, run=RUN, created_at=journal.now(), seed="", code="", **facts)
    for topic in TOPICS[len(record) - 1 :]:  # what is written down is not asked again
        asked = {"max_tokens": 100, "messages": [{"role": "user", "content": PROMPT.format(topic)}]}
        line = Anthropic().messages.create(model="claude-sonnet-5", **asked).content[0].text  # type: ignore[call-overload]
        write(events.Kind.STEP_SUCCEEDED, events.Address("", topic, "", 0), codec.encode(line))
    journal.retire(worker.id)
    return [codec.decode(event.body) for event in record[1:] if event.body is not None]


if __name__ == "__main__":
    print(*main(), sep="\n")
