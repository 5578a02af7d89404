"""What holdfast finds of itself. If these fail, all is said to be well while nobody is told anything."""

from __future__ import annotations

import pytest

from holdfast.core.checkup import LIMIT_S, Found, wrong


def test_all_is_well() -> None:
    """Lost: the difference; an alarm that always sounds is switched off."""
    assert wrong(Found()) == []
    assert wrong(Found(overdue_s=LIMIT_S, behind_s=LIMIT_S)) == [], "a moment late is not wrong"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Found(overdue_s=LIMIT_S + 1), "a question is open 10 min after its time"),
        (Found(behind_s=3 * 3600.0), "a chain is 3 h behind"),
        (Found(without_anybody=["finance", "ops"]), "2 of the chains have nobody"),
        (Found(problems=1), "the store is unwell"),
    ],
)
def test_each_thing_that_is_wrong_is_told_and_names_nobody(found: Found, said: str) -> None:
    """Lost: why the alarm sounds; or a customer's name in the mails of a service outside."""
    [line] = wrong(found)
    assert said in line and "finance" not in line
