"""The effect ledger: a separate process which records every effect it receives, the oracle of crash tests.

An agent under test sends its side effects here (a refund, a mail, a ticket). Whatever is killed afterwards,
the ledger knows what happened, how often, and under which key.

Invariants
1. A record is on disk (flushed and fsynced) before any byte of its answer is sent.
2. `seq` counts, per name, the effects that *happened*. A deduplicated repeat carries the `seq` of its first.
3. A request is counted before its fault is looked up, so `on=3` is the third request, not the third record.
4. The process has its own session: killing the process group of whoever started it does not reach it.

Never: listens beyond 127.0.0.1, judges the agent, retries, or forgets. It ends after `--idle-s` without a
request, so that an orphan does not stay for ever.
"""

import argparse
import json
import os
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time as now  # noqa: TID251  the ledger is its own process and owns its own clock
from typing import Any, Self
from urllib.parse import urlencode

from holdfast.testing.loopback import WAIT_S_MAX, Answer, Call, Child, Loopback, ask, digest


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect as the ledger received it; equal `name` and `seq` mean the same thing that happened."""

    name: str
    key: str | None
    """`Idempotency-Key` header."""
    epoch: int | None
    """`Holdfast-Epoch` header: which owner of the run sent it."""
    args_digest: str
    """SHA-256 of the canonical JSON of `args`."""
    args: Any
    at: float
    """Seconds UTC, on the ledger's clock."""
    first: bool
    """True when something happened; False when an idempotent receiver only repeated its first answer."""
    seq: int


class Ledger:
    """A handle on a ledger process: its own (`with Ledger()`, `Ledger.start()`) or another's (`Ledger.at`)."""

    def __init__(self, path: str | Path | None = None) -> None:
        """`path`: the JSON-lines store, continued if it exists; None: a temporary one, removed on close."""
        self._path = path
        self._child: Child | None = None
        self._stack = ExitStack()
        self._url = ""

    @classmethod
    def start(cls, path: str | Path | None = None) -> "Ledger":
        """Start a ledger process and wait until it listens."""
        return cls(path).__enter__()

    @classmethod
    def at(cls, url: str) -> "Ledger":
        """A handle on a ledger that someone else started; closing it leaves that ledger alone."""
        ledger = cls()
        ledger._url = url
        return ledger

    def __enter__(self) -> Self:
        if not self._url:
            store = self._path or Path(
                self._stack.enter_context(tempfile.TemporaryDirectory(prefix="ledger-")), "effects"
            )
            self._child = Child.spawn("holdfast.testing.ledger", "--store", str(store), "--port", "0")
            self._stack.callback(self._child.close)
            self._url = self._child.url
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where effects are sent: POST `{url}/effects/{name}`; a name may have slashes, such as `trial-17/refund`."""
        if not self._url:
            raise RuntimeError("This ledger is not running. Use `with Ledger() as ledger:` or `Ledger.start()`.")
        return self._url

    @property
    def pid(self) -> int | None:
        """The ledger's process id; None for a handle made by `at`."""
        return self._child.process.pid if self._child else None

    def effects(self, name: str | None = None) -> list[Effect]:
        """Everything received so far, in order; of one name if given."""
        query = "" if name is None else "?" + urlencode({"name": name})
        return [Effect(**each) for each in self._ask("GET", f"/effects{query}")["effects"]]

    def count(self, name: str | None = None) -> int:
        """How many effects have *happened*: repeats that the receiver deduplicated are not counted."""
        return sum(effect.first for effect in self.effects(name))

    def repeated(self, name: str | None = None, *, by: str | None = None) -> list[tuple[Effect, ...]]:
        """Effects that happened more than once: same name and args, or same `args[by]` (a business id)."""
        groups: dict[tuple[str, str], list[Effect]] = {}
        for effect in self.effects(name):
            if effect.first:
                identity = effect.args_digest if by is None else digest(effect.args[by])
                groups.setdefault((effect.name, identity), []).append(effect)
        return [tuple(group) for group in groups.values() if len(group) > 1]

    def fault(self, name: str, on: int, fault: str) -> None:
        """Plan a fault for the `on`-th request of `name`, from 1 since it began; ValueError if past.

        `drop_before` closes before recording; `status:503` answers so and records nothing. The others record
        first: `drop_after` closes without an answer, `hang` answers at `release`, `delay:0.2` after 0.2 s.
        """
        self._ask("POST", "/faults", {"name": name, "on": on, "fault": fault})

    def release(self) -> None:
        """Let every request that hangs now have its answer."""
        self._ask("POST", "/release")

    def wait_for(self, name: str, count: int, timeout_s: float = 10.0) -> list[Effect]:
        """Block until `count` effects of `name` were received (repeats too); TimeoutError if not in time."""
        query = urlencode({"name": name, "count": count, "timeout_s": timeout_s})
        got = self._ask("GET", f"/wait?{query}", timeout_s=timeout_s + 10.0)["count"]
        if got < count:
            raise TimeoutError(f"Waited {timeout_s} s for {count} {name!r} effects, the ledger has {got}.")
        return self.effects(name)

    def close(self) -> None:
        """End the ledger process that this handle started, and remove its temporary store."""
        if self._child:
            self._child, self._url = None, ""
        self._stack.close()

    def _ask(self, method: str, path: str, body: Any = None, *, timeout_s: float = 10.0) -> Any:
        status, answer = ask(self.url, method, path, body, timeout_s=timeout_s)
        if status >= 400:
            raise ValueError(answer["error"])
        return answer


class _Book:
    """The state of the ledger process; everything happens under one condition variable."""

    def __init__(self, path: Path) -> None:
        self._changed = threading.Condition()
        self._requests: Counter[str] = Counter()
        self._faults: dict[tuple[str, int], tuple[str, float]] = {}
        self._releases = 0
        self._file = path.open("a+b")
        self._effects = self._load()

    def _load(self) -> list[Effect]:
        self._file.seek(0)
        whole, newline, torn = self._file.read().rpartition(b"\n")
        if torn:  # was never answered (invariant 1)
            self._file.truncate(len(whole + newline))
        return [Effect(**json.loads(line)) for line in whole.splitlines()]

    def answer(self, call: Call) -> Answer | None:
        with self._changed:
            try:
                return self._route(call)
            except (ValueError, KeyError, TypeError) as wrong:
                return Answer(400, {"error": f"{type(wrong).__name__}: {wrong}"})

    def _route(self, call: Call) -> Answer | None:
        match (call.method, *call.segments()):
            case ("POST", "effects", *name) if name:
                return self._receive("/".join(name), call)
            case ("GET", "effects"):
                return Answer(200, {"effects": [asdict(e) for e in self._select(**call.query)]})
            case ("GET", "effects", *name, key) if name:
                found = self._select("/".join(name), key)
                return Answer(200, asdict(found[0])) if found else Answer(404, {"error": "no such effect"})
            case ("GET", "wait"):
                return self._wait(**call.query)
            case ("POST", "faults"):
                return self._plan(**call.json())
            case ("POST", "release"):
                self._releases += 1
                self._changed.notify_all()
                return Answer(200, {})
            case _:
                return Answer(404, {"error": f"the ledger does not know {call.method} {call.path}"})

    def _receive(self, name: str, call: Call) -> Answer | None:
        self._requests[name] += 1
        fault, value = self._faults.pop((name, self._requests[name]), ("", 0.0))
        if fault == "drop_before":
            return None
        if fault == "status":
            return Answer(int(value), {"error": f"planned fault status:{int(value)}"})
        answer, releases = self._record(name, call), self._releases
        if fault == "hang":
            self._changed.wait_for(lambda: self._releases > releases)
        if fault == "delay":
            self._changed.wait_for(lambda: False, timeout=value)
        return None if fault == "drop_after" else answer

    def _record(self, name: str, call: Call) -> Answer:
        args, key = call.json()["args"], call.headers.get("idempotency-key")
        dedupe = call.query.get("dedupe") == "1"
        if dedupe and not key:
            raise ValueError("dedupe=1 needs an Idempotency-Key header")
        earlier = self._select(name, key) if dedupe else []
        if earlier and earlier[0].args_digest != digest(args):
            return Answer(422, {"error": f"key {key} was used before with other args"})
        seq = earlier[0].seq if earlier else 1 + sum(e.first for e in self._select(name))
        epoch = call.headers.get("holdfast-epoch")
        effect = Effect(name, key, int(epoch) if epoch else None, digest(args), args, now(), not earlier, seq)
        self._append(effect)
        return Answer(200 if earlier else 201, {"id": f"{name}-{seq}", "seq": seq, "args": args})

    def _append(self, effect: Effect) -> None:
        self._file.write(json.dumps(asdict(effect)).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._effects.append(effect)
        self._changed.notify_all()

    def _select(self, name: str | None = None, key: str | None = None) -> list[Effect]:
        return [e for e in self._effects if name in (None, e.name) and key in (None, e.key)]

    def _wait(self, name: str, count: str, timeout_s: str) -> Answer:
        wanted, limit_s = int(count), min(float(timeout_s), WAIT_S_MAX)
        self._changed.wait_for(lambda: len(self._select(name)) >= wanted, limit_s)
        return Answer(200, {"count": len(self._select(name))})

    def _plan(self, name: str, on: int, fault: str) -> Answer:
        if on <= self._requests[name]:
            raise ValueError(f"request {on} of {name!r} is past, {self._requests[name]} were received")
        self._faults[name, on] = _parse_fault(fault)
        return Answer(200, {})


def _parse_fault(fault: str) -> tuple[str, float]:
    kind, _, value = fault.partition(":")
    if fault in ("drop_after", "drop_before", "hang"):
        return fault, 0.0
    if kind == "status" and value.isdecimal() and 400 <= int(value) <= 599:
        return kind, int(value)
    if kind == "delay" and 0 <= float(value) <= WAIT_S_MAX:
        return kind, float(value)
    raise ValueError(f"unknown fault {fault!r}: drop_after, drop_before, hang, status:503, delay:0.2")


def main(argv: list[str] | None = None) -> None:
    """`python -m holdfast.testing.ledger --store PATH --port 0`: prints one line `{"url": …}` and serves."""
    parser = argparse.ArgumentParser(prog="holdfast.testing.ledger", description="The effect ledger.")
    parser.add_argument("--store", type=Path, required=True, help="JSON-lines file, continued if it exists")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--idle-s", type=float, default=3600.0, help="end when idle so long")
    options = parser.parse_args(argv)
    Loopback(_Book(options.store).answer, options.port).serve_until_idle(options.idle_s)


if __name__ == "__main__":
    main()
