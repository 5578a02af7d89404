"""mini-swe-agent: its one tool is a shell, and each command is begun at most once."""

from minisweagent.agents.default import DefaultAgent
from minisweagent.environments.local import LocalEnvironment
from minisweagent.models.litellm_model import LitellmModel
from shell import bash
from shop import RULES, main

import holdfast as hf

hf.instrument()


class Shell(LocalEnvironment):
    def execute(self, action, cwd="", *, timeout=None):
        output = bash(action["command"])
        self._check_finished(output)
        return output


@hf.agent
def desk(run: hf.Run, task: str) -> str:
    model = LitellmModel(model_name="openai/gpt-5-mini", cost_tracking="ignore_errors")
    agent = DefaultAgent(model, Shell(), system_template=RULES, instance_template=task)
    return agent.run()["submission"].strip()


if __name__ == "__main__":
    main(desk)
