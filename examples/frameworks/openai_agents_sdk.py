"""The OpenAI Agents SDK. Its trace export is off: it would send what your agents say to a third party."""

from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from shop import RULES, find_order, main, refund

import holdfast as hf

set_tracing_disabled(True)
TOOLS = [function_tool(tool, failure_error_function=lambda _, error: repr(error)) for tool in (find_order, refund)]


@hf.agent
async def desk(run: hf.Run, task: str) -> str:
    model = OpenAIResponsesModel("gpt-5-mini", AsyncOpenAI(http_client=hf.http_client()))
    agent = Agent(name="desk", instructions=RULES, model=model, tools=TOOLS)
    return str((await Runner.run(agent, task)).final_output)


if __name__ == "__main__":
    main(desk)
