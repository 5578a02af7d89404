"""The requests of a long record, read back: processes ended, failed steps came back, contents were not kept."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.models.conversation import request_of
from holdfast.testing.model_server import ModelServer, text


@pytest.mark.parametrize("seed", range(8))
async def test_each_request_is_what_was_sent_through_every_life(desk: Any, hello: Any, seed: int) -> None:
    """Lost: what the model was asked, when a person looks; a request that names another one's bytes is a lie."""
    drawn, lives, numbers = random.Random(seed), itertools.count(), itertools.count()
    keeps = [drawn.random() < 0.8 for _ in range(12)]
    fails_at = sorted(drawn.sample(range(1, 12), 3))
    fallback = ["claude-other"] if seed % 2 else []
    with ModelServer(lambda request: text(f"answer {next(numbers)}")) as server:
        for on in {drawn.randint(2, 5), drawn.randint(6, 9)}:
            server.fault(on=on, status=drawn.choice([500, 529]))

        async def body(run: hf.Run) -> int:
            life, said = next(lives), list[Any]()
            for turn in range(12):
                said.append({"role": "user", "content": f"{turn} " + drawn_text[turn]})
                http = hf.http_client(
                    retry=hf.Retry(attempts=2, wait=0),
                    capture="all" if keeps[turn] else "digests",
                    fallback=fallback,
                )
                sdk = AsyncAnthropic(base_url=server.url, api_key="k", max_retries=0, http_client=http)
                try:
                    answer = await sdk.messages.create(**hello | {"messages": said})
                except anthropic.APIStatusError:
                    said.append({"role": "assistant", "content": "no answer"})
                    continue
                said.append({"role": "assistant", "content": answer.content[0].text})  # type: ignore[union-attr]
                if life < len(fails_at) and turn == fails_at[life]:
                    raise RuntimeError("this life is over")
            return life

        drawn_text = ["x" * drawn.choice([10, 2_000, 5_000]) for _ in range(12)]
        for _ in fails_at:
            with pytest.raises(hf.RunError):
                await (desk.resumed(body) if desk.run_id else desk.once(body))
        assert await desk.resumed(body) == len(fails_at)
        sent = [request.body["messages"] for request in server.requests]
    intents = [(no, event) for no, event in enumerate(desk.log, 1) if event.kind is Kind.STEP_INTENDED]
    assert len(intents) == len(sent)
    assert not desk.state.drifts
    for (no, event), messages in zip(intents, sent, strict=True):
        kept = request_of(desk.log, no)
        assert (kept == b"") == (event.body is None) == (not keeps[len(messages) // 2])
        assert not kept or json.loads(kept)["messages"] == messages
