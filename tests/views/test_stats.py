"""What is counted of questions and answers. If these fail, a flood is not seen, nor who approves everything."""

from __future__ import annotations

from typing import Any

from holdfast.views.asking import Item
from holdfast.views.stats import Answering, Queue, Rate, counted, summary, tables

NOW = 1_000_000.0


def item(**facts: Any) -> Item:
    known: dict[str, Any] = {
        "run": "run_1",
        "key": "k",
        "agent": "a",
        "id": "q1",
        "about": "approve",
        "text": "May it?",
        "options": ("approve", "decline"),
        "to": "finance",
        "asked_at": NOW - 60.0,
        "expires_at": None,
        "is_urgent": False,
        "digest": "d",
        "tool": "pay",
    }
    return Item(**known | facts)


def answered(choice: str = "approve", by: str = "ann", ago_s: float = 0.0, **facts: Any) -> Item:
    return item(state="answered", choice=choice, by=by, closed_at=NOW - ago_s, asked_at=NOW - ago_s - 30.0, **facts)


def test_what_waits_is_counted_by_whom_it_was_put_to() -> None:
    """Lost: the queue that nobody reads; what is answered already and counted as waiting."""
    found = counted(
        [
            item(asked_at=NOW - 600.0),
            item(asked_at=NOW - 100.0, is_urgent=True),
            item(to="", asked_at=NOW - 7_200.0),
            item(state="posted"),
        ],
        [item(state="expired"), item(state="undeliverable"), item(state="withdrawn")],
        NOW,
    )
    assert (found.open, found.urgent, found.oldest_s, found.median_s, found.expired) == (3, 1, 7_200.0, 600.0, 2)
    assert found.queues == (Queue("finance", 2, 1, 600.0, 350.0), Queue("anybody", 1, 0, 7_200.0, 7_200.0))
    words = "3 open, 1 of them urgent; the oldest waits for 2 h. 2 ended without an answer, of the newest runs."
    assert summary(found) == words


def test_how_people_answer_is_counted_by_person() -> None:
    """Lost: who answers everything, and how fast."""
    found = counted([], [answered(), answered("decline"), answered(about="ask", choice="x"), answered(by="bob")], NOW)
    assert found.answering == (Answering("ann", 3, 1, 1, 30.0), Answering("bob", 1, 1, 0, 30.0))


def test_who_approves_everything_is_told_and_who_does_not_is_not() -> None:
    """Lost: the one sign that nobody looks any more; or a warning at the third click."""
    always = [answered(ago_s=at) for at in range(48)] + [answered("decline", ago_s=at) for at in (48, 49)]
    found = counted([], always, NOW)
    assert found.rates == (Rate("pay", 50, 48),) and found.rates[0].is_always
    assert found.remarks == [
        "pay: 48 of the last 50 were approved. Who approves everything decides nothing: think of a rule for what is "
        "harmless, and ask about the rest alone."
    ]
    assert counted([], [*always[:47], *[answered("decline", ago_s=at) for at in (1, 2, 3)]], NOW).remarks == []
    assert counted([], [answered() for _ in range(49)], NOW).remarks == []
    earlier = [answered("decline", ago_s=1_000.0 + at) for at in range(500)]
    assert counted([], [*earlier, *always], NOW).rates == (Rate("pay", 50, 48),), "the latest count"


def test_a_list_counts_for_each_of_its_tools() -> None:
    """Lost: everything that is approved in lists."""
    calls = [{"tool": "pay", "arguments": {}}, {"tool": "pay", "arguments": {}}, {"tool": "send", "arguments": {}}]
    found = counted([], [answered(arguments=calls, tool="approve")], NOW)
    assert found.rates == (Rate("pay", 1, 1), Rate("send", 1, 1))


def test_of_nothing_there_is_nothing_to_say() -> None:
    """Lost: the page of a new store, by a division by zero."""
    found = counted([], [], NOW)
    assert summary(found) == "0 open. 0 ended without an answer, of the newest runs." and tables(found) == []


def test_hostile_names_are_shown_as_what_they_are() -> None:
    """Lost: a terminal or a page, by a name that a model has chosen."""
    found = counted([item(to="x\x1b[2Jy\u202e")], [answered(tool="a\x1b]0;b", by="c\rd")], NOW)
    shown = str([table.rows for table in tables(found)])
    assert "\x1b" not in shown and "\u202e" not in shown and "\\r" not in shown
