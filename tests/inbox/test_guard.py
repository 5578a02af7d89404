"""Where a webhook may go: an address in the file must not become a way into the network that a worker stands in."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from holdfast.inbox import guard
from holdfast.inbox.guard import READ_MAX, exchange, is_public, post, target
from holdfast.protocols import Undeliverable, Undelivered

INSIDE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "100.127.255.255", "192.0.0.192", "198.18.0.1", "192.0.2.1", "203.0.113.9",
    "192.88.99.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "::", "::1",
    "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b::808:808",
    "64:ff9b:1::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001::1",
    "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "3fff::1", "100::1", "no address", "",
]  # fmt: skip
OUTSIDE = ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"]


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_not_public_is_refused(address: str) -> None:
    """Lost: a webhook that reads what only the machine itself may: credentials of the cloud, a database."""
    assert not is_public(address)
    with pytest.raises(Undeliverable, match="not public"):
        target("https://hook.example.com/in", resolve=lambda host, port: [address])


@pytest.mark.parametrize("address", OUTSIDE)
def test_what_is_public_is_not(address: str) -> None:
    """Lost: a guard that lets nobody be told."""
    assert target("https://hook.example.com/in?a=1", resolve=lambda host, port: [address]) == (
        "hook.example.com", 443, address, "/in?a=1", True,
    )  # fmt: skip


def test_one_private_address_among_several_refuses_them_all() -> None:
    """Lost: a name with two addresses, of which the second is tried when the first does not answer."""
    with pytest.raises(Undeliverable):
        target("https://hook.example.com/", resolve=lambda host, port: ["8.8.8.8", "127.0.0.1"])


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"]
)
def test_however_it_is_written(host: str) -> None:
    """Lost: a check of the text, where the system reads more forms than the check."""
    with pytest.raises((Undeliverable, Undelivered)):
        target(f"https://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "https://example.com:8443/", "ftp://example.com/", "file:///etc/passwd", "https://",
        "https://a:b@example.com/", "https://a@example.com/", "gopher://example.com:443/", "https://[::1/", "nonsense",
        "https://example.com:99999/",
    ],
)  # fmt: skip
def test_only_https_on_its_own_port_and_without_a_password(url: str) -> None:
    """Lost: a word in the clear, or a way to talk to another protocol."""
    with pytest.raises(Undeliverable):
        target(url, resolve=lambda host, port: ["8.8.8.8"])


def test_what_is_allowed_by_name_is_allowed_and_nothing_near_it() -> None:
    """Lost: one receiver on the own machine opens all of them."""
    allow, resolve = ["127.0.0.1:8080"], lambda host, port: [host]
    assert target("http://127.0.0.1:8080/", allow, resolve).address == "127.0.0.1"
    for url in ("http://127.0.0.1:8081/", "http://127.0.0.2:8080/", "https://127.0.0.1/"):
        with pytest.raises(Undeliverable):
            target(url, allow, resolve)


def test_a_name_that_nobody_knows_may_be_known_later() -> None:
    """Lost: after a hiccup of the name server the channel is taken for dead."""

    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(Undelivered) as late:
        target("https://hook.example.com/", resolve=unknown)
    assert not isinstance(late.value, Undeliverable)


def test_a_name_that_means_something_else_a_moment_later_changes_nothing() -> None:
    """Lost: DNS rebinding: the address is checked, and then looked up once more to be used."""
    asked: list[str] = []

    def rebinds(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with _server(lambda connection: connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")) as port:
        where = target(f"http://rebind.example:{port}/", [f"rebind.example:{port}"], rebinds)
        assert post(where, {}, b"{}") == 204
    assert asked == ["rebind.example"]


@contextmanager
def _server(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server that takes one request of any length and does with the connection what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            try:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65_536)
                    answer(connection)
            except OSError:
                pass  # the other side has gone: that is what is tested

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.close()
        thread.join(5)


def _post(port: int) -> int:
    allow = [f"127.0.0.1:{port}"]
    return post(target(f"http://127.0.0.1:{port}/in", allow), {"Content-Type": "application/json"}, b"{}")


@pytest.mark.parametrize("status", [200, 301, 302, 307, 404, 410, 429, 500])
def test_a_redirect_is_an_answer_like_any_other(status: int) -> None:
    """Lost: the first address is checked, and the one that it names is not."""
    head = f"HTTP/1.1 {status} X\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n".encode()
    with _server(lambda connection: connection.sendall(head)) as port:
        assert _post(port) == status


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 2", b"nonsense\r\n\r\n", b"HTTP/1.1 two OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500,
     b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_answer_is_none(answer: bytes) -> None:
    """Lost: an exception that nobody expects, or a notice that counts as taken since somebody said something."""
    with _server(lambda connection: connection.sendall(answer)) as port, pytest.raises(Undelivered):
        _post(port)


def test_one_byte_at_a_time_is_no_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: a receiver that holds a thread for as long as it likes."""
    monkeypatch.setattr(guard, "LIMIT_S", 0.3)
    over = threading.Event()

    def drips(connection: socket.socket) -> None:
        for _ in range(400):
            connection.sendall(b"H")
            if over.wait(0.05):
                return

    with _server(drips) as port:
        with pytest.raises(Undelivered, match="no answer within"):
            _post(port)
        over.set()


def test_a_body_without_end_is_not_read() -> None:
    """Lost: a receiver that fills the memory of a worker."""

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)

    with _server(endless) as port:
        assert _post(port) == 200


@pytest.mark.parametrize(("wanted", "got"), [(0, 0), (10, 10), (10**9, READ_MAX)])
def test_so_much_of_a_body_is_read_as_is_wanted(wanted: int, got: int) -> None:
    """Lost: an answer that says in its body that nothing was done; or a memory that is filled with it."""

    def says(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 429 Busy\r\nRetry-After: 7\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)

    with _server(says) as port:
        where = target(f"http://127.0.0.1:{port}/in", [f"127.0.0.1:{port}"])
        reply = exchange(where, {}, b"{}", read_max=wanted)
    assert (reply.status, reply.headers["retry-after"], reply.body) == (429, "7", b"x" * got)


def test_a_body_that_does_not_come_in_time_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: a body that was cut off in the middle counts as what was said."""
    monkeypatch.setattr(guard, "LIMIT_S", 0.3)
    over = threading.Event()

    def drips(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not over.wait(0.02):
            try:
                connection.sendall(b"x")
            except OSError:
                return

    with _server(drips) as port:
        where = target(f"http://127.0.0.1:{port}/in", [f"127.0.0.1:{port}"])
        with pytest.raises(Undelivered, match="no answer within"):
            exchange(where, {}, b"{}", read_max=1_000)
        over.set()


def test_nobody_listens() -> None:
    """Lost: a refused connection that is taken for something else than: not told."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Undelivered, match="ConnectionRefusedError"):
        _post(port)
