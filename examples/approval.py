"""A refund that somebody must agree to: exactly this one, for an hour.

    python examples/approval.py K-17 4200     # asks, and waits
    holdfast answer refund-K-17 approve --by ada --store sqlite:///approval.db      # in another terminal, or days later

Kill it while it waits, change the code, start it again: the question is still there, and the answer counts once. What
is declined, and what nobody answers within two days, is told to the agent, which goes on without it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import holdfast as hf

BANK = Path("bank.txt")
"""Stands for the bank: what was paid back, a line each."""


@hf.tool(effect="once", approve=hf.Ask("finance", within="2d", valid="1h"))
def refund(invoice: str, cents: int) -> str:
    """Pay the money back."""
    with BANK.open("a", encoding="utf-8") as bank:
        bank.write(f"{invoice} {cents}\n")
    return f"R-{invoice}"


@hf.agent(escalate="finance")
def complaint(run: hf.Run, order: tuple[str, int]) -> str:
    """Handles one complaint."""
    invoice, cents = order
    try:
        return f"Paid back, as {refund(invoice, cents)}."
    except hf.NotApproved as told:
        return "Nobody could be asked in time." if told.outcome == "expired" else f"{told.by} said no."


if __name__ == "__main__":
    invoice, cents = sys.argv[1], int(sys.argv[2])
    print(hf.App("sqlite:///approval.db").run_sync(complaint, (invoice, cents), key=f"refund-{invoice}"))
