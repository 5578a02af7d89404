"""`Inbox`: tells people of what runs ask. Given to an App, it starts a chain with each question and ends it with that.

It holds no state of its own: what was sent and heard is in the records of the chains' runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from holdfast.errors import MessageRefused, UsageError
from holdfast.inbox import routes
from holdfast.inbox.chain import Telling
from holdfast.inbox.directory import Directory
from holdfast.inbox.heartbeat import Pulse
from holdfast.inbox.probe import Probing
from holdfast.inbox.watch import Watching
from holdfast.journal.codec import encode
from holdfast.protocols import Asked, Channel, Journal, Roll
from holdfast.runtime.agent import Agent


class Inbox:
    """Whom questions reach, and by what.

    directory: who is asked, as `holdfast.toml` says (`holdfast.inbox.config.load`). channels: by the names that the
    directory has for them. base_url: where the pages are that questions are answered on; empty: there are none.
    pulse: who is told outside that holdfast lives. roll: whom names stand for when somebody has agreed; without it
    whomever the directory says.
    """

    def __init__(
        self,
        directory: Directory,
        channels: Mapping[str, Channel],
        *,
        base_url: str = "",
        pulse: Pulse | None = None,
        roll: Roll | None = None,
    ) -> None:
        missing = sorted(directory.channels.keys() - channels.keys())
        if missing:
            raise UsageError(f"There is no channel {missing[0]!r}, which chains name. Nothing was started.")
        self._directory, self._roll = directory, roll
        self._base_url = base_url.rstrip("/")
        self._telling = Telling(directory, channels, self._link)
        self.probing = Probing(directory, channels, self._link)
        self._watching = Watching(directory, channels, self.probing, pulse)

    @property
    def agents(self) -> tuple[Agent[Any, Any], ...]:
        """See `Escalation`."""
        return self._telling.agent, self.probing.agent, self._watching.agent

    @property
    def lasting(self) -> Agent[Any, Any] | None:
        """See `Escalation`."""
        return self._watching.agent if self._watching.is_needed else None

    @property
    def agent(self) -> Agent[Any, Any]:
        """See `Escalation`."""
        return self._telling.agent

    def attach(self, journal: Journal) -> None:
        """See `Escalation`."""
        self._telling.journal = self.probing.journal = self._watching.journal = journal

    def members(self, names: Sequence[str]) -> Sequence[str]:
        """See `Roll`."""
        if self._roll is None:
            return self._directory.everybody(names)
        try:
            return self._roll.members(names)
        except MessageRefused:  # nobody knows: then nobody may
            return ()

    def opened(self, asked: Asked) -> bytes | None:
        """See `Escalation`."""
        return None if self._directory.chain_for(asked.to) is None else encode(asked._asdict())

    def unreachable(self, to: str, within_s: float | None) -> str:
        """See `Escalation`."""
        journal = self._telling.journal
        assert journal is not None, "attached when the App was opened"
        return routes.unreachable(self._directory, journal, to, within_s, journal.now())

    def _link(self, run: str, question: str) -> str:
        """To a question; without one, to all of them."""
        if self._base_url and not question:
            return f"{self._base_url}/inbox"
        return f"{self._base_url}/q/{quote(run, safe='')}/{quote(question, safe='')}" if self._base_url else ""
