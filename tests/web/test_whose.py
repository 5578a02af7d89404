"""Who may answer, on the page. If these fail, whoever can sign in decides what only some may."""

from __future__ import annotations

from typing import Any

import pytest
from tests.web.conftest import AGENTS, path_of

import holdfast as hf

FILE = """
[people.ada]
email = "ada@example.com"
[people.bob]
email = "bob@example.com"
[channels.mail]
kind = "email"
host = "localhost"
from = "h@example.com"
[chains.money]
levels = [{ to = [%s], by = ["mail"], wait = "10m" }]
"""
DONE: list[str] = []


@hf.tool(effect="once", approve=hf.Ask("finance", within="30m", approvers=["ada", "bob"]))
async def wire(iban: str) -> str:
    """Only some may approve it."""
    DONE.append(iban)
    return "wired"


@hf.agent
async def wires(run: hf.Run, given: str) -> str:
    """Wires."""
    return await wire(given)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AGENTS, "wires", wires)
    DONE.clear()


def test_who_may_not_answer_is_told_so_and_their_form_is_refused(site: Any) -> None:
    """Lost: the list, where a page has no button and its address still works; or a question that is silent to them."""
    site.config.write_text(FILE % '"ada", "bob"')
    asked = site.begin("wires", "CH-1")
    ada, bob = site.person("ada"), site.person("bob")
    form = site.form(ada, asked)
    assert "Only ada or bob" in ada.get(path_of(asked)).text
    site.config.write_text(FILE.replace('[people.ada]\nemail = "ada@example.com"', "") % '"bob"')
    page = ada.get(path_of(asked)).text
    assert "You cannot answer this" in page and 'id="answer"' not in page
    refused = site.answer(ada, asked, form, choice="approve")
    assert refused.status_code == 409 and "not of ada, bob any more" in refused.text
    assert site.item(asked).state == "open"
    assert site.answer(bob, asked, site.form(bob, asked), choice="approve").status_code == 303
    assert site.run("wires", "CH-1") == "wired" and DONE == ["CH-1"]


def test_a_file_that_is_broken_lets_nobody_answer_what_only_some_may(site: Any) -> None:
    """Lost: everybody may, since a comma is missing."""
    site.config.write_text(FILE % '"ada", "bob"')
    asked = site.begin("wires", "CH-1")
    ada = site.person("ada")
    form = site.form(ada, asked)
    site.config.write_text("[people.ada\n")
    assert "Nobody knows who may answer" in ada.get(path_of(asked)).text
    assert site.answer(ada, asked, form, choice="approve").status_code == 409
    assert site.item(asked).state == "open"


def test_the_page_says_what_an_approval_is_worth(site: Any) -> None:
    """Lost: the trust in an approval that a tool of the agent could have written by itself (S9)."""
    site.config.write_text("")
    asked = site.begin("wires", "CH-1")
    assert "Approvals are advisory here" in site.person().get(path_of(asked)).text


def test_the_page_says_how_much_waits_and_how_people_answer(site: Any) -> None:
    """Lost: the look at a queue that grows, for who has no terminal; or one for who is not signed in (R39)."""
    site.config.write_text(FILE % '"ada", "bob"')
    asked = site.begin("wires", "CH-1")
    bob = site.person("bob")
    assert site.visitor().get("/stats").status_code == 303
    assert "1 open; the oldest waits for" in bob.get("/stats").text
    site.answer(bob, asked, site.form(bob, asked), choice="approve")
    site.run("wires", "CH-1")
    text = bob.get("/stats").text
    assert "0 open" in text and '<th scope="row">wire</th><td>1</td><td>100 %</td>' in text
