"""Pydantic AI. Its own retries never multiply ours: one logical call is as many requests as holdfast was told."""

from pydantic_ai import Agent, ModelRetry, Tool
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from shop import RULES, find_order, main, refund

import holdfast as hf


def look_up(order: str) -> str:
    """Look an order up by its number, such as K-17."""
    try:
        return find_order(order)
    except LookupError as unknown:
        raise ModelRetry(str(unknown)) from unknown  # what the model is told; other errors end a Pydantic AI agent


@hf.agent
async def desk(run: hf.Run, task: str) -> str:
    model = OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(http_client=hf.http_client()))
    agent = Agent(model, instructions=RULES, tools=[Tool(look_up, name="find_order"), refund])
    return (await agent.run(task)).output


if __name__ == "__main__":
    main(desk)
