"""The request to another model: where it goes, and that no credential goes with it that is not meant for it."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

import holdfast as hf
from holdfast.models import anthropic, gemini, openai_chat, openai_responses
from holdfast.models.body import Body, read
from holdfast.models.elsewhere import account_elsewhere, account_of, url_of, variant_of
from holdfast.models.sender import Variant, varied

CLAUDE = "https://api.anthropic.com/v1/messages"
CHAT = "https://api.openai.com/v1/chat/completions"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-x:generateContent?alt=sse&key=CANARY-1"


def body(raw: str = '{"model": "m", "messages": [], "contents": []}', member: str = "messages") -> Body:
    """A request."""
    found = read(raw.encode("utf-8", "surrogatepass"), member)
    assert found is not None
    return found


def made(fallback: hf.Fallback, provider: Any, url: str, of: Body | None = None) -> Variant:
    """The request to this model."""
    of = of or body()
    to = url_of(fallback, provider, of, url)
    assert to is not None
    return variant_of(fallback, provider, of, to)()


@pytest.mark.parametrize(
    ("provider", "url", "base_url", "to"),
    [
        (anthropic, CLAUDE, "", CLAUDE),
        (anthropic, CLAUDE, "https://eu.example.com", "https://eu.example.com/v1/messages"),
        (anthropic, CLAUDE, "https://gw.example.com/anthropic/", "https://gw.example.com/anthropic/v1/messages"),
        (anthropic, "https://gw.example.com/a/v1/messages", "https://x.com/b", "https://x.com/b/v1/messages"),
        (openai_chat, CHAT, "https://eu.example.com", "https://eu.example.com/v1/chat/completions"),
        (openai_chat, CHAT, "https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1/chat/completions"),
        (openai_chat, "https://openrouter.ai/api/v1/chat/completions", "https://api.openai.com/v1", CHAT),
        (openai_chat, "http://h:1/v1/chat/completions?a=1", "http://h:2/v1", "http://h:2/v1/chat/completions?a=1"),
        (openai_responses, "https://a.com/v1/responses", "http://b.com:8080/v1/", "http://b.com:8080/v1/responses"),
        (gemini, GEMINI, "https://x.com/g", GEMINI.replace("generativelanguage.googleapis.com", "x.com/g")),
    ],
)
def test_a_base_url_is_joined_as_the_sdk_joins_it(provider: Any, url: str, base_url: str, to: str) -> None:
    """Lost: a fallback that answers 404 on the day that it is needed, because `/v1` stands there twice."""
    assert made(hf.Fallback("other", base_url), provider, url).url == to.replace("gemini-x", "other")


def test_only_the_name_of_the_model_is_another() -> None:
    """What was asked stays what was asked, to the last surrogate."""
    raw = '{"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "é \\ud800 \\u0000"}]}'
    variant = made(hf.Fallback("other"), anthropic, CLAUDE, body(raw))
    assert json.loads(variant.content.decode("utf-8", "surrogatepass")) == json.loads(raw) | {"model": "other"}


def sent(variant: Variant, headers: dict[str, str], url: str = CLAUDE) -> httpx2.Request:
    """The request as it goes out in place of the caller's."""
    return varied(httpx2, httpx2.Request("POST", url, headers=headers, content=b"original"), variant)  # type: ignore[no-any-return]


@pytest.mark.parametrize("by_function", [False, True])
def test_another_account_gets_nothing_of_the_callers(by_function: bool) -> None:
    """Lost: the API key of one provider, sent to the next."""
    mine = {
        "X-Api-Key": "CANARY-1",
        "Authorization": "Bearer CANARY-2",
        "Cookie": "s=CANARY-3",
        "api-key": "CANARY-4",
        "X-Goog-Api-Key": "CANARY-5",
        "OpenAI-Organization": "CANARY-6",
        "anthropic-version": "2023-06-01",
    }
    own = {"Authorization": "Bearer theirs"}
    fallback = hf.Fallback("other", "https://x.com", headers=(lambda: own) if by_function else own)
    request = sent(made(fallback, anthropic, CLAUDE), mine)
    assert "CANARY" not in repr(request.headers.raw) + str(request.url)
    assert request.headers["authorization"] == "Bearer theirs"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.headers["host"] == "x.com"
    assert request.headers["content-length"] == str(len(request.content))


def test_a_key_in_the_address_stays_with_its_account() -> None:
    """Gemini's key may stand in the query."""
    own = made(hf.Fallback("other", headers={"X-Goog-Api-Key": "theirs"}), gemini, GEMINI, body(member="contents"))
    assert own.url.endswith("/models/other:generateContent?alt=sse")
    same = made(hf.Fallback("other"), gemini, GEMINI, body(member="contents"))
    assert same.url.endswith("/models/other:generateContent?alt=sse&key=CANARY-1")


def test_another_region_of_the_same_account_keeps_its_credentials() -> None:
    """A host alone, or a header that is no credential, says nothing about who asks."""
    fallback = hf.Fallback("other", "https://eu.example.com", headers={"X-Team": "blue"})
    request = sent(made(fallback, anthropic, CLAUDE), {"x-api-key": "mine", "x-team": "red"})
    assert (request.headers["x-api-key"], request.headers["x-team"]) == ("mine", "blue")


def test_a_function_is_asked_for_each_request() -> None:
    """Credentials that last an hour are made when they are used."""
    tokens = iter(["one", "two"])
    fallback = hf.Fallback("other", headers=lambda: {"authorization": next(tokens)})
    to = url_of(fallback, anthropic, body(), CLAUDE)
    assert to is not None
    make = variant_of(fallback, anthropic, body(), to)
    assert [make().headers["authorization"], make().headers["authorization"]] == ["one", "two"]


def test_accounts_are_told_apart_and_not_by_their_secret() -> None:
    """What waits for one account must not hold another; and a key in memory dumps is a key in a bug report."""
    mine = {"x-api-key": "CANARY-1"}
    account = account_of("api.anthropic.com", mine)
    assert "CANARY" not in account
    assert account_elsewhere(hf.Fallback("other"), CLAUDE, mine) == account
    assert account_elsewhere(hf.Fallback("other", headers={"X-Team": "x"}), CLAUDE, mine) == account
    others = [
        hf.Fallback("other", headers={"X-Api-Key": "CANARY-2"}),
        hf.Fallback("other", headers=lambda: {"x-api-key": "CANARY-3"}),
    ]
    found = {account, *(account_elsewhere(other, CLAUDE, mine) for other in others)}
    found.add(account_elsewhere(hf.Fallback("other"), "https://eu.example.com/v1/messages", mine))
    assert len(found) == 4 and "CANARY" not in repr((found, others[0]))
