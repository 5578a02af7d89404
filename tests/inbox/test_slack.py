"""Notices in Slack, against the documented API: what people see, what they never do, and what Slack's errors mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.inbox.servers import fault
from tests.inbox.servers.slack_server import ADA, APP, BOT_TOKEN, TEAM, SlackServer

from holdfast.inbox.directory import FromEnvironment, Slack
from holdfast.inbox.slack import SlackChannel, escaped, plain_text
from holdfast.inbox.slack_api import SaidNo
from holdfast.protocols import Amending, Notice, Undeliverable, Undelivered

NOW = 1_800_000_000.0
NOTICE = Notice(
    id="k1",
    thread="run_1/q_1",
    kind="created",
    person="ada",
    to=ADA,
    title="Approval wanted: refund · support · ticket-4711",
    lines=("Asked at 2027-01-15 08:00 UTC.", "Look at it, and answer, there:", "https://hold.example.com/q/run_1/q_1"),
    link="https://hold.example.com/q/run_1/q_1",
    is_urgent=True,
    facts={"run": "run_1", "question": "q_1", "about": "approve"},
)
HOSTILE = (
    "<!channel> <@U2BOB00001> <https://evil.example|pay> & *bold* _x_ ~y~ `z` >quote\u202e\x1b[2J\u200b :smile: @here"
)


@pytest.fixture
def slack() -> SlackServer:
    """A workspace."""
    return SlackServer(lambda: NOW)


def channel(slack: SlackServer, token: str = BOT_TOKEN, **how: Any) -> SlackChannel:
    """Ours in it."""
    heard = {"team": TEAM, "app": APP, "signing": (FromEnvironment("SIGNING"),), "shows_call": True}
    settings = Slack(name="chat", token=FromEnvironment("TOKEN"), **heard | how)  # type: ignore[arg-type]
    return SlackChannel(settings, {"TOKEN": token}, send=slack.wire, resolve=slack.resolve)


def test_a_notice_arrives_with_what_can_be_done(slack: SlackServer) -> None:
    """Lost: a message without a way to answer."""
    receipt = channel(slack).send(NOTICE)
    [message] = slack.of(ADA)
    assert (receipt.state, receipt.reference) == ("accepted", f"{message.channel} {message.ts}")
    assert message.text == NOTICE.title and NOTICE.lines[0] in message.shown
    assert list(message.elements) == ["look", "decline", "take", "page"]
    assert message.elements["decline"]["value"] == "run_1/q_1" and message.elements["page"]["url"] == NOTICE.link
    assert message.facts["metadata"]["event_payload"] == {"id": "k1", "thread": "run_1/q_1"}
    assert message.facts["unfurl_links"] is message.facts["unfurl_media"] is message.facts["link_names"] is False


@pytest.mark.parametrize(
    ("how", "facts", "wanted"),
    [
        ({"shows_call": False}, {}, ["decline", "take", "page"]),
        ({"signing": ()}, {}, ["page"]),
        ({"signing": (), "app_token": FromEnvironment("A")}, {}, ["look", "decline", "take", "page"]),
        ({}, {"about": "ask"}, ["look", "take", "page"]),
        ({}, {"about": "in_doubt"}, ["look", "take", "page"]),
        ({}, {"about": "probe"}, ["confirm", "page"]),
        ({}, {"run": None, "question": None, "about": "probe"}, ["page"]),
    ],
)
def test_only_what_would_be_heard_can_be_pressed(
    slack: SlackServer, how: dict[str, Any], facts: dict[str, Any], wanted: list[str]
) -> None:
    """Lost: a button that nobody hears, and a person who thinks that they have answered."""
    channel(slack, **how).send(replace(NOTICE, facts={**NOTICE.facts, **facts}))
    [message] = slack.of(ADA)
    assert list(message.elements) == wanted


def test_names_are_no_markup(slack: SlackServer) -> None:
    """Lost: an agent's name that calls a whole channel, or is a link to somewhere else."""
    channel(slack).send(replace(NOTICE, title=HOSTILE, lines=(HOSTILE,)))
    [message] = slack.of(ADA)
    assert "<" not in message.shown and ">" not in message.shown.replace("&gt;", "")
    assert "\u202e" not in message.shown and "\x1b" not in message.shown and "\u200b" not in message.shown
    assert "&lt;!channel&gt;" in message.shown and "⟨U+202E⟩" in message.shown
    kinds = [text["type"] for text in _texts(message.blocks)]
    assert kinds and set(kinds) == {"plain_text"} and message.facts["parse"] == "none"
    assert message.facts["mrkdwn"] is False


def _texts(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        own = [value] if value.get("type") in ("plain_text", "mrkdwn") else []
        return own + [text for each in value.values() for text in _texts(each)]
    return [text for each in value for text in _texts(each)] if isinstance(value, list) else []


@pytest.mark.parametrize("text", ["", "x" * 10_000, "&" * 10_000, "\n" * 500, "<" * 119])
def test_what_is_long_is_cut_to_what_slack_takes(slack: SlackServer, text: str) -> None:
    """Lost: a notice that Slack refuses for its length."""
    channel(slack).send(replace(NOTICE, title=text or "x", lines=(text, text)))
    assert len(slack.of(ADA)) == 1
    assert not plain_text("&" * 500, 120)["text"].replace("&amp;", "").strip("…")
    assert escaped("&lt;") == "&amp;lt;"


def test_what_follows_goes_into_the_thread_of_the_first(slack: SlackServer) -> None:
    """Lost: five messages about one thing, each as if it was another."""
    told = channel(slack)
    first = told.send(NOTICE)
    second = told.send(replace(NOTICE, id="k2", kind="reminded", earlier=first.reference))
    one, two = slack.of(ADA)
    assert (one.thread_ts, two.thread_ts) == ("", one.ts) and second.reference.endswith(two.ts)
    slack.deleted(one)
    slack.messages.remove(one)
    told.send(replace(NOTICE, id="k3", kind="reminded", earlier=first.reference))
    assert slack.of(ADA)[-1].thread_ts == ""  # the first one is gone: it is told all the same


def test_a_closed_question_cannot_be_answered_where_it_was_asked(slack: SlackServer) -> None:
    """Lost: buttons of a question that somebody else has answered."""
    told = channel(slack)
    receipt = told.send(NOTICE)
    assert isinstance(told, Amending)
    closed = replace(NOTICE, kind="closed", title="Closed: x", lines=("Answered by bob.",), earlier=receipt.reference)
    told.amend(closed)
    [message] = slack.of(ADA)
    assert message.elements == {} and "Answered by bob." in message.shown and message.edits == 1
    slack.deleted(message)
    told.amend(closed)  # what is not there any more is no error


@pytest.mark.parametrize(
    "error",
    ["token_revoked", "invalid_auth", "account_inactive", "is_archived", "not_in_channel", "channel_not_found", "odd"],
)
def test_what_slack_refuses_is_refused_though_it_says_200(slack: SlackServer, error: str) -> None:
    """Lost: a revoked token, and every notice counts as sent."""
    slack.says(error)
    with pytest.raises(SaidNo, match=error):
        channel(slack).send(NOTICE)


@pytest.mark.parametrize("error", ["ratelimited", "internal_error", "service_unavailable", "fatal_error"])
def test_what_passes_at_slack_is_not_final(slack: SlackServer, error: str) -> None:
    """Lost: a hiccup, and the person is taken for unreachable by Slack."""
    slack.says(error)
    with pytest.raises(Undelivered) as late:
        channel(slack).send(NOTICE)
    assert not isinstance(late.value, Undeliverable)


@pytest.mark.parametrize(
    ("what", "is_final"),
    [
        (fault.broken(503), False),
        (fault.SILENT, False),
        (fault.CUT, False),
        (fault.UNKNOWN, False),
        (fault.UNTRUSTED, False),
        (fault.GARBAGE, False),
        (fault.broken(200, b"null"), False),
        (fault.broken(200, b'{"ok": 1}'), True),
        (fault.broken(200, b'{"ok": true}'), True),
        (fault.broken(404), True),
        (fault.redirects(), True),
    ],
)
def test_what_is_no_word_of_slack_is_no_receipt(slack: SlackServer, what: fault.Fault, is_final: bool) -> None:
    """Lost: the login page of a network counts as a message that was sent."""
    slack.does(what)
    with pytest.raises(Undelivered) as refused:
        channel(slack).send(NOTICE)
    assert isinstance(refused.value, Undeliverable) is is_final
    assert BOT_TOKEN not in str(refused.value)


def test_it_is_told_when_to_come_again(slack: SlackServer) -> None:
    """Lost: a limit that is run into again and again."""
    slack.does(fault.limited(3600))
    with pytest.raises(Undelivered) as late:
        channel(slack).send(NOTICE)
    assert late.value.after_s == 3600 and not isinstance(late.value, Undeliverable)


def test_the_token_goes_to_slack_alone(slack: SlackServer) -> None:
    """Lost: a token at whatever address a file or an answer names."""
    with pytest.raises(Undeliverable):
        channel(slack, url="http://slack.com/api").send(NOTICE)
    with pytest.raises(Undeliverable):
        channel(slack, url="https://slack.com:8443/api").send(NOTICE)
    assert slack.calls == []
    channel(slack).send(NOTICE)
    assert slack.calls[0].headers["authorization"] == f"Bearer {BOT_TOKEN}"
    assert slack.calls[0].headers["content-type"].startswith("application/json")
