"""The doorbell of a store in a file: a process that waits for mail is told of it by the one that left it.

Each listener has a datagram socket of mode 0600 in a directory of mode 0700 beside the store; who has committed
something that may wake somebody sends one byte to every socket there. Who sees the file sees the directory.

Invariants
1. A hint only (J22): whatever fails here is passed over, and the poll of a second finds the mail.
2. Who rings never waits: a socket that is full has been rung enough, one that nobody holds is removed.
3. What was received is never read: any byte from whoever may write there means no more than "look".
4. When the function that ends a listener has returned, it is not rung any more.

Never: opens the store, knows a run, draws a name.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ADDRESS_MAX = 100
"""Bytes that the address of a socket can have on every system."""
NAME_MAX = 16
"""Bytes of it that are the socket's own name."""
TRIES = 3
"""The last listener that goes removes the directory; it may do so while we take our place."""
BURST_MAX = 1_000
"""Bytes that are taken for one ring."""


def nothing() -> None:
    """Ends a listener that never was."""


class Doorbell:
    """The listeners of the store at `path`, in this process and in others."""

    def __init__(self, path: str) -> None:
        self._directory = os.path.realpath(path) + "-bell"
        self._listeners: set[_Listener] = set()

    def ring(self) -> None:
        """Let everybody know who listens through another doorbell; who rings knows by itself."""
        try:
            names = set(os.listdir(self._directory))
        except OSError:
            return
        names -= {listener.name for listener in self._listeners}
        if names:
            try:
                with _addresses(self._directory) as place, _datagrams() as sender:
                    for name in names:
                        _send(sender, place, name)
            except OSError:
                return

    def listen(self, name: str, ring: Callable[[], None]) -> Callable[[], None]:
        """Call `ring` when somebody rings; `name` is one that nobody else here has, of at most
        `NAME_MAX` bytes. Gives the function that ends it."""
        door = self._door(name)
        if door is None:
            return nothing
        listener = _Listener(door, self._directory, name, ring)
        self._listeners.add(listener)

        def end() -> None:
            self._listeners.discard(listener)
            listener.end()
            self._tidy()

        return end

    def close(self) -> None:
        """End all listeners of this process."""
        while self._listeners:
            self._listeners.pop().end()
        self._tidy()

    def _door(self, name: str) -> socket.socket | None:
        if not hasattr(socket, "AF_UNIX"):
            return None
        for _ in range(TRIES):
            try:
                return _bound(self._directory, name)
            except FileNotFoundError:
                continue
            except OSError:
                return None
        return None

    def _tidy(self) -> None:
        try:
            os.rmdir(self._directory)
        except OSError:
            pass  # others listen, or nobody ever did


class _Listener:
    """One socket, and the thread that waits at it."""

    def __init__(self, door: socket.socket, directory: str, name: str, ring: Callable[[], None]) -> None:
        self.name = name
        self._door = door
        self._path = os.path.join(directory, name)
        self._ring = ring
        self._process = os.getpid()
        self._is_over = False
        self._ending, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._wait, name="holdfast-doorbell", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._door, select.POLLIN)
        poll.register(self._ended, select.POLLIN)
        while not self._is_over:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._ended.fileno() in ready:
                return
            self._take()
            self._ring()

    def _take(self) -> None:
        """Take what has come, so that a burst is one ring."""
        for _ in range(BURST_MAX):
            try:
                self._door.recv(1)
            except OSError:  # no more is there
                return

    def end(self) -> None:
        """Leave; in a process that was forked from ours there is no thread, and the socket is not ours to remove."""
        if os.getpid() != self._process or self._is_over:
            return
        self._is_over = True
        self._ending.send(b"!")
        if self._thread is not threading.current_thread():
            self._thread.join()
        for part in (self._door, self._ending, self._ended):
            part.close()
        try:
            os.unlink(self._path)
        except OSError:
            pass  # somebody has tidied up


@contextmanager
def _addresses(directory: str) -> Iterator[str]:
    """The directory under a name that is short enough for the address of a socket in it."""
    if len(os.fsencode(directory)) < ADDRESS_MAX - NAME_MAX:
        yield directory
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"  # where there is no such thing, this store has no doorbell
    finally:
        os.close(descriptor)


def _datagrams() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def _send(sender: socket.socket, place: str, name: str) -> None:
    try:
        sender.sendto(b"!", f"{place}/{name}")
    except ConnectionRefusedError:  # its process is gone; nobody takes that name again
        try:
            os.unlink(f"{place}/{name}")
        except OSError:
            pass
    except OSError:
        pass


def _bound(directory: str, name: str) -> socket.socket:
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(f"{directory} is not ours alone") from None
    door = _datagrams()
    try:
        with _addresses(directory) as place:
            door.bind(f"{place}/{name}")
            os.chmod(f"{place}/{name}", 0o600)
    except OSError:
        door.close()
        raise
    return door
