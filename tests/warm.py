"""Python processes that start warm: forked from one that has loaded what third parties wrote, and then holdfast.

A test that starts an agent pays one to two seconds of processor time for the SDKs of model providers, each time, and a
tenth of one for us. A `Warm` process is a process like any other (its own pid, signals, pipes, directory and
environment, a main module run from its first line, an orderly end), only that these packages are in its memory already;
our modules do nothing when they are loaded but define. A test about loading, starting or a terminal takes
`subprocess.Popen`; so does everything where there is no Linux.

Run as a script, this file is the process that all others are forked from. It ends when the tests' process does.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

PACKAGES = ("anthropic", "openai", "httpx", "httpx2", "pydantic", "apsw", "click", "rich.console", "genai_prices")
STANDARD = ("asyncio", "concurrent.futures.thread", "csv", "decimal", "http.client", "sqlite3", "tomllib", "difflib")
IS_THERE = sys.platform == "linux"
COLD = subprocess.Popen
"""Also where a test has put `Warm` in its place."""


class Warm(subprocess.Popen[str]):
    """`subprocess.Popen([sys.executable, …])` of `[-W WHAT] -m MODULE …`, `-c TEXT …` or `FILE.py …`."""

    _is_warm = False

    def _execute_child(self, args: Any, *others: Any) -> None:
        cwd, env, is_own_session, pipes = others[4], others[5], others[-2], others[9:15]
        theirs = [2 if own == -1 else own for own in (pipes[0], pipes[3], pipes[5])]
        self._is_warm = args[0] == sys.executable and -1 not in (pipes[0], pipes[3])
        if not self._is_warm:  # it is another program, or asks for what is not made here
            super()._execute_child(args, *others)  # type: ignore[misc]
            return
        self._status, told = socket.socketpair()
        order = {"argv": list(args)[1:], "cwd": os.fspath(cwd or os.getcwd()), "is_own_session": bool(is_own_session)}
        _origin.fork(order | {"env": dict(os.environ if env is None else env)}, [*theirs, told.fileno()])
        told.close()
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
        self._lines = self._status.makefile("r")
        self.pid = int(self._lines.readline())

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if not self._is_warm:
            return super()._try_wait(flags)  # type: ignore[misc, no-any-return]
        if flags == os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        return self.pid, int(self._lines.readline() or signal.SIGKILL)

    def _internal_poll(self, *how: Any, **more: Any) -> int | None:
        if not self._is_warm:
            return super()._internal_poll(*how, **more)  # type: ignore[misc, no-any-return]
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)
        return self.returncode

    def _handle_exitstatus(self, status: int, *_: Any) -> None:
        super()._handle_exitstatus(status)  # type: ignore[misc]
        if self._is_warm:
            self._lines.close()
            self._status.close()


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start `python …` warm, where that is possible; text pipes, stdin closed unless it is given."""
    options = {"stdin": subprocess.DEVNULL, "text": True} | options
    return (Warm if IS_THERE else COLD)(command, **options)


def run(command: Sequence[str], *, timeout: float, **options: Any) -> subprocess.CompletedProcess[str]:
    """The same, to its end, with what it said."""
    with start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


class _Origin:
    """The process that all are forked from, as the tests see it."""

    def __init__(self) -> None:
        self.address = ""
        """Of one that another process has started, and shares."""
        self._lock = threading.Lock()
        self._pid = 0
        self._orders: socket.socket
        self._wait: Callable[[], object]

    def share(self) -> str:
        """The address at which other processes of the tests find this one's, which is started with the first of them:
        to load all that takes two seconds for each."""
        with self._lock:
            if not self.address:
                directory = tempfile.mkdtemp(prefix="holdfast-warm-")  # nobody else may look into it
                self.address = os.path.join(directory, "door")
                with socket.socket(socket.AF_UNIX) as door:
                    door.bind(self.address)
                    door.listen()
                    self._start_cold(door)
                atexit.register(shutil.rmtree, directory, ignore_errors=True)
        return self.address

    def fork(self, what: dict[str, Any], files: list[int]) -> None:
        """Have a process forked that gets these files as 0, 1, 2, and one through which its pid and end are told."""
        order = json.dumps(what).encode()
        with self._lock:
            if self._pid != os.getpid():  # not yet, or this is a fork of the process that started it
                self._start()
            socket.send_fds(self._orders, [len(order).to_bytes(8, "big")], files)
            self._orders.sendall(order)

    def _start(self) -> None:
        seed = _seeds.pop(os.getpid(), None)
        if seed is not None:
            self._orders, self._wait = seed.orders, functools.partial(os.waitpid, seed.pid, 0)
            self._orders.sendall(b"begin")
        elif self.address:
            self._orders, self._wait = socket.socket(socket.AF_UNIX), lambda: None
            self._orders.connect(self.address)
        else:
            self._start_cold()
            return
        self._is_of_this_process()

    def _start_cold(self, *door: socket.socket) -> None:
        self._orders, theirs = socket.socketpair()
        files = [each.fileno() for each in (theirs, *door)]
        command = [sys.executable, __file__, *map(str, files)]
        self._wait = COLD(command, stdin=subprocess.DEVNULL, pass_fds=files).wait
        theirs.close()
        self._is_of_this_process()

    def _is_of_this_process(self) -> None:
        self._pid = os.getpid()
        atexit.register(self._end)

    def _end(self) -> None:
        if self._pid == os.getpid():
            self._orders.close()
            self._wait()


_origin = _Origin()
share = _origin.share


def join(address: str) -> None:
    """From now on processes of this one are forked from the origin there."""
    _origin.address = address


class _Seed(NamedTuple):
    pid: int
    orders: socket.socket


_seeds: dict[int, _Seed] = {}
"""By the process that keeps it."""


def keep_seed() -> None:
    """For a process that has loaded the packages, nothing of ours yet, and begins to run tests: a fork of it stands by,
    and should a test start a process is what that is forked from. To load the packages anew would take two seconds."""
    orders, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        _seeds[os.getpid()] = _Seed(pid, orders)
        return
    orders.close()
    if not theirs.recv(len(b"begin"), socket.MSG_WAITALL):
        os._exit(0)
    originate(theirs)
    sys.exit()  # as the process that was forked from it ends


def serve_warm() -> None:
    """Servers of the test kit start warm as well, ledgers above all; test_ledger.py and test_model_server.py start some
    from a process that knows nothing of this."""
    if IS_THERE:
        loopback: Any = importlib.import_module("holdfast.testing.loopback")
        loopback.subprocess = types.SimpleNamespace(**vars(subprocess) | {"Popen": Warm})


def share_trust() -> None:
    """Each client of an HTTP package reads all certificates that are trusted, for a fortieth of a second. Nothing here
    speaks TLS: one reading does for all."""
    read = functools.cache(ssl.create_default_context)

    def shared(*how: Any, **more: Any) -> ssl.SSLContext:
        return read(*how, **more)

    ssl.create_default_context = shared


# --- the other side --------------------------------------------------------------------------------------------


def serve(orders: socket.socket, *door: socket.socket) -> None:
    """Fork until whoever has started this process is gone; comes back in the forked process only. door: others who
    order some come in there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ended, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    told: dict[int, int] = {}
    askers = [orders]
    while True:
        ready = select.select([*askers, *door, ended], [], [])[0]
        if ended in ready:
            ended.recv(4096)
            reap(told)
        askers += [each.accept()[0] for each in door if each in ready]
        for asker in [each for each in askers if each in ready]:
            head, files, _, _ = socket.recv_fds(asker, 8, 4)
            if not head and asker is orders:
                os._exit(0)
            if not head:
                askers.remove(asker)
                asker.close()
                continue
            order = json.loads(asker.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
            pid = os.fork()
            if pid == 0:
                for file in (*(each.detach() for each in (*askers, *door, ended, wake)), *told.values()):
                    os.close(file)
                return become(order, files)
            os.write(files[3], f"{pid}\n".encode())
            told[pid] = files[3]
            for file in files[:3]:
                os.close(file)


def reap(told: dict[int, int]) -> None:
    """Tell the ends of those that have ended, to whom it concerns."""
    while told:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with open(told.pop(pid), "w") as file:
            try:
                file.write(f"{status}\n")
                file.flush()
            except BrokenPipeError:
                pass  # nobody asks any more


def become(order: dict[str, Any], files: list[int]) -> None:
    """Be what was ordered, from its main module's first line to the end of the interpreter."""
    for number in range(3):
        os.dup2(files[number], number)
    for file in files:
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - to the end of the process
    sys.__stdin__ = sys.stdin  # type: ignore[misc]
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.__stdout__ = sys.stdout  # type: ignore[misc]
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.__stderr__ = sys.stderr  # type: ignore[misc]
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order["is_own_session"]:
        os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    argv = list(order["argv"])
    if argv[:2] == ["-W", "error"]:
        warnings.simplefilter("error")
        main(argv[2:])  # what is warned of while objects are destroyed is told too
        return
    if argv[0] == "-W":
        warnings._processoptions([argv[1]])  # type: ignore[attr-defined]  # as the interpreter does
        del argv[:2]
    try:
        main(argv)
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            raise
        leave(end.code or 0)
        raise
    leave(0)


def main(argv: list[str]) -> None:
    """Run a main module from its first line."""
    if argv[0] == "-m":
        sys.argv, sys.path[0] = argv[1:], os.getcwd()
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    elif argv[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *argv[2:]], ""
        sys.modules["__main__"] = module = types.ModuleType("__main__")
        exec(compile(argv[1], "<string>", "exec"), module.__dict__)
    else:
        sys.argv, sys.path[0] = argv, os.path.dirname(os.path.abspath(argv[0]))
        runpy.run_path(argv[0], run_name="__main__")


def leave(code: int) -> None:
    """End as the interpreter does, threads first, but do not take all objects apart: they are the origin's, and each
    that is touched is copied, which costs more than most of these processes do. Comes back if somebody does not listen:
    the interpreter knows what it says then."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return
    os._exit(code & 0xFF)


def load_ours() -> None:
    """Load holdfast, as strictly as a process does that was started with `-W error`; what a package of an extra that is
    not here leaves out is left out, and what runs as a main module is run by whoever wants it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import holdfast

        for module in pkgutil.walk_packages(holdfast.__path__, "holdfast."):
            if not module.name.endswith("__main__"):
                try:
                    importlib.import_module(module.name)
                except ImportError:
                    pass


def touch() -> None:
    """Have the packages load what they load at first use."""
    share_trust()
    for name in ("httpx", "httpx2"):
        if name in sys.modules:
            sys.modules[name].Client().close()
    if {"anthropic", "openai"} <= sys.modules.keys():
        import anthropic
        import openai

        for claude in (anthropic.Anthropic, anthropic.AsyncAnthropic):
            assert claude(api_key="none").messages
        for gpt in (openai.OpenAI, openai.AsyncOpenAI):
            assert gpt(api_key="none").chat.completions and gpt(api_key="none").responses
        read_answers()


def read_answers() -> None:
    """Have the SDKs build what they read answers with: a tenth of a second in each process that reads its first one."""
    import anthropic
    import httpx2
    import openai

    told = {"id": "m", "model": "m", "role": "assistant", "object": "response", "created": 1, "created_at": 1}
    message = {"type": "message", "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}
    content = [{"type": "text", "text": "x"}, {"type": "tool_use", "id": "t", "name": "t", "input": {}}]
    answer = {**told, **message, "content": content, "choices": [choice], "output": []}
    asked: list[Any] = [{"role": "user", "content": "x"}]
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=answer))
    with httpx2.Client(transport=transport) as http:
        anthropic.Anthropic(api_key="none", http_client=http).messages.create(model="m", max_tokens=1, messages=asked)
        gpt = openai.OpenAI(api_key="none", http_client=http)
        gpt.chat.completions.create(model="m", messages=asked)
        gpt.responses.create(model="m", input="x")


def originate(orders: socket.socket, *door: socket.socket) -> None:
    """Be the process that others are forked from; comes back in those."""
    gc.disable()  # loading makes no garbage to speak of
    load_ours()
    gc.collect()
    gc.freeze()
    gc.enable()
    serve(orders, *door)


if __name__ == "__main__":
    gc.disable()
    for name in (*STANDARD, *PACKAGES):
        try:
            importlib.import_module(name)
        except ImportError:
            pass  # it is not installed here
    touch()
    originate(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
