"""Email, against a real SMTP server: what it takes, what it refuses, and what it must never see in the clear."""

from __future__ import annotations

import ssl
from dataclasses import replace
from email.header import decode_header, make_header
from email.message import EmailMessage
from typing import Any

import pytest
from tests.inbox.servers.mail_server import PEM, MailServer, trusting

from holdfast.inbox.directory import Email, FromEnvironment
from holdfast.inbox.email import EmailChannel, message
from holdfast.protocols import Notice, Undeliverable, Undelivered

NOW = 1_800_000_000.0
NOTICE = Notice(
    id="k1",
    thread="run_1/q_1",
    kind="created",
    person="ada",
    to="ada@example.com",
    title="Approval wanted: refund · support · ticket-4711",
    lines=("Asked at 2027-01-15 08:00 UTC.", "Look at it, and answer, there:", "https://hold.example.com/q/run_1/q_1"),
    link="https://hold.example.com/q/run_1/q_1",
    is_urgent=False,
    facts={},
)


def channel(port: int, context: ssl.SSLContext | None = None, **how: Any) -> EmailChannel:
    """One to this server."""
    given: dict[str, Any] = {"tls": "none", "host": "localhost", "sender": "holdfast@example.com", **how}
    settings = Email(name="mail", port=port, **given)
    return EmailChannel(settings, {"PASSWORD": "right", "WRONG": "wrong"}, lambda: NOW, context=context)


def test_a_notice_arrives_as_it_was_meant() -> None:
    """Lost: a mail that nobody can read, answer to the right thing, or find again in its thread."""
    box = MailServer()
    with box.listening() as port:
        receipt = channel(port).send(NOTICE)
        channel(port).send(replace(NOTICE, id="k2", is_urgent=True))
    assert (receipt.state, receipt.reference) == ("accepted", "<k1@example.com>")
    first, second = box.mails
    assert str(make_header(decode_header(first["Subject"]))) == NOTICE.title
    assert (first["From"], first["To"], box.recipients[0]) == (
        "holdfast@example.com", "ada@example.com", ["ada@example.com"],
    )  # fmt: skip
    assert (first["Message-ID"], second["Message-ID"]) == ("<k1@example.com>", "<k2@example.com>")
    assert first["References"] == second["References"] == second["In-Reply-To"] == "<run_1.q_1@example.com>"
    assert first["Date"] == "Fri, 15 Jan 2027 08:00:00 +0000" and first["Auto-Submitted"] == "auto-generated"
    assert first["Importance"] is None and second["Importance"] == "high"
    assert first.get_content_type() == "text/plain" and not first.is_multipart()
    text = first.get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert NOTICE.title in text and NOTICE.lines[2] in text.splitlines()


def test_it_has_the_same_id_when_it_is_sent_again() -> None:
    """Lost: two mails about one thing, and no way to tell."""
    assert (
        message(NOTICE, "a@example.com", NOW)["Message-ID"] == message(NOTICE, "a@example.com", NOW + 9)["Message-ID"]
    )


def test_a_title_with_line_ends_cannot_be_a_header() -> None:
    """Lost: a name in a title that adds a recipient. Titles have no line ends; should one have, nothing is sent."""
    with pytest.raises(ValueError, match="linefeed or carriage return"):
        message(replace(NOTICE, title="a\r\nBcc: eve@example.com"), "a@example.com", NOW)
    made: EmailMessage = message(replace(NOTICE, title="Rückfrage " + "ж" * 300), "a@example.com", NOW)
    assert made["Bcc"] is None and all(len(line) < 1000 for line in made.as_bytes().splitlines())


@pytest.mark.parametrize(
    ("where", "said", "is_final"),
    [
        ("RCPT", "550 no such mailbox", True),
        ("RCPT", "451 greylisted", False),
        ("DATA", "554 no spam here", True),
        ("DATA", "452 full", False),
        ("RCPT", "421 going down", False),
    ],
)
def test_what_the_server_refuses_is_told_as_what_it_is(where: str, said: str, is_final: bool) -> None:
    """Lost: a mailbox that is not there is tried again and again; or one that is full is given up."""
    box = MailServer()
    box.says[where] = said
    with box.listening() as port, pytest.raises(Undelivered) as refused:
        channel(port).send(NOTICE)
    assert isinstance(refused.value, Undeliverable) is is_final and box.mails == []
    assert "ada@example.com" not in str(refused.value)


def test_starttls_and_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: a password and mails in the clear."""
    monkeypatch.setattr("holdfast.inbox.email.TIMEOUT_S", 1.0)  # the server says nothing after a login that failed
    box, tls = MailServer(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(PEM)
    how = {"tls": "starttls", "user": "holdfast", "password": FromEnvironment("PASSWORD")}
    with box.listening(tls_context=tls, require_starttls=True, authenticator=box.check, auth_required=True) as port:
        channel(port, trusting(), **how).send(NOTICE)
        assert box.was_tls == [True] and box.logins == [(b"holdfast", b"right")]
        with pytest.raises(Undelivered) as refused:
            channel(port, trusting(), **how | {"password": FromEnvironment("WRONG")}).send(NOTICE)
        assert "wrong" not in str(refused.value)
        tried = len(box.logins)
        with pytest.raises(Undelivered):  # a certificate that nobody vouches for
            channel(port, **how).send(NOTICE)
    assert len(box.mails) == 1 and len(box.logins) == tried


def test_tls_from_the_first_byte() -> None:
    """Lost: servers on port 465."""
    box = MailServer()
    with box.listening(is_tls=True) as port:
        channel(port, trusting(), tls="tls").send(NOTICE)
    assert len(box.mails) == 1


def test_where_tls_is_wanted_and_not_there_nothing_is_sent() -> None:
    """Lost: who takes the word STARTTLS out of the server's answer gets the password."""
    box = MailServer()
    how = {"tls": "starttls", "user": "holdfast", "password": FromEnvironment("PASSWORD")}
    with box.listening() as port, pytest.raises(Undeliverable, match="TLS"):
        channel(port, trusting(), **how).send(NOTICE)
    assert box.mails == [] and box.logins == []


def test_nobody_listens() -> None:
    """Lost: a dead server that ends the chain."""
    with MailServer().listening() as port:
        pass
    with pytest.raises(Undelivered, match="mail: ConnectionRefusedError"):
        channel(port).send(NOTICE)
