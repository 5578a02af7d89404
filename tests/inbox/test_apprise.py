"""Everything else by Apprise, as it is: against a real server that takes what it sends."""

from __future__ import annotations

import pytest
from tests.inbox.servers import fault
from tests.inbox.servers.fault import Server

from holdfast.inbox.directory import Apprise
from holdfast.inbox.guard import Reply
from holdfast.protocols import Notice, Undeliverable, Undelivered
from holdfast.testing.loopback import Call

pytest.importorskip("apprise", reason="needs apprise")
from holdfast.inbox.apprise import AppriseChannel

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise's, on Python 3.11

TITLE = "Approval wanted: refund · support · \\n:smile: <b>k</b>"
NOTICE = Notice("k1", "run_1/q_1", "created", "ada", "ADA", TITLE, ("one", "<two>"), "", True, {})


class Taking(Server):
    """Takes everything."""

    def work(self, call: Call) -> Reply:
        """Take it."""
        return Reply(200)


def test_a_notice_arrives_as_it_is() -> None:
    """Lost: a service of somebody's that is told something else, or nothing."""
    server = Taking(lambda: 0.0)
    with server.listening() as url:
        channel = AppriseChannel(Apprise(name="push"), {"ADA": url.replace("http://", "json://")})
        assert channel.send(NOTICE).state == "accepted"
        said = server.calls[0].json()
        assert (said["title"], said["message"], said["type"]) == (TITLE, "one\n<two>", "warning")
        server.does(fault.broken(500))
        with pytest.raises(Undelivered) as refused:
            channel.send(NOTICE)
    assert not isinstance(refused.value, Undeliverable) and url not in str(refused.value)


@pytest.mark.parametrize("url", ["", "nothing://x", "ada@example"])
def test_what_is_no_url_is_no_way_to_anybody(url: str) -> None:
    """Lost: a mistake in the environment that counts as told; or the URL, which is a password, in a message."""
    channel = AppriseChannel(Apprise(name="push"), {"ADA": url})
    with pytest.raises(Undeliverable, match="what ADA has for ada is no URL that Apprise knows"):
        channel.send(NOTICE)
