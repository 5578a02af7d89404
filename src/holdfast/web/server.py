"""The page on a socket, until it is told to end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from holdfast.web.feed import Feed

CONNECTIONS_MAX = 200


class Server(uvicorn.Server):
    """uvicorn, whose signals are ours, and which does not wait for streams that never end by themselves."""

    def __init__(self, app: ASGIApp, feed: Feed) -> None:
        self._feed = feed
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_graceful_shutdown=3,
            )
        )

    def end(self) -> None:
        """Take no more requests, and finish those that are under way. Again: leave them. From a signal handler too."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None of them: whoever runs the server does."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        self._feed.close()
        await super().shutdown(sockets)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any free one. OSError when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)
