"""The one door of an HTTP client, `send`: which requests are steps of a run, and which pass untouched.

It is `send` and not a transport below it: so a client that has another transport, a proxy or hooks is seen too, a
replayed call is not logged as a request, and redirects belong to the attempt.

Invariants
1. What is no POST to a model, or not inside a run, passes untouched.
2. Inside another step's body a call is recorded and charged under that attempt, and never answered from the journal:
   with the next attempt it is made again. Everything under `detached` passes.
3. A model call that has lost its run is refused, for it would cost money without a record.
4. A call from a thread or another loop is answered on its run's loop; a sync client on that very loop is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from types import ModuleType
from typing import Any

from holdfast.core.command import Call
from holdfast.core.events import ONE_TOOL_CALL, Effect, StepKind
from holdfast.core.hosts import is_model_host
from holdfast.core.scope import is_of_attempt
from holdfast.errors import InternalError, RunContextLost, Unencodable, UsageError
from holdfast.models.answer import Broken, Reply, failure_of, failure_without, rebuilt, recorded
from holdfast.models.call import Answered, Provider
from holdfast.models.channel import Channel, streaming_response
from holdfast.models.endpoint import provider_of
from holdfast.models.fault import fault
from holdfast.models.field import object_in
from holdfast.models.memory import memory_of
from holdfast.models.options import Options
from holdfast.models.package import error_of, response_of, surfaced
from holdfast.models.plan import Asking
from holdfast.models.repeats import Caller
from holdfast.models.secret import body_without, failure_without_secrets, secrets_of
from holdfast.models.sender import Send
from holdfast.models.wire import serve
from holdfast.runtime import current
from holdfast.runtime.attempts import Attempts
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.deadline import Limit
from holdfast.runtime.facts import safe
from holdfast.runtime.unseen import seen
from holdfast.runtime.way import Attempted, Begun, Way

UNREAD = re.compile(r".*/(invoke-with-response-stream|converse|converse-stream)")
NOT_READ = (
    "This is a model call of a shape that holdfast cannot read, so it could not be recorded or charged: {0}. "
    "Nothing was sent. Use Anthropic's client for Bedrock without streaming, or `with holdfast.detached():` for a call "
    "that belongs to no run."
)
RETRIES = "x-stainless-retry-count"
"""How often the SDK has tried this call again by itself."""
ON_THE_LOOP = (
    "A sync model client was used on the event loop's own thread, which it would block for as long as the model takes. "
    "Nothing was sent. Use the async client, or `await asyncio.to_thread(…)`, or a sync agent (`def`, not `async def`)."
)
ISOLATED = (
    "{0} is an isolated tool and asks a model: its process has no run, so the call could be neither recorded nor "
    "charged. Nothing was sent. Ask the model in the agent, or drop isolate=True, or wrap the call in "
    "`with holdfast.detached():` if it belongs to no run."
)
Served = Reply | Broken | Channel | None
Straight = Callable[[], Any]


def wanted(request: Any) -> tuple[current.Place, Provider | None] | None:
    """Where this request belongs, and whose call it is; None: it passes untouched."""
    if request.method != "POST":
        return None
    provider = provider_of(request.method, request.url.path, request.headers)
    here = current.place()
    if here is not None and here.is_isolated:
        if current.is_detached() or (provider is None and not is_model_host(request.url.host)):
            return None
        raise surfaced(UsageError(ISOLATED.format(here.step_name)))
    if provider is None and (here is None or not _is_of_a_model(request, here)):
        return None
    try:
        where = current.place_for(provider.NAME if provider is not None else "a model's host", Effect.ONCE)
    except RunContextLost as lost:
        raise surfaced(lost) from None
    if where is None or (where.inside is not None and not is_of_attempt(where.scope)):
        return None
    if provider is None and UNREAD.fullmatch(request.url.path):
        raise surfaced(UsageError(NOT_READ.format(safe(request.url.path, 200))))
    return where, provider


def _is_of_a_model(request: Any, here: current.Place) -> bool:
    netloc = request.url.netloc.decode("ascii", "replace")
    return is_model_host(request.url.host) or netloc in memory_of(here.driver).hosts


async def send_async(
    package: ModuleType, request: Any, stream: bool, options: Options, send: Send, straight: Straight
) -> Any:
    """`AsyncClient.send`."""
    found = wanted(request)
    if found is None:
        return await straight()
    where, provider = found
    body = await request.aread()
    answering = _answering(request, body, where, provider, options, send)
    if asyncio.get_running_loop() is where.driver.loop:
        served = await answering
    else:
        served = await where.driver.bridge.reach(answering)
    response = _response(package, served, request, where, is_sync=False)
    if not stream:
        await response.aread()
    return response


def send_sync(package: ModuleType, request: Any, stream: bool, options: Options, send: Send, straight: Straight) -> Any:
    """`Client.send`."""
    found = wanted(request)
    if found is None:
        return straight()
    where, provider = found
    if where.driver.bridge.is_own_thread:
        raise surfaced(UsageError(ON_THE_LOOP))
    body = request.read()
    served = where.driver.bridge.wait(_answering(request, body, where, provider, options, send))
    response = _response(package, served, request, where, is_sync=True)
    if not stream:
        response.read()
    return response


def _answering(
    request: Any, body: bytes, where: current.Place, provider: Provider | None, options: Options, send: Send
) -> Coroutine[Any, Any, Served]:
    retries = request.headers.get(RETRIES, "0")
    is_retry = retries.isdecimal() and int(retries) > 0
    caller = Caller(_caller(), is_retry)

    async def answering() -> Served:
        if provider is not None:
            asking = Asking(provider, str(request.url), request.headers, body, caller)
            served = await serve(asking, where, options, send)
            if served is not None:
                return served
        return await _read_step(request, body, where, options, send, caller)

    return answering()


def _caller() -> int:
    """The task, or the thread, that asks: an SDK tries again in the one that it is called in."""
    try:
        return id(asyncio.current_task())
    except RuntimeError:
        return threading.get_ident()


def _response(package: ModuleType, served: Served, request: Any, where: current.Place, *, is_sync: bool) -> Any:
    try:
        made = _made(package, served, request, is_sync=is_sync)
    except Exception as bug:  # an SDK would call it a connection error, and try again
        raise surfaced(InternalError(f"The answer of a model call could not be handed over: {bug!r}.")) from bug
    if isinstance(served, Broken):
        raise made from None if served.address is None else where.driver.live_errors.get(served.address)
    return made


def _made(package: ModuleType, served: Served, request: Any, *, is_sync: bool) -> Any:
    if isinstance(served, Channel):
        return streaming_response(package, served, request, is_sync=is_sync)
    if isinstance(served, Broken):
        return error_of(package, served, request)
    assert served is not None
    return response_of(package, served, request)


# --- other requests to a model's host --------------------------------------------------------------------------


async def _read_step(
    request: Any, body: bytes, where: current.Place, options: Options, send: Send, caller: Caller
) -> Reply | Broken:
    """A file, a batch, a count of tokens: recorded, so that replay does not send it again."""
    url, driver = request.url, where.driver
    shown = safe(f"{url.host}{url.path}, {len(body)} bytes", 200).encode()
    digest = _digest(request.headers, body)
    call = Call(where.scope, safe(f"POST {url.path}", 200), digest, StepKind.TOOL, Effect.READ, shown)
    repeats = memory_of(driver).repeats
    if (failed := repeats.before(call, caller, driver)) is not None:
        repeats.told(call, caller, driver, failed)
        return rebuilt(failed)
    outcome = driver.replayed(call)
    if outcome is None:
        way = Way(attempt=partial(_attempt, request, options, send))
        plan = Attempts(call=call, args=shown, policy=options.policy, ways=(way,), inside=where.inside, needs_key=False)
        outcome = await driver.step(plan)
    repeats.ended(call, caller, outcome, driver.machine.asked)
    return rebuilt(outcome)


async def _attempt(request: Any, options: Options, send: Send, begun: Begun) -> Attempted:
    secrets = secrets_of(str(request.url), request.headers)
    try:
        with (begun.limit or Limit(SystemClock())).bounded(options.timeout_s):
            attempted = await _sent(send, secrets)
    except Exception as error:  # the step itself: whatever a client, a hook or a proxy raises is a fact
        attempted = Attempted(None, ONE_TOOL_CALL, failure_without(error), error=error)
    if attempted.failure is None:
        return attempted
    return attempted._replace(failure=failure_without_secrets(attempted.failure, secrets))


async def _sent(send: Send, secrets: list[str]) -> Attempted:
    with seen():
        opened = await send(None)
    try:
        raw = b"".join([chunk async for chunk in opened.chunks()])
    finally:
        await opened.close()
    told = fault(opened.status, object_in(raw) or {}) if opened.status >= 300 else None
    failure = failure_of(told or Answered(opened.status, is_object=True), opened.headers)
    kept = raw if failure is None else body_without(raw, secrets)
    try:
        return Attempted(recorded(opened.status, opened.headers, kept), ONE_TOOL_CALL, failure)
    except Unencodable as large:
        return Attempted(None, ONE_TOOL_CALL, failure_without(large))


def _digest(headers: Mapping[str, str], body: bytes) -> str:
    """Of the body, without the random boundary that separates its parts."""
    _, _, parameter = headers.get("content-type", "").partition("boundary=")
    boundary = parameter.partition(";")[0].strip('" ')
    plain = body.replace(boundary.encode(), b"") if boundary else body
    return hashlib.sha256(plain).hexdigest()[:32]
