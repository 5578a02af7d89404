"""Upper bounds: too much is refused for a budget's sake, too little breaks the budget."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.budget import Price
from holdfast.models.bounds import (
    CONTEXT_MAX,
    ROUNDS,
    UNKNOWN,
    Media,
    Window,
    input_max,
    long_kept_at,
    output_max,
    rounds,
    weigh,
    window_of,
)
from holdfast.models.call import Asked

WINDOW = Window(1_000, 100)
PRICE = Price(Decimal(1), Decimal(1), Decimal(1), Decimal(1))


@pytest.mark.parametrize(
    ("model", "window"),
    [
        ("claude-3-haiku-20240307", (200_000, 4_096)),
        ("claude-3-5-sonnet-latest", (200_000, 8_192)),
        ("claude-opus-4-20250514", (200_000, 32_000)),
        ("claude-opus-4-1", (200_000, 32_000)),
        ("claude-opus-4-5-20251101", (200_000, 64_000)),
        ("claude-haiku-4-5", (200_000, 64_000)),
        ("claude-opus-4-7", (1_000_000, 128_000)),
        ("claude-sonnet-5", (1_000_000, 128_000)),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", (200_000, 64_000)),
        ("anthropic/claude-haiku-4-5", (200_000, 64_000)),
        ("gpt-4o-mini", (128_000, 16_384)),
        ("gpt-4.1-nano", (1_047_576, 32_768)),
        ("gpt-5", (400_000, 128_000)),
        ("gpt-5-mini", (400_000, 128_000)),
        ("gpt-5.1-codex", (400_000, 128_000)),
        ("gpt-5.4", (1_050_000, 128_000)),
        ("o3-2025-04-16", (200_000, 100_000)),
        ("gemini-2.5-pro", (1_048_576, 65_536)),
        ("text-embedding-3-small", (8_192, 0)),
        ("llama3", UNKNOWN),
        ("o365-model", UNKNOWN),
        ("", UNKNOWN),
        ("x" * 10_000, UNKNOWN),
    ],
)
def test_the_window_of_a_model(model: str, window: Any) -> None:
    """Of its family; an unknown one may be the largest of all."""
    assert window_of(model) == tuple(window)


def test_the_operator_knows_better() -> None:
    """For a model of the house, in `holdfast.toml`."""
    told = {"llama3": PRICE._replace(context=8_192, output_max=2_048), "gpt-4o": PRICE._replace(output_max=0)}
    assert window_of("llama3", told) == (8_192, 2_048)
    assert window_of("gpt-4o", told) == (128_000, 0)
    assert window_of("gpt-4.1", told) == (1_047_576, 32_768)


def test_no_known_window_is_larger_than_that_of_an_unknown_model() -> None:
    """Else an unknown name would be the cheaper one."""
    for model in ("claude-opus-5-5", "gpt-6-sol", "gemini-1.5-pro", "o1"):
        assert window_of(model).context <= UNKNOWN.context and window_of(model).output <= UNKNOWN.output


def test_the_input_is_bounded_by_bytes_and_by_the_context() -> None:
    """The smaller of the two; with tools of the provider's the context, each time it is read."""
    assert input_max(Asked("m", 10, None), 20, WINDOW) == 30
    assert input_max(Asked("m", 10, None), 2_000, WINDOW) == 1_000
    assert input_max(Asked("m", 10, None, rounds=4), 20, WINDOW) == 4_000


def test_the_output_is_what_is_asked_for_else_the_models_most() -> None:
    """Also none at all."""
    assert output_max(Asked("m", 10, 7), WINDOW) == 7
    assert output_max(Asked("m", 10, 0), WINDOW) == 0
    assert output_max(Asked("m", 10, None), WINDOW) == 100


def test_an_hours_cache_is_found_anywhere_in_a_request() -> None:
    """Frameworks put it on the last message."""
    marked = b'{"messages":[{"content":[{"cache_control":{"type":"ephemeral","ttl":"1h"}}]}]}'
    assert long_kept_at(marked) == marked.index(b'"1h"')
    assert long_kept_at(b'{"messages":[{"content":"he said \\"1h\\""}]}') == -1


@pytest.mark.parametrize(
    ("uses", "read"), [([3], 4), ([3, 2], 6), ([0], 1), ([None], ROUNDS), ([3, None], ROUNDS), ([], ROUNDS)]
)
def test_how_often_a_conversation_is_read(uses: list[int | None], read: int) -> None:
    """Once more than tools are used."""
    assert rounds(uses) == read


def picture(node: dict[str, Any]) -> Media | None:
    """What this test takes for a picture."""
    return Media(len(node["data"]), 100) if isinstance(node.get("data"), str) else None


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["content", "data", "x"]), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(_json, st.integers(0, 1_000))
def test_law_a_weight_is_never_negative(message: Any, size: int) -> None:
    """Whatever a message looks like."""
    assert weigh(message, size, picture, ("content",)) >= 0


def test_a_message_as_deep_as_it_can_be_is_weighed() -> None:
    """Without recursion: the agent must not end by a strange message."""
    deep: Any = "x"
    for _ in range(50_000):
        deep = {"content": [deep]}
    assert weigh(deep, 10, picture, ("content",)) == 10
    assert weigh({"content": [{"data": "abc"}, {"x": {"data": "abc"}}]}, 20, picture, ("content",)) == 117
    assert UNKNOWN.context == CONTEXT_MAX
