"""The state behind a fake model provider: what came, what is planned, what went wrong.

`model_server` is its interface, in this process or over the socket; `DIALECTS` are the APIs that it speaks.

Invariants
1. Every request that reaches an API is recorded and numbered from 1 before anything is decided about it.
2. A planned error comes first, then the strict checks, then the policy: what fails consumes no script step.
3. Nothing fails silently: a policy that raised, a fault that could not be had and one that never came are problems.

Never: reads a clock, or touches a socket; `loopback` sends what it answers.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from holdfast.testing import chat_api, embeddings_api, gemini_api, messages_api, responses_api
from holdfast.testing.dialect import Dialect, Turn, parsed
from holdfast.testing.fault import Fault, changed, spoilt
from holdfast.testing.loopback import WAIT_S_MAX, Answer, Call, Pieces, digest
from holdfast.testing.policy import Policy, Reply, Script, error

DIALECTS: tuple[Dialect, ...] = (messages_api, chat_api, responses_api, embeddings_api, gemini_api)
Until = Literal["arrived", "ended", "hung_up"]


@dataclass(frozen=True, slots=True)
class Received:
    """One request on the wire."""

    n: int
    method: str
    path: str
    digest: str
    """SHA-256 of the canonical JSON of the body."""
    body: Any
    retry_count: int | None
    """`x-stainless-retry-count`: the SDK's own retries; None without the header."""
    repeated: bool
    """An equal body had already been answered 200 when this one came: work that was paid for is asked again.

    An answer that a fault broke off or made unreadable, or whose client hung up before its end, does not count."""
    status: int | None = None
    """None while unanswered, and for ever if the connection was dropped."""
    api: str | None = None
    """"messages", "chat", "responses", "embeddings" or "gemini"; None for a path of none of them."""
    stream: bool = False
    """A stream was asked for."""
    ended: bool = False
    """It is over: sent as far as planned, dropped, or the client hung up."""
    hung_up: bool = False
    """The client closed the connection before the end of the answer."""


class Desk:
    """Answers calls, and controls: one for each server."""

    def __init__(self, policy: Policy) -> None:
        self.closing = threading.Event()
        self._policy = policy
        self._changed = threading.Condition()
        self._received: list[Received] = []
        self._seen: Counter[str] = Counter()
        self._answered: Counter[tuple[str, str]] = Counter()
        self._faults: dict[int, Fault] = {}
        self._problems: list[str] = []

    def answer(self, call: Call) -> Answer | Pieces | None:
        """What to send back to any call."""
        if call.path.startswith("/_holdfast/"):
            return self.control(call)
        dialect = next((known for known in DIALECTS if known.serves(call)), None)
        turn, is_stream = self._receive(call, dialect)
        fault = self._faults.get(turn.n)
        if fault and fault.delay_s and call.gone(fault.delay_s):
            self._close(turn, hung_up=not self.closing.is_set())
            return None
        if fault and fault.drop:
            self._close(turn, hung_up=False)
            return None
        answer = self._decide(turn, dialect, fault, is_stream)
        return self._watched(turn, answer, is_paid=answer.status == 200 and not (fault and fault.is_broken))

    def _receive(self, call: Call, dialect: Dialect | None) -> tuple[Turn, bool]:
        body = parsed(call)
        key, retries = digest(body), call.headers.get("x-stainless-retry-count", "")
        is_stream = dialect is not None and dialect.is_stream(call, body)
        with self._changed:
            received = Received(
                n=len(self._received) + 1,
                method=call.method,
                path=call.path,
                digest=key,
                body=body,
                retry_count=int(retries) if retries.isdecimal() else None,
                repeated=self._answered[call.path, key] > 0,
                api=dialect.NAME if dialect else None,
                stream=is_stream,
            )
            self._received.append(received)
            self._seen[key] += 1
            self._changed.notify_all()
            return Turn(received.n, call, body, f"{key}:{self._seen[key]}"), is_stream

    def _decide(self, turn: Turn, dialect: Dialect | None, fault: Fault | None, is_stream: bool) -> Answer | Pieces:
        if dialect is None:
            # in the form of whose header it has: a client can read no other
            form: Dialect = messages_api if "anthropic-version" in turn.call.headers else chat_api
            return form.render(error(404, message=f"Not Found: {turn.call.path}"), turn)
        planned = fault.instead(is_stream=is_stream) if fault else None
        if reply := planned or dialect.refusal(turn.call):
            return dialect.render(reply, turn)
        reply = self._ask_policy(dialect, turn)
        if fault is None or reply.status != 200:
            return dialect.render(reply, turn)
        try:
            return spoilt(fault, dialect.render(changed(fault, reply), turn), dialect, turn)
        except ValueError as wrong:
            return dialect.render(self._problem(turn, f"the planned fault is impossible: {wrong}"), turn)

    def _ask_policy(self, dialect: Dialect, turn: Turn) -> Reply:
        try:
            reply = self._policy(dialect.request(turn))
            assert isinstance(reply, Reply), f"a policy returns a Reply, not {reply!r}"
            return reply
        except Exception as raised:  # the policy is the test's own code; check() passes it on
            return self._problem(turn, f"the policy raised {type(raised).__name__}: {raised}")

    def _problem(self, turn: Turn, what: str) -> Reply:
        problem = f"request {turn.n}: {what}"
        with self._changed:
            self._problems.append(problem)
        return error(400, message=f"ModelServer, {problem}")  # a status that nobody retries

    def _watched(self, turn: Turn, answer: Answer | Pieces, *, is_paid: bool) -> Pieces:
        """The answer, recorded as it leaves and again as it ends."""
        key = turn.call.path, self._received[turn.n - 1].digest
        with self._changed:
            self._received[turn.n - 1] = replace(self._received[turn.n - 1], status=answer.status)
            self._answered[key] += is_paid

        def told(hung_up: bool) -> None:
            with self._changed:
                self._answered[key] -= is_paid and hung_up
            self._close(turn, hung_up=hung_up)

        return replace(answer.pieces() if isinstance(answer, Answer) else answer, told=told)

    def _close(self, turn: Turn, *, hung_up: bool) -> None:
        with self._changed:
            self._received[turn.n - 1] = replace(self._received[turn.n - 1], ended=True, hung_up=hung_up)
            self._changed.notify_all()

    def control(self, call: Call) -> Answer:
        """What the interface of the server asks: records, plans, waits, problems."""
        with self._changed:
            try:
                return self._route(call)
            except (ValueError, TypeError) as wrong:
                return Answer(400, {"error": str(wrong)})

    def _route(self, call: Call) -> Answer:
        match call.method, call.path.removeprefix("/_holdfast/"):
            case "GET", "requests":
                return Answer(200, {"requests": [asdict(each) for each in self._received]})
            case "GET", "check":
                return Answer(200, {"problems": self._check()})
            case "POST", "wait":
                return self._wait(**call.json())
            case "POST", "faults":
                return self._plan(Fault(**call.json()))
            case _:
                return Answer(404, {"error": f"the model server does not know {call.method} {call.path}"})

    def _check(self) -> list[str]:
        unused = self._policy.unused() if isinstance(self._policy, Script) else []
        never = {fault.on for n, fault in self._faults.items() if n == fault.on > len(self._received)}
        return [*self._problems, *unused, *(f"the fault planned on request {on} never came" for on in never)]

    def _wait(self, count: int, timeout_s: float = 10.0, until: Until = "arrived") -> Answer:
        if until not in get_args(Until):
            raise ValueError(f"until is one of {', '.join(get_args(Until))}, not {until!r}")
        self._changed.wait_for(lambda: _number(self._received, until) >= count, min(timeout_s, WAIT_S_MAX))
        return Answer(200, {"count": _number(self._received, until)})

    def _plan(self, fault: Fault) -> Answer:
        numbers = range(fault.on, fault.on + fault.times)
        if fault.on <= len(self._received):
            raise ValueError(f"request {fault.on} is past, {len(self._received)} were received")
        if not numbers or self._faults.keys() & set(numbers):
            raise ValueError(f"requests {fault.on} to {numbers.stop - 1}: planned already, or none at all")
        self._faults |= dict.fromkeys(numbers, fault)
        return Answer(200, {})


def _number(received: Sequence[Received], until: Until) -> int:
    return len(received) if until == "arrived" else sum(bool(getattr(each, until)) for each in received)
