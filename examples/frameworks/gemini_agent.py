"""Pydantic AI with Gemini, which sends no ids of tool calls: those that Pydantic AI draws are another time others."""

from pydantic_ai import Agent, ModelRetry, Tool
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider
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
    model = GoogleModel("gemini-3-flash", provider=GoogleProvider(http_client=hf.http_client()))
    agent = Agent(model, instructions=RULES, tools=[Tool(look_up, name="find_order"), refund])
    return (await agent.run(task)).output


if __name__ == "__main__":
    main(desk)
