"""Where a webhook may go: to public addresses, by https. What a name means is found out once, and nowhere else is gone.

1. https on port 443 only, but for a HOST:PORT that the file allows by name: that may be private, and without TLS.
2. Every address that the name has is looked at; one that is not public refuses them all. The connection is made to the
   address that was looked at: a name that means another one a moment later changes nothing.
3. No redirect is followed, no body is read beyond `READ_MAX`, and all of it is over within `LIMIT_S`, however slowly it
   is sent.

Not public: private, shared (100.64/10), loopback, link-local (where clouds keep credentials), multicast, reserved, and
what carries another address in it (IPv4-mapped, NAT64, 6to4, Teredo).
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from holdfast.protocols import Undeliverable, Undelivered

LIMIT_S: Final = 5.0
READ_MAX: Final = 64 * 1024
Resolve = Callable[[str, int], Sequence[str]]
_PUBLIC_V6: Final = ip_network("2000::/3")
_NOT_PUBLIC: Final = tuple(
    ip_network(net)
    for net in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own services, from within
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    )
)


class Target(NamedTuple):
    """Where to connect to, and as what."""

    host: str
    port: int
    address: str
    path: str
    is_tls: bool

    @property
    def netloc(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


def is_public(address: str) -> bool:
    """Whether anybody may have this address, and it is nobody else's in disguise."""
    try:
        ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip not in _PUBLIC_V6:
        return False
    return ip.is_global and not any(ip in net for net in _NOT_PUBLIC if net.version == ip.version)


def resolved(host: str, port: int) -> list[str]:
    """All addresses of a name, as the system knows them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def target(url: str, allow: Sequence[str] = (), resolve: Resolve = resolved) -> Target:
    """Where this URL goes; `Undeliverable` when it may not, `Undelivered` when nobody knows."""
    try:
        parts = urlsplit(url)
        host, is_tls = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if is_tls else 80)
    except ValueError:
        raise Undeliverable("its address is no URL") from None
    is_allowed = f"{host}:{port}" in allow
    if not host or parts.username is not None or parts.scheme not in ("https", "http"):
        raise Undeliverable("its address is no URL of a web server")
    if not is_allowed and (not is_tls or port != 443):
        raise Undeliverable(f"it is told by https on port 443 only; {host}:{port} is not allowed by name")
    try:
        addresses = list(resolve(host, port))
    except (OSError, UnicodeError):
        raise Undelivered(f"nobody knows where {host} is") from None
    if not addresses or (not is_allowed and not all(map(is_public, addresses))):
        raise Undeliverable(f"{host} is in a network that is not public")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(host, port, addresses[0], path, is_tls)


class _Pinned(HTTPConnection):
    """A connection to the address that was looked at."""

    def __init__(self, where: Target, context: ssl.SSLContext | None) -> None:
        super().__init__(where.host, where.port, timeout=LIMIT_S)
        self._where = where
        self._context = context
        self.is_late = False

    def connect(self) -> None:
        """Open it."""
        where = self._where
        self.sock: Any = socket.create_connection((where.address, where.port), timeout=LIMIT_S)
        if where.is_tls:
            context = self._context or ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=where.host, do_handshake_on_connect=False)
        if self.is_late:
            raise TimeoutError
        if where.is_tls:
            self.sock.do_handshake()

    def cut(self) -> None:
        """Its time is up: whatever is read or written just now fails."""
        self.is_late = True
        sock = self.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is over already


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str] = {}
    """Names in lower case."""
    body: bytes = b""
    """Its beginning, as far as it was wanted."""


def post(where: Target, headers: dict[str, str], body: bytes, context: ssl.SSLContext | None = None) -> int:
    """Send it; the status of the answer, whose body nobody reads. `Undelivered` when there is none in time."""
    return exchange(where, headers, body, context, read_max=0).status


def exchange(
    where: Target, headers: dict[str, str], body: bytes, context: ssl.SSLContext | None = None, *, read_max: int = 0
) -> Reply:
    """Send it, and read so much of what comes back. `Undelivered` when nothing comes in time."""
    connection = _Pinned(where, context)
    timer = threading.Timer(LIMIT_S, connection.cut)
    timer.daemon = True
    timer.start()
    try:
        connection.request("POST", where.path, body, {"Host": where.netloc, **headers})
        answer = connection.getresponse()
        text = answer.read(min(read_max, READ_MAX)) if read_max else b""
        if connection.is_late:  # what was cut off reads like an end
            raise TimeoutError
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, text)
    except ssl.SSLError as error:
        raise Undelivered(f"{where.host} has no certificate that counts: {error.reason or 'TLS failed'}") from None
    except (OSError, HTTPException, ValueError) as error:
        why = f"no answer within {LIMIT_S:g} s" if connection.is_late else type(error).__name__
        raise Undelivered(f"{where.host}: {why}") from None
    finally:
        timer.cancel()
        connection.close()
