"""Durable model calls alone: the raw SDK, one line changed (`http_client=`). No tools, no questions.

Kill it and start it again: what was answered is read from the record, and only the rest is asked and paid for.
Run it: `ANTHROPIC_API_KEY=… python examples/alone_model_calls.py`
"""

from typing import Any

from anthropic import AsyncAnthropic

import holdfast as hf

DRAFT = "Write four lines about {topic}."
BETTER = "Make the third line shorter. Answer with the four lines only."


@hf.agent(budget=hf.Budget(model_calls=4, tokens=20_000))
async def poet(run: hf.Run, topic: str) -> str:
    client = AsyncAnthropic(http_client=hf.http_client())
    messages: list[Any] = [{"role": "user", "content": DRAFT.format(topic=topic)}]
    draft = await client.messages.create(model="claude-sonnet-5", max_tokens=300, messages=messages)
    messages += [{"role": "assistant", "content": draft.content}, {"role": "user", "content": BETTER}]
    final = await client.messages.create(model="claude-sonnet-5", max_tokens=300, messages=messages)
    return final.content[0].text  # type: ignore[union-attr]


def main(store: str = "poems.db") -> str:
    return hf.App(store).run_sync(poet, "tea", key="tea")


if __name__ == "__main__":
    print(main())
