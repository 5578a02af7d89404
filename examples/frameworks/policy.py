"""The model server's stand-in for a model: it looks orders up, pays them back and sums up, whoever asks.

It goes by the texts of the conversation, so that it works for every API, and for agents that write Python or have only
a shell. It keeps no state: the same conversation always gets the same answer.
"""

import re
from typing import Any

from holdfast.testing.model_server import Called, Reply, Request, text, tool_use, tool_uses

ASKED = re.compile(r"Refund orders? [^.]*\.")
ORDER = re.compile(r"\bK-\d+\b")
PAID = re.compile(r"order\W+(K-\d+)\W+paid_cents\W+(\d+)")
RECEIPT = re.compile(r"receipt\W+(R-\d+)\W+order\W+(K-\d+)")
SHELL = {
    "find_order": """case {order} in
K-17|K-18) echo '{{"order": "{order}", "paid_cents": 4200}}';;
*) echo 'there is no order {order}';;
esac""",
    "refund": """python3 -c "import os, urllib.request as web
body = b'{{\\"args\\": {{\\"order\\": \\"{order}\\", \\"cents\\": {cents}}}}}'
web.urlopen(web.Request(os.environ['PAYMENTS_URL'] + '/refund', body, method='POST'), timeout=20)"
echo '{{"receipt": "R-17", "order": "{order}", "cents": {cents}}}'""",
    "final_answer": "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo '{answer}'",
}
REFUSED = re.compile(r"there is no order (K-\d+)")


def policy(request: Request) -> Reply:
    """The next turn."""
    said = "\n".join(part.text for part in request.parts if not isinstance(part, Called))
    asked = ASKED.search(said)
    assert asked is not None, f"nobody asked for a refund: {said[:200]!r}"
    orders = sorted(set(ORDER.findall(asked[0])))
    paid, refused = dict(PAID.findall(said)), set(REFUSED.findall(said))
    receipts = {order: receipt for receipt, order in RECEIPT.findall(said)}
    unknown = [order for order in orders if order not in paid and order not in refused]
    if unknown:
        return _calls(request, [("find_order", {"order": order}) for order in unknown])
    due = [order for order in orders if order in paid and order not in receipts]
    if due:
        return _calls(request, [("refund", {"order": order, "cents": int(paid[order])}) for order in due])
    done = [f"{order} with receipt {receipts[order]}" for order in orders if order in receipts]
    sentences = [f"Refunded {', '.join(done)}."] * bool(done) + [f"There is no {order}." for order in sorted(refused)]
    return _answer(request, " ".join(sentences))


def _writes_code(request: Request) -> bool:
    """Whether this agent wants Python instead of tool calls."""
    return "<code>" in str(request.system)


def _calls(request: Request, calls: list[tuple[str, dict[str, Any]]]) -> Reply:
    if _writes_code(request):
        lines = [f"print({name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())}))" for name, arguments in calls]
        return text("\n".join(["Thought: one step at a time.", "<code>", *lines, "</code>"]))
    if "bash" in request.tool_names:
        return tool_use("bash", {"command": SHELL[calls[0][0]].format(**calls[0][1])})
    return tool_use(*calls[0]) if len(calls) == 1 else tool_uses(calls)


def _answer(request: Request, answer: str) -> Reply:
    if _writes_code(request):
        return text(f"Thought: that is all.\n<code>\nfinal_answer({answer!r})\n</code>")
    if {"final_answer", "bash"} & set(request.tool_names):
        return _calls(request, [("final_answer", {"answer": answer})])
    return text(answer)
