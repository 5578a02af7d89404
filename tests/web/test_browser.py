"""The page in a real browser: by keyboard alone, clicked all over by a bot, and as people see it.

Debian's chromium is driven; where there is none these tests are skipped and say so. With HOLDFAST_SCREENSHOTS=1 they
write the pictures of docs/ anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.web.conftest import path_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
SIZES = {"desktop": (1100, 760), "phone": (390, 844)}
PICTURES = [f"{what}-{size}" for what in ("inbox", "question") for size in SIZES]
CLICKED = "a, summary, label, input:not([type=hidden]), h1, h2, pre, td, dd"
"""All but the buttons of forms, which are there to decide."""
IS_WANTED = os.environ.get("HOLDFAST_SCREENSHOTS") == "1"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")


def opened_browser() -> Iterator[Browser]:
    """A browser, until the tests of a module are over."""
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for these tests; each has a context of its own in it."""
    yield from opened_browser()


@pytest.fixture(autouse=True)
def _no_windows_are_left(browser: Browser) -> Iterator[None]:
    """A page that is not looked at any more would go on asking for news."""
    yield
    for context in browser.contexts:
        context.close()


def window(browser: Browser, site: Any, size: str = "desktop", **options: Any) -> Page:
    """A window in which ada has signed in; an error of the page's script or policy fails the test."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, base_url=site.url, **options)
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.on("console", lambda said: pytest.fail(said.text) if "Content Security Policy" in said.text else None)
    page.goto("/login")
    page.get_by_label("One-time code").fill(site.codes["ada"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/inbox")
    return page


def test_an_approval_is_answered_by_keyboard(site: Any, browser: Browser) -> None:
    """Lost: the page, to who uses no mouse; and an effect to a single stray key."""
    site.begin("asks", {"text": "Which?"}, "other")
    asked = site.begin("pays", ["K-17", 4200])
    page = window(browser, site)
    for key in ("j", "j", "k", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url(f"**{path_of(asked)}")
    page.keyboard.press("d")
    page.keyboard.press("a")
    assert page.evaluate("document.activeElement.value") == "approve" and site.item(asked).state == "open"
    page.keyboard.press("Enter")
    page.get_by_text("Answered by ada").wait_for()
    assert (site.item(asked).state, site.item(asked).choice) == ("posted", "approve")
    assert site.run("pays", ["K-17", 4200]) == "refunded K-17" and len(site.effects) == 1


def test_a_long_value_is_opened_before_the_button_works(site: Any, browser: Browser) -> None:
    """Lost: consent to what was folded away (S12)."""
    asked = site.begin("pays", ["K-17", 1, "rm -rf / " * 100])
    page = window(browser, site)
    page.goto(path_of(asked))
    approve = page.get_by_role("button", name="Approve")
    assert approve.is_disabled() and page.get_by_role("button", name="Decline").is_enabled()
    page.keyboard.press("a")
    page.keyboard.press("Enter")  # opens the value
    expect(page.get_by_label("I have read all of it")).to_be_checked()
    expect(approve).to_be_enabled()
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    page.get_by_text("Answered by ada").wait_for()


def test_it_works_without_a_script(site: Any, browser: Browser) -> None:
    """Lost: the page, where scripts are off or were not loaded."""
    asked = site.begin("pays", ["K-17", 1, "x" * 900])
    page = window(browser, site, java_script_enabled=False)
    page.goto(path_of(asked))
    page.get_by_role("button", name="Approve").click()
    page.get_by_text("Open the values that are folded first").wait_for()
    assert site.item(asked).state == "open"
    page.get_by_text("open to read").click()
    page.get_by_label("I have read all of it").check()
    page.get_by_role("button", name="Approve").click()
    page.get_by_text("Answered by ada").wait_for()


def test_who_has_opened_a_question_is_known_to_the_others(site: Any, browser: Browser) -> None:
    """Lost: whether anybody has looked; or a look without a script, which is no more than a GET, that counts."""
    asked = site.begin("pays", ["K-17", 4200])
    site.tells(asked)
    bob = site.person("bob")
    assert "seen by" not in bob.get(path_of(asked)).text and "seen by" not in bob.get("/inbox").text
    page = window(browser, site)
    with page.expect_response(lambda reply: reply.url.endswith("/seen")) as told:
        page.goto(path_of(asked))
    assert told.value.status == 204
    assert "seen by ada" in bob.get("/inbox").text and site.item(asked).state == "open"


def test_a_new_question_comes_by_itself_and_at_the_end(site: Any, browser: Browser) -> None:
    """Lost: a row that moves away under the finger, or that nobody is told of."""
    first = site.begin("asks", {"text": "Which?"}, "first")
    page = window(browser, site)
    page.locator(".row").first.wait_for()
    second = site.begin("pays", ["<img src=x>", 4200], "second")
    page.locator(f'.row[data-id="{second.id}"]').wait_for()
    assert page.locator(".row").evaluate_all("rows => rows.map(row => row.dataset.id)") == [first.id, second.id]
    assert page.locator(".row a").last.get_attribute("href") == path_of(second)
    assert page.get_by_role("status").inner_text() == "1 new" and "2 open" in page.title()
    page.locator(".row a").last.click()
    page.get_by_role("button", name="Decline").click()
    page.get_by_text("Answered by ada").wait_for()


@pytest.mark.parametrize("is_signed_in", [True, False])
def test_a_bot_that_runs_scripts_and_clicks_every_link_decides_nothing(
    site: Any, browser: Browser, is_signed_in: bool
) -> None:
    """Lost: decisions by mail scanners that open what they find (S4). The buttons of a form are all that decides."""
    items = [
        site.begin("pays", ["K-17", 4200, "https://evil.example/" + "x" * 500], "one"),
        site.begin("asks", {"text": "<a href='/x'>Which?</a>", "options": ["a", "b"]}, "two"),
        site.begin("doubts", "x", "three"),
    ]
    page = window(browser, site)
    if not is_signed_in:
        page.context.clear_cookies()
    before, asked_for = site.snapshot(), []
    page.on("request", lambda request: asked_for.append((request.method, request.url)))
    for path in ("/inbox", *map(path_of, items), "/login"):
        page.goto(path)
        tags = page.locator(CLICKED).evaluate_all("all => all.map(each => each.tagName)")
        for number, tag in enumerate(tags):
            with page.expect_navigation() if tag == "A" else nullcontext():
                page.locator(CLICKED).nth(number).dispatch_event("click")
            if tag == "A":  # it has led away
                page.goto(path)
        page.evaluate("document.querySelectorAll('*').forEach(each => each.dispatchEvent(new Event('mouseover')))")
    posted = {url for method, url in asked_for if method != "GET"}
    assert all(url.endswith("/seen") for url in posted), "only that it was opened is told"
    assert all(url.startswith(site.url) for _, url in asked_for), "nothing is fetched from elsewhere"
    assert site.snapshot() == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_pictures(site: Any, browser: Browser, size: str, scheme: Any) -> None:
    """Lost: pages that are seen before they are believed; on a phone, a page as wide as the phone."""
    question = staged(site)
    page = window(browser, site, size, color_scheme=scheme)
    for what, path in (("inbox", "/inbox"), ("question", path_of(question))):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        if IS_WANTED:
            name = f"{what}-{size}" if scheme == "light" else f"{what}-{size}-dark"
            height = page.evaluate("document.documentElement.scrollHeight")
            page.set_viewport_size({"width": SIZES[size][0], "height": height})  # what sticks below covers nothing
            page.screenshot(path=DOCS / f"{name}.png", full_page=True)


def staged(site: Any) -> Any:
    """A morning's questions."""
    site.begin("asks", {"text": "Which of the two parcels should be sent again?", "to": "ada"}, "ticket-4709")
    site.begin("doubts", "K-15", "ticket-4702")
    question = site.begin(
        "pays",
        [
            "K-17",
            4200,
            {
                "payee": "p\u0430ypal.com",
                "reason": "The parcel has never arrived; the customer has waited three weeks.",
            },
        ],
        "ticket-4711",
    )
    site.begin("pays", ["K-18", 129_900], "ticket-4712")
    return question


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_are_there(name: str) -> None:
    """Lost: a picture that a document shows."""
    assert (DOCS / f"{name}.png").read_bytes().startswith(b"\x89PNG")
