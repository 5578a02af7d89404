"""LangChain with Claude. `ChatAnthropic` builds its own client and takes none: `hf.instrument()` reaches it."""

from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import ToolMessage
from shop import RULES, find_order, main, refund

import holdfast as hf

hf.instrument()


@wrap_tool_call
def tell_the_model(request, call):
    """Without it an exception of a tool ends the graph."""
    try:
        return call(request)
    except LookupError as error:
        return ToolMessage(f"Error: {error!r}", tool_call_id=request.tool_call["id"], status="error")


@hf.agent
def desk(run: hf.Run, task: str) -> str:
    model = ChatAnthropic(model="claude-sonnet-5")
    graph = create_agent(model, [find_order, refund], system_prompt=RULES, middleware=[tell_the_model])
    return graph.invoke({"messages": [("user", task)]})["messages"][-1].text


if __name__ == "__main__":
    main(desk)
