"""A form on the page, filled in over real HTTP and in a real browser. Each test says what a person would lose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser
from tests.web.conftest import AGENTS, path_of
from tests.web.test_browser import CHROMIUM, opened_browser, window
from tests.web.test_page import MARKUP, OURS, Read

import holdfast as hf
from holdfast.errors import BudgetExceeded

FORM = {
    "type": "object",
    "properties": {
        "street": {"type": "string", "minLength": 3, "maxLength": 50, "title": "Street and number"},
        "by": {"type": "string", "format": "date"},
        "size": {"type": "string", "enum": ["s", "l"], "enumNames": ["Small", "Large"]},
        "boxes": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1},
        "fragile": {"type": "boolean"},
        "note": {"type": "string", "description": "For the driver"},
    },
    "required": ["street", "size", "fragile"],
    "propertyOrdering": ["street", "by", "size", "boxes", "fragile", "note"],  # what a run is given comes sorted
}
ASKED = {"text": "Where to?", "form": FORM}
FILLED = {"field-0": "Main 1", "field-2": "1", "field-3": "2", "field-4": "no", "field-5": "ring\r\ntwice"}
GOT = {"street": "Main 1", "size": "l", "boxes": 2, "fragile": False, "note": "ring\ntwice"}


def test_each_field_has_its_label_and_its_sort(site: Any) -> None:
    """Lost: which value belongs where, to somebody who hears the page."""
    text = site.person().get(path_of(site.begin("asks", ASKED))).text
    read = Read(text)
    inputs = {a["id"]: (tag, a.get("type"), "required" in a) for tag, a in read.tags if "field-" in (a.get("id") or "")}
    inputs = {name: what for name, what in inputs.items() if not name.endswith("-takes")}
    assert inputs == {
        "field-0": ("input", "text", True),
        "field-1": ("input", "date", False),
        "field-2": ("select", None, True),
        "field-3": ("input", "number", False),
        "field-4": ("select", None, True),
        "field-5": ("textarea", None, False),
    }
    labels = [a.get("for") for tag, a in read.tags if tag == "label"]
    assert labels == list(inputs)
    assert "Street and number" in read.text_in("label") and "For the driver" in read.text_in("p")
    assert 'value="1"' in text and "as the agent words it" in read.text_in("legend")


def test_what_was_filled_in_is_what_the_agent_gets(site: Any) -> None:
    """Lost: a form that nobody can send without a script."""
    asked, ada = site.begin("asks", ASKED), site.person()
    assert site.answer(ada, asked, site.form(ada, asked), fill="1", **FILLED).status_code == 303
    posted = ada.get(path_of(asked)).text
    assert "What was filled in" in posted and "Main 1" in posted and "Its run has yet to take it up" in posted
    assert site.run("asks", ASKED) == GOT
    assert site.item(asked).filled == GOT and "Answered by ada" in ada.get(path_of(asked)).text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"field-0": "ab"}, "Field &#39;street&#39;"),
        ({"field-0": "  "}, "&#39;street&#39; is missing"),
        ({"field-4": ""}, "&#39;fragile&#39; is missing"),
        ({"field-2": "2"}, "Field &#39;size&#39;"),
        ({"field-2": "l"}, ""),
        ({"field-3": "1.5"}, "Field &#39;boxes&#39;"),
        ({"field-1": "tomorrow"}, "Field &#39;by&#39;"),
    ],
)
def test_what_is_wrong_is_named_and_what_was_typed_stays(site: Any, wrong: Any, said: str) -> None:
    """Lost: all that was typed, to one wrong field; or the question, to a wrong answer."""
    asked, ada = site.begin("asks", ASKED), site.person()
    sent = site.answer(ada, asked, site.form(ada, asked), fill="1", **{**FILLED, **wrong})
    if not said:
        assert sent.status_code == 303
        return
    assert sent.status_code == 422 and said in sent.text
    assert "ring\ntwice</textarea>" in sent.text
    assert ('<option value="no" selected>' in sent.text) is ("field-4" not in wrong)
    assert site.item(asked).state == "open"


def test_instead_of_the_form_an_option_is_sent(site: Any) -> None:
    """Lost: the way out for whoever cannot fill it in."""
    given = ASKED | {"options": ["not ours", "ask bob"]}
    asked, ada = site.begin("asks", given), site.person()
    form = site.form(ada, asked)
    assert site.answer(ada, asked, form, **FILLED).status_code == 422
    assert site.answer(ada, asked, form, option="1", **FILLED).status_code == 303
    assert site.run("asks", given) == "ask bob"


@pytest.mark.parametrize("evil", MARKUP.values(), ids=MARKUP.keys())
def test_what_strangers_write_into_a_form_is_text_and_names_no_button(site: Any, evil: str) -> None:
    """Lost: the page, to whoever words a field (S11, S12, S14)."""
    name = "".join(c for c in evil if c.isprintable() and c != "=")[:90] or "k"
    field = {"type": "string", "title": evil, "description": evil, "default": evil}
    choice = {"type": "string", "enum": [evil, "x"], "enumNames": [evil, "x"], "title": evil, "default": evil}
    form = {"type": "object", "properties": {name: field, "b": choice}}
    given = {"text": "?", "form": form, "options": [evil]}
    asked, ada = site.begin("asks", given), site.person()
    sent = site.answer(ada, asked, site.form(ada, asked), fill="1", **{"field-0": evil, "field-1": "7"})
    pages = [ada.get(path_of(asked)).text, sent.text]
    for read in map(Read, pages):
        assert {tag for tag, _ in read.tags} <= OURS | {"select", "option"}
        for _, attributes in read.tags:
            assert not any(each.startswith("on") or each in ("style", "srcdoc") for each in attributes)
        assert all(evil not in read.text_in(tag) for tag in ("title", "h1", "h2", "button", "dd"))
        assert all(c.isprintable() or c == "\n" for _, text in read.texts for c in text.replace("\t", ""))
        values = [a.get("value") or "" for _, a in read.tags]
        assert all(c.isprintable() or c in "\n\t" for value in values for c in value)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for these tests."""
    yield from opened_browser()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
@pytest.mark.parametrize("has_script", [True, False])
def test_a_form_is_filled_in_in_a_browser(site: Any, browser: Browser, has_script: bool) -> None:
    """Lost: a form that only our tests can send."""
    asked = site.begin("asks", ASKED)
    page = window(browser, site, java_script_enabled=has_script)
    page.goto(path_of(asked))
    page.get_by_label("Street and number").fill("Main 1")
    page.get_by_label(re.compile("^size")).select_option("Large")
    page.get_by_label(re.compile("^boxes")).fill("2")
    page.get_by_label(re.compile("^fragile")).select_option("No")
    page.get_by_label(re.compile("^note")).fill("ring\ntwice")
    page.get_by_role("button", name="Send the answer").click()
    page.get_by_text("Answered by ada").wait_for()
    assert site.run("asks", ASKED) == GOT


@hf.tool(effect="read")
async def look(x: int) -> int:
    """Costs one tool call."""
    return x


@hf.agent(budget=hf.Budget(tool_calls=1, ask=hf.Ask("ada", within="2h")))
async def spends(run: hf.Run, given: int) -> list[int]:
    """Needs more than it has."""
    return [await look(x) for x in range(given)]


@pytest.mark.parametrize(
    ("sent", "came"),
    [({"fill": "1", "field-0": "5"}, [0, 1, 2]), ({"fill": "1"}, None), ({"choice": "stop"}, "said no")],
)
def test_a_cap_is_raised_by_an_amount_or_by_our_own_default_or_not_at_all(
    site: Any, monkeypatch: Any, sent: Any, came: Any
) -> None:
    """Lost: how much more, to whoever answers on the page."""
    monkeypatch.setitem(AGENTS, "spends", spends)
    asked, ada = site.begin("spends", 3), site.person()
    text = ada.get(path_of(asked)).text
    assert 'type="number" step="1" value="1" min="1"' in text and "as the agent words" not in text
    assert ">Raise the cap</button>" in text and re.search(
        r'value="stop"[^>]*formnovalidate>Stop the run</button>', text
    )
    assert "this is taken: Stop the run" in text and "1 tool call of 1 tool call are used" in text
    assert site.answer(ada, asked, site.form(ada, asked), **sent).status_code == 303
    if isinstance(came, str):
        with pytest.raises(BudgetExceeded, match=came):
            site.run("spends", 3)
    elif came is None:
        assert site.begin("spends", 3).id != asked.id, "one more, and then the next cap"
    else:
        assert site.run("spends", 3) == came
