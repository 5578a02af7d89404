"""R33: thirty secrets of different kinds, and none of them in the store, in what is shown, or in the log."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from anthropic import AsyncAnthropic
from hypothesis import given
from hypothesis import strategies as st

import holdfast as hf
from holdfast.core.failure import Failure, FailureKind
from holdfast.models.secret import MASK, body_without, failure_without_secrets, secrets_of, without
from holdfast.testing.model_server import ModelServer, text

CANARIES = [f"sk-canary-{number:02d}-Zq7/p+x=" for number in range(30)]
QUICK = hf.Retry(attempts=2, wait=0)
HEADERS = [
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-amz-security-token",
    "x-session-id",
    "x-custom-secret",
    "x-signature",
    "x-vault-credential",
    "x-password",
]
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


# --- what is secret --------------------------------------------------------------------------------------------


def test_credentials_are_found_wherever_they_stand() -> None:
    """A header, the word after `Bearer`, a cookie, the address, also as it is written there."""
    found = secrets_of(
        "https://user:hunter2hunter2@h.com/p?alt=sse&key=a%2Fsecret%2Bvalue&page=notsecret",
        {
            "authorization": "Bearer bearer-secret",
            "cookie": "a=cookie-secret; b=other-secret",
            "x-api-key": " padded-secret\n",
            "user-agent": "not-a-secret",
            "content-type": "application/json",
        },
    )
    for secret in ("bearer-secret", "cookie-secret", "other-secret", "padded-secret", "hunter2hunter2"):
        assert secret in found
    assert {"a%2Fsecret%2Bvalue", "a/secret+value"} <= set(found)
    assert not {"not-a-secret", "notsecret", "application/json", "Bearer"} & set(found)


@given(st.text(max_size=40), st.lists(st.text("abcdefgh", min_size=8, max_size=9), max_size=3))
def test_what_is_left_holds_no_secret_and_all_else(said: str, secrets: list[str]) -> None:
    """One secret may be part of another."""
    secrets = secrets_of("", {f"x-key-{number}": secret for number, secret in enumerate(secrets)})
    dirty = said + "".join(f"<{secret}>" for secret in secrets)
    clean = without(dirty, secrets)
    assert not any(secret in clean for secret in secrets)
    assert clean.count(MASK) >= len(secrets)
    assert body_without(dirty.encode("utf-8", "replace"), secrets) == clean.encode("utf-8", "replace")


def test_a_failure_without_secrets_is_the_failure() -> None:
    """Nothing else of it changes."""
    failure = Failure(FailureKind.INVALID, "E", "bad key s3cret-s3cret", "E('s3cret-s3cret')", because="s3cret-s3cret")
    clean = failure_without_secrets(failure, ["s3cret-s3cret"])
    assert (clean.text, clean.repr, clean.because) == (f"bad key {MASK}", f"E('{MASK}')", MASK)
    assert failure_without_secrets(failure, ["something-else"]) is failure


# --- the store -------------------------------------------------------------------------------------------------


def held(path: Any) -> bytes:
    """All that is on the disk."""
    return b"".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())


def show(desk: Any) -> Any:
    """`holdfast show --json` in a process of its own."""
    store = f"sqlite:///{desk.path}/x.db"
    command = [sys.executable, "-m", "holdfast.cli", "show", "k", "--json", "--store", store]
    return subprocess.run(command, capture_output=True, check=True)


async def test_thirty_secrets_are_in_no_store_no_view_and_no_log(
    desk: Any, hello: Any, http: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal is copied, shown and backed up; a key in it is everywhere."""
    caplog.set_level(logging.DEBUG, logger="holdfast")
    left = iter(CANARIES)
    sent = [next(left) for _ in HEADERS]
    bearer, cookie, query, other, function, path_key, password, newline, upload = (next(left) for _ in range(9))
    shapes = iter([*[(401, ""), (500, ""), (200, "text/html")] * 6, *[(401, "")] * 99])
    count = 0

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A gateway that repeats all that it was sent."""
        nonlocal count
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:  # the library refused to send
            writer.close()
            return
        count += 1
        status, kind = next(shapes)
        wrong = {"type": "error", "error": {"type": "authentication_error", "message": f"you are {head}"}}
        writer.write(http(status, head.encode() if kind else wrong, content_type=kind or "application/json"))
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    headers = dict(zip(HEADERS, sent, strict=True)) | {"authorization": f"Bearer {bearer}", "cookie": f"s={cookie}"}
    fallback = [
        hf.Fallback("second", headers={"x-api-key": other}),
        hf.Fallback("third", headers=lambda: {"x-api-key": function}),
    ]

    async def body(run: hf.Run) -> None:
        client = hf.http_client(retry=hf.Retry(attempts=1), fallback=fallback)
        version = {"anthropic-version": "2023-06-01"}
        urls = [f"{url}/v1/messages", f"{url}/v1/messages?key={quote(query, safe='')}"]
        for number in range(6):
            await run.note(f"call {number}")
            with suppress(httpx2.HTTPError):
                await client.post(urls[number % 2], json=hello, headers=headers | version)
        await client.post(f"{url}/v1/files?api_key={path_key}", content=b"x", headers={"x-api-key": upload})
        with suppress(httpx2.HTTPError):
            await client.post(urls[0], json=hello, headers=version | {"x-api-key": f"{newline}\n"})
        with suppress(httpx2.HTTPError):
            await client.post(
                f"http://u:{quote(password, safe='')}@127.0.0.1:1/v1/messages", json=hello, headers=version
            )

    async with server:
        await desk.once(body)
    assert count >= 8
    assert MASK.encode() in held(desk.path) and b"Hello" in held(desk.path)
    shown = await asyncio.to_thread(show, desk)
    assert json.loads(shown.stdout)["steps"]
    for where in (held(desk.path), shown.stdout, shown.stderr, caplog.text.encode()):
        hits = [canary for canary in CANARIES if canary.encode() in where]
        assert hits == []


def test_a_secret_that_json_writes_in_another_way_is_found_too() -> None:
    """Some gateways write a solidus as `\\/`."""
    assert body_without(b'{"key": "a\\/bcdefgh", "b": "x"}', ["a/bcdefgh"]) == b'{"key": "[secret]", "b": "x"}'


async def test_a_header_that_the_http_library_refuses_is_not_shown(desk: Any, client: Any, hello: Any) -> None:
    """A key with a line feed at its end, the most frequent of all mistakes: the library repeats it in its error."""
    secret = CANARIES[0]
    with ModelServer(lambda request: text("never")) as server:

        async def body(run: hf.Run) -> str:
            sdk = AsyncAnthropic(base_url=server.url, api_key=f"{secret}\n", http_client=hf.http_client(retry=QUICK))
            with pytest.raises(Exception, match="Connection") as caught:
                await sdk.messages.create(**hello)
            return str(caught.value.__cause__)

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert server.count == 0
    assert secret.encode() not in held(desk.path)


# --- the requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_with_digests_no_request_is_in_the_store_and_the_run_goes_on_all_the_same(
    desk: Any, hello: Any, stream: bool
) -> None:
    """R33, content-free: what a customer wrote is not ours to keep; the answers are, or no run could be resumed."""
    lives: list[int] = []
    with ModelServer(lambda request: text(f"answer {request.n}")) as server:

        async def body(run: hf.Run) -> list[str]:
            client = hf.http_client(capture="digests", retry=QUICK)
            sdk = AsyncAnthropic(base_url=server.url, api_key="k", http_client=client)
            said: list[str] = []
            messages: list[Any] = [{"role": "user", "content": "PRIVATE one " * 200}]
            for _ in range(3):
                if stream:
                    async with sdk.messages.stream(**hello | {"messages": messages, "system": "PRIVATE"}) as events:
                        answer = await events.get_final_message()
                else:
                    answer = await sdk.messages.create(**hello | {"messages": messages, "system": "PRIVATE"})
                said.append(answer.content[0].text)
                messages += [
                    {"role": "assistant", "content": said[-1]},
                    {"role": "user", "content": "PRIVATE more " * 200},
                ]
                if len(said) == 2 and not lives:
                    lives.append(1)
                    raise Died
            return said

        with pytest.raises(hf.RunError, match="Died"):
            await desk.once(body)
        server.fault(on=3, status=500)
        assert await desk.resumed(body) == ["answer 1", "answer 2", "answer 4"]
        assert server.count == 4
    assert b"PRIVATE" not in held(desk.path)
    assert b"answer 1" in held(desk.path)


class Died(ValueError):
    """Ends the first life."""


@pytest.mark.parametrize("capture", ["none", "meta"])
@pytest.mark.parametrize("made", [hf.http_client, hf.instrument])
def test_without_the_answers_no_run_could_go_on(capture: Any, made: Any) -> None:
    """A setting that makes every run end with its process is refused, with what to write instead."""
    with pytest.raises(hf.UsageError, match="digests"):
        made(capture=capture)
