"""What can go wrong between a question and a person: twenty-five ways to fail, by each way of being told.

Each ends by the deadline: with what a person has decided, or with the declared default. None ends in silence, none has
two effects, and nothing that was to be approved is done without a yes. If one of these fails, an agent waits for ever
for somebody who was never told, or does what nobody has agreed to.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.inbox.matrix.bench import CANARY, HOUR, MIN, WAYS, WITHIN_S, Bench, bench
from tests.inbox.servers.fault import (
    CUT,
    GARBAGE,
    GONE,
    LOSES,
    SILENT,
    UNHEARD,
    UNKNOWN,
    UNTRUSTED,
    Fault,
    broken,
    limited,
    redirects,
)

from holdfast.core.quiet import Quiet
from holdfast.core.rota import Leave
from holdfast.errors import StoreUnreachable

ADA, BOB, DEFAULT, UNHEARD_OF, CANCELLED = "ada", "bob", "default", "undeliverable", "cancelled"


def breaks(b: Bench, fault: Fault, mail: str, stage: str = "RCPT") -> None:
    """The way under test fails so; mail: what a mail server says instead. The page still opens links."""
    if b.way == "mail":
        b.mail.says[stage] = mail
    else:
        b.server.does(fault, path="/inbox" if b.way == "web" else "")


def mends(b: Bench) -> None:
    """It works again."""
    b.mail.says.clear()
    b.mail.loses = False
    if b.way != "mail":
        b.server.mend()


# --- the twenty-five -------------------------------------------------------------------------------------------------


def taken_and_lost(b: Bench) -> str:
    """1: the provider says 200, and nobody ever sees it."""
    if b.way == "mail":
        b.mail.loses = True
    else:
        breaks(b, LOSES, "")
    return BOB


def asked_to_come_later(b: Bench) -> str:
    """2: 429, and an hour of Retry-After."""
    breaks(b, limited(3600), "451 4.7.1 come again later")
    b.at(3 * HOUR, lambda: mends(b))
    return BOB


def broken_or_silent(b: Bench) -> str:
    """3: 5xx at first, then no answer at all."""
    breaks(b, broken(503), "451 4.3.0 local error", "DATA")
    if b.way != "mail":
        b.at(20 * MIN, lambda: b.server.does(SILENT, path="/inbox" if b.way == "web" else ""))
    return BOB


def down_for_hours(b: Bench) -> str:
    """4: down for six hours, everywhere; then all that was sent comes at once, and twice."""
    b.bob.is_away = True
    b.mail.says["MAIL"] = "421 4.3.2 down"
    b.hook.does(CUT)
    b.slack.does(CUT)
    b.page.does(CUT, path="/inbox")

    def is_back() -> None:
        b.mail.says.clear()
        b.slack.mend()
        b.hook.mend()
        b.page.mend()

    b.at(6 * HOUR, is_back)
    b.ada.repeats = True
    return ADA


def receipts_that_lie(b: Bench) -> str:
    """5: it is delivered, and the receipt is lost; then a status that nobody knows."""
    if b.way == "mail":
        b.mail.says["QUIT"] = "299 whatever"
    else:
        b.server.does(UNHEARD, times=1, path="/inbox" if b.way == "web" else "")
    return ADA


def bounced(b: Bench) -> str:
    """6: there is no such mailbox, or whatever it is called there."""
    if b.way == "slack":
        b.slack.people.clear()  # channel_not_found
    else:
        breaks(b, broken(404), "550 5.1.1 no such mailbox")
    return BOB


def cut_off(b: Bench) -> str:
    """7: the token was revoked, the channel archived, the login taken away."""
    if b.way == "slack":
        b.slack.says("token_revoked")
        b.at(15 * MIN, lambda: b.slack.says("is_archived"))
    else:
        breaks(b, GONE if b.way == "hook" else broken(401), "535 5.7.8 not any more", "MAIL")
    return BOB


def somebody_else_has_the_address(b: Bench) -> str:
    """8: the address belongs to a stranger now: who gets to know nothing, and decides nothing."""
    stranger = b.ada

    async def tries(link: str) -> None:
        path = link.removeprefix("http://inbox.test")
        for method, to, data in (
            ("GET", path, None),
            ("POST", f"{path}/answer", {"choice": "approve", "token": "", "digest": ""}),
            ("POST", f"{path}/take", {"token": "", "digest": ""}),
        ):
            reply = await b.page.send(method, to, "", data)
            assert reply.status in (303, 401, 403), "a stranger is let in"
            assert CANARY not in reply.body.decode()
            stranger.replies.append(reply)

    stranger.does = tries
    return BOB


def nobody_is_on_call(b: Bench) -> str:
    """9: a gap in the rota, everybody on leave, an account that is no more."""
    off = tuple(Leave("eve", b.began - HOUR, b.began + 100 * HOUR) for _ in range(1))
    b.oncall("eve", off=off)
    b.ada.is_away = True
    return BOB


def on_call_changes(b: Bench) -> str:
    """10: whoever is on call when it is asked is not any more when it is asked again."""
    b.oncall("eve", "ada", turn=timedelta(minutes=90))  # the second turn begins half an hour after the question
    b.bob.is_away = b.people["eve"].is_away = True
    b.ada.think_s = 1.0
    return ADA


def taken_and_left(b: Bench) -> str:
    """11: somebody says that they look into it, and is not seen again."""
    b.ada.takes = True
    return BOB


def two_at_once(b: Bench) -> str:
    """12: two people answer differently, at the same moment."""
    b.bob.choice = "decline"

    async def both(link: str) -> None:
        forms = [(await b.opened(person, link))[1] for person in (b.bob, b.ada)]
        first = await b.presses(b.bob, link, forms[0])
        second = await b.presses(b.ada, link, forms[1])
        assert (first.status, second.status) == (303, 409) and b"Answered by bob" in second.body

    b.ada.does = both
    return BOB


def too_late(b: Bench) -> str:
    """13: the answer comes when the default was taken: that is said, and is no error of ours."""
    b.bob.is_away = True
    b.ada.think_s = WITHIN_S + 10 * MIN
    b.stays_s = 2 * HOUR

    def judge() -> None:
        assert {reply.status for reply in b.ada.replies} <= {200, 409}
        assert all(b"Nobody answered in time" in reply.body for reply in b.ada.replies) and b.ada.replies

    b.judges.append(judge)
    return DEFAULT


def a_scanner(b: Bench) -> str:
    """14: a mail gateway opens all links, and presses all that it finds there."""
    b.bob.is_away = True
    opened: list[int] = []

    async def scans(link: str) -> None:
        path = link.removeprefix("http://inbox.test")
        for method in ("HEAD", "GET"):
            for to in (path, f"{path}/answer", f"{path}/take", "/inbox", "/events", "/login"):
                for name in ("", "ada") if to != "/events" else ("",):
                    opened.append((await b.page.send(method, to, name)).status)
        assert b.question.state == "open" and b.effects == []

    b.ada.does = scans
    b.judges.append(lambda: _some(opened))
    return DEFAULT


def _some(seen: list[Any]) -> None:
    assert seen, "nothing was tried"


def a_forwarded_link(b: Bench) -> str:
    """15: the mail is forwarded to somebody who has no account."""
    refused: list[int] = []

    async def forwards(link: str) -> None:
        path = link.removeprefix("http://inbox.test")
        refused.append((await b.page.send("GET", path, "")).status)
        refused.append((await b.page.send("POST", f"{path}/answer", "", {"choice": "approve"})).status)
        assert b.question.state == "open"

    b.ada.does = forwards
    b.judges.append(lambda: _some(refused))
    return BOB


def the_clocks_go_back(b: Bench) -> str:
    """16: the night in which an hour comes twice, and quiet hours in another zone than was meant."""
    night = datetime(2026, 10, 25, 0, 30, tzinfo=ZoneInfo("UTC")).timestamp()  # 02:30 CEST; 03:00 becomes 02:00
    b.starts(night)
    b.quiet = Quiet(time(22, 0), time(7, 0), ZoneInfo("Europe/Zurich"))
    b.bob.is_away = True
    quiet_until = datetime(2026, 10, 25, 6, 0, tzinfo=UTC).timestamp()

    def judge() -> None:
        if b.way != "web":
            assert b.first_told_at is not None and b.first_told_at >= quiet_until, "somebody was woken"

    b.judges.append(judge)
    return ADA


def the_clock_jumps(b: Bench) -> str:
    """17: the machine's clock is set on, past the deadline."""
    b.bob.is_away, b.ada.think_s = True, 2 * HOUR
    b.is_late_by_s = 2 * HOUR
    b.at(30 * MIN, lambda: b.clock.jump(13 * HOUR))
    return DEFAULT


def the_notifier_is_gone(b: Bench) -> str:
    """18: the process dies after it has asked; the next one begins an hour later, and its store is away at first."""
    b.awake = [(0.0, 2 * MIN), (HOUR, float("inf"))]
    b.ada.is_away = b.ada.is_away or b.way == "web"
    left = [5]

    def unreachable(appends: Any) -> None:
        if b.elapsed > HOUR and left[0]:
            left[0] -= 1
            raise StoreUnreachable("the disk is full")

    def prepare(journal: Any) -> None:
        journal.before = unreachable

    b.prepare = prepare
    b.people["ada"].think_s = 90 * MIN
    return BOB


def a_flood(b: Bench) -> str:
    """19: many questions at once; this one is among them."""
    b.flood = 40
    return ADA


def names_and_certificates(b: Bench) -> str:
    """20: its certificate has expired; then its name means nothing."""
    if b.way == "mail":
        b.tls = "starttls"  # which the server has no more
    else:
        breaks(b, UNTRUSTED, "")
        b.at(30 * MIN, lambda: b.server.does(UNKNOWN, path="/inbox" if b.way == "web" else ""))
    return BOB


def sent_elsewhere(b: Bench) -> str:
    """21: the receiver sends us to the address where clouds keep credentials."""
    breaks(b, redirects(), "551 5.1.6 try <x@169.254.169.254>")

    def judge() -> None:
        assert all("169.254" not in call.headers.get("host", "") for call in b.hook.calls)

    b.judges.append(judge)
    return BOB


def nobody_watches(b: Bench) -> str:
    """22: whoever watches over us is down: nobody is paged for that, and questions go their way."""
    return ADA


def withdrawn_while_it_rings(b: Bench) -> str:
    """23: the run is cancelled between the notice and the answer: that is said to who answers."""
    b.bob.is_away, b.ada.think_s = True, 20 * MIN
    b.at(18 * MIN if b.way == "web" else 8 * MIN, lambda: b.cancel())
    b.stays_s = HOUR

    def judge() -> None:
        assert b.ada.replies and all(reply.status in (200, 409) for reply in b.ada.replies)
        assert b"ithdrawn" in b.ada.replies[0].body

    b.judges.append(judge)
    return CANCELLED


def altered_on_the_way(b: Bench) -> str:
    """24: what was sent is changed or removed by others: what counts is what the store holds."""
    tried: list[int] = []

    async def alters(link: str) -> None:
        path = link.removeprefix("http://inbox.test")
        for message in b.slack.messages:
            b.slack.edited(message)
            b.slack.deleted(message)
        tried.append((await b.page.send("GET", f"{path}x", "ada")).status)
        person = b.ada
        b.altered = {"digest": "0" * 64}
        tried.append((await b.answers(person, link)).status)
        b.altered = {}
        assert tried == [404, 403] and b.question.state == "open"

    b.ada.does = alters
    b.judges.append(lambda: _some(tried))
    return BOB


def nobody_can_sign_in(b: Bench) -> str:
    """25: all that people sign in by is down: who is at the machine answers by the command line."""
    b.page.does(GARBAGE, path="/inbox")
    b.page.does(broken(502), path="/q/")
    b.at(2 * HOUR, lambda: b.by_command("bob"))
    return BOB


MODES: list[Callable[[Bench], str]] = [
    taken_and_lost,
    asked_to_come_later,
    broken_or_silent,
    down_for_hours,
    receipts_that_lie,
    bounced,
    cut_off,
    somebody_else_has_the_address,
    nobody_is_on_call,
    on_call_changes,
    taken_and_left,
    two_at_once,
    too_late,
    a_scanner,
    a_forwarded_link,
    the_clocks_go_back,
    the_clock_jumps,
    the_notifier_is_gone,
    a_flood,
    names_and_certificates,
    sent_elsewhere,
    nobody_watches,
    withdrawn_while_it_rings,
    altered_on_the_way,
    nobody_can_sign_in,
]


AT_ONCE = {asked_to_come_later, broken_or_silent, bounced, cut_off, names_and_certificates, sent_elsewhere}
"""It is known that nobody was told: the next level's turn comes before anybody's wait is over."""


def test_there_are_twenty_five() -> None:
    """Lost: a row of the table that nobody tries."""
    assert len({mode.__name__ for mode in MODES}) == 25
    assert [int((mode.__doc__ or "").split(":")[0]) for mode in MODES] == list(range(1, 26))


EACH = [
    pytest.param(
        mode, way, marks=() if (at + turn) % len(WAYS) == 0 else pytest.mark.proof, id=f"{mode.__name__}-{way}"
    )
    for at, mode in enumerate(MODES)
    for turn, way in enumerate(WAYS)
]
"""In the default run: each mode by one way, and each way by a fourth of them. `make proof` has all."""


@pytest.mark.parametrize(("mode", "way"), EACH)
def test_it_ends_in_a_decision_or_in_the_default(mode: Callable[[Bench], str], way: str, record_property: Any) -> None:
    """Lost: what the mode's own text says."""
    with bench(way) as b:
        expected = mode(b)
        ended = b.run()
        assert ended.after_s <= b.within_s + b.is_late_by_s + 2 * MIN, "it was over only after its deadline"
        assert CANARY not in b.left(), "arguments have left"
        if mode in AT_ONCE and way != "web":
            assert ended.after_s < 10 * MIN, "a refusal was waited for as if somebody had been told"
        match expected:
            case "default":
                assert (ended.outcome, ended.effects) == ("expired", [])
            case "undeliverable":
                assert (ended.outcome, ended.effects) == ("undeliverable", [])
            case "cancelled":
                assert (ended.outcome, ended.effects) == ("RunCancelled", [])
            case who:
                assert b.decided_by == who
                yes = b.people[who].choice == "approve"
                assert ended.effects == (["K-17"] if yes else [])
                assert ended.outcome == ("refunded" if yes else "declined")
        for judge in b.judges:
            judge()
    record_property("failures", 1)


@pytest.mark.parametrize("way", WAYS)
def test_where_nothing_works_at_all_the_default_is_taken(way: str) -> None:
    """Lost: a run that waits for ever, since no channel could say that it waits."""
    with bench(way) as b:
        b.mail.says["RCPT"] = "550 no"
        b.hook.does(CUT)
        b.slack.does(CUT)
        b.page.does(CUT)
        ended = b.run()
        assert (ended.outcome, ended.effects) == ("undeliverable", [])
        assert WITHIN_S <= ended.after_s <= WITHIN_S + 2 * MIN
