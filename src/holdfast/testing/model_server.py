"""A fake model provider: a real HTTP server on 127.0.0.1 which speaks the APIs of model providers strictly.

A policy (a function, or `script([...])`) says what the model answers; the server refuses what the real API
would refuse, so that a transcript which passes here is valid there.

Invariants
1. Every request that reaches the API is recorded and numbered from 1 before anything is decided about it.
2. A planned fault comes first, then the strict checks, then the policy: what fails consumes no script step.
3. The same requests in the same order get the same answers, byte for byte: ids are hashes of the request body
   and of how often that body was received.
4. Nothing fails silently: unused or surplus script steps, a policy that raised and a fault that never came are
   all named by `check()`.

The path of a request chooses the API; `desk` has the state, `fault` what can be planned, `policy` the words.

Never: reads a clock, or leaves loopback.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from holdfast.testing.desk import Desk, Received, Until
from holdfast.testing.fault import Fault
from holdfast.testing.loopback import Call, Child, Loopback, ask
from holdfast.testing.policy import (
    Called,
    Policy,
    Reply,
    Request,
    Result,
    Said,
    Script,
    Usage,
    echo,
    error,
    script,
    text,
    tool_use,
    tool_uses,
    vectors,
)

__all__ = [
    "Called",
    "ModelServer",
    "Policy",
    "Received",
    "Reply",
    "Request",
    "Result",
    "Said",
    "Script",
    "echo",
    "error",
    "script",
    "text",
    "tool_use",
    "tool_uses",
    "vectors",
]


class ModelServer:
    """The fake provider: in this process (`with ModelServer(policy) as server:`) or in its own (`spawn`).

    Leaving the `with` block without an exception calls `check()`.
    """

    def __init__(self, policy: Policy, port: int = 0) -> None:
        """`port` 0: any free one. Listens from `with` on, in threads of this process."""
        self._desk: Desk | None = Desk(policy)
        self._port = port
        self._running: Loopback | Child | None = None

    @classmethod
    def spawn(cls, file: str | Path, name: str) -> "ModelServer":
        """Run policy `name` of Python file `file` in a process of its own, which outlives a killed agent.

        It has a session of its own too. Its records are gone once it is closed.
        """
        server = cls.__new__(cls)
        server._desk, server._port = None, 0
        server._running = Child.spawn("holdfast.testing.model_server", "--policy", f"{file}:{name}")
        return server

    def __enter__(self) -> Self:
        if self._desk and not self._running:
            self._running = Loopback(self._desk.answer, self._port)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            if kind is None:
                self.check()
        finally:
            self.close()

    @property
    def url(self) -> str:
        """The `base_url` for a client."""
        if not self._running:
            raise RuntimeError("This model server is not running. Use `with ModelServer(policy) as server:`.")
        return self._running.url

    @property
    def pid(self) -> int | None:
        """The process id of a spawned server; None for one in this process."""
        return self._running.process.pid if isinstance(self._running, Child) else None

    @property
    def requests(self) -> list[Received]:
        """Every request so far, in order; those refused or dropped too."""
        return [Received(**each) for each in self._control("GET", "requests")["requests"]]

    @property
    def count(self) -> int:
        """How many requests were on the wire."""
        return len(self.requests)

    def repeated(self) -> int:
        """How many requests asked again for what had already been answered 200, whatever they got."""
        return sum(request.repeated for request in self.requests)

    def fault(
        self,
        *,
        on: int,
        times: int = 1,
        delay_s: float = 0.0,
        drop: bool = False,
        status: int | None = None,
        billing: bool = False,
        type: str | None = None,
        code: str | None = None,
        message: str = "planned by the test",
        headers: Mapping[str, str] | None = None,
        details: Any = None,
        retry_after_s: float | None = None,
        error_after: int | None = None,
        cut_after: int | None = None,
        stall_after: int | None = None,
        every_s: float = 0.0,
        duplicate: int | None = None,
        truncate: bool = False,
        html: bool = False,
        tool_name: str | None = None,
        tool_arguments: str | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Plan a fault for requests `on` (from 1) to `on + times - 1`; ValueError if past or planned twice.

        `delay_s` waits before the first byte; with nothing else, the request is then handled as usual.

        Instead of an answer, unseen by the policy: `drop` closes the connection without a byte; `status` is an
        error in the form of the API, with `type`, `code`, `message`, `details`, `headers` and `retry_after_s`;
        `billing` is the 429 that says that the money ran out. `headers` alone are added to the usual answer.

        In what the model says: `tool_name` and `tool_arguments` (any text) stand in every tool call of the reply;
        `usage` is laid over the reply's, or "missing".

        In how it is sent, counted in events of the stream (an answer that is no stream has two: its halves):
        `cut_after` closes the connection after so many, `stall_after` leaves it open and sends nothing more,
        `every_s` is the time between two, `duplicate` is the one that comes twice, `error_after` ends the stream
        with an error event (`status` says which, 529 otherwise; without a stream that error is the answer),
        `truncate` breaks the last JSON off in its middle, `html` is a page with status 200 in place of the answer.
        """
        planned = {name: value for name, value in locals().items() if name != "self"}
        self._control("POST", "faults", asdict(Fault(**planned)))

    def wait_for(self, count: int, timeout_s: float = 10.0, *, until: Until = "arrived") -> None:
        """Block until `count` requests have arrived, answered or not; TimeoutError if not in time.

        With `until="ended"` those that are over are counted, with "hung_up" those whose client went before the end.
        """
        wanted = {"count": count, "timeout_s": timeout_s, "until": until}
        got = self._control("POST", "wait", wanted, timeout_s=timeout_s + 10.0)["count"]
        if got < count:
            did = until.replace("_", " ")
            raise TimeoutError(f"Waited {timeout_s} s for {count} requests; {got} have {did}.")

    def problems(self) -> list[str]:
        """Unused and surplus script steps, policy errors, faults that never came or were impossible."""
        told: list[str] = self._control("GET", "check")["problems"]
        return told

    def check(self) -> None:
        """AssertionError naming the problems, if there are any."""
        if problems := self.problems():
            raise AssertionError("\n".join(["The model server was not used as planned:", *problems]))

    def serve_until_idle(self, idle_s: float) -> None:
        """For the main program of a server process: print `{"url": …}`, return after `idle_s` without any request."""
        assert isinstance(self._running, Loopback), "serve within `with`, in this process"
        self._running.serve_until_idle(idle_s)

    def close(self) -> None:
        """Stop, drop open connections, end every thread or the process."""
        if self._desk:
            self._desk.closing.set()
        if self._running:
            self._running.close()
        self._running = None

    def _control(self, method: str, what: str, body: Any = None, *, timeout_s: float = 10.0) -> Any:
        path = f"/_holdfast/{what}"
        if self._desk:  # the same function without the socket: also works after close
            answer = self._desk.control(Call(method, path, body=json.dumps(body).encode()))
            status, told = answer.status, answer.body
        else:
            status, told = ask(self.url, method, path, body, timeout_s=timeout_s)
        if status != 200:
            raise ValueError(told["error"])
        return told


def _load(where: str) -> Policy:
    file, _, name = where.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None and spec.loader is not None, f"{file} is not a Python file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    policy: Policy = getattr(module, name)
    return policy


def main(argv: list[str] | None = None) -> None:
    """`python -m holdfast.testing.model_server --policy FILE.py:NAME`: prints `{"url": …}` and serves."""
    parser = argparse.ArgumentParser(prog="holdfast.testing.model_server", description="A strict fake provider.")
    parser.add_argument("--policy", required=True, metavar="FILE.py:NAME", help="which policy answers")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--idle-s", type=float, default=3600.0, help="end when idle so long")
    options = parser.parse_args(argv)
    with ModelServer(_load(options.policy), options.port) as server:
        server.serve_until_idle(options.idle_s)


if __name__ == "__main__":
    # the policy file imports this module by its name: serve with that copy, so that nothing is here twice
    from holdfast.testing.model_server import main as _main

    _main()
