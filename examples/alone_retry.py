"""The retry policy alone: one raw SDK call under `hf.Retry`, without an App, a run or a record.

A 429, a 529 or a lost connection is tried again, at most four times in two minutes, with jitter and never before
`Retry-After`. A 400 or a 401 is raised at once. Run it: `ANTHROPIC_API_KEY=… python examples/alone_retry.py`
"""

from typing import Any

from anthropic import Anthropic

import holdfast as hf

PROMPT = "Write one line about tea. No title."


@hf.tool(effect="read", retry=hf.Retry(attempts=4, wait="500ms", wait_max="30s", total="2m"), timeout="60s")
def ask(prompt: str) -> str:
    asked: list[Any] = [{"role": "user", "content": prompt}]
    with Anthropic(max_retries=0) as client:  # one owner of retries
        return client.messages.create(model="claude-sonnet-5", max_tokens=100, messages=asked).content[0].text  # type: ignore[union-attr]


def main() -> str:
    return ask(PROMPT)


if __name__ == "__main__":
    print(main())
