"""Slack: a direct message for each notice, with buttons; and the same message without them once the question is closed.

1. All text in a message is ours, and plain: nothing in it is markup, a mention or a link that Slack would look at.
2. Neither arguments nor a model's words are in it. Where the file says `shows_call`, a person may look at the call, and
   approve it there: it is fetched for them when they press the button.
3. A button names a question and nothing else. What it does is decided where it arrives, by who presses it, then.
4. What follows about the same question goes into the thread of its first message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from holdfast.core.approval import ABOUT as APPROVE
from holdfast.core.drawn import safe_text
from holdfast.inbox import guard
from holdfast.inbox.directory import Slack
from holdfast.inbox.slack_api import SaidNo, Send, SlackApi
from holdfast.protocols import Notice, Receipt, Undeliverable

TITLE_MAX: Final = 120
LOOK, DECLINE, TAKE, CONFIRM, PAGE = "look", "decline", "take", "confirm", "page"
"""What the buttons are called, where they arrive."""
_GONE: Final = frozenset({"message_not_found", "thread_not_found", "cant_update_message", "edit_window_closed"})


class SlackChannel:
    """Tells people in Slack."""

    def __init__(
        self,
        settings: Slack,
        environ: Mapping[str, str],
        *,
        send: Send = guard.exchange,
        resolve: guard.Resolve = guard.resolved,
    ) -> None:
        token = environ[settings.token.name]
        self.api = SlackApi(token, url=settings.url, allow=settings.allow, send=send, resolve=resolve)
        self._settings = settings
        self.name = settings.name

    @property
    def failure_domain(self) -> str:
        """See `Channel`."""
        return "slack.com"

    def send(self, notice: Notice) -> Receipt:
        """See `Channel`."""
        message = {
            "channel": notice.to,
            **_content(notice, buttons(notice, self._settings)),
            "parse": "none",
            "link_names": False,
            "mrkdwn": False,
            "unfurl_links": False,
            "unfurl_media": False,
            "metadata": {"event_type": "holdfast_notice", "event_payload": {"id": notice.id, "thread": notice.thread}},
        }
        _, _, first = notice.earlier.partition(" ")
        try:
            answer = self.api.call("chat.postMessage", message | ({"thread_ts": first} if first else {}))
        except SaidNo as no:
            if not first or no.error not in _GONE:
                raise
            answer = self.api.call("chat.postMessage", message)  # somebody has deleted the first one
        return Receipt("accepted", _reference(answer))

    def amend(self, notice: Notice) -> None:
        """See `Amending`."""
        channel, _, at = notice.earlier.partition(" ")
        try:
            self.api.call("chat.update", {"channel": channel, "ts": at, "parse": "none", **_content(notice, [])})
        except SaidNo as no:
            if no.error not in _GONE:
                raise


def _reference(answer: Mapping[str, Any]) -> str:
    channel, at = answer.get("channel"), answer.get("ts")
    if not isinstance(channel, str) or not isinstance(at, str):
        raise Undeliverable("Slack took it, and does not say as what")
    return f"{channel} {at}"


def _content(notice: Notice, elements: list[dict[str, Any]]) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": plain_text(notice.title, TITLE_MAX)},
        {"type": "section", "text": plain_text("\n".join(notice.lines), 2_500)},
    ]
    if elements:
        blocks.append({"type": "actions", "elements": elements})
    return {"text": plain_text(notice.title, TITLE_MAX)["text"], "blocks": blocks}


def buttons(notice: Notice, settings: Slack) -> list[dict[str, Any]]:
    """What can be pressed. Nothing that decides, where no answer of Slack's would be heard."""
    run, question, about = (notice.facts.get(name) or "" for name in ("run", "question", "about"))
    found = [_button(PAGE, "Open the page", url=notice.link)] if notice.link else []
    if not run or not question or not settings.is_heard:
        return found
    value = f"{run}/{question}"
    if about == "probe":
        return [_button(CONFIRM, "I have got it", value, style="primary"), *found]
    look = [_button(LOOK, "Look and answer", value, style="primary")] if settings.shows_call else []
    decline = [_button(DECLINE, "Decline", value, style="danger")] if about == APPROVE else []
    return [*look, *decline, _button(TAKE, "I take care of it", value), *found]


def _button(action: str, text: str, value: str = "", *, style: str = "", url: str = "") -> dict[str, Any]:
    more = {"value": value, "style": style, "url": url}
    return {
        "type": "button",
        "action_id": action,
        "text": {"type": "plain_text", "text": text, "emoji": False},
        **{name: each for name, each in more.items() if each},
    }


def plain_text(text: str, limit: int) -> dict[str, Any]:
    """Text that Slack draws as it is, cut where it does not fit; its lines are kept."""
    shown = _drawn(text)
    kept = shown
    while len(escaped(kept)) > limit:
        kept = kept[: min(limit, len(kept)) - 10]
    return {"type": "plain_text", "text": escaped(kept if kept == shown else f"{kept}…"), "emoji": False}


def fits(text: str, limit: int) -> bool:
    """Whether `plain_text` shows all of it."""
    return len(escaped(_drawn(text))) <= limit


def _drawn(text: str) -> str:
    return "\n".join(safe_text(line) for line in text.split("\n")) or " "


def escaped(text: str) -> str:
    """Without what Slack reads as markup: mentions, links and entities begin with one of these."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
