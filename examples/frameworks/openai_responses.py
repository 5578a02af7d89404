"""The plain OpenAI SDK with the Responses API, streamed; the conversation is kept here, not at the provider."""

import asyncio
import json
from typing import Any

from openai import AsyncOpenAI
from shop import RULES, TOOLS, main

import holdfast as hf

LISTED: list[Any] = [{"type": "function", "name": t.name, "parameters": t.schema} for t in TOOLS.values()]


async def use(call: Any) -> dict[str, Any]:
    try:
        answer = await asyncio.to_thread(TOOLS[call.name].call, json.loads(call.arguments))
    except (LookupError, hf.ToolFailed, hf.UsageError) as error:
        answer = f"Error: {error}"
    return {"type": "function_call_output", "call_id": call.call_id, "output": answer}


@hf.agent
async def desk(run: hf.Run, task: str) -> str:
    client = AsyncOpenAI(http_client=hf.http_client())
    said: list[Any] = [{"role": "user", "content": task}]
    while True:
        asked = {"model": "gpt-5-mini", "instructions": RULES, "tools": LISTED, "input": said, "store": False}
        async with client.responses.stream(**asked) as stream:
            reply = await stream.get_final_response()
        calls = [item for item in reply.output if item.type == "function_call"]
        if not calls:
            return reply.output_text
        said += [*reply.output, *await asyncio.gather(*map(use, calls))]


if __name__ == "__main__":
    main(desk)
