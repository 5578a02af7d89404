"""The page over real HTTP: who sees what, which answers count, and what a scanner can do. Names say the rule.

If these fail, an effect begins that nobody has agreed to, or the wrong one does.
"""

from __future__ import annotations

import html
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.web.conftest import path_of

from holdfast.core import accept
from holdfast.errors import JournalError
from holdfast.journal.codec import encode

GET_LIKE = (
    {},
    {"sec-purpose": "prefetch"},
    {"purpose": "prefetch", "x-moz": "prefetch"},
    {"sec-purpose": "prefetch;prerender"},
    {"user-agent": "Slackbot-LinkExpanding 1.0", "range": "bytes=0-4095"},
    {"x-http-method-override": "POST"},
)


# --- the ordinary way ----------------------------------------------------------------------------------------------


def test_an_approval_begins_the_effect_once(site: Any) -> None:
    """Lost: what the page is for."""
    asked, ada = site.begin("pays", ["K-17", 4200]), site.person()
    shown = ada.get(path_of(asked)).text
    assert "May refund be called with these arguments?" in shown and "4200" in shown and "K-17" in shown
    sent = site.answer(ada, asked, site.form(ada, asked), choice="approve")
    assert (sent.status_code, sent.headers["location"]) == (303, path_of(asked))
    after = ada.get(path_of(asked)).text
    assert "Answered by ada" in after and "Its run has yet to take it up" in after and "<form id" not in after
    assert site.run("pays", ["K-17", 4200]) == "refunded K-17" and site.effects == [("K-17", 4200, None)]
    done = site.item(asked)
    assert (done.state, done.choice, done.by, done.via) == ("answered", "approve", "ada", "web")
    assert "Answered by ada" in ada.get(path_of(asked)).text


def test_a_no_is_one(site: Any) -> None:
    """Lost: the button that must work."""
    asked, bob = site.begin("pays", ["K-17", 4200]), site.person("bob")
    assert site.answer(bob, asked, site.form(bob, asked), choice="decline").status_code == 303
    assert site.run("pays", ["K-17", 4200]) == "declined by bob" and site.effects == []


@pytest.mark.parametrize(
    ("given", "sent", "got"),
    [
        ({"text": "Which?"}, {"choice": "the\r\nfirst"}, "the\nfirst"),
        ({"text": "Which?", "options": ["one", "two"]}, {"option": "1"}, "two"),
        ({"text": "Which?", "options": ["one\u202e", "two"]}, {"option": "0"}, "one\u202e"),
    ],
)
def test_an_agents_question_gets_the_very_answer(site: Any, given: Any, sent: Any, got: str) -> None:
    """Lost: an option that is drawn in another way than it is, and then is none."""
    asked, ada = site.begin("asks", given), site.person()
    assert site.answer(ada, asked, site.form(ada, asked), **sent).status_code == 303
    assert site.run("asks", given) == got


def test_a_step_in_doubt_takes_a_result(site: Any) -> None:
    """Lost: the answer to the question that is hardest to leave open."""
    asked, ada = site.begin("doubts", "x"), site.person()
    assert "Did it happen? loses" in ada.get(path_of(asked)).text
    form = site.form(ada, asked)
    wrong = site.answer(ada, asked, form, choice="it_happened", result='{"a": 1, "a": 2}')
    assert wrong.status_code == 422 and "twice" in wrong.text
    assert site.answer(ada, asked, form, choice="it_happened", result='"R-17"').status_code == 303
    assert site.run("doubts", "x") == "R-17"


def test_the_inbox_has_the_urgent_facts_of_each_and_leads_to_it(site: Any) -> None:
    """Lost: the way to the question."""
    first, second = site.begin("pays", ["K-17", 1], "one"), site.begin("asks", {"text": "Which?", "to": "ada"}, "two")
    shown = site.person().get("/inbox").text
    assert re.findall(r'href="(/q/[^"]+)"', shown)[:2] == [path_of(first), path_of(second)]
    for words in (
        "2</span> open",
        "pays / one",
        "asks / two",
        '<b data-is="to">finance</b>',
        "ends in 30 min",
        "asks asks",
    ):
        assert words in shown
    assert "Which?" not in shown, "the agent's words are on no title"


def test_the_store_being_unwell_is_no_empty_inbox(site: Any, monkeypatch: Any) -> None:
    """Lost: somebody who goes home since nothing seems to be open."""
    ada = site.person()

    def fails(**which: Any) -> Any:
        raise JournalError("the disk is gone")

    monkeypatch.setattr(site.journal, "heads", fails)
    shown = ada.get("/inbox")
    assert shown.status_code == 503 and "The store is unwell" in shown.text


# --- GET changes nothing -------------------------------------------------------------------------------------------


def _links(page: str) -> set[str]:
    return {html.unescape(found) for found in re.findall(r'(?:href|action|src)="(/[^"]*)"', page)}


@pytest.mark.parametrize("is_signed_in", [True, False])
def test_a_scanner_that_gets_everything_decides_nothing(site: Any, is_signed_in: bool) -> None:
    """Lost: approvals by mail scanners, link previews and browsers that fetch ahead (S4)."""
    items = [
        site.begin("pays", ["K-17", 4200], "one"),
        site.begin("asks", {"text": "Which?", "options": ["a", "b"]}, "two"),
        site.begin("doubts", "x", "three"),
    ]
    client = site.person() if is_signed_in else site.visitor()
    before, codes = site.snapshot(), dict(site.codes)
    found = {"/", "/inbox", "/login", "/logout", "/static/inbox.js"} | {path_of(one) for one in items}
    found |= {f"{path_of(one)}/answer" for one in items}
    seen: set[str] = set()
    while found - seen:
        path = min(found - seen)
        seen.add(path)
        for headers in GET_LIKE:
            for query in ("", "?choice=approve", "?choice=decline&digest=" + items[0].digest):
                page = client.get(path + query, headers=headers)
                assert page.status_code < 500
                found |= {each for each in _links(page.text) if each != "/events"}
                assert client.head(path + query, headers=headers).status_code < 500
    assert client.head("/events").status_code == (200 if is_signed_in else 401)
    assert site.snapshot() == before and site.codes == codes
    assert client.get("/inbox").status_code == (200 if is_signed_in else 303), "nobody was signed out"


# --- links identify, they do not authenticate ----------------------------------------------------------------------


def test_a_link_shows_nothing_to_who_is_not_signed_in(site: Any) -> None:
    """Lost: the facts, and the decision, to whoever a mail was forwarded to (S5)."""
    asked, ada, stranger = site.begin("pays", ["K-17", 4200]), site.person(), site.visitor()
    form = site.form(ada, asked)
    shown = stranger.get(path_of(asked))
    assert (shown.status_code, shown.headers["location"]) == (
        303,
        f"/login?next=%2Fq%2F{asked.run}%2F{asked.id}".replace("%2F", "/"),
    )
    assert "K-17" not in stranger.get(shown.headers["location"]).text
    before = site.snapshot()
    assert site.answer(stranger, asked, form, choice="approve").status_code == 401
    assert (
        stranger.get("/events").status_code == 401 and stranger.post("/logout", data={"token": "x"}).status_code == 401
    )
    assert site.snapshot() == before


@pytest.mark.parametrize(
    "after",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/q/../login", "javascript:alert(1)", "/logout", ""],
)
def test_the_login_leads_to_no_other_place(site: Any, after: str) -> None:
    """Lost: a link to our login that ends at somebody else's."""
    sent = site.visitor().post("/login", data={"code": site.codes["ada"], "next": after})
    assert (sent.status_code, sent.headers["location"]) == (303, "/inbox")


def test_the_login_leads_back_to_the_question(site: Any) -> None:
    """Lost: the way from a notice to what it is about."""
    asked = site.begin("pays", ["K-17", 4200])
    sent = site.visitor().post("/login", data={"code": site.codes["ada"], "next": path_of(asked)})
    assert sent.headers["location"] == path_of(asked)


def test_codes_cannot_be_tried(site: Any) -> None:
    """Lost: the login, to whoever tries long enough; the code itself, in what a refusal says."""
    code = site.codes["ada"]
    for left in (4, 3, 2, 1):
        refused = site.visitor().post("/login", data={"code": "00000000"})
        assert refused.status_code == 403 and f"{left} tries are left" in refused.text and code not in refused.text
    assert "Too many" in site.visitor().post("/login", data={"code": "00000000"}).text
    assert site.visitor().post("/login", data={"code": code}).status_code == 403


def test_who_signs_out_is_out_everywhere(site: Any) -> None:
    """Lost: a stolen cookie that goes on counting."""
    asked, ada = site.begin("pays", ["K-17", 4200]), site.person()
    cookies, form = dict(ada.cookies), site.form(ada, asked)
    token = re.search(r'action="/logout"><input type="hidden" name="token" value="([^"]+)"', ada.get("/inbox").text)
    assert token is not None
    assert ada.post("/logout", data={"token": form["token"]}).status_code == 403, "another form's token"
    assert ada.post("/logout", data={"token": token[1]}).status_code == 303
    thief = site.visitor()
    thief.cookies.update(cookies)
    assert thief.get("/inbox").status_code == 303
    assert site.answer(thief, asked, form, choice="approve").status_code == 401


# --- which answers count -------------------------------------------------------------------------------------------


def test_the_token_is_of_one_session_one_question_and_one_digest(site: Any) -> None:
    """Lost: an answer that somebody was made to send (S4)."""
    first, second = site.begin("pays", ["K-17", 1], "one"), site.begin("pays", ["K-17", 1], "two")
    ada, bob = site.person(), site.person("bob")
    form = site.form(ada, first)
    before = site.snapshot()
    for client, asked, sent in (
        (bob, first, form),
        (ada, second, form),
        (ada, first, {**form, "digest": second.digest}),
        (ada, first, {**form, "digest": ""}),
        (ada, first, {**form, "token": ""}),
        (ada, first, {"digest": form["digest"]}),
        (ada, first, {"token": form["token"]}),
        (ada, second, {**form, "digest": second.digest}),
    ):
        assert site.answer(client, asked, sent, choice="approve").status_code == 403
    assert site.snapshot() == before


def test_a_question_that_is_not_the_one_that_was_shown_refuses_the_answer(site: Any) -> None:
    """Lost: consent to what the page showed, spent on what has taken its place (S2)."""
    asked, ada = site.begin("pays", ["K-17", 4200]), site.person()
    form = {"digest": "0" * 64}
    (session,) = [site.sessions.read(value) for value in ada.cookies.values()]
    form["token"] = site.sessions.token(session, asked.run, asked.id, form["digest"])  # as if it had been shown so
    refused = site.answer(ada, asked, form, choice="approve")
    assert refused.status_code == 409 and "something else" in html.unescape(refused.text)
    assert site.item(asked).state == "open" and site.effects == []


def test_the_first_answer_counts_and_the_second_person_is_told_who_was_first(site: Any) -> None:
    """Lost: two people who each think that they decided (S3)."""
    asked, ada, bob = site.begin("pays", ["K-17", 4200]), site.person(), site.person("bob")
    forms = site.form(ada, asked), site.form(bob, asked)
    assert site.answer(bob, asked, forms[1], choice="decline").status_code == 303
    late = site.answer(ada, asked, forms[0], choice="approve")
    assert late.status_code == 409 and "Answered by bob" in late.text
    assert site.run("pays", ["K-17", 4200]) == "declined by bob"
    again = site.answer(ada, asked, forms[0], choice="approve")
    assert again.status_code == 409 and "was answered already by bob at" in again.text and site.effects == []


def test_who_takes_care_of_it_is_seen_by_all_and_nothing_is_decided(site: Any) -> None:
    """Lost: two people look into the same thing, neither knows of the other; or "I look into it" counts as yes."""
    asked, ada, bob = site.begin("pays", ["K-17", 4200]), site.person(), site.person("bob")
    form = site.form(ada, asked)
    unheard = ada.post(f"{path_of(asked)}/take", data=form)
    assert unheard.status_code == 409 and "No chain tells people of question" in unheard.text
    site.tells(asked)
    before = site.snapshot()
    assert ada.get(f"{path_of(asked)}/take").status_code == 405
    assert site.visitor().post(f"{path_of(asked)}/take", data=form).status_code == 401
    assert bob.post(f"{path_of(asked)}/take", data=form).status_code == 403
    assert site.snapshot() == before
    for _ in range(2):
        assert bob.post(f"{path_of(asked)}/seen", data=form).status_code == 403
        assert ada.post(f"{path_of(asked)}/seen", data=form).status_code == 204
    assert "seen by ada<" in bob.get("/inbox").text.replace("</span>", "<")
    assert ada.post(f"{path_of(asked)}/take", data=form).status_code == 303
    assert "ada took it" in bob.get(path_of(asked)).text and "ada took it" in bob.get("/inbox").text
    assert site.item(asked).state == "open" and site.effects == []
    assert site.answer(bob, asked, site.form(bob, asked), choice="decline").status_code == 303
    assert ada.post(f"{path_of(asked)}/take", data=form).status_code == 303  # its run has yet to read the answer
    assert site.run("pays", ["K-17", 4200]) == "declined by bob"
    assert ada.post(f"{path_of(asked)}/take", data=form).status_code == 409


def test_of_many_clicks_one_counts(site: Any) -> None:
    """Lost: single use, when the button is pressed in twenty tabs at once (S3)."""
    asked, ada = site.begin("pays", ["K-17", 4200]), site.person()
    form = site.form(ada, asked)
    with ThreadPoolExecutor(20) as many:
        sent = list(many.map(lambda _: site.answer(ada, asked, form, choice="approve").status_code, range(20)))
    assert sorted(sent) == [303] + [409] * 19
    assert site.run("pays", ["K-17", 4200]) == "refunded K-17" and len(site.effects) == 1
    assert site.run("pays", ["K-17", 4200]) == "refunded K-17" and len(site.effects) == 1


def test_an_answer_after_the_deadline_is_told_so(site: Any) -> None:
    """Lost: the declared default, overruled; or an error page in its place."""
    asked, ada = site.begin("pays", ["K-17", 4200]), site.person()
    form = site.form(ada, asked)
    site.clock.by_s = 1_801
    late = site.answer(ada, asked, form, choice="approve")
    assert late.status_code == 409 and "expired" in late.text and site.item(asked).state == "open"


@pytest.mark.parametrize("choice", ["", " ", "yes", "approve ", "Approve", "approve\x00", "decline,approve"])
def test_only_an_option_is_an_answer(site: Any, choice: str) -> None:
    """Lost: "approve", read out of something that is not it."""
    asked, ada = site.begin("pays", ["K-17", 4200]), site.person()
    refused = site.answer(ada, asked, site.form(ada, asked), choice=choice)
    assert refused.status_code in (409, 422) and site.item(asked).state == "open"


def test_what_is_long_is_opened_before_it_is_approved_also_without_a_script(site: Any) -> None:
    """Lost: the end of a command that nobody has seen (S12)."""
    asked, ada = site.begin("pays", ["K-17", 1, {"a": "x" * 500}]), site.person()
    form = site.form(ada, asked)
    refused = site.answer(ada, asked, form, choice="approve")
    assert refused.status_code == 422 and "Open the values that are folded first" in refused.text
    assert site.item(asked).state == "open"
    box = re.findall(r'name="(opened-[^"]+)"', ada.get(path_of(asked)).text)
    assert site.answer(ada, asked, form, choice="approve", **dict.fromkeys(box, "1")).status_code == 303


def test_a_no_needs_nothing_opened(site: Any) -> None:
    """Lost: the quick way out."""
    asked, ada = site.begin("pays", ["K-17", 1, "x" * 500]), site.person()
    assert site.answer(ada, asked, site.form(ada, asked), choice="decline").status_code == 303


def test_a_thousand_forged_answers_do_nothing(site: Any) -> None:
    """Lost: the promise that only a form which this page has shown to this person decides anything (S1)."""
    asked, ada = site.begin("pays", ["K-17", 4200]), site.person()
    form, before = site.form(ada, asked), site.snapshot()

    def forged(number: int) -> int:
        sent, field = dict(form), ("token", "digest")[number % 2]
        at = number // 2 % len(sent[field])
        sent[field] = sent[field][:at] + ("A" if sent[field][at] != "A" else "B") + sent[field][at + 1 :]
        return int(site.answer(ada, asked, sent, choice="approve").status_code)

    with ThreadPoolExecutor(20) as many:
        assert set(many.map(forged, range(1_000))) == {403}
    assert site.snapshot() == before and site.effects == []


def test_an_answer_that_was_made_elsewhere_in_other_words_is_shown_as_what_it_is(site: Any) -> None:
    """Lost: who has answered, when somebody did so without this page."""
    asked, ada = site.begin("pays", ["K-17", 4200]), site.person()
    other = accept.answer(asked.id, choice="decline", by="eve\x1b[2K", body=encode("decline"), digest=asked.digest)
    assert site.journal.post(asked.run, "m1", other).is_stored
    assert "Answered by eve⟨U+001B⟩[2K" in ada.get(path_of(asked)).text


# --- a proxy that signs people in ----------------------------------------------------------------------------------


def test_a_proxy_states_who_answers(proxied: Any) -> None:
    """Lost: single sign-on."""
    asked = proxied.begin("pays", ["K-17", 4200])
    zoe = proxied.visitor(**{"x-forwarded-user": "zoe", "host": "inbox.example", "origin": "https://inbox.example"})
    assert proxied.answer(zoe, asked, proxied.form(zoe, asked), choice="decline").status_code == 303
    assert proxied.item(asked).by == "zoe" and "Sign out" not in zoe.get("/inbox").text


def test_behind_a_proxy_nobody_else_signs_in(proxied: Any) -> None:
    """Lost: the proxy's say, to a code, a cookie, an empty name or two names."""
    asked = proxied.begin("pays", ["K-17", 4200])
    zoe = proxied.visitor(**{"x-forwarded-user": "zoe"})
    form = proxied.form(zoe, asked)
    nobody, empty = proxied.visitor(), proxied.visitor(**{"x-forwarded-user": ""})
    assert nobody.post("/login", data={"code": proxied.codes["ada"]}).status_code == 403
    nobody.cookies.set("holdfast", proxied.sessions.begin("ada"))
    for client in (nobody, empty):
        assert client.get("/inbox").status_code == 303
        assert proxied.answer(client, asked, form, choice="approve").status_code == 401
    yan = proxied.visitor(**{"x-forwarded-user": "yan"})
    assert proxied.answer(yan, asked, form, choice="approve").status_code == 403, "a form of zoe's"
    both = [("x-forwarded-user", "zoe"), ("x-forwarded-user", "yan")]
    assert nobody.get("/inbox", headers=both).status_code == 303


def test_without_a_proxy_its_header_means_nothing(site: Any) -> None:
    """Lost: the login, to whoever sends a header."""
    assert site.visitor(**{"x-forwarded-user": "ada", "remote-user": "ada"}).get("/inbox").status_code == 303


def test_a_command_is_opened_first_and_last_time_is_beside_it(site: Any) -> None:
    """Lost: what is uninspectable, approved unread (S16); the difference to last time, which nobody sees."""
    ada, bob = site.person(), site.person("bob")
    first = site.begin("pays", ["K-17", 4200, "see you"])
    assert site.answer(ada, first, site.form(ada, first), choice="approve").status_code == 303
    site.run("pays", ["K-17", 4200, "see you"])
    asked = site.begin("pays", ["K-18", 4200, "rm -rf /"], key="other")
    text = bob.get(path_of(asked)).text
    assert "Uninspectable: note is a command" in text and "Compared with the call that ada approved" in text
    assert "<del>K-17</del>" in text and "<del>see you</del>" in text and "<del>4200</del>" not in text
    form = site.form(bob, asked)
    refused = site.answer(bob, asked, form, choice="approve")
    assert refused.status_code == 422 and site.item(asked).state == "open"
    assert site.answer(bob, asked, form, choice="approve", **{"opened-1-2": "1"}).status_code == 303
