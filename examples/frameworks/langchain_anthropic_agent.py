"""LangChain with Claude. `ChatAnthropic` builds its own client and takes none: `hf.instrument()` reaches it."""

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from shop import RULES, find_order, main, refund

import holdfast as hf

hf.instrument()


@hf.agent
def desk(run: hf.Run, task: str) -> str:
    graph = create_agent(ChatAnthropic(model="claude-sonnet-5"), [find_order, refund], system_prompt=RULES)
    return graph.invoke({"messages": [("user", task)]})["messages"][-1].text


if __name__ == "__main__":
    main(desk)
