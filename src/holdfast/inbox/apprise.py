"""Everything else, by Apprise (https://github.com/caronc/apprise): telephones, chats, pagers, each person by a URL.

What Apprise says of a notice is yes or no: why not, its own log knows. Its URLs are passwords; they stand in the
environment, and in no message of ours. The package is optional, and loaded where a channel is made.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.errors import PolicyInvalid
from holdfast.inbox.directory import Apprise
from holdfast.protocols import Notice, Receipt, Undeliverable, Undelivered


class AppriseChannel:
    """Tells people by whatever they have."""

    def __init__(self, settings: Apprise, environ: Mapping[str, str]) -> None:
        try:
            import apprise  # optional, and heavy
        except ImportError as error:
            raise PolicyInvalid(
                f"[channels.{settings.name}] needs more packages ({error}). Nothing was started. Install them: "
                "pip install 'holdfast[apprise]'"
            ) from None
        self._apprise = apprise
        self._environ = environ
        self.name = settings.name

    @property
    def failure_domain(self) -> str:
        """See `Channel`."""
        return self.name

    def send(self, notice: Notice) -> Receipt:
        """See `Channel`."""
        kit = self._apprise
        asset = kit.AppriseAsset(
            app_id="holdfast", app_desc="holdfast", interpret_emojis=False, interpret_escapes=False
        )
        sender = kit.Apprise(asset=asset)
        if not sender.add(self._environ.get(notice.to, "")):
            raise Undeliverable(f"what {notice.to} has for {notice.person} is no URL that Apprise knows")
        kind = kit.NotifyType.WARNING if notice.is_urgent else kit.NotifyType.INFO
        body, text = "\n".join(notice.lines), kit.NotifyFormat.TEXT
        if not sender.notify(title=notice.title, body=body, notify_type=kind, body_format=text):
            raise Undelivered(f"{self.name} did not take it for {notice.person}")
        return Receipt("accepted", notice.id)
