"""`Toolset`: the tools that a model may call, for agents that own their loop.

Invariants
1. What a model gets wrong (no such tool, broken JSON, wrong types, a call that was cut off) is told to it, and no step
   of it is begun.
2. A tool's failure is told to the model. What is not for a model is raised, see `for_model`.
3. Reads that a model asks for together run together. An effect runs alone, in the order asked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from holdfast.core.events import Effect
from holdfast.errors import ArgumentsInvalid, Unencodable, UsageError
from holdfast.journal.codec import encode
from holdfast.models.for_model import ForModel, for_model, reading, with_notices
from holdfast.models.tool_calls import NAME, Shape, ToolCall, asked_in, schemas
from holdfast.runtime.notices import heard
from holdfast.runtime.thread import Unwind, in_thread
from holdfast.runtime.tool import Tool


class Toolset:
    """Tools under their names: declares them to a model, and calls what it asks for."""

    def __init__(self, *tools: Tool[..., Any]) -> None:
        self._tools: dict[str, Tool[..., Any]] = {}
        for tool in tools:
            if not isinstance(tool, Tool):
                raise UsageError(f"{tool!r} is no tool. Decorate the function with @holdfast.tool.")
            if tool.name in self._tools:
                raise UsageError(f"Two tools are called {tool.name!r}. Give one another name: @tool(name=…).")
            if not NAME.fullmatch(tool.name):
                raise UsageError(f"No model can call {tool.name!r}: letters, digits, _ and -, at most 64. Use name=.")
            self._tools[tool.name] = tool

    def __repr__(self) -> str:
        return f"Toolset({', '.join(self._tools)})"

    @property
    def names(self) -> tuple[str, ...]:
        """The tools' names, in the order given."""
        return tuple(self._tools)

    def schemas(self, shape: Shape) -> list[dict[str, Any]]:
        """For the request's `tools`: names, docstrings and JSON schemas as this provider wants them."""
        return schemas(self._tools, shape)

    async def use(self, name: str, arguments: dict[str, Any] | str, **hidden: Any) -> ForModel:
        """Call one tool with what a model gave, a dict or JSON text; what the model is to read of it.

        hidden: for the hidden parameters of the tools that have them.
        """
        return await self._use(self._tools.get(name), name, arguments, hidden)

    async def results(self, reply: Any, **hidden: Any) -> list[dict[str, Any]]:
        """Call every tool that this reply asks for; what to send back, in the shape of its provider.

        reply: an Anthropic message, an OpenAI chat completion or response, or a Gemini response. The result is empty
        when it asks for nothing; otherwise its items are the content of the next user message (Anthropic), the next
        messages (chat), input items (Responses) or parts (Gemini).
        """
        asked = asked_in(reply)
        told: list[ForModel] = []
        for batch in self._batches(asked):
            told += await _together([self._answer(call, hidden) for call in batch])
        return [call.told(said) for call, said in zip(asked, told, strict=True)]

    def _batches(self, asked: list[ToolCall]) -> Iterator[list[ToolCall]]:
        reads: list[ToolCall] = []
        for call in asked:
            tool = self._tools.get(call.name)
            if tool is None or tool.spec.effect is Effect.READ:
                reads.append(call)
                continue
            yield reads
            yield [call]
            reads = []
        yield reads

    async def _answer(self, call: ToolCall, hidden: dict[str, Any]) -> ForModel:
        if call.is_cut:
            return for_model(ArgumentsInvalid(f"The call of {call.name} was cut off. It was not begun. Ask again."))
        return await self._use(self._tools.get(call.name), call.name, call.arguments, hidden)

    async def _use(self, tool: Tool[..., Any] | None, name: str, arguments: Any, hidden: dict[str, Any]) -> ForModel:
        try:
            if tool is None:
                raise ArgumentsInvalid(f"There is no tool {name!r}. The tools are: {', '.join(self._tools)}.")
            given = {key: value for key, value in hidden.items() if key in tool.hidden}
            call = tool.bound(_read(name, arguments), **given)
        except ArgumentsInvalid as wrong:
            return for_model(wrong)
        with heard() as notices:
            try:
                outcome: Any = await _called(tool, call)
            except Unwind:
                raise asyncio.CancelledError("the run is closing") from None
            except Exception as error:  # the user's step; `for_model` raises what is not for a model
                outcome = error
        return with_notices(reading(outcome), notices)


async def _called(tool: Tool[..., Any], call: Callable[[], Any]) -> Any:
    return await (call() if tool.spec.is_async else in_thread(tool.name, call))


async def _together(calls: list[Coroutine[Any, Any, ForModel]]) -> list[ForModel]:
    if len(calls) <= 1:
        return [await call for call in calls]
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; refused when a name stands in it twice: a person would be shown one of them, whichever was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _read(name: str, arguments: Any) -> dict[str, Any]:
    """The arguments as a dict that can be recorded."""
    try:
        is_text = isinstance(arguments, str)
        given = json.loads(arguments or "{}", object_pairs_hook=_once) if is_text else arguments
    except (ValueError, RecursionError) as broken:
        why = "it is nested too deeply" if isinstance(broken, RecursionError) else str(broken)
        raise ArgumentsInvalid(f"The arguments of {name} are no JSON: {why}. It was not begun.") from broken
    if not isinstance(given, dict):
        raise ArgumentsInvalid(f"The arguments of {name} must be a JSON object. It was not begun.")
    try:
        encode(given)
    except Unencodable as wrong:
        raise ArgumentsInvalid(
            f"The arguments of {name} hold {wrong.what} (at {wrong.path}). It was not begun."
        ) from wrong
    return given
