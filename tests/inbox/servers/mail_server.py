"""A real SMTP server on 127.0.0.1, which takes mail, refuses it, loses it, or says nothing.

`server.says["RCPT"] = "550 no such mailbox"` until it is taken back; so for CONNECT, EHLO, MAIL, RCPT and DATA. With
`loses` it takes mail that nobody ever sees, as a spam folder does; with `is_silent` it never answers DATA.
"""

from __future__ import annotations

import asyncio
import email
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

aiosmtpd = pytest.importorskip("aiosmtpd.smtp", reason="needs aiosmtpd, a real SMTP server")

PEM = Path(__file__).parents[1] / "localhost.pem"
SENDER = "holdfast@example.com"


class MailServer:
    """What it took, and what it says instead."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.recipients: list[list[str]] = []
        self.says: dict[str, str] = {}
        self.loses = False
        self.is_silent = False
        self.lost = 0
        self.logins: list[tuple[bytes, bytes]] = []
        self.was_tls: list[bool] = []

    def of(self, address: str) -> list[Message]:
        """What lies in this mailbox."""
        return [mail for mail, to in zip(self.mails, self.recipients, strict=True) if address in to]

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, host: str, answers: list[str]) -> list[str]:
        """The greeting."""
        session.host_name = host
        return [said] if (said := self.says.get("EHLO")) else answers

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        """A sender."""
        if said := self.says.get("MAIL"):
            return said
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        """A recipient."""
        if said := self.says.get("RCPT"):
            return said
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """A mail."""
        if self.is_silent:
            await asyncio.Event().wait()
        if said := self.says.get("DATA"):
            return said
        if self.loses:
            self.lost += 1
            return "250 taken"
        self.mails.append(email.message_from_bytes(envelope.content))
        self.recipients.append(envelope.rcpt_tos)
        self.was_tls.append(session.ssl is not None)
        return "250 taken"

    def check(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
        """A login."""
        self.logins.append((data.login, data.password))
        return aiosmtpd.AuthResult(success=data.password == b"right")

    @contextmanager
    def listening(self, *, is_tls: bool = False, **how: Any) -> Iterator[int]:
        """On a port of its own, on a loop and a thread of its own."""
        loop = asyncio.new_event_loop()
        context = None
        if is_tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(PEM)

        def made() -> Any:
            return _Said(self, self.says, hostname="localhost", loop=loop, **how)

        listening = loop.run_until_complete(loop.create_server(made, "127.0.0.1", 0, ssl=context))
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield listening.sockets[0].getsockname()[1]
        finally:
            loop.call_soon_threadsafe(listening.close)
            asyncio.run_coroutine_threadsafe(_settled(), loop).result(5)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(5)
            loop.close()


class _Said(aiosmtpd.SMTP):  # type: ignore[misc, name-defined, unused-ignore]
    """A server that can say something else than its greeting."""

    def __init__(self, handler: Any, says: dict[str, str], **how: Any) -> None:
        self._says = says
        super().__init__(handler, **how)

    async def push(self, status: Any) -> None:
        """What it says first is said by CONNECT."""
        said, self._says_first = getattr(self, "_says_first", self._says.get("CONNECT")), None
        await super().push(said or status)


async def _settled() -> None:
    """All of the server's own tasks are over."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def trusting() -> ssl.SSLContext:
    """A client that trusts the server of the tests, and nobody else."""
    return ssl.create_default_context(cafile=str(PEM))
