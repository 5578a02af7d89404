"""The model server's stand-in for a model: the shop's rules, applied to the text of the ticket and to tool results.

It knows no ticket. It reads the order number, what is broken and what is asked for with regular expressions, as
poorly as such things can, and takes dates and amounts from what `find_order` said. It keeps no state, so the same
conversation always gets the same answer: `ModelServer.spawn("examples/policy.py", "policy")`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from holdfast.testing.model_server import Reply, Request, text, tool_use

DAYS = 30
ORDER = re.compile(r"\bK-\d{5}\b")
HEAD = re.compile(r"Ticket (\S+), received (\S+), from (\S+), order number in the form: (.*)\n\n")
BROKEN = re.compile(
    r"broken|crack|damag|defect|smashed|mould|ruined|soaked|warped|bent|scherben|kaputt|defekt", re.IGNORECASE
)
MISSING = re.compile(r"(never|not|nothing has( ever)?) arrived", re.IGNORECASE)
CLAUSE = re.compile(r"[.;!?\n]|, (?:but|aber) | (?:but|aber) ")


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the model is told of a ticket."""

    id: str
    received: date
    customer: str
    text: str
    order: str | None
    """The number in the text; otherwise the one in the form."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say: cents to pay back, and why, for the customer and for the shop."""

    cents: int
    why: str
    note: str


def parsed(message: str) -> Ticket:
    """The ticket out of the first message of a conversation."""
    head = HEAD.match(message)
    assert head is not None, f"this is no ticket: {message[:80]!r}"
    id, received, customer, form = head.groups()
    prose = message[head.end() :]
    order = ORDER.search(prose) or ORDER.search(form)
    return Ticket(id, date.fromisoformat(received), customer, prose, order[0] if order else None)


def broken_items(prose: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items of the order of which the text says, in one clause, that something is wrong with them."""
    bad = " ".join(clause for clause in CLAUSE.split(prose) if BROKEN.search(clause))
    return [item for item in items if re.search(rf"\b{re.escape(_noun(item))}\b", bad, re.IGNORECASE)]


def _noun(item: dict[str, Any]) -> str:
    """What the item is: the first word of its name."""
    return str(re.split(r"[ ,]", item["name"])[0])


def decide(ticket: Ticket, order: dict[str, Any] | None) -> Verdict:
    """The rules of the house."""
    if not BROKEN.search(ticket.text) and not MISSING.search(ticket.text):
        return Verdict(0, "thank you for your kind words, they hang on our wall.", "nothing asked for")
    if order is None or "error" in order:
        return Verdict(0, "we cannot find this order; please check its number.", "unknown order number")
    if order["customer"] != ticket.customer:
        return Verdict(0, "we can only refund the person who paid.", "not their own order")
    if order["refunded_cents"]:
        return Verdict(0, "this order has been refunded; the money is on its way.", "was refunded before")
    if order["delivered"] is None and MISSING.search(ticket.text):
        return Verdict(order["paid_cents"], "your parcel is lost, and you get back all you paid.", "lost parcel")
    if (days := _days(ticket, order)) > DAYS:
        return Verdict(0, f"it came {days} days ago, and we refund for {DAYS}.", f"{days} days is too late")
    return _for_items(broken_items(ticket.text, order["items"]), order)


def _for_items(broken: list[dict[str, Any]], order: dict[str, Any]) -> Verdict:
    names = ", ".join(_noun(item) for item in broken)
    if not broken:
        return Verdict(0, "please tell us which item is broken.", "no item named")
    if len(broken) == len(order["items"]):
        return Verdict(order["paid_cents"], "you get back all you paid.", "everything")
    return Verdict(sum(item["cents"] for item in broken), f"you get back the price of the {names}.", names)


def _days(ticket: Ticket, order: dict[str, Any]) -> int:
    return (ticket.received - date.fromisoformat(order["delivered"])).days if order["delivered"] else 0


def policy(request: Request) -> Reply:
    """The next turn: look the order up, refund what is due, write the mail, sum up."""
    ticket = parsed(request.messages[0]["content"])
    done = dict(_results(request.messages))
    if ticket.order and "find_order" not in done:
        return tool_use("find_order", {"order": ticket.order}, text=f"Let me look up {ticket.order}.")
    verdict = decide(ticket, _json(done.get("find_order")))
    if verdict.cents and "refund" not in done:
        return tool_use("refund", {"ticket": ticket.id, "order": ticket.order, "cents": verdict.cents})
    receipt = _json(done.get("refund"))
    if verdict.cents and receipt is None:
        verdict = Verdict(0, "your refund could not be made; a colleague looks into it.", f"refused: {done['refund']}")
    if "write_mail" not in done:
        return tool_use("write_mail", {"ticket": ticket.id, "to": ticket.customer, "text": _mail(verdict, receipt)})
    return text(_summary(verdict, receipt))


def _results(messages: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Of each tool that was called, in order, what it answered."""
    blocks = [block for message in messages[1:] for block in message["content"] if isinstance(block, dict)]
    names = {block["id"]: block["name"] for block in blocks if block["type"] == "tool_use"}
    for block in blocks:
        if block["type"] == "tool_result":
            yield names[block["tool_use_id"]], block["content"]


def _json(answer: str | None) -> dict[str, Any] | None:
    """A tool's answer as an object; None when there is none or it is an error's text."""
    try:
        found = json.loads(answer or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _mail(verdict: Verdict, receipt: dict[str, Any] | None) -> str:
    paid = f"\n\nWe have sent {_euros(receipt)} (receipt {receipt['receipt']})." if receipt else ""
    return f"Hello, {verdict.why}{paid}\n\nYour tea shop"


def _summary(verdict: Verdict, receipt: dict[str, Any] | None) -> str:
    return f"Refunded {_euros(receipt)}: {verdict.note}." if receipt else f"No refund: {verdict.note}."


def _euros(receipt: dict[str, Any]) -> str:
    return f"{receipt['refunded_cents'] / 100:.2f} EUR"
