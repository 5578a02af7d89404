"""`hf.http_client()`: what it is without a word, and what it says when it cannot be made."""

import sys
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.models.clients import client_class
from holdfast.testing.model_server import ModelServer, script


async def test_without_a_word_a_call_has_four_attempts(desk: Any, hello: Any) -> None:
    """R4: there is always a bound, and it is the documented one."""
    with ModelServer(script([])) as server:
        server.fault(on=1, times=4, status=500)

        async def body(run: hf.Run) -> None:
            with pytest.raises(anthropic.InternalServerError):
                asking = AsyncAnthropic(base_url=server.url, api_key="k", http_client=hf.http_client())
                await asking.messages.create(**hello)

        await desk.once(body)
        assert server.count == 4


def test_the_sdk_keeps_its_own_time_limits() -> None:
    """Else a call of ten minutes, which the SDK allows, would end after httpx2's five seconds."""
    sdk = AsyncAnthropic(api_key="k", http_client=hf.http_client())
    assert sdk.timeout == anthropic.DEFAULT_TIMEOUT
    assert sdk.with_options(timeout=3.0).timeout == 3.0


async def test_it_closes_like_any_client(hello: Any) -> None:
    """A closed client that still sends would hide a bug of the caller's."""
    with ModelServer(script([])):
        ours = hf.http_client()
        async with AsyncAnthropic(api_key="k", http_client=ours, max_retries=0) as sdk:
            assert isinstance(ours, httpx2.AsyncClient)
        assert ours.is_closed
        with pytest.raises(anthropic.APIConnectionError) as caught:
            await sdk.messages.create(**hello)
        assert "has been closed" in str(caught.value.__cause__)


@pytest.mark.parametrize("missing", ["httpx2", "httpx"])
def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch, missing: Any) -> None:
    """An optional package is no reason for a bare ImportError."""
    client_class.cache_clear()
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(hf.UsageError, match=rf"{missing}.*pip install {missing}"):
        hf.http_client(package=missing)


def test_a_policy_that_is_none_is_refused() -> None:
    """`retry=3` must not become three hundred, or none."""
    with pytest.raises(hf.UsageError, match=r"Retry\(attempts=4\)"):
        hf.http_client(retry=3)  # type: ignore[arg-type]
