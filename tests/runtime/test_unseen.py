"""A client that nobody sees would spend money without a record: it is refused, and told how to be seen.

The packages stand here as modules of the same shape, so that the tests need none of them.
"""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType
from typing import Any

import pytest

import holdfast as hf
from holdfast.runtime.unseen import guard, seen

MODEL, OTHER = "https://api.anthropic.com/v1/messages", "https://example.com/v1/messages"
BEDROCK = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/invoke"


class Sent:
    """A prepared request, of requests or botocore."""

    def __init__(self, method: str, url: str) -> None:
        self.method = method
        self.url = url


class Pretend:
    """The four packages, with what they sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sent = self.sent = list[str]()

        class ClientSession:
            """Of aiohttp."""

            def __init__(self, base_url: str | None = None) -> None:
                self._base_url = base_url

            async def _request(self, method: str, str_or_url: Any, **options: Any) -> str:
                sent.append(f"aiohttp {method} {str_or_url}")
                return "sent"

            async def post(self, url: Any, **options: Any) -> str:
                """As users call it."""
                return await self._request("POST", url, **options)

            async def get(self, url: Any) -> str:
                """A GET."""
                return await self._request("GET", url)

        class Session:
            """Of requests."""

            def send(self, request: Sent, **options: Any) -> str:
                """Send it."""
                sent.append(f"requests {request.method} {request.url}")
                return "sent"

        class URLLib3Session:
            """Of botocore."""

            def send(self, request: Sent) -> str:
                """Send it."""
                sent.append(f"botocore {request.method} {request.url}")
                return "sent"

        class HTTPConnectionPool:
            """Of urllib3."""

            def __init__(self, host: str) -> None:
                self.host = host

            def urlopen(self, method: str, url: str, **options: Any) -> str:
                """Send it."""
                sent.append(f"urllib3 {method} {self.host}{url}")
                return "sent"

        class HTTPSConnectionPool(HTTPConnectionPool):
            """As most calls have it."""

        self.aiohttp, self.requests, self.botocore = ClientSession, Session, URLLib3Session
        self.urllib3 = HTTPSConnectionPool
        for name, members in {
            "aiohttp": {"ClientSession": ClientSession},
            "requests": {"Session": Session},
            "botocore.httpsession": {"URLLib3Session": URLLib3Session},
            "urllib3": {"HTTPConnectionPool": HTTPConnectionPool},
        }.items():
            module = ModuleType(name)
            vars(module).update(members)
            monkeypatch.setitem(sys.modules, name, module)

    async def ask(self, how: str, url: str = MODEL) -> str:
        """Ask this address by this package."""
        match how:
            case "aiohttp":
                return await self.aiohttp().post(url)
            case "aiohttp, relative":
                return await self.aiohttp(base_url=url).post("/v1/messages")
            case "requests":
                return await asyncio.to_thread(self.requests().send, Sent("POST", url))
            case "botocore":
                return self.botocore().send(Sent("POST", url))
            case _:
                host = url.split("/")[2]
                return self.urllib3(host).urlopen("POST", "/v1/messages")


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """The packages."""
    return Pretend(monkeypatch)


async def within(body: Any) -> Any:
    """What an agent with this body gives."""

    @hf.agent
    async def agent(run: hf.Run, given: str) -> Any:
        return await body(run)

    async with hf.App("memory:") as app:
        return await app.run(agent, "input", key="k")


HOWS = ["aiohttp", "aiohttp, relative", "requests", "botocore", "urllib3"]


@pytest.mark.parametrize("how", HOWS)
async def test_a_model_asked_by_a_client_that_nobody_sees_is_refused_with_the_way_out(
    packages: Pretend, how: str
) -> None:
    """Lost: a bill without a budget, a run without a record, and each resume pays once more."""
    url = BEDROCK if how == "botocore" else MODEL

    async def body(run: hf.Run) -> str:
        with pytest.raises(hf.UsageError) as caught:
            await packages.ask(how, url)
        return str(caught.value)

    said = await within(body)
    assert said.startswith(how.partition(",")[0]) and url.split("/")[2] in said
    for way in ("http_client()", "@holdfast.tool", "detached", "Nothing was sent"):
        assert way in said
    assert packages.sent == []


@pytest.mark.parametrize("how", HOWS)
async def test_everything_else_passes(packages: Pretend, how: str) -> None:
    """A guard that is in the way of ordinary requests is switched off, and then guards nothing."""

    @hf.tool(effect="read")
    async def think() -> str:
        return await packages.ask(how)

    async def body(run: hf.Run) -> list[str]:
        said = [await packages.ask(how, OTHER), await think()]
        with hf.detached():
            said.append(await packages.ask(how))
        with seen():
            said.append(await packages.ask(how))
        return said

    assert await within(body) == ["sent"] * 4
    assert await packages.ask(how) == "sent", "outside every run"
    assert len(packages.sent) == 5


async def test_a_get_passes(packages: Pretend) -> None:
    """To list models costs nothing."""

    async def body(run: hf.Run) -> list[str]:
        return [
            await packages.aiohttp().get(MODEL),
            packages.requests().send(Sent("GET", MODEL)),
            packages.urllib3("api.openai.com").urlopen("GET", "/v1/models"),
        ]

    assert await within(body) == ["sent"] * 3


def test_guarding_twice_is_guarding_once(packages: Pretend) -> None:
    """Each run begins with it; a wrapper more each time would end in a RecursionError."""
    guard()
    first = packages.aiohttp._request
    guard()
    assert packages.aiohttp._request is first
    assert first.__name__ == "_request"


def test_a_package_of_another_shape_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new major version must not break at the first run."""
    strange = ModuleType("aiohttp")
    strange.ClientSession = 5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "aiohttp", strange)
    monkeypatch.setitem(sys.modules, "requests", ModuleType("requests"))
    guard()
    assert strange.ClientSession == 5


def test_nothing_is_imported_for_it() -> None:
    """Users of none of these packages pay nothing for them."""
    guard()
    assert not {"botocore", "botocore.httpsession"} & set(sys.modules)
