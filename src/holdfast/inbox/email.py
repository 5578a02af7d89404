"""Email by SMTP: plain text, one thread per question, and never in the clear where TLS was wanted.

That a server takes a mail says nothing about whether it arrives: what bounces later is not seen here, and the chain's
waits are there for it. The same notice has the same Message-ID each time it is sent: mail programs show it once.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from holdfast.inbox.directory import Email
from holdfast.protocols import Notice, Receipt, Undeliverable, Undelivered

TIMEOUT_S: Final = 10.0
"""Of each thing that is said to the server."""


class EmailChannel:
    """Tells people by mail."""

    def __init__(
        self,
        settings: Email,
        environ: Mapping[str, str],
        now: Callable[[], float],
        *,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._password = environ[settings.password.name] if settings.password is not None else ""
        self._now = now
        self._context = context
        self.name = settings.name

    @property
    def failure_domain(self) -> str:
        """See `Channel`."""
        return self._settings.host

    def send(self, notice: Notice) -> Receipt:
        """See `Channel`."""
        mail = message(notice, self._settings.sender, self._now())
        try:
            with self._connected() as server:
                server.send_message(mail, self._settings.sender, [notice.to])
        except smtplib.SMTPRecipientsRefused as refused:
            code = max((code for code, _ in refused.recipients.values()), default=550)
            raise _refused(code, f"{self.name} does not take mail for {notice.person} ({code})") from None
        except smtplib.SMTPNotSupportedError:
            raise Undeliverable(f"{self.name} does not offer what is needed: TLS, or a login") from None
        except smtplib.SMTPResponseException as said:
            raise _refused(said.smtp_code, f"{self.name} answered {said.smtp_code}") from None
        except (OSError, smtplib.SMTPException) as error:  # ssl.SSLError is an OSError
            raise Undelivered(f"{self.name}: {type(error).__name__}") from None
        return Receipt("accepted", str(mail["Message-ID"]))

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        its, ehlo = self._settings, _domain(self._settings.sender)
        if its.tls == "tls":
            opened: smtplib.SMTP = smtplib.SMTP_SSL(its.host, its.port, ehlo, timeout=TIMEOUT_S, context=self._tls())
        else:
            opened = smtplib.SMTP(its.host, its.port, ehlo, timeout=TIMEOUT_S)
        with opened as server:
            if its.tls == "starttls":
                server.starttls(context=self._tls())
            if its.user:
                server.login(its.user, self._password)
            yield server

    def _tls(self) -> ssl.SSLContext:
        return self._context or ssl.create_default_context()


def message(notice: Notice, sender: str, now: float) -> EmailMessage:
    """The mail, with the names by which it belongs to the others about its question."""
    mail, domain = EmailMessage(policy=SMTP), _domain(sender)
    thread = f"<{notice.thread.replace('/', '.')}@{domain}>"
    mail["From"] = sender
    mail["To"] = notice.to
    mail["Subject"] = notice.title
    mail["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    mail["Message-ID"] = f"<{notice.id}@{domain}>"
    mail["In-Reply-To"] = thread
    mail["References"] = thread
    mail["Auto-Submitted"] = "auto-generated"  # nobody's holiday notice answers it
    if notice.is_urgent:
        mail["Importance"] = "high"
    mail.set_content("\n".join([notice.title, "", *notice.lines, ""]))
    return mail


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


def _refused(code: int, why: str) -> Undelivered:
    return Undeliverable(why) if code >= 500 else Undelivered(why)
