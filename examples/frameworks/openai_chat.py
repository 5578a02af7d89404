"""The plain OpenAI SDK with Chat Completions, in sync code: the agent runs in a thread of its own."""

import json
from typing import Any

from openai import OpenAI
from shop import RULES, TOOLS, main

import holdfast as hf

LISTED: list[Any] = [
    {"type": "function", "function": {"name": t.name, "description": t.__doc__, "parameters": t.schema}}
    for t in TOOLS.values()
]


def use(call: Any) -> dict[str, Any]:
    try:
        answer = TOOLS[call.function.name].call(json.loads(call.function.arguments))
    except (LookupError, hf.ToolFailed, hf.UsageError) as error:
        answer = f"Error: {error}"
    return {"role": "tool", "tool_call_id": call.id, "content": answer}


@hf.agent
def desk(run: hf.Run, task: str) -> str:
    client = OpenAI(http_client=hf.http_client(sync=True))
    messages: list[Any] = [{"role": "system", "content": RULES}, {"role": "user", "content": task}]
    while True:
        reply = client.chat.completions.create(model="gpt-5-mini", tools=LISTED, messages=messages).choices[0].message
        if not reply.tool_calls:
            return reply.content or ""
        messages += [reply, *map(use, reply.tool_calls)]


if __name__ == "__main__":
    main(desk)
