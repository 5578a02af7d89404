"""The plain Anthropic SDK, and a loop of your own. Calls that the model makes at once run at once."""

import asyncio
from typing import Any

from anthropic import AsyncAnthropic
from shop import RULES, TOOLS, main

import holdfast as hf

LISTED: list[Any] = [{"name": t.name, "description": t.__doc__, "input_schema": t.schema} for t in TOOLS.values()]


async def use(call: Any) -> dict[str, Any]:
    try:
        answer = {"content": await asyncio.to_thread(TOOLS[call.name].call, call.input)}
    except (LookupError, hf.ToolFailed, hf.UsageError) as error:
        answer = {"content": str(error), "is_error": True}
    return {"type": "tool_result", "tool_use_id": call.id, **answer}


@hf.agent
async def desk(run: hf.Run, task: str) -> str:
    client = AsyncAnthropic(http_client=hf.http_client())
    messages: list[Any] = [{"role": "user", "content": task}]
    while True:
        reply = await client.messages.create(
            model="claude-sonnet-5", max_tokens=1024, system=RULES, tools=LISTED, messages=messages
        )
        calls = [block for block in reply.content if block.type == "tool_use"]
        if not calls:
            return "".join(block.text for block in reply.content if block.type == "text")
        results = await asyncio.gather(*map(use, calls))
        messages += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": results}]


if __name__ == "__main__":
    main(desk)
