"""Webhooks: whoever is told must be able to check whose word it is; a receiver may misbehave."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import PolicyInvalid
from holdfast.inbox.directory import FromEnvironment, Webhook
from holdfast.inbox.guard import Reply, Target
from holdfast.inbox.webhook import NotSigned, WebhookChannel, key_of, payload, signed, verify
from holdfast.protocols import Gone, Notice, Receipt, Undeliverable, Undelivered

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = 1_614_265_330.0
NOTICE = Notice(
    id="k1",
    thread="run_1/q_1",
    kind="created",
    person="ada",
    to="ada",
    title="Approval wanted: refund · support · ticket-4711",
    lines=("Asked at …",),
    link="https://hold.example.com/q/run_1/q_1",
    is_urgent=True,
    facts={
        "run": "run_1",
        "question": "q_1",
        "agent": "support",
        "tool": "refund",
        "about": "approve",
        "expires_at": 5.0,
    },
)


def test_the_published_example() -> None:
    """Lost: a signature that no other implementation takes. The vector is that of the specification."""
    body = b'{"test": 2432232314}'
    headers = signed([key_of(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", NOW, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert verify([key_of(SECRET)], headers, body, NOW) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_a_secret_may_be_changed_while_both_count() -> None:
    """Lost: notices that are refused while a secret is changed."""
    old, new = key_of(SECRET), b"n" * 32
    headers = signed([new, old], "msg_1", NOW, b"{}")
    assert verify([old], headers, b"{}", NOW) == verify([new], headers, b"{}", NOW) == "msg_1"


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"webhook-id": "msg_2"}, NOW),
        ({"webhook-timestamp": str(int(NOW) + 1)}, NOW),
        ({"webhook-timestamp": "soon"}, NOW),
        ({"webhook-timestamp": ""}, NOW),
        ({"webhook-id": ""}, NOW),
        ({"webhook-signature": ""}, NOW),
        ({"webhook-signature": "v1,"}, NOW),
        ({"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}, NOW),
        ({"webhook-signature": "v1,ü"}, NOW),
        ({}, NOW + 301),
        ({}, NOW - 301),
    ],
)
def test_what_is_altered_or_old_is_nobodys_word(change: dict[str, str], at: float) -> None:
    """Lost: a forged or repeated message that counts."""
    headers = signed([key_of(SECRET)], "msg_1", NOW, b"{}") | change
    with pytest.raises(NotSigned):
        verify([key_of(SECRET)], headers, b"{}", at)


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(min_size=24, max_size=64))
def test_only_the_same_bytes_and_the_same_key(body: bytes, other: bytes, key: bytes) -> None:
    """Lost: a body that was changed on the way."""
    headers = signed([key], "msg_1", NOW, body)
    assert verify([key], {name.upper(): value for name, value in headers.items()}, body, NOW) == "msg_1"
    if other != body:
        with pytest.raises(NotSigned):
            verify([key], headers, other, NOW)
    with pytest.raises(NotSigned):
        verify([b"another key of 24 bytes!"], headers, body, NOW)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_short", "whsec_%%%", "hunter2", "whsec_" + "A" * 200])
def test_a_weak_secret_is_refused_and_not_shown(secret: str) -> None:
    """Lost: signatures that anybody can make."""
    with pytest.raises(PolicyInvalid) as refused:
        key_of(secret)
    assert "hunter2" not in str(refused.value)
    assert key_of("whsec_" + base64.b64encode(b"k" * 25).decode().rstrip("=")) == b"k" * 25


class Receiver:
    """What came, and what is answered."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.headers: dict[str, str] = {}
        self.got: list[tuple[dict[str, str], bytes]] = []

    def __call__(self, where: Target, headers: dict[str, str], body: bytes) -> Reply:
        self.got.append((headers, body))
        return Reply(self.statuses.pop(0), self.headers)


def channel(
    receiver: Receiver, url: str | FromEnvironment = "https://hook.example.com/in", **more: Any
) -> WebhookChannel:
    """One with a receiver of its own."""
    settings = Webhook(name="hook", url=url, secrets=(FromEnvironment("NEW"), FromEnvironment("OLD")))
    environ = {
        "NEW": "whsec_" + base64.b64encode(b"n" * 32).decode(),
        "OLD": SECRET,
        "URL": "https://hook.example.com/x",
    }
    return WebhookChannel(settings, environ, lambda: NOW, send=receiver, resolve=lambda host, port: ["8.8.8.8"], **more)


def test_a_notice_is_thin_signed_and_has_the_same_id_each_time() -> None:
    """Lost: a receiver that cannot check it, cannot see that it came twice, or is told what it must not know."""
    receiver = Receiver(200, 204)
    told = channel(receiver)
    assert told.send(NOTICE) == told.send(NOTICE) == Receipt("accepted", "msg_k1")
    (headers, body), (again, _) = receiver.got
    assert headers["webhook-id"] == again["webhook-id"] == "msg_k1" and "." not in headers["webhook-id"]
    assert verify([key_of(SECRET)], headers, body, NOW) == "msg_k1"
    said = json.loads(body)
    assert (said["type"], said["timestamp"]) == ("inbox.created", "2021-02-25T15:02:10Z") and len(body) < 20_000
    assert said["data"] == {
        **NOTICE.facts, "person": "ada", "title": NOTICE.title, "link": NOTICE.link, "is_urgent": True,
        "thread": "run_1/q_1",
    }  # fmt: skip
    assert payload(NOTICE, NOW) == body and headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 422, 100])
def test_what_will_not_do_better_is_said_so(status: int) -> None:
    """Lost: seconds of tries at what cannot be, while the next channel waits. A redirect is not followed."""
    with pytest.raises(Undeliverable):
        channel(Receiver(status)).send(NOTICE)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_do_better_is_not_final(status: int) -> None:
    """Lost: a receiver that has too much to do is taken for one that is gone."""
    with pytest.raises(Undelivered) as late:
        channel(Receiver(status)).send(NOTICE)
    assert not isinstance(late.value, Undeliverable)


def test_who_is_gone_says_which_receiver_that_was() -> None:
    """Lost: a receiver that has said 410 and gets every notice all the same; or its successor, which gets none."""
    receiver = Receiver(410, 410, 410)
    marks = set()
    for url in ("https://hook.example.com/in", "https://hook.example.com/in", "https://hook.example.com/new"):
        with pytest.raises(Gone) as gone:
            channel(receiver, url).send(NOTICE)
        marks.add(gone.value.mark)
    assert len(marks) == 2 and SECRET not in "".join(marks)


@pytest.mark.parametrize(
    ("headers", "after_s"), [({"retry-after": "7200"}, 7200.0), ({}, None), ({"retry-after": "x"}, None)]
)
def test_it_is_told_when_to_come_again(headers: dict[str, str], after_s: float | None) -> None:
    """Lost: a receiver that has too much to do is asked all the more."""
    receiver = Receiver(429)
    receiver.headers = headers
    with pytest.raises(Undelivered) as late:
        channel(receiver).send(NOTICE)
    assert late.value.after_s == after_s


def test_the_address_may_be_a_secret() -> None:
    """Lost: an address that is a password stands in the file."""
    told = channel(Receiver(200), FromEnvironment("URL"))
    told.send(NOTICE)
    assert told.failure_domain == "hook.example.com"
