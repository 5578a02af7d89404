"""What people do with messages of ours in Slack: it is looked at who they are and what they may, then, and done.

1. Only what comes from the workspace and the app that the file names counts; whoever belongs to another workspace, and
   is a guest in a shared conversation, is nobody here.
2. Who it is, is looked up when they press: a member id that the file does not have any more may do nothing.
3. A button in a message can decline, confirm a probe, and say who takes care of it. To agree to something a person must
   have been shown it: in a modal that is made for them at that moment, and only where the file says `shows_call`.
4. The answer has an id that is made of what Slack has sent: the same, sent again, is the same answer.
5. Whatever is wrong is told to whoever pressed, and to nobody else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from holdfast.core.approval import DECLINE as DECLINED
from holdfast.errors import JournalError, MessageRefused, UsageError
from holdfast.inbox.directory import Slack
from holdfast.inbox.slack import CONFIRM, DECLINE, LOOK, TAKE, plain_text
from holdfast.inbox.slack_api import SlackApi
from holdfast.protocols import Journal, Roll, Undelivered
from holdfast.runtime import answering
from holdfast.runtime.escalating import seen, take
from holdfast.views import asking
from holdfast.views.asking import Item
from holdfast.views.precedent import precedent
from holdfast.views.sheet import Sheet, sheet
from holdfast.web.decision import Given, decide
from holdfast.web.slack_view import ANSWER, chosen, is_whole, modal, told

_NAMED: Final = re.compile(r"([A-Za-z0-9_]{1,80})/([A-Za-z0-9_]{1,80})")
_HOOKS: Final = "https://hooks.slack.com/"
_NOBODY: Final = "Nobody here has your member id: you are none of the people of holdfast.toml. Nothing was done."
Ack = tuple[dict[str, Any], Callable[[], None] | None]


class NotOurs(UsageError):
    """It comes from another workspace or another app: it is nobody's word."""


class People(Roll, Protocol):
    """Whom names and member ids stand for, now."""

    def by_slack(self, member: str) -> str:
        """Who has this member id; empty: nobody."""


class Desk:
    """Takes what Slack sends, by whatever way it came; that it came from Slack is made sure of before."""

    def __init__(self, journal: Journal, people: People, settings: Slack, api: SlackApi) -> None:
        self._journal = journal
        self._people = people
        self._settings = settings
        self._api = api

    def heard(self, payload: Mapping[str, Any]) -> Ack:
        """What to acknowledge it with, at once, and what is to be done after that. `NotOurs` for what is not."""
        member = self._member(payload)
        match payload.get("type"):
            case "view_submission":
                return self._submitted(payload, member), None
            case "block_actions":
                return {}, lambda: self._pressed(payload, member)
            case _:
                return {}, None

    def _member(self, payload: Mapping[str, Any]) -> str:
        its = self._settings
        team, user = (payload.get(name) for name in ("team", "user"))
        if not isinstance(team, dict) or not isinstance(user, dict) or team.get("id") != its.team:
            raise NotOurs("It comes from another workspace. Nothing was done.")
        if user.get("team_id", its.team) != its.team or payload.get("api_app_id") != its.app:
            raise NotOurs("It comes from another workspace or another app. Nothing was done.")
        member = user.get("id")
        if not isinstance(member, str) or not member:
            raise NotOurs("It says not who that was. Nothing was done.")
        return member

    # --- buttons ---------------------------------------------------------------------------------------------------

    def _pressed(self, payload: Mapping[str, Any], member: str) -> None:
        actions = payload.get("actions")
        action = actions[0] if isinstance(actions, list) and actions and isinstance(actions[0], dict) else {}
        name, value = action.get("action_id"), action.get("value")
        if name not in (LOOK, DECLINE, TAKE, CONFIRM):
            return  # a link, which Slack reports too
        try:
            by, item = self._who(member), self._item(value)
            said = self._looked(payload, item, by) if name == LOOK else self._done(payload, item, by, name)
        except (UsageError, MessageRefused, JournalError, Undelivered) as refused:
            said = str(refused)
        if said:
            self._tell(payload.get("response_url"), said)

    def _done(self, payload: Mapping[str, Any], item: Item, by: str, name: str) -> str:
        if name == TAKE:
            take(self._journal, item.run, item.id, by, _id(payload))
            return "All others are told that you take care of it. It decides nothing: answer it, too."
        choice = DECLINED if name == DECLINE else "confirm"
        if choice not in item.options:
            raise UsageError("That is no answer to this question. Nothing was answered.")
        self._decide(payload, item, Given(choice, by, "slack", item.digest))
        return "Your answer is taken: decline." if name == DECLINE else "Thank you. Nothing else happens."

    def _looked(self, payload: Mapping[str, Any], item: Item, by: str) -> str:
        if not self._settings.shows_call:
            raise UsageError("What would be done is not shown in Slack. Look at the page. Nothing was done.")
        may_not = answering.refusal(item, by, self._people)
        view = modal(item, self._sheet(item), may_not)
        self._api.call("views.open", {"trigger_id": payload.get("trigger_id"), "view": view})
        seen(self._journal, item.run, item.id, by)
        return ""

    # --- modals ----------------------------------------------------------------------------------------------------

    def _submitted(self, payload: Mapping[str, Any], member: str) -> dict[str, Any]:
        try:
            text = self._answered(payload, member)
        except (MessageRefused, JournalError) as refused:
            text = str(refused)
        except UsageError as wrong:  # it can be mended, where there is something to fill in
            text = str(wrong)
            if blocks := _inputs(payload):
                return {"response_action": "errors", "errors": {blocks[0]: text}}
        return {"response_action": "update", "view": told(text)}

    def _answered(self, payload: Mapping[str, Any], member: str) -> str:
        by, view = self._who(member), payload.get("view")
        if not isinstance(view, dict) or view.get("callback_id") != ANSWER or not self._settings.shows_call:
            raise UsageError("This form is none of ours. Nothing was answered.")
        try:
            about = json.loads(view["private_metadata"])
            item, digest = self._item(f"{about['run']}/{about['question']}"), str(about["digest"])
            choice, result, has_read, typed = chosen(item, view["state"]["values"])
            shown = self._sheet(item)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UsageError("This form cannot be read. Nothing was answered.") from None
        if not is_whole(shown) and choice != DECLINED:
            raise UsageError("Not all of it was shown here. Answer on the page. Nothing was answered.")
        opened = shown.long_rows if has_read else 0
        self._decide(payload, item, Given(choice, by, "slack", digest, result, opened, typed))
        return "Your answer is taken."

    # --- both ------------------------------------------------------------------------------------------------------

    def _who(self, member: str) -> str:
        by = self._people.by_slack(member)
        if not by:
            raise MessageRefused(_NOBODY)
        return by

    def _item(self, named: Any) -> Item:
        found = _NAMED.fullmatch(named) if isinstance(named, str) else None
        item = None if found is None else asking.item(self._journal, found[1], found[2])
        if item is None:
            raise UsageError("There is no such question in this store. Nothing was done.")
        return item

    def _decide(self, payload: Mapping[str, Any], item: Item, given: Given) -> None:
        decide(self._journal, self._people, item, self._sheet(item), given, _id(payload))

    def _sheet(self, item: Item) -> Sheet:
        """The same that the page shows."""
        return sheet(item, self._journal.now(), precedent(self._journal, item))

    def _tell(self, url: Any, text: str) -> None:
        if not isinstance(url, str) or not url.startswith((_HOOKS, *self._hooks())):
            return
        message = {"response_type": "ephemeral", "replace_original": False, "text": plain_text(text, 2_500)["text"]}
        try:
            self._api.post(url, message)
        except Undelivered:
            pass  # what was done is done; the message itself will say so

    def _hooks(self) -> list[str]:
        return [f"http://{place}/" for place in self._settings.allow]


def _inputs(payload: Mapping[str, Any]) -> list[str]:
    """The blocks of the modal that something was filled into."""
    view = payload.get("view")
    blocks = view.get("blocks") if isinstance(view, dict) else None
    found = [each for each in blocks if isinstance(each, dict)] if isinstance(blocks, list) else []
    return [str(each.get("block_id")) for each in found if each.get("type") == "input"]


def _id(payload: Mapping[str, Any]) -> str:
    """The same for the same delivery, whatever way and however often it comes."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return f"slack {hashlib.sha256(text.encode()).hexdigest()[:32]}"
