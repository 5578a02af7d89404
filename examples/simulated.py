"""Your own agent in a thousand simulated worlds: processes die, stand still and lose their store, people answer late.

    python examples/simulated.py 1000

Its tools act on the simulated world instead of the real one; what the agent does around them is its own code. A seed
that fails is the same world each time: `simulate(Shop(), seed, is_told=True).lines` tells what happened in it.
"""

import sys
from random import Random
from typing import Any

import holdfast as hf
from holdfast.testing.simulation import Scenario, Start, look, receive, simulate


async def find_refund(idempotency_key: str, invoice: str) -> hf.Done:
    found = await look(idempotency_key)
    if found is None:
        raise hf.NotDone("the bank does not know it")
    return hf.Done(found)


@hf.tool(effect="once", verify=find_refund)
async def refund(invoice: str, *, idempotency_key: str = hf.INJECTED) -> str:
    return await receive("refund", idempotency_key, invoice)


@hf.agent(budget=hf.Budget(tool_calls=20))
async def support(run: hf.Run, invoice: str) -> str:
    if (await run.ask(f"Refund {invoice}?", options=("yes", "no"), within="10s")).value != "yes":
        return "declined"
    await run.sleep("2s")
    return await refund(invoice)


class Shop(Scenario):
    def agents(self, version: int) -> tuple[hf.Agent[Any, Any], ...]:
        return (support,)

    def starts(self, chance: Random) -> list[Start]:
        return [Start(support, f"K-{number}", key=f"ticket-{number}") for number in range(1 + chance.randrange(2))]


def main(worlds: int) -> list[str]:
    return [problem for seed in range(worlds) for problem in simulate(Shop(), seed).problems]


if __name__ == "__main__":
    print("\n".join(main(int(sys.argv[1]))) or "nothing is wrong")
