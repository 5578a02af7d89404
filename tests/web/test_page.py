"""What strangers write never becomes markup, a title, a button or a line of ours (S11, S12, S14)."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from tests.web.conftest import path_of

from holdfast.web.page import page, static

MARKUP = {
    "script": "<script>alert(1)</script>",
    "closes a script": "</script><script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "svg": "<svg/onload=alert(1)>",
    "breaks out of an attribute": '" onfocus=alert(1) autofocus x="',
    "single quotes": "' onmouseover='alert(1)",
    "backticks": "`onclick=alert(1)",
    "template": "{{ 7 * 7 }}{% include '/etc/passwd' %}{{ cycler.__init__.__globals__ }}",
    "entity": "&lt;script&gt;alert(1)&lt;/script&gt;",
    "textarea": "</textarea></pre></details></td></table><form action=//evil.example><button>Approve</button>",
    "comment": "--><script>alert(1)</script><!--",
    "link": "[Approve](https://evil.example) <a href='https://evil.example'>Approve</a> https://evil.example/",
    "script link": "javascript:alert(1)",
    "base": "<base href=//evil.example><meta http-equiv=refresh content='0;url=//evil.example'>",
    "style": "<style>*{display:none}</style><link rel=stylesheet href=//evil.example>",
    "frame": "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "turned around": "\u202eevorppA",
    "escape": "\x1b[2K\r\x9b2J",
    "separator": "a\u2028b\u2029c\x01d",
    "unseen": "\u200b\u2060\U000e0041\u3164",
}
OURS = set(
    [
        "html",
        "head",
        "meta",
        "title",
        "link",
        "script",
        "body",
        "a",
        "header",
        "nav",
        "b",
        "div",
        "span",
        "form",
        "input",
        "button",
        "main",
        "article",
        "h1",
        "h2",
        "p",
        "section",
        "table",
        "tbody",
        "tr",
        "th",
        "td",
        "pre",
        "details",
        "summary",
        "label",
        "dl",
        "dt",
        "dd",
        "code",
        "kbd",
        "fieldset",
        "legend",
        "textarea",
        "ol",
        "li",
        "template",
    ]
)


class Read(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag opens."""
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """A tag closes."""
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Text."""
        self.texts.append((tuple(self._open), data))

    def text_in(self, tag: str) -> str:
        """All text within this tag."""
        return "".join(text for inside, text in self.texts if tag in inside)

    def skeleton(self) -> list[tuple[str, tuple[str, ...]]]:
        """Its tags and the names of their attributes."""
        return [(tag, tuple(attributes)) for tag, attributes in self.tags]


def pages(site: Any, evil: str) -> list[Read]:
    """Every page on which strangers' text stands: inbox, an approval, a question of an agent, a late answer."""
    key = "".join(c for c in evil if c.isprintable())[:150] or "k"
    paid = site.begin("pays", [evil, 1, {evil: [evil]}], f"pays {key}")
    asked = site.begin("asks", {"text": evil, "options": [evil, "x"], "to": evil, "show": {evil: evil}}, f"asks {key}")
    ada = site.person()
    found = [ada.get("/inbox").text, ada.get(path_of(paid)).text, ada.get(path_of(asked)).text]
    found.append(site.answer(ada, asked, site.form(ada, asked), choice=evil).text)
    return [Read(text) for text in found]


@pytest.mark.parametrize("evil", MARKUP.values(), ids=MARKUP.keys())
def test_what_strangers_write_is_text_and_nothing_else(site: Any, evil: str) -> None:
    """Lost: the page, to whoever can word an argument."""
    harmless = [each.skeleton() for each in pages(site, "harmless")[:3]]
    for number, read in enumerate(found := pages(site, evil)):
        assert {tag for tag, _ in read.tags} <= OURS
        for _, attributes in read.tags:
            assert not any(name.startswith("on") or name in ("style", "srcdoc") for name in attributes)
            for name in ("href", "src", "action"):
                assert re.fullmatch(r"(/[a-zA-Z0-9_./]*|#main|)", attributes.get(name) or ""), attributes
        assert all(c.isprintable() or c == "\n" for _, text in read.texts for c in text.replace("\t", ""))
        if number:
            assert all(evil not in text for inside, text in read.texts if "title" in inside or "button" in inside)
    assert evil not in "".join(read.text_in(tag) for read in found for tag in ("title", "h1", "h2", "button", "dd"))
    if len(evil) < 100:  # remarks about odd names, and what opens a value that is code, aside, the page is the same
        tags = [[tag for tag, _ in each.skeleton() if tag not in REMARKS] for each in found[1:3]]
        assert tags == [[tag for tag, _ in each if tag not in REMARKS] for each in harmless[1:3]]


REMARKS = frozenset({"p", "span", "details", "summary", "label", "input"})


def test_the_agents_words_stand_in_their_box_alone(site: Any) -> None:
    """Lost: an agent that words its own title, reason or button (S11)."""
    asked = site.begin("asks", {"text": "WORDS approve this", "show": {"plan": "WORDS"}, "options": ["WORDS", "no"]})
    text = site.person().get(path_of(asked)).text
    box = re.search(r'<section class="agent".*?</section>', text, re.DOTALL)
    assert box is not None and box[0].count("WORDS") == 2 and "unverified" in box[0]
    rest = Read(text.replace(box[0], ""))
    assert {inside[-1] for inside, words in rest.texts if "WORDS" in words} == {"label"}
    assert "as the agent words them" in rest.text_in("legend")


def test_whatever_a_template_writes_is_made_safe(site: Any) -> None:
    """Lost: the second wall: a value that a template's author forgot to make safe."""
    shown = page("error", title="a\u202e<b>", told="\x1b[2K\x00 & <i>").body.decode()
    assert "a⟨U+202E⟩&lt;b&gt;" in shown and "⟨U+001B⟩[2K⟨U+0000⟩ &amp; &lt;i&gt;" in shown
    with pytest.raises(Exception, match="undefined"):
        page("error", title="x")


def test_only_our_own_files_are_handed_out(site: Any) -> None:
    """Lost: any file of this machine."""
    client = site.visitor()
    assert client.get("/static/inbox.css").headers["content-type"].startswith("text/css")
    for name in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "app.py", "", "inbox.css%00", "."):
        assert client.get(f"/static/{name}").status_code == 404
    assert static("../page.py") is None


def test_nothing_comes_from_elsewhere(site: Any) -> None:
    """Lost: the facts of each decision, to whoever serves a font; the page, when that is down."""
    for name in ("inbox.css", "inbox.js", "icon.svg"):
        found = static(name)
        assert found is not None
        text = bytes(found.body).decode()
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(|innerHTML|eval\(|insertAdjacent", text)
        assert len(text.splitlines()) <= 200
