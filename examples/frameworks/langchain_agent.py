"""LangChain's `create_agent`, a LangGraph graph. No saver: the journal is what survives the process."""

from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain_core.messages import ToolMessage
from langchain_openai import ChatOpenAI
from shop import RULES, find_order, main, refund

import holdfast as hf


@wrap_tool_call
async def tell_the_model(request, call):
    """Without it an exception of a tool ends the graph."""
    try:
        return await call(request)
    except LookupError as error:
        return ToolMessage(f"Error: {error!r}", tool_call_id=request.tool_call["id"], status="error")


@hf.agent
async def desk(run: hf.Run, task: str) -> str:
    model = ChatOpenAI(model="gpt-5-mini", http_async_client=hf.http_client())
    graph = create_agent(model, [find_order, refund], system_prompt=RULES, middleware=[tell_the_model])
    return (await graph.ainvoke({"messages": [("user", task)]}))["messages"][-1].text


if __name__ == "__main__":
    main(desk)
