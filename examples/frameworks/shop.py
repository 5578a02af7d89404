"""What every example beside this file shares: two tools, and stand-ins for the services that are not named.

    python examples/frameworks/langchain_agent.py  # the model is a stand-in; or name a real one:
    export OPENAI_API_KEY=… ANTHROPIC_API_KEY=… GOOGLE_API_KEY=… PAYMENTS_URL=…

The tools are plain functions that say what they do to the world. Frameworks take them as they are.
"""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2

import holdfast as hf
from holdfast.testing.ledger import Ledger
from holdfast.testing.model_server import ModelServer

RULES = "You close refund requests of a tea shop. Look each order up, pay it back, then sum up in one sentence."
TASK = "Refund order K-17, it came broken."
ORDERS = {"K-17": 4200, "K-18": 950, "K-19": 1300}

http = httpx2.Client(timeout=20)


def url(path: str) -> str:
    """Where the payment service listens."""
    return f"{os.environ.get('PAYMENTS_URL', 'http://127.0.0.1:8011/effects')}/{path}"


@hf.tool(effect="read", raises=(LookupError,), retry=hf.Retry(attempts=1))
def find_order(order: str) -> str:
    """Look an order up.

    Args:
        order: the number of the order, such as K-17
    """
    if order not in ORDERS:
        raise LookupError(f"there is no order {order}")
    return json.dumps({"order": order, "paid_cents": ORDERS[order]})


def receipt(sent: dict[str, Any]) -> str:
    """What the payment service says of a refund, when it makes it and when it is asked for it later."""
    order, cents = sent["args"]["order"], sent["args"]["cents"]
    return json.dumps({"receipt": order.replace("K", "R"), "order": order, "cents": cents})


def find_refund(key: str, order: str, cents: int) -> hf.Done | hf.NotDone:
    """Did the refund under this key happen? Asked after a crash in the middle of one."""
    answer = http.get(url(f"refund/{key}"))
    if answer.status_code == 404:
        return hf.NotDone()
    return hf.Done(receipt(answer.raise_for_status().json()))


@hf.tool(effect="once", verify=find_refund, definite=hf.ONE_REQUEST)
def refund(order: str, cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
    """Pay back what was paid for an order.

    Args:
        order: the number of the order
        cents: how much to pay back
    """
    headers = {"Idempotency-Key": idempotency_key}
    answer = http.post(url("refund"), json={"args": {"order": order, "cents": cents}}, headers=headers)
    return receipt(answer.raise_for_status().json())


TOOLS = {tool.name: tool for tool in (find_order, refund)}


def main(agent: "hf.Agent[str, str]") -> None:
    """Run it on one request; stand-ins for the services that the environment does not name."""
    with ExitStack() as services:
        if "PAYMENTS_URL" not in os.environ:
            os.environ["PAYMENTS_URL"] = services.enter_context(Ledger("effects.jsonl")).url + "/effects"
        if not {"ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "OPENAI_API_KEY"} & set(os.environ):
            model = services.enter_context(ModelServer.spawn(Path(__file__).with_name("policy.py"), "policy"))
            os.environ |= {"ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": model.url}
            os.environ |= {"GOOGLE_API_KEY": "none", "GOOGLE_GEMINI_BASE_URL": model.url}
            os.environ |= {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{model.url}/v1"}
        print(hf.App("sqlite:///refunds.db").run_sync(agent, TASK, key=Path(sys.argv[0]).stem))
