"""One-time codes. If these fail, somebody signs in who cannot read the operator's terminal."""

from __future__ import annotations

from holdfast.runtime.clock import SystemClock
from holdfast.web.login import CLOSED_S, TRIES, Login


class Ahead(SystemClock):
    """The machine's clock, and how far a test has set it on."""

    by_s = 0.0

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return super().monotonic() + self.by_s


class Desk:
    """What the operator sees."""

    def __init__(self) -> None:
        self.clock = Ahead()
        self.told: list[tuple[str, str]] = []
        self.login = Login(["ada", "bob"], self.clock, lambda name, code: self.told.append((name, code)))

    def code(self, name: str) -> str:
        """The newest one."""
        return [code for each, code in self.told if each == name][-1]


def test_a_code_is_for_one_name_and_counts_once() -> None:
    """Lost: an answer in somebody else's name; a code that is read over a shoulder and used again."""
    desk = Desk()
    code = desk.code("ada")
    assert desk.login.enter(code) == "ada"
    assert desk.login.enter(code) is None and desk.code("ada") != code
    assert desk.login.enter(desk.code("bob").upper().replace("-", " ")) == "bob"


def test_five_wrong_codes_close_it_for_everybody_and_void_all_codes() -> None:
    """Lost: a code that is found by trying (S5)."""
    desk = Desk()
    before = {name: desk.code(name) for name in ("ada", "bob")}
    for left in range(TRIES, 0, -1):
        assert desk.login.tries_left == left
        assert desk.login.enter("0000-000x") is None
    assert desk.login.tries_left == 0
    assert [desk.login.enter(code) for code in before.values()] == [None, None], "closed, also for the right code"
    desk.clock.by_s = CLOSED_S + 1
    assert [desk.login.enter(code) for code in before.values()] == [None, None], "these are void"
    assert {name: desk.code(name) for name in before}.items().isdisjoint(before.items())
    assert desk.login.enter(desk.code("ada")) == "ada"


def test_brute_force_gets_five_tries_in_five_minutes() -> None:
    """Lost: the bound on how fast codes can be tried: with eight digits it takes millennia."""
    desk = Desk()
    heard = 0
    for number in range(1_000):
        heard += desk.login.tries_left > 0
        assert desk.login.enter(f"{number:08x}") is None
    assert heard == TRIES and len(desk.told) == 2


def test_nobody_signs_in_where_there_are_no_codes() -> None:
    """Lost: the empty code, as that of nobody, behind a proxy."""
    assert Login([], SystemClock(), lambda name, code: None).enter("") is None
