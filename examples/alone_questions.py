"""Questions alone: a raw SDK writes, a person decides, days later and from another process if need be.

python examples/alone_questions.py      # asks the model and then you; it ends, and nothing is lost
python examples/alone_questions.py yes  # answers, and goes on. `holdfast answer` does the same
"""

import asyncio
import sys
from typing import Any

from anthropic import Anthropic

import holdfast as hf


def write() -> str:
    asked: list[Any] = [{"role": "user", "content": "Write a two-line mail: our tea shop is closed on Monday."}]
    with Anthropic() as client:
        return client.messages.create(model="claude-sonnet-5", max_tokens=200, messages=asked).content[0].text  # type: ignore[union-attr]


@hf.agent
async def clerk(run: hf.Run, day: str) -> str:
    mail = await run.step("write", write, effect="read")  # kept, so the person decides about this very text
    said = await run.ask("Send it?", options=["yes", "no"], within="7d", default="no", show=mail)
    return f"sent: {mail}" if said.value == "yes" else f"not sent ({said.outcome})"


async def main(answer: str | None = None, store: str = "clerk.db") -> str:
    async with hf.App(store) as app:
        run = await app.start(clerk, "Monday", key="closed-monday")
        head = app.journal.head(run)
        if answer and head and head.questions:
            await app.answer(run, head.questions[0].id, answer, by="you")
        return await app.run(clerk, "Monday", key="closed-monday", wait=0)


if __name__ == "__main__":
    print(asyncio.run(main(*sys.argv[1:2])))
