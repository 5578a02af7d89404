"""smolagents' CodeAgent: the model writes Python, which runs in a thread that smolagents makes.

That thread does not carry the context, so each tool is bound to the run with `run.carry`. Without it a tool with
effects raises `RunContextLost`, before it begins.
"""

from shop import find_order, main, refund
from smolagents import CodeAgent, OpenAIModel, tool

import holdfast as hf


def bound(run: hf.Run, function):
    made = tool(function)
    made.forward = run.carry(made.forward)
    return made


@hf.agent
def desk(run: hf.Run, task: str) -> str:
    model = OpenAIModel("gpt-5-mini", client_kwargs={"http_client": hf.http_client(sync=True)})
    agent = CodeAgent([bound(run, find_order), bound(run, refund)], model, verbosity_level=0, max_steps=8)
    return str(agent.run(task))


if __name__ == "__main__":
    main(desk)
