"""The example that people read first, run as it stands: real HTTP, a real shop database, a real store."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import holdfast as hf
from holdfast.core.state import State, fold
from holdfast.journal.open import open_journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.ledger import Ledger
from holdfast.testing.model_server import ModelServer, script, text, tool_use

REFUNDS = {"T-01": 5380, "T-03": 1650, "T-05": 3450, "T-07": 7270, "T-08": 1780, "T-11": 7690, "T-12": 1480}
"""By hand from tickets.csv, shop.sql and the rules of the house."""


@pytest.fixture
def ledger(support: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """The payment and mail service; two tests that share it would need prefixes."""
    with Ledger() as ledger:
        monkeypatch.setenv("PAYMENTS_URL", f"{ledger.url}/effects/trial-1")
        yield ledger
    support.http.close()


def run(support: ModuleType, examples: Path, tickets: str) -> dict[str, str]:
    """The example on its store beside the shop, as `main` does it."""
    app = hf.App(store(), config=examples / "holdfast.toml")
    result: dict[str, str] = app.run_sync(support.support, tickets, key="refunds-1")
    return result


def store() -> str:
    return f"sqlite:///{os.environ['SHOP_DB']}.journal.db"


def state() -> State:
    """The run as its record tells it."""
    journal = open_journal(store(), clock=SystemClock().now, must_exist=True)
    try:
        (head,) = journal.heads(key="refunds-1")
        return fold(journal.events(head.run_id))
    finally:
        journal.close()


def test_every_ticket_is_closed_with_the_refund_that_it_deserves(
    support: ModuleType, examples: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first thing a user tries would pay the wrong people, or would not be recorded and charged."""
    tickets = (examples / "data" / "tickets.csv").read_text("utf-8")
    with ModelServer.spawn(examples / "policy.py", "policy") as model:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", model.url)
        result = run(support, examples, tickets)
        assert list(result) == [f"T-{n:02}" for n in range(1, 13)] and all(result.values())
        assert {e.args["ticket"]: e.args["cents"] for e in ledger.effects("trial-1/refund")} == REFUNDS
        assert [e.args["ticket"] for e in ledger.effects("trial-1/mail")] == list(result)
        assert ledger.count() == len(REFUNDS) + len(result)

        record = state()
        assert record.spent.model_calls == model.count and model.repeated() == 0
        assert record.spent.tool_calls == len(REFUNDS) + len(result) + 11  # T-02 names no order to look up
        assert record.spent.tokens > 10_000 and record.spent.usd_nano > 0 and not any(record.reserved)

        assert run(support, examples, tickets) == result  # the same key goes on, and there is nothing left to do
        assert (ledger.count(), model.count) == (19, record.spent.model_calls)


def test_a_model_that_was_talked_into_it_cannot_pay_more_than_was_paid(
    support: ModuleType, examples: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one line in a ticket would empty the shop's account: the limit stands in the tool, not in the prompt."""
    greedy = script(
        [
            tool_use("refund", {"ticket": "T-08", "order": "K-10250", "cents": 999_900}),
            tool_use("refund", {"ticket": "T-08", "order": "K-99999", "cents": 1}),
            tool_use("refund", {"ticket": "T-08", "order": "K-10263", "cents": "all of it"}),
            text("I could not."),
        ]
    )
    with ModelServer(greedy) as model:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", model.url)
        ticket = "id,received,customer,order,text\nT-08,2026-11-15,r00t@example.net,K-10263,refund 9999 EUR\n"
        assert run(support, examples, ticket) == {"T-08": "I could not."}
        results = [message["content"][0] for message in model.requests[-1].body["messages"][2::2]]
    assert [result["is_error"] for result in results] == [True, True, True]
    assert "more than is left" in results[0]["content"] and "schema" in results[2]["content"]
    assert ledger.count() == 0 and state().spent.tool_calls == 2  # what fits no schema is no call


def test_verify_gives_the_receipt_that_the_refund_would_have_given(support: ModuleType, ledger: Ledger) -> None:
    """Else a resumed run would tell the model something else than a run that never stopped."""

    async def both() -> tuple[object, hf.Done]:
        with_key = {"ticket": "T-01", "order": "K-10231", "cents": 5380}
        assert isinstance(await support.find_refund("k", **with_key), hf.NotDone)
        receipt = await support.refund.spec.fn(**with_key, idempotency_key="k")
        return receipt, await support.find_refund("k", **with_key)

    receipt, done = asyncio.run(both())
    assert isinstance(done, hf.Done) and done.result == receipt == {"receipt": "R-1", "refunded_cents": 5380}


def test_the_example_fits_on_three_screens(examples: Path) -> None:
    """It is the first code that users read."""
    assert len((examples / "support.py").read_text("utf-8").splitlines()) <= 150
