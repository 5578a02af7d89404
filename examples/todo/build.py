"""An agent that builds a small program feature by feature, and a harness that does not take its word for it.

    python examples/todo/build.py DIRECTORY  # with a stand-in for the model; then, with a key of your own:
    cd DIRECTORY && holdfast project run …/examples/todo/build.py:build

Kill it wherever you like and call it again. Each session works on one feature in fresh context; holdfast runs the
check, commits what passes, and puts what does not on a branch. `holdfast project brief` tells the next one.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.cli.__main__ import command_line
from holdfast.testing.model_server import ModelServer

HERE = Path(__file__).resolve().parent
MODEL = "claude-sonnet-5"
RULES = (
    "You build a program in small steps. Read what is there, write files, and say in one sentence when you are done."
)
TRIES = 3


def inside(directory: str, path: str) -> Path:
    """A path of the model's, which has to stay in the directory."""
    found = (Path(directory) / path).resolve()
    if not found.is_relative_to(Path(directory).resolve()) or ".git" in found.parts:
        raise hf.NotDone(f"{path} is not in the project")
    return found


@hf.tool(effect="read", hidden=("directory",))
async def read_file(path: str, directory: str = "") -> str:
    """Read a file of the project; empty when there is none."""
    found = inside(directory, path)
    return found.read_text("utf-8") if found.is_file() else ""


@hf.tool(effect="idempotent", hidden=("directory",))
async def write_file(path: str, content: str, directory: str = "") -> str:
    """Write a file of the project, whole."""
    found = inside(directory, path)
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_text(content, "utf-8")
    return f"{path} written"


@hf.agent(budget=hf.Budget(tool_calls=80, model_calls=40, tokens=400_000))
async def build(run: hf.Run, session: hf.Session) -> None:
    """One session: write code until the check passes, or three claims were refused."""
    client, tools = AsyncAnthropic(http_client=hf.http_client()), hf.Toolset(read_file, write_file)
    messages: list[Any] = [{"role": "user", "content": session.task}]
    for _ in range(TRIES):
        while True:
            reply = await client.messages.create(
                model=MODEL, max_tokens=4000, system=RULES, tools=tools.schemas("anthropic"), messages=messages
            )
            messages.append({"role": "assistant", "content": reply.content})
            results = await tools.results(reply, directory=str(session.directory))
            if not results:
                break
            messages.append({"role": "user", "content": results})
        evidence = await session.done()  # the check is run; the agent's word counts for nothing
        if evidence:
            return
        messages.append({"role": "user", "content": f"The check says no: {evidence.because}\n{evidence.output}"})
    await session.note(f"{TRIES} claims were refused; the last check said: {evidence.because}")


def made(directory: Path) -> None:
    """The project in a directory of its own; called again, what was cut off goes on."""
    git = [shutil.which("git") or "git", "-c", "user.name=example", "-c", "user.email=example@example.com"]
    shutil.copytree(HERE / "project", directory, dirs_exist_ok=True)
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "The list and its checks"]):
        subprocess.run([*git, *words], cwd=directory, check=True)
    if command_line(["project", "init", str(directory / "features.toml"), "-C", str(directory)]):
        sys.exit(1)


def main(directory: Path) -> int:
    """Sessions until its features pass; in this process, which may be killed."""
    if not (directory / ".git" / "holdfast" / "project.json").exists():
        shutil.rmtree(directory / ".git", ignore_errors=True)
        made(directory)
    with ModelServer.spawn(HERE / "model.py", "policy") as model:
        os.environ |= {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "none"}
        return command_line(["project", "run", f"{__file__}:build", "-C", str(directory)])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "todo-project").resolve()))
