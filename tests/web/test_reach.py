"""Whether anybody can be reached, on the page. If these fail, a team trusts a chain that nobody has ever answered."""

from __future__ import annotations

from typing import Any

import pytest
from tests.web.conftest import pays

import holdfast as hf
from holdfast.core.reach import Fact, cell_of, text_of
from holdfast.errors import RunWaiting

FILE = """
[people.ada]
email = "ada@example.com"
[channels.mail]
kind = "email"
host = "smtp.example.com"
from = "holdfast@example.com"
[chains.finance]
levels = [{ to = ["ada"], by = ["mail"], wait = "10m" }]
"""


def test_whoever_is_not_signed_in_sees_nothing_and_comes_back(site: Any) -> None:
    """Lost: names and addresses of who is on call, to whoever finds the page."""
    site.config.write_text(FILE, "utf-8")
    visitor = site.visitor()
    turned = visitor.get("/reachability")
    assert (turned.status_code, turned.headers["location"]) == (303, "/login?next=/reachability")
    signed = visitor.post("/login", data={"code": site.codes["ada"], "next": "/reachability"})
    assert signed.headers["location"] == "/reachability"
    assert "finance" in visitor.get("/reachability").text


def test_what_nobody_has_proven_is_in_red(site: Any) -> None:
    """Lost: the state of every new installation, taken for a good one."""
    site.config.write_text(FILE, "utf-8")
    shown = site.person().get("/reachability").text
    assert 'class="facts chain unproven"' in shown and "UNPROVEN" in shown
    assert "nobody has ever taken a question or a probe" in shown
    assert "nobody is told that holdfast lives" in shown


def test_what_was_measured_is_shown_and_looking_changes_nothing(site: Any) -> None:
    """Lost: why it does not work; or a page that works by being looked at."""
    site.config.write_text(FILE, "utf-8")
    evil = "550 <script>alert(1)</script>\x1b[2K"
    assert site.journal.swap(cell_of("mail", "ada", Fact.REFUSED), 0, text_of(site.clock.now() - 120, evil))
    before = site.snapshot()
    person = site.person()
    shown = person.get("/reachability")
    assert 'class="facts chain unreachable"' in shown.text and '<td data-is="refused">2 min ago</td>' in shown.text
    assert "<script>alert" not in shown.text and "\x1b" not in shown.text and "550 &lt;script" in shown.text
    assert person.head("/reachability").status_code == 200 and person.post("/reachability").status_code == 405
    assert site.snapshot() == before
    assert (
        shown.headers["cache-control"] == "no-store"
        and "default-src 'none'" in shown.headers["content-security-policy"]
    )


def test_the_inbox_says_when_nobody_is_asked(site: Any) -> None:
    """Lost: an empty list, while runs wait for people whom nothing reaches."""
    person = site.person()
    assert "nobody is asked, since" not in person.get("/inbox").text
    app = hf.App(site.store, inbox=Nobody(), settings=hf.Settings(quiet_s=0.01))  # type: ignore[arg-type]
    with pytest.raises(RunWaiting):
        app.run_sync(pays, ["K-17", 4200], key="k", wait=0)
    assert "1 approval needed, and nobody is asked" in person.get("/inbox").text
    assert "needs an approval by finance, and nobody is asked, since nobody can be reached: no way" in (
        person.get("/reachability").text
    )


class Nobody:
    """Tells nobody anything."""

    agents = ()
    lasting = None

    def attach(self, journal: Any) -> None:
        """See `Escalation`."""

    def members(self, names: Any) -> Any:
        """See `Roll`."""
        return ()

    def opened(self, asked: Any) -> None:
        """See `Escalation`."""

    def unreachable(self, to: str, within_s: float | None) -> str:
        """See `Escalation`."""
        return "no way"


def test_the_file_is_read_anew_and_a_wrong_one_is_said_to_be_wrong(site: Any) -> None:
    """Lost: an hour of looking at what the file said this morning."""
    person = site.person()
    assert "There is no chain" in person.get("/reachability").text
    site.config.write_text(FILE, "utf-8")
    assert "finance" in person.get("/reachability").text
    site.config.write_text(FILE.replace('by = ["mail"]', 'by = ["mial"]'), "utf-8")
    wrong = person.get("/reachability")
    assert wrong.status_code == 503 and "mial" in wrong.text
