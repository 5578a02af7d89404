"""smolagents' ToolCallingAgent: sync code, in a thread of its own."""

from shop import find_order, main, refund
from smolagents import OpenAIModel, ToolCallingAgent, tool

import holdfast as hf


@hf.agent
def desk(run: hf.Run, task: str) -> str:
    model = OpenAIModel("gpt-5-mini", client_kwargs={"http_client": hf.http_client(sync=True)})
    agent = ToolCallingAgent([tool(find_order), tool(refund)], model, verbosity_level=0, max_steps=8)
    return str(agent.run(task))


if __name__ == "__main__":
    main(desk)
