"""A project alone: a raw SDK writes, a check decides, and the next session knows what was tried.

python examples/alone_project.py  # within a git repository; once more, and nothing is left to do
"""

from anthropic import Anthropic

import holdfast as hf
from holdfast.core.feature import features

STORE = "sqlite:///poems.db"
LIST = [{"id": "poem", "description": "poem.txt is about tea", "check": "command:grep -qi line poem.txt"}]
app = hf.App(STORE)


def write(task: str) -> str:
    asked = f"Write two lines about tea.\n\n{task}"  # the task says what was tried before, and why it failed
    with Anthropic() as client:
        reply = client.messages.create(
            model="claude-sonnet-5", max_tokens=200, messages=[{"role": "user", "content": asked}]
        )
    return reply.content[0].text  # type: ignore[union-attr]


@hf.agent
async def poet(run: hf.Run, number: int) -> dict[str, object]:
    async with hf.Project(app).session(run) as session:
        if session.feature is not None:  # one feature; its check is run at the end, and what passes is committed
            poem = await run.step("write", write, session.task, effect="read")
            (session.directory / "poem.txt").write_text(poem, "utf-8")
    return session.facts()


def main(number: int = 1) -> dict[str, object]:
    hf.Project.init(STORE, features(LIST), by="you")  # again: the same list
    return app.run_sync(poet, number, key=f"session-{number}")


if __name__ == "__main__":
    print(main())
