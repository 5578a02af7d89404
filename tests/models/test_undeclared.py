"""Tools that holdfast does not know are named once: without that word an agent pays twice, and nobody was told."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import holdfast as hf
from holdfast.models.undeclared import undeclared, warn
from holdfast.testing.model_server import ModelServer, text


def offered(*names: str) -> list[dict[str, Any]]:
    """A tool list."""
    return [{"name": name, "description": "d", "input_schema": {"type": "object"}} for name in names]


def asking(client: Any, server: Any, hello: Any, *requests: Any) -> Any:
    """An agent that makes these requests, each with its tool list."""

    async def body(run: hf.Run) -> None:
        for number, tools in enumerate(requests):
            asked = hello | {"messages": [{"role": "user", "content": str(number)}]}
            await client(server).messages.create(**asked, **({"tools": tools} if tools else {}))

    return body


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said."""
    return [record.getMessage() for record in caplog.records if "does not know" in record.getMessage()]


async def test_unknown_tools_are_named_once_with_what_to_do(
    desk: Any, client: Any, hello: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """At the first request, before anything has run twice; and not at each of the 200 after it."""

    @hf.tool(effect="once")
    async def known_refund(invoice: str) -> str:
        return invoice

    with ModelServer(lambda request: text("hi")) as server:
        tools = offered(known_refund.name, "send_mail", "charge_card")
        await desk.once(asking(client, server, hello, tools, tools, None, tools))
    (said,) = warned(caplog)
    assert "charge_card, send_mail." in said and known_refund.name not in said
    assert desk.run_id in said
    for word in ("run again", "@holdfast.tool", "run.step"):
        assert word in said


async def test_a_new_set_of_names_is_news(desk: Any, client: Any, hello: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A tool that comes later must not hide behind the first word."""
    with ModelServer(lambda request: text("hi")) as server:
        one, both = offered("send_mail"), offered("charge_card", "send_mail")
        await desk.once(asking(client, server, hello, one, both, one, both))
    assert len(warned(caplog)) == 2


async def test_what_is_a_step_or_runs_at_the_provider_is_not_named(
    desk: Any, client: Any, hello: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A false alarm is the last that anybody reads."""
    desk.budget = hf.Budget(tokens=100_000_000)
    with ModelServer(lambda request: text("hi")) as server:
        inner = asking(client, server, hello, [*offered("lookup"), {"type": "web_search_20250305", "name": "search"}])

        async def body(run: hf.Run) -> None:
            await run.step("lookup", lambda: 1)
            await inner(run)

        await desk.once(body)
    assert warned(caplog) == []


async def test_replay_does_not_say_it_again(
    desk: Any, client: Any, hello: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What was said in the first life was said."""
    with ModelServer(lambda request: text("hi")) as server:
        await desk.twice(asking(client, server, hello, offered("send_mail")))
    assert len(warned(caplog)) == 1


def test_a_hundred_names_are_not_a_page(caplog: pytest.LogCaptureFixture) -> None:
    """MCP servers offer hundreds of tools."""
    warn("run_x", undeclared([f"t{number:03d}" for number in range(100)], ["t000"], ["t001"]))
    (said,) = warned(caplog)
    assert "t021 and 78 more" in said and caplog.records[0].levelno == logging.WARNING
