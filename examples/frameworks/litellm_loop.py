"""LiteLLM, any provider: it builds its own clients (httpx), and `hf.instrument()` reaches them all."""

import json
import os
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # otherwise the import asks the network for prices

import litellm
from shop import RULES, TOOLS, main

import holdfast as hf

hf.instrument()
LISTED = [{"type": "function", "function": {"name": t.name, "parameters": t.schema}} for t in TOOLS.values()]


def use(call: Any) -> dict[str, Any]:
    try:
        answer = TOOLS[call.function.name].call(json.loads(call.function.arguments))
    except (LookupError, hf.ToolFailed, hf.UsageError) as error:
        answer = f"Error: {error}"
    return {"role": "tool", "tool_call_id": call.id, "content": answer}


@hf.agent
def desk(run: hf.Run, task: str) -> str:
    messages: list[Any] = [{"role": "system", "content": RULES}, {"role": "user", "content": task}]
    while True:
        reply = litellm.completion("openai/gpt-5-mini", messages=messages, tools=LISTED, num_retries=2)
        message = reply.choices[0].message
        if not message.tool_calls:
            return str(message.content)
        messages += [message.model_dump(), *map(use, message.tool_calls)]


if __name__ == "__main__":
    main(desk)
