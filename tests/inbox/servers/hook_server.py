"""A receiver of webhooks as https://www.standardwebhooks.com has it: it checks whose word it is, and takes one once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.inbox.servers.fault import Server

from holdfast.inbox.guard import Reply
from holdfast.inbox.webhook import NotSigned, key_of, verify
from holdfast.testing.loopback import Call

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://hook.example.com/in"


class HookServer(Server):
    """`taken` is what somebody got to see, each once; `ids` is all that came with a good signature."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.taken: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.forged = 0

    def work(self, call: Call) -> Reply:
        """Take it."""
        try:
            message = verify([key_of(SECRET)], call.headers, call.body, self.now())
        except NotSigned:
            self.forged += 1
            return Reply(401)
        if message not in self.ids:
            self.taken.append(json.loads(call.body))
        self.ids.append(message)
        return Reply(204)

    def of(self, person: str) -> list[dict[str, Any]]:
        """What it took for this person."""
        return [each["data"] for each in self.taken if each["data"]["person"] == person]
