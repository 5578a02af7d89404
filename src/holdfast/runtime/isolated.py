"""The other side of `isolate`: what runs in the child process of an isolated tool.

It is told on stdin where the function stands and what to call it with, and tells on a pipe of its own what came of it.
What the body prints goes to stderr: stdout is for the data of whoever started us.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, cast

from holdfast.core.events import Effect
from holdfast.errors import Unencodable, UsageError
from holdfast.journal.codec import decode, encode, opaque
from holdfast.runtime import current
from holdfast.runtime.facts import facts_of
from holdfast.runtime.heartbeat import beating
from holdfast.runtime.isolate import BEAT, BEGUN, FAILED, OPAQUE, RESULT, UNFOUND
from holdfast.runtime.location import Location, digest_of
from holdfast.runtime.signature import Arguments, Signature, returns
from holdfast.runtime.spec import Spec

MAIN = "__holdfast_main__"
"""The script that was started, as a module here: not under its own name, so that it does not start itself again."""


class Report:
    """Tells the parent; from any thread."""

    def __init__(self, fd: int) -> None:
        self._pipe = os.fdopen(fd, "wb", buffering=0)
        self._lock = threading.Lock()

    def tell(self, kind: str, body: bytes = b"") -> None:
        """One message."""
        data = memoryview(f"{kind} {len(body)}\n".encode() + body)
        with self._lock:
            while data:
                data = data[self._pipe.write(data) or 0 :]

    def beat(self) -> None:
        """The attempt lives."""
        self.tell(BEAT)


def main(report_fd: int) -> NoReturn:
    """Find the function, call it, tell what came of it, and end."""
    os.set_inheritable(report_fd, False)
    report = Report(report_fd)
    asked, _, args = sys.stdin.buffer.read().partition(b"\n")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    _serve(report, json.loads(asked), args)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(0)  # threads that the body has left behind hold nobody up


def _serve(report: Report, asked: dict[str, Any], args: bytes) -> None:
    effect = Effect(asked["effect"])
    try:
        sys.argv = asked["argv"]
        fn = found(Location(**{name: asked[name] for name in Location._fields}))
        signature = Signature(fn, name=asked["tool"])
        call = signature.call(Arguments(signature.decoded(decode(args)), {}), asked["key"])
        annotation = returns(fn, asked["tool"])
    except BaseException as error:  # the user's module: whatever it raises, nothing was begun
        traceback.print_exc()
        report.tell(UNFOUND, f"its child process cannot load it: {type(error).__name__}: {error}".encode())
        return
    report.tell(BEGUN)
    inside = current.Place(cast(Any, None), "", effect, asked["tool"])  # see `Place.is_isolated`
    try:
        with current.entered(inside), beating(report):
            result = call()
    except BaseException as error:  # the user's step: whatever it raises is a fact about it
        report.tell(FAILED, _told(error))
        return
    report.tell(*_written(result, annotation))


def _written(result: Any, annotation: Any) -> tuple[str, bytes]:
    try:
        return RESULT, encode(result, annotation)
    except Unencodable:
        return OPAQUE, encode(opaque(result))
    except ValueError:  # pydantic's word for "not of the declared type": the parent says what follows
        return RESULT, encode(result)


def _told(error: BaseException) -> bytes:
    """What can be told of an exception: what was read off it, the names of its classes, its arguments."""
    try:
        args: str | None = encode(list(error.args)).decode()
    except Unencodable:
        args = None
    line = [_name(cls) for cls in type(error).__mro__]
    return json.dumps({"facts": asdict(facts_of(error)), "line": line, "args": args}).encode()


def _name(cls: type) -> str:
    return f"{'' if cls.__module__ in (MAIN, '__main__') else cls.__module__}.{cls.__qualname__}"


# --- finding -----------------------------------------------------------------------------------------------------


def found(where: Location) -> Callable[..., Any]:
    """The function that stands there."""
    with current.loading():
        module = _module(where)
    fn = _body(getattr(module, where.name, None))
    if fn is None:
        raise UsageError(f"{where.file} has no function {where.name!r} at its top level")
    if digest_of(fn) != where.code:
        raise UsageError(f"{where.name} in {where.file} is not the one that was declared: the file has changed since")
    return fn


def _body(thing: Any) -> Callable[..., Any] | None:
    """The function behind a tool, and behind other decorators that say what they wrap."""
    spec = getattr(thing, "spec", None)
    fn = spec.fn if isinstance(spec, Spec) else thing
    while hasattr(fn, "__wrapped__"):
        fn = fn.__wrapped__
    return fn if hasattr(fn, "__code__") else None


def _module(where: Location) -> ModuleType:
    spec = _importable(where) if where.module else None
    if spec is not None and spec.name in sys.modules:  # its package has imported it
        return sys.modules[spec.name]
    spec = spec or importlib.util.spec_from_file_location(where.module or MAIN, where.file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{where.file} is no file that Python can load")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    if not where.module:
        sys.modules["__main__"] = module
    try:
        spec.loader.exec_module(module)
    except current.StartedInChild:
        pass  # a script that starts itself, without `if __name__ == "__main__"`: what stands above that is here
    return module


def _importable(where: Location) -> ModuleSpec | None:
    """What its name leads to here, if that is its file here too."""
    try:
        spec = importlib.util.find_spec(where.module)
    except (ImportError, ValueError, AttributeError):
        return None
    is_same = spec is not None and bool(spec.origin) and Path(str(spec.origin)).resolve() == Path(where.file)
    return spec if is_same else None
