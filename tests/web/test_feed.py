"""News of the inbox over real HTTP. If these fail, an open page shows what is over, or not what is new."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from holdfast.web.feed import LISTENERS_MAX
from holdfast.web.session import HOURS


def states(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """What a stream tells."""
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_a_new_question_and_an_answered_one_are_told(site: Any) -> None:
    """Lost: a page that has to be loaded again to be believed."""
    ada = site.person()
    with ada.stream("GET", "/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = states(stream.iter_lines())
        assert next(told)["rows"] == []
        asked = site.begin("pays", ["K-17", 4200])
        state = next(told)
        (row,) = state["rows"]
        assert (row["id"], row["href"], row["is_posted"]) == (asked.id, f"/q/{asked.run}/{asked.id}", False)
        assert state["open"] == 1
        assert site.answer(ada, asked, site.form(ada, asked), choice="decline").status_code == 303
        (row,) = next(told)["rows"]
        assert (row["is_posted"], row["state"]) == (True, "answered by ada")
        site.run("pays", ["K-17", 4200])
        assert next(told)["rows"] == []


def test_what_is_told_is_safe_to_show(site: Any) -> None:
    """Lost: what the page escapes, by the other way in."""
    site.begin("asks", {"text": "EVIL", "to": "a\u202e<b>\x1b"})
    with site.person().stream("GET", "/events") as stream:
        (row,) = next(states(stream.iter_lines()))["rows"]
        assert row["to"] == "a⟨U+202E⟩<b>⟨U+001B⟩" and "EVIL" not in json.dumps(row)


def test_a_stream_ends_with_its_session(site: Any) -> None:
    """Lost: a browser that goes on to be told after the person has left."""
    with site.person().stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        assert next(states(lines))["rows"] == []
        site.clock.by_s = HOURS * 3600 + 1
        assert list(states(lines)) == []


def test_a_stream_ends_with_the_server(site: Any) -> None:
    """Lost: a server that waits for ever for pages that are open."""
    with site.person().stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        assert next(states(lines))["rows"] == []
        site.server.end()
        assert list(states(lines)) == []
    site.thread.join(10)
    assert not site.thread.is_alive()


def test_a_stream_that_is_closed_is_forgotten_and_there_are_only_so_many(site: Any) -> None:
    """Lost: the server, to pages that are opened and opened."""
    ada = site.person()
    with ada.stream("GET", "/events") as stream:
        told = states(stream.iter_lines())  # held on to: the stream is closed with it
        assert next(told)["rows"] == [] and site.feed.listeners == 1
    while site.feed.listeners:
        ada.get("/login")
    site.feed.listeners = LISTENERS_MAX
    assert ada.get("/events").status_code == 503
    assert isinstance(ada, httpx.Client)
