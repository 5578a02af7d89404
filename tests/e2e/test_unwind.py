"""A run is unwound by command in other processes than the one that failed, killed in the middle of an undo."""

from __future__ import annotations

import json
import signal
from typing import Any

AGENTS = """
async def cancel(result: str, item: int, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("cancel?dedupe=1", {"item": item, "of": result}, idempotency_key)

@hf.tool(effect="once", undo=cancel)
async def book(item: int, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("book", {"item": item}, idempotency_key)

@hf.agent(budget=hf.Budget(tool_calls=50))
async def trip(run: hf.Run, x: str) -> None:
    for item in (1, 2, 3):
        await book(item)
    raise ValueError("no hotel")
"""


def cancelled(desk: Any) -> list[Any]:
    """The cancellations that happened, in order."""
    return [effect.args["item"] for effect in desk.ledger.effects("cancel") if effect.first]


def test_an_unwinding_by_command_survives_a_kill_in_the_middle_of_an_undo(desk: Any) -> None:
    """Lost: R17. Bookings that nobody takes back, or that are taken back twice."""
    desk.write(AGENTS)
    assert desk.to_end("trip").code == 1
    desk.ledger.fault("cancel", 2, "hang")
    killed = desk.start("unwind", "k", "agents.py:trip", "--by", "ann", "--why", "the customer left")
    desk.ledger.wait_for("cancel", 2)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    desk.ledger.release()
    said = desk.to_end("trip")
    assert said.code == 1 and "no hotel" in said.err
    assert cancelled(desk) == [3, 2, 1]
    keys = {effect.key for effect in desk.ledger.effects("cancel")}
    assert len(keys) == 3 and len(desk.ledger.effects("cancel")) == 4, "the one in flight came again, under its key"
    picture = desk.show()
    assert [step["is_undone"] for step in picture["steps"] if step["name"] == "book"] == [True] * 3
    assert len(picture["run"]["undone"]) == 3 and picture["run"]["status"] == "failed"
    assert "undone" in desk.run("show", "k").out
    assert desk.run("resume", "k").code == 2, "it cannot go on from what is undone"


def test_unwind_says_what_it_did_and_a_second_one_has_nothing_to_do(desk: Any) -> None:
    """Lost: an operator who cannot tell whether it worked."""
    desk.write(AGENTS)
    desk.to_end("trip")
    said = desk.run("unwind", "k", "agents.py:trip", "--json")
    assert said.code == 0 and "Undone, in this order: book" in said.err
    assert len(json.loads(said.out)["run"]["undone"]) == 3
    assert cancelled(desk) == [3, 2, 1]
    assert desk.run("unwind", "k", "agents.py:trip").code == 0
    assert cancelled(desk) == [3, 2, 1]


def test_an_undo_that_fails_is_exit_1_and_the_next_command_tries_it_again(desk: Any) -> None:
    """Lost: a script that believes that all is undone."""
    closed = """    if item == 2 and not os.path.exists("open"):
        raise hf.NotDone("closed")
"""
    desk.write(AGENTS.replace('    return await send("cancel', closed + '    return await send("cancel'))
    desk.to_end("trip")
    said = desk.run("unwind", "k", "agents.py:trip")
    assert said.code == 1 and "Not undone: book" in said.err
    assert cancelled(desk) == [3]
    (desk.home / "open").touch()
    assert desk.run("unwind", "k", "agents.py:trip").code == 0
    assert cancelled(desk) == [3, 2, 1]


def test_an_unwinding_that_asked_goes_on_with_the_same_command(desk: Any) -> None:
    """Lost: an operator who has answered, is told to cancel first, and does not know how to go on."""
    doubtful = """    if item == 2 and not os.path.exists("open"):
        raise ConnectionResetError("nobody knows")
"""
    desk.write(AGENTS.replace('    return await send("cancel', doubtful + '    return await send("cancel'))
    desk.to_end("trip")
    command = ("unwind", "k", "agents.py:trip")
    asked = desk.run(*command, "--why", "the customer left")
    assert asked.code == 8 and "Go on with: holdfast unwind k agents.py:trip" in asked.err
    (desk.home / "open").touch()
    assert desk.run("answer", "k", "it_did_not").code == 0
    told = desk.run("unwind", "k")
    assert told.code == 0 and "is being unwound" in told.err
    done = desk.run(*command)
    assert done.code == 0 and "Undone, in this order: book" in done.err
    assert cancelled(desk) == [3, 2, 1]
    shown = desk.run("show", "k").out
    assert "unwind -> undo what it did, the last step first; because: the customer left" in shown
    assert "no hotel. It was unwound, so it cannot be resumed." in shown
    assert "Go on with" not in desk.to_end("trip").err, "a resume would be refused"
