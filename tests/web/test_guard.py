"""What each request passes first, over real HTTP: names that are not ours, pages that are not ours, what is too long.

If these fail, a web page of somebody else, opened in the same browser, can read the inbox or answer in it.
"""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from holdfast.web.form import BYTES_MAX
from holdfast.web.guard import HEADERS

PATHS = ("/", "/login", "/inbox", "/q/run_1/q_1", "/events", "/static/inbox.css", "/none")


def status(site: Any, method: str, path: str, headers: list[tuple[str, str]], body: bytes = b"") -> int:
    """What the server says to exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_only_its_own_names_are_answered(site: Any) -> None:
    """Lost: the inbox, to a page whose name was made to point to this machine (DNS rebinding, S29)."""
    own = f"127.0.0.1:{site.port}"
    for path in PATHS:
        assert status(site, "GET", path, [("host", own)]) != 421
        for host in (
            "evil.example",
            f"evil.example:{site.port}",
            f"localhost:{site.port}",
            "127.0.0.1",
            f"{own}.evil",
            "",
        ):
            assert status(site, "GET", path, [("host", host)]) == 421, host
    assert status(site, "GET", "/login", [("host", own.upper())]) == 200
    twice = [("host", own), ("host", "evil.example")]
    assert status(site, "GET", "/login", twice) in (400, 421)


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({"origin": "OWN"}, True),
        ({"origin": "OWN", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "null", "sec-fetch-site": "same-origin"}, True),
        ({}, False),
        ({"origin": "null"}, False),
        ({"origin": "null", "sec-fetch-site": "cross-site"}, False),
        ({"origin": "null", "sec-fetch-site": "none"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "https://evil.example", "sec-fetch-site": "same-origin"}, False),
        ({"origin": "OWN", "sec-fetch-site": "cross-site"}, False),
        ({"origin": "OWN", "sec-fetch-site": "same-site"}, False),
        ({"origin": "OWN.evil.example"}, False),
        ({"origin": "https://127.0.0.1"}, False),
        ({"sec-fetch-site": "same-origin"}, False),
        ({"referer": "OWN/inbox"}, False),
    ],
)
def test_a_form_counts_only_from_a_page_of_ours(site: Any, headers: dict[str, str], is_ours: bool) -> None:
    """Lost: an answer that another site sends in the name of who is signed in here (CSRF, S29)."""
    sent = [("host", f"127.0.0.1:{site.port}"), ("content-type", "application/x-www-form-urlencoded")]
    sent += [(name, value.replace("OWN", site.url)) for name, value in headers.items()]
    assert status(site, "POST", "/login", sent, f"code={site.codes['ada']}".encode()) == (303 if is_ours else 403)
    assert (site.codes["ada"] != "") and len(site.codes) == 2


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_no_other_method_does_anything(site: Any, method: str) -> None:
    """Lost: a way around what GET and POST are checked for."""
    for path in PATHS:
        assert site.person().request(method, path).status_code == 405


def test_every_answer_forbids_what_others_could_do_with_it(site: Any) -> None:
    """Lost: scripts of others on the page, the page in a frame of others, a copy of it in a cache (S4, S14)."""
    ada = site.person()
    for path in ("/", "/login", "/inbox", "/static/inbox.js", "/none", "/q/run_1/q_1"):
        answered = ada.get(path)
        for name, value in HEADERS.items():
            assert answered.headers[name] == value, (path, name)
    refused = ada.get("/inbox", headers={"host": "evil.example"})
    assert refused.status_code == 421 and refused.headers["cache-control"] == "no-store"
    policy = dict(part.strip().split(" ", 1) for part in HEADERS["content-security-policy"].split(";"))
    assert (
        policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'" and policy["base-uri"] == "'none'"
    )
    assert "unsafe" not in HEADERS["content-security-policy"] and "*" not in HEADERS["content-security-policy"]


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(site: Any, proxied: Any) -> None:
    """Lost: a session that a script reads, or that goes along with a form of another site."""
    told = site.visitor().post("/login", data={"code": site.codes["ada"]}).headers["set-cookie"].lower()
    assert "httponly" in told and "samesite=lax" in told and "path=/" in told and "domain" not in told


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b'{"code": "x"}', 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("text/plain", b"code=x", 415),
        ("", b"code=x", 415),
        ("application/x-www-form-urlencoded", b"code=" + b"x" * BYTES_MAX, 413),
        ("application/x-www-form-urlencoded", b"code=a&code=b", 400),
        ("application/x-www-form-urlencoded", b"code", 400),
        ("application/x-www-form-urlencoded", b"code=\xff", 400),
        ("application/x-www-form-urlencoded", b"&".join(b"f%d=1" % n for n in range(2_000)), 400),
    ],
)
def test_what_is_no_form_of_ours_is_refused(site: Any, kind: str, body: bytes, status: int) -> None:
    """Lost: a form of another site that browsers send without asking; a field that is read in two ways; memory."""
    sent = site.visitor().post("/login", content=body, headers={"content-type": kind} if kind else {})
    assert sent.status_code == status
