"""The fake provider has to refuse what the real one refuses: each test says what would slip through otherwise."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from holdfast.testing.model_server import (
    ModelServer,
    Reply,
    Request,
    error,
    script,
    text,
    tool_use,
    tool_uses,
)

AUTH = {"x-api-key": "test", "anthropic-version": "2023-06-01"}
TOOL = {"name": "t", "input_schema": {"type": "object"}}
HELLO: dict[str, Any] = {"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": "Hello"}]}
POLICY = "from holdfast.testing.model_server import script, text\nsteps = script([text('one'), text('two')])\n"


def client(server: ModelServer, **options: Any) -> Anthropic:
    """The real SDK, pointed at the server."""
    return Anthropic(base_url=server.url, api_key="test", **options)


def post(
    server: ModelServer, body: Any, *, headers: dict[str, str] = AUTH, method: str = "POST", path: str = "/v1/messages"
) -> tuple[int, dict[str, str], Any]:
    """One raw request: (status, headers, parsed body)."""
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    try:
        connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body), headers)
        response = connection.getresponse()
        told = response.read()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, json.loads(told or "null")
    finally:
        connection.close()


def calls(*ids: str) -> dict[str, Any]:
    """An assistant message that calls a tool once for each id."""
    used = [{"type": "tool_use", "id": id, "name": "look", "input": {}} for id in ids]
    return {"role": "assistant", "content": used}


def results(*ids: str) -> dict[str, Any]:
    """A user message that answers each id."""
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "ok"} for id in ids]}


def user(content: Any) -> dict[str, Any]:
    """A user message."""
    return {"role": "user", "content": content}


@pytest.fixture(scope="module")
def willing() -> Iterator[ModelServer]:
    """A server that says yes to whatever is valid."""
    with ModelServer(lambda request: text("yes")) as server:
        yield server


def test_the_sdk_runs_a_tool_conversation() -> None:
    """Else the real client could not be tested against this server at all."""

    def policy(request: Request) -> Reply:
        done = isinstance(request.messages[-1]["content"], list)
        return text("Refunded.") if done else tool_use("refund", {"order": 7}, text="I refund it.")

    with ModelServer(policy) as server, client(server) as sdk:
        tools: Any = [{"name": "refund", "input_schema": {"type": "object"}}]
        messages: Any = [user("Refund order 7")]
        asked = sdk.messages.create(model="m", max_tokens=99, messages=messages, tools=tools, system="Be kind.")
        assert asked.stop_reason == "tool_use" and [block.type for block in asked.content] == ["text", "tool_use"]
        call = asked.content[1]
        assert call.type == "tool_use" and call.input == {"order": 7} and call.id.startswith("toolu_")
        messages += [{"role": "assistant", "content": asked.content}, results(call.id)]
        said = sdk.messages.create(model="m", max_tokens=99, messages=messages, tools=tools)
        assert said.content[0].type == "text" and said.content[0].text == "Refunded."
        assert said.stop_reason == "end_turn" and said.id != asked.id and said._request_id
        assert server.count == 2 and server.repeated() == 0


async def test_the_async_sdk_is_served_concurrently() -> None:
    """Else agents that ask in parallel would wait for each other, or deadlock."""
    together = threading.Barrier(3, timeout=20)

    def policy(request: Request) -> Reply:
        together.wait()
        return text(request.messages[0]["content"])

    with ModelServer(policy) as server:
        async with AsyncAnthropic(base_url=server.url, api_key="test", max_retries=0) as sdk:
            told = await asyncio.gather(
                *(
                    sdk.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": str(n)}])
                    for n in range(3)
                )
            )
    assert [message.content[0].text for message in told] == ["0", "1", "2"]  # type: ignore[union-attr]


def test_the_policy_sees_the_parsed_request() -> None:
    """Else a policy could not answer by what the agent really sent."""
    seen: list[Request] = []

    def policy(request: Request) -> Reply:
        seen.append(request)
        return text("ok")

    with ModelServer(policy) as server:
        post(server, HELLO | {"system": "s", "tools": [TOOL], "temperature": 0}, headers=AUTH | {"X-A": "b"})
    (request,) = seen
    assert (request.n, request.model, request.system, request.max_tokens) == (1, "m", "s", 16)
    assert (request.messages, request.tools) == (HELLO["messages"], [TOOL])
    assert request.headers["x-a"] == "b" and request.body["temperature"] == 0


def test_the_sdks_own_retries_multiply_the_requests_on_the_wire() -> None:
    """Else R5, one owner of retries, could not be measured: what looks like one call is three."""
    with ModelServer(lambda request: text("ok")) as server:
        server.fault(on=1, status=529, times=2, headers={"retry-after-ms": "1"})
        server.fault(on=4, status=529, headers={"retry-after-ms": "1"})
        with client(server) as sdk:
            sdk.messages.create(**HELLO)
        assert server.count == 3
        with client(server, max_retries=0) as sdk, pytest.raises(anthropic.APIStatusError):
            sdk.messages.create(**HELLO)
        assert [(each.status, each.retry_count) for each in server.requests] == [
            (529, 0),
            (529, 1),
            (200, 2),
            (529, 0),
        ]


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (401, "authentication_error", anthropic.AuthenticationError),
        (402, "billing_error", anthropic.APIStatusError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
        (529, "overloaded_error", anthropic.InternalServerError),
    ],
)
def test_an_error_has_the_shape_and_type_of_the_real_one(
    status: int, kind: str, raised: type[anthropic.APIStatusError]
) -> None:
    """Else the classification of failures would be tested against invented errors."""
    details = {"error_code": "enforced_spend_limit_reached"}
    told = error(status, message="No.", headers={"x-hint": "h"}, details=details)
    with ModelServer(script([told])) as server, client(server, max_retries=0) as sdk:
        with pytest.raises(raised) as caught:
            sdk.messages.create(**HELLO)
        request_id = caught.value.request_id
        expected = {"type": kind, "message": "No.", "details": details}
        assert caught.value.body == {"type": "error", "error": expected, "request_id": request_id}
        assert caught.value.response.headers["x-hint"] == "h" and str(request_id).startswith("req_")


def test_unused_script_steps_fail() -> None:
    """Else an agent that stopped too early would pass."""
    with (
        pytest.raises(AssertionError, match="script step 2 of 2 was never used"),
        ModelServer(script([text("one"), text("two")])) as server,
    ):
        post(server, HELLO)


def test_a_surplus_request_fails_and_is_not_retried() -> None:
    """Else an agent that asks once too often would pass."""
    server = ModelServer(script([text("one")]))
    surplus = r"request 2: .*surplus: the script has only 1 steps"
    with pytest.raises(AssertionError, match=surplus), server, client(server) as sdk:
        sdk.messages.create(**HELLO)
        with pytest.raises(anthropic.BadRequestError, match="surplus"):
            sdk.messages.create(**HELLO)
    assert server.count == 2


def test_a_script_step_may_look_at_its_request() -> None:
    """Else a script could not assert what the agent told the model."""

    def step(request: Request) -> Reply:
        assert "refund" in request.messages[0]["content"], "the model was not told about the refund"
        return text("ok")

    server = ModelServer(script([step]))
    with pytest.raises(AssertionError, match="not told about the refund"), server:
        assert post(server, HELLO)[0] == 400


def test_an_exception_in_the_block_is_not_hidden_by_the_check() -> None:
    """Else the complaint about unused steps would bury the reason for them."""
    with pytest.raises(KeyError, match="the reason"), ModelServer(script([text("never")])):
        raise KeyError("the reason")


def test_a_policy_that_returns_no_reply_fails() -> None:
    """Else a policy that forgot to return would show only as a strange client error."""
    server = ModelServer(lambda request: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(AssertionError, match="a policy returns a Reply, not None"), server:
        assert post(server, HELLO)[0] == 400


def test_a_fault_that_never_came_fails() -> None:
    """Else a test of a failure would pass without the failure."""
    server = ModelServer(lambda request: text("ok"))
    with pytest.raises(AssertionError, match="the fault planned on request 2 never came"), server:
        server.fault(on=2, status=500)
        post(server, HELLO)


def test_refused_and_failed_requests_consume_no_script_step() -> None:
    """Else a script would run out because of the faults planned beside it."""
    with ModelServer(script([text("one"), text("two")])) as server:
        server.fault(on=2, status=500)
        told = [post(server, body) for body in (HELLO, HELLO, {}, HELLO)]
    assert [status for status, _, _ in told] == [200, 500, 400, 200]
    assert told[3][2]["content"] == [{"type": "text", "text": "two"}]


def test_the_same_requests_get_the_same_answers_byte_for_byte() -> None:
    """Else a run could not be compared with itself after a crash."""

    def conversation() -> list[Any]:
        with ModelServer(lambda request: tool_uses([("a", {}), ("b", {"x": 1}, "toolu_mine")])) as server:
            return [post(server, HELLO), post(server, HELLO)]

    once, again = conversation(), conversation()
    assert once == again
    ids = [block["id"] for _, _, body in once for block in body["content"]]
    assert ids[1] == ids[3] == "toolu_mine" and ids[0] != ids[2], "a model mints new ids in every turn"
    assert once[0][1]["request-id"] != once[1][1]["request-id"]


def test_usage_is_counted_from_the_bytes_and_can_be_set() -> None:
    """Else a budget would be tested against numbers that nobody can foresee."""
    with ModelServer(
        script([text("abcd"), text("abcd", usage={"output_tokens": 1000, "cache_read_input_tokens": 5})])
    ) as server:
        counted, given = (post(server, HELLO)[2]["usage"] for _ in range(2))
    asked = json.dumps([None, HELLO["messages"], None], sort_keys=True, separators=(",", ":"))
    said = json.dumps([{"text": "abcd", "type": "text"}], separators=(",", ":"))
    assert counted == {"input_tokens": -(-len(asked) // 4), "output_tokens": -(-len(said) // 4)}
    assert given == counted | {"output_tokens": 1000, "cache_read_input_tokens": 5}


def test_repeated_counts_only_what_was_already_answered() -> None:
    """Else a model call paid for twice after a crash, and a harmless retry, would look alike."""
    with ModelServer(lambda request: text("ok")) as server:
        server.fault(on=1, status=500)
        reordered = dict(reversed(HELLO.items()))
        for body in (HELLO, HELLO, reordered, HELLO | {"max_tokens": 17}):
            post(server, body)
        assert [each.repeated for each in server.requests] == [False, False, True, False]
        assert server.repeated() == 1
    assert server.count == 4, "the records outlive the server"


def test_a_dropped_connection_is_a_connection_error() -> None:
    """Else the ambiguous failure, asked but not answered, could not be staged."""
    with ModelServer(script([text("ok")])) as server:
        server.fault(on=1, drop=True)
        with client(server, max_retries=0) as sdk:
            with pytest.raises(anthropic.APIConnectionError):
                sdk.messages.create(**HELLO)
            sdk.messages.create(**HELLO)
        assert [each.status for each in server.requests] == [None, 200]


def test_a_delay_holds_the_answer_and_ends_with_the_server() -> None:
    """Else timeouts could not be staged, or every test of one would wait for it."""
    before = threading.active_count()
    with ModelServer(lambda request: text("ok")) as server:
        server.fault(on=1, delay_s=0.01)
        assert post(server, HELLO)[0] == 200
        server.fault(on=2, delay_s=300)
        caught: list[type[Exception]] = []

        def ask() -> None:
            try:
                post(server, HELLO)
            except (RemoteDisconnected, ConnectionResetError) as dropped:
                caught.append(type(dropped))

        asking = threading.Thread(target=ask)
        asking.start()
        server.wait_for(2)
        assert server.requests[1].status is None
    asking.join(20)
    assert len(caught) == 1 and threading.active_count() == before


def test_a_client_timeout_is_seen_as_one() -> None:
    """Else a slow provider could not be told from a broken one."""
    with ModelServer(lambda request: text("ok")) as server, client(server, max_retries=0, timeout=0.05) as sdk:
        server.fault(on=1, delay_s=300)
        with pytest.raises(anthropic.APITimeoutError):
            sdk.messages.create(**HELLO)


def test_waiting_in_vain_says_what_there_is(willing: ModelServer) -> None:
    """Else a test that staged nothing would hang, or pass."""
    with pytest.raises(TimeoutError, match="for 1000 requests"):
        willing.wait_for(1000, 0.01)


def test_a_fault_that_cannot_come_is_refused() -> None:
    """Else a fault planned too late, twice or for no request would silently never come."""
    with ModelServer(lambda request: text("ok")) as server:
        post(server, HELLO)
        with pytest.raises(ValueError, match="request 1 is past"):
            server.fault(on=1, status=500)
        server.fault(on=2, status=500, times=2)
        with pytest.raises(ValueError, match="planned already"):
            server.fault(on=3, drop=True)
        with pytest.raises(ValueError, match="none at all"):
            server.fault(on=9, drop=True, times=0)
        assert [post(server, HELLO)[0] for _ in range(3)] == [500, 500, 200]


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"anthropic-version": "2023-06-01"}, 401, "authentication_error"),
        (AUTH | {"x-api-key": " "}, 401, "authentication_error"),
        ({"authorization": "Bearer ", "anthropic-version": "2023-06-01"}, 401, "authentication_error"),
        ({"authorization": "Bearer t", "anthropic-version": "2023-06-01"}, 200, None),
        ({"x-api-key": "test"}, 400, "invalid_request_error"),
        (AUTH, 200, None),
    ],
)
def test_requests_need_a_key_and_a_version(
    willing: ModelServer, headers: dict[str, str], status: int, kind: str | None
) -> None:
    """Else an agent that forgot its key would work in tests only."""
    got, sent, body = post(willing, HELLO, headers=headers)
    assert (got, body.get("error", {}).get("type")) == (status, kind)
    assert status == 200 or body["request_id"] == sent["request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/v1/complete", 404, "not_found_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("DELETE", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/messages?beta=true", 200, None),
    ],
)
def test_only_the_known_path_and_method_are_served(
    willing: ModelServer, method: str, path: str, status: int, kind: str | None
) -> None:
    """Else a call to another endpoint would be answered as if it were a message."""
    got, _, body = post(willing, HELLO, method=method, path=path)
    assert (got, body.get("error", {}).get("type")) == (status, kind)


TURN = [user("Hello"), calls("toolu_a", "toolu_b")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model: Input should be"),
        ({"model": " "}, "model: Input should be"),
        ({"max_tokens": 0}, "max_tokens: Input should be"),
        ({"max_tokens": True}, "max_tokens: Input should be"),
        ({"stream": "yes"}, "stream: Input should be a valid boolean"),
        ({"messages": []}, "at least one message is required"),
        ({"messages": "Hello"}, "at least one message is required"),
        ({"messages": ["Hello"]}, "messages.0.role: Input should be 'user' or 'assistant'"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, 'first message must use the "user" role'),
        ({"messages": [{"role": "system", "content": "Hi"}]}, "messages.0.role: Input should be"),
        ({"messages": [user(None)]}, "messages.0.content: Input should be"),
        ({"messages": [user("")]}, "all messages must have non-empty content"),
        ({"messages": [user([])]}, "all messages must have non-empty content"),
        ({"messages": [user([{"type": "text", "text": ""}])]}, "text content blocks must be non-empty"),
        ({"messages": [user(["Hello"])]}, "messages.0.content.0.type: Field required"),
        ({"messages": [user([{"type": "text"}])]}, "`text` block is malformed"),
        ({"messages": [user(calls("toolu_a")["content"])]}, "does not belong in a message of role user"),
        (
            {"messages": [user("Hello"), {"role": "assistant", "content": results("toolu_a")["content"]}]},
            "does not belong in a message of role assistant",
        ),
        ({"messages": [user("Hello"), calls("a b"), results("a b")]}, "should match pattern"),
        (
            {"messages": TURN},
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_a, toolu_b.",
        ),
        ({"messages": [*TURN, results("toolu_a")]}, "immediately after: toolu_b."),
        ({"messages": [*TURN, user("go on"), results("toolu_a", "toolu_b")]}, "immediately after: toolu_a, toolu_b."),
        ({"messages": [*TURN, calls("toolu_c")]}, "immediately after: toolu_a, toolu_b."),
        (
            {
                "messages": [
                    user("Hello"),
                    calls("toolu_a"),
                    user([{"type": "text", "text": "first"}, *results("toolu_a")["content"]]),
                ]
            },
            "immediately after: toolu_a.",
        ),
        ({"messages": [results("toolu_x")]}, "unexpected `tool_use_id` found in `tool_result` blocks: toolu_x."),
        ({"messages": [*TURN, results("toolu_a", "toolu_b", "toolu_x")]}, "blocks: toolu_x."),
        ({"messages": [*TURN, results("toolu_a", "toolu_b", "toolu_a")]}, "must have a single result"),
        ({"messages": [user("Hello"), calls("toolu_a", "toolu_a")]}, "`tool_use` ids must be unique"),
        (
            {"messages": [*TURN, results("toolu_a", "toolu_b"), calls("toolu_a"), results("toolu_a")]},
            "messages.3.content: `tool_use` ids must be unique",
        ),
    ],
)
def test_an_invalid_request_is_refused_as_the_real_api_does(
    willing: ModelServer, change: dict[str, Any], message: str
) -> None:
    """Else a transcript that production refuses, as after a crash in the middle of a tool (R11), would pass here."""
    status, _, body = post(willing, HELLO | change)
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    assert message in body["error"]["message"]


@pytest.mark.parametrize("missing", ["model", "max_tokens", "messages"])
def test_required_fields_are_required(willing: ModelServer, missing: str) -> None:
    """Else a request that no provider takes would pass."""
    status, _, body = post(willing, {name: value for name, value in HELLO.items() if name != missing})
    assert (status, body["error"]["message"]) == (400, f"{missing}: Field required")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"max_tokens": NaN}', b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(willing: ModelServer, body: bytes) -> None:
    """Else a broken client would look like a policy that failed."""
    status, _, told = post(willing, body)
    assert (status, told["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    "messages",
    [
        [*TURN, results("toolu_b", "toolu_a")],
        [*TURN, user([*results("toolu_a", "toolu_b")["content"], {"type": "text", "text": "and now?"}])],
        [user("Hello"), user("Anyone?")],
        [user("Hello"), {"role": "assistant", "content": ""}],
        [user([{"type": "image", "source": {}}])],
    ],
)
def test_valid_histories_pass_even_with_tools_that_are_not_declared(
    willing: ModelServer, messages: list[dict[str, Any]]
) -> None:
    """Else agents would be bent to a rule that the real API does not have."""
    assert post(willing, HELLO | {"messages": messages})[0] == 200


def test_a_spawned_server_has_the_same_interface(tmp_path: Path) -> None:
    """Else tests would have to be written twice, with and without a process."""
    (tmp_path / "policy.py").write_text(POLICY)
    with ModelServer.spawn(tmp_path / "policy.py", "steps") as server:
        server.fault(on=2, status=529, headers={"retry-after-ms": "1"})
        with client(server) as sdk:
            told = [sdk.messages.create(**HELLO).content[0] for _ in range(2)]
        assert [block.text for block in told] == ["one", "two"]
        server.wait_for(3)
        assert [(each.n, each.status, each.retry_count) for each in server.requests] == [
            (1, 200, 0),
            (2, 529, 0),
            (3, 200, 1),
        ]
        assert server.count == 3 and server.repeated() == 2
        assert len({each.digest for each in server.requests}) == 1
        with pytest.raises(ValueError, match="request 1 is past"):
            server.fault(on=1, drop=True)


def test_a_spawned_server_checks_its_script_too(tmp_path: Path) -> None:
    """Else only in-process tests would be strict."""
    (tmp_path / "policy.py").write_text(POLICY)
    server = ModelServer.spawn(tmp_path / "policy.py", "steps")
    with pytest.raises(AssertionError, match="script step 2 of 2"), server:
        post(server, HELLO)
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url


def test_a_spawned_server_outlives_the_process_group_of_its_starter(tmp_path: Path) -> None:
    """Else killing an agent's process group would kill the provider with it."""
    (tmp_path / "policy.py").write_text(POLICY)
    code = (
        "import signal, sys; from holdfast.testing.model_server import ModelServer;"
        "server = ModelServer.spawn(sys.argv[1], 'steps'); print(server.url, server.pid, flush=True); signal.pause()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "policy.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as starter:
        assert starter.stdout is not None
        url, pid = starter.stdout.readline().decode().split()
        os.killpg(starter.pid, signal.SIGKILL)
    try:
        with Anthropic(base_url=url, api_key="test", max_retries=0) as sdk:
            assert sdk.messages.create(**HELLO).stop_reason == "end_turn"
    finally:
        os.kill(int(pid), signal.SIGTERM)


def test_a_policy_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    """Else a typing error in a policy file would show as a hang."""
    (tmp_path / "policy.py").write_text("oops = 1 / 0\n")
    with pytest.raises(RuntimeError, match=r"did not start(.|\n)*ZeroDivisionError"):
        ModelServer.spawn(tmp_path / "policy.py", "oops")


def test_closing_ends_every_thread_and_connection() -> None:
    """Else each test would leak a thread per keep-alive connection."""
    before = threading.active_count()
    with ModelServer(lambda request: text("ok")) as server, client(server) as sdk:
        sdk.messages.create(**HELLO)
        assert threading.active_count() > before
        server.close()
        assert threading.active_count() == before
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.url
