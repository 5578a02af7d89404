"""`holdfast inbox`: what a person reads before they decide, on a terminal that strangers' text must not steer.

If these fail, somebody agrees to what they have not seen, or does not see that they are asked.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import holdfast as hf
from holdfast.core import accept
from holdfast.core.chain import AGENT, key_of
from holdfast.journal.sqlite import SqliteJournal
from holdfast.runtime.escalating import chain_id
from holdfast.views.asking import items

HOSTILE = {
    "erases its line": "rm x\r\x1b[2Kls",
    "turned around": "a\u202etxt.exe",
    "title of the window": "\x1b]0;owned\x07",
    "C1 control": "\x9b2J",
    "unseen": "pay\u200b\u2060load\U000e0041",
    "a row of its own": "K-17\n  cents  1",
    "filler": "\u3164\u115f",
    "tab": "a\tb",
}


@hf.tool(effect="once", approve=hf.Ask("finance", within="30m"))
async def refund(order: str, cents: int, note: Any = None) -> str:
    """Is never called here: nobody approves."""
    raise AssertionError


@hf.agent
async def pays(run: hf.Run, given: list[Any]) -> str:
    """Pays what it is told."""
    return await refund(*given)


@hf.agent
async def asks(run: hf.Run, given: dict[str, Any]) -> list[str]:
    """Asks for each word, one after the other."""
    words = given["words"]
    return [str((await run.ask(word, **{k: v for k, v in given.items() if k != "words"})).value) for word in words]


def begin(agent: Any, given: Any, key: str = "k") -> None:
    """Run it in this process until it waits."""
    app = hf.App("sqlite:///holdfast.db", settings=hf.Settings(quiet_s=0.01))
    with pytest.raises(hf.errors.RunWaiting):
        app.run_sync(agent, given, key=key, wait=0)


def answer(shell: Any, key: str, value: str) -> None:
    """Ada says it, on the command line."""
    assert shell.call("answer", key, value, "--by", "ada").code == 0


def open_ids(shell: Any) -> list[str]:
    """Ids as the list has them."""
    return [one["id"] for one in shell.call("inbox", "--json").document["questions"]]


def test_who_takes_care_of_it_is_listed(shell: Any) -> None:
    """Lost: two people at two terminals look into the same thing."""
    begin(asks, {"words": ["now?"]})
    [question] = open_ids(shell)
    refused = shell.call("inbox", "take", question, "--by", "ada")
    assert refused.code != 0 and "No chain tells people" in refused.err
    with closing(SqliteJournal(shell.home / "holdfast.db", clock=time.time)) as journal:
        [item] = items(journal)
        begins = accept.start(agent=AGENT, key=key_of(item.run, item.id), input_digest="d", limits=None, body=b"{}")
        journal.post(chain_id(journal, item.run, item.id), "start", begins)
    assert shell.call("inbox", "take", question[:6], "--by", "ada\x1b[2K").code == 0
    assert "taken" in shell.call("inbox").out
    shown = shell.call("inbox", "show", question)
    assert "took it" in shown.out and "\x1b[2K" not in shown.out
    assert open_ids(shell) == [question]


def test_nobody_is_asked_anything(shell: Any) -> None:
    """Lost: the difference between nothing to do and a wrong store."""
    assert shell.call("inbox").code == 3

    @hf.agent
    async def rests(run: hf.Run, given: Any) -> None:
        """Is done at once."""

    asyncio.run(_run(rests))
    said = shell.call("inbox")
    assert (said.code, said.out) == (0, "") and "Nobody is asked anything." in said.err
    assert shell.call("inbox", "--json").document == {"schema": 1, "questions": [], "unasked": []}


async def _run(agent: Any) -> None:
    async with hf.App("sqlite:///holdfast.db") as app:
        await app.run(agent, None, key="rests")


def test_the_list_says_what_whom_until_when_and_of_which_run(shell: Any) -> None:
    """Lost: who is to answer, and that it is late."""
    begin(asks, {"words": ["Which colour?"], "to": "ada"}, "painting")
    begin(pays, ["K-17", 4200], "refund K-17")
    first, second = shell.call("inbox").out.splitlines()[1:]
    assert re.search(r"q_\S+ +in 30 min +0 s +finance +pays/refund K-17 +May refund be called with", first)
    assert re.search(r"q_\S+ +never +0 s +ada +asks/painting +asks asks", second), "the agent's words are no title"
    facts = shell.call("inbox", "--json").document["questions"]
    assert [one["about"] for one in facts] == ["approve", "ask"]
    assert facts[0].keys() >= {"id", "run", "key", "agent", "to", "asked_at", "expires_at", "is_urgent", "digest"}


def test_show_says_what_would_be_done_why_and_what_happens_otherwise(shell: Any) -> None:
    """Lost: all that a person needs to decide without opening anything else."""
    begin(pays, ["K-17", 4200, {"why": ["late", None]}])
    (question,) = open_ids(shell)
    said = shell.call("inbox", "show", question[:6]).out
    assert said.startswith("May refund be called with these arguments?\n" + question)
    assert re.search(r"What would be done: refund\n +cents +4200\n +note +\{\n.*\n +order +K-17\n", said, re.DOTALL)
    assert "Why it is asked: This needs the approval of finance before it begins." in said
    assert re.search(r"If nobody answers: At \d{4}-.*Z, in 30 min, it is declined, nothing is done", said)
    ways = [line.strip() for line in said.splitlines() if "holdfast answer" in line]
    run = shell.call("show", "k", "--json").document["run"]["id"]
    assert ways == [f"holdfast answer {run} --question {question} {way}" for way in ("approve", "decline")]
    assert shell.call(*ways[1].split()[1:]).code == 0, "a command as it is printed is understood"


def test_the_store_is_part_of_the_commands(shell: Any) -> None:
    """Lost: a printed command that answers in another store, or in none."""
    begin(pays, ["K-17", 4200])
    (question,) = open_ids(shell)
    said = shell.call("inbox", "--store", "holdfast.db", "show", question)
    assert "--store holdfast.db --question" in said.out
    assert shell.call("inbox", "show", question, "--store", "holdfast.db").out == said.out


def test_what_was_answered_says_by_whom_also_before_the_run_has_read_it(shell: Any) -> None:
    """Lost: the second answer of somebody who was not told of the first."""
    begin(asks, {"words": ["one?", "two?"], "options": ["yes", "no"]})
    (first,) = open_ids(shell)
    answer(shell, "k", "yes")
    posted = shell.call("inbox", "show", first).out
    assert re.search(r"Answered by ada at \d{4}-.*Z \(cli\): yes. Its run has yet to take it up.", posted)
    assert "holdfast answer" not in posted
    assert "answered" in shell.call("inbox").out
    begin(asks, {"words": ["one?", "two?"], "options": ["yes", "no"]})
    closed = shell.call("inbox", "show", first)
    assert re.search(r"Answered by ada at \d{4}-.*Z \(cli\): yes\.\n", closed.out)
    (second,) = open_ids(shell)
    earlier = shell.call("inbox", "show", second).out
    assert re.search(r"Asked earlier in this run\n +\d+ s ago: asks asks Answered by ada", earlier)
    told = shell.call("inbox", "show", second, "--json").document
    assert [one["became"][:15] for one in told["earlier"]] == ["Answered by ada"] and told["question"]["id"] == second


def test_an_unknown_id_is_3_and_an_ambiguous_one_2(shell: Any) -> None:
    """Lost: the facts of another question than the one that was meant."""
    begin(pays, ["K-17", 1], "a")
    begin(pays, ["K-18", 1], "b")
    assert shell.call("inbox", "show", "q_zzz").code == 3
    several = shell.call("inbox", "show", "q_")
    assert several.code == 2 and all(question in several.err for question in open_ids(shell))


def test_a_list_of_calls_is_shown_with_the_arguments_of_each(shell: Any) -> None:
    """Lost: a list of which a person sees names and digests, and agrees to amounts that they cannot see."""

    @hf.agent
    async def plans(run: hf.Run, given: Any) -> bool:
        """Asks about two calls at once."""
        return bool(await run.approve("finance", [refund.bind("K-1", 100), refund.bind("K-2", 99_000)]))

    begin(plans, None)
    (question,) = open_ids(shell)
    said = shell.call("inbox", "show", question).out
    assert "May these 2 calls be made?" in said and said.count("What would be done: refund") == 2
    assert "99000" in said and "K-2" in said


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_steers_no_terminal(text: str, shell: Any) -> None:
    """Lost: a terminal that is repainted, so that a person approves another thing than they read (S12)."""
    begin(pays, [text, 1, {text: [text]}], "pays")
    begin(asks, {"words": [text], "options": [text, "no"], "to": text}, "asks")
    shown = shell.call("inbox").out + "".join(shell.call("inbox", "show", one).out for one in open_ids(shell))
    assert all(character.isprintable() for line in shown.split("\n") for character in line)
    for arguments in (("inbox", "--json"), ("inbox", "show", open_ids(shell)[0], "--json")):
        out = shell.call(*arguments).out
        assert json.loads(out) and all(c.isprintable() for line in out.split("\n") for c in line)


def test_a_value_stays_in_its_column(shell: Any) -> None:
    """Lost: a value with a line break, or as long as a line is wide, that draws a row of arguments of its own."""
    begin(pays, ["K-17\n cents  1", 4200, "x" * 76 + "  cents  1"])
    (question,) = open_ids(shell)
    lines = shell.call("inbox", "show", question).out.splitlines()
    names = [line for line in lines if re.match(r" {1,3}\S+ +\S", line) and "cents" in line]
    assert [line.split() for line in names][:1] == [["cents", "4200"]]
    column = next(line for line in lines if "4200" in line).index("4200")
    assert all(line.index("cents  1") >= column for line in lines if "cents  1" in line)


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("p\u0430ypal.com", "mixes Cyrillic and Latin letters"),
        ("p\u0430ypal.com", "xn--"),
        ("\u0430\u0441\u0435", 'looks like "ace" and is Cyrillic'),
        ("\uff41dmin", 'unusual forms of "admin"'),
        ("a\u202eb", "1 character that cannot be seen"),
        (" K-17", "begins or ends with spaces"),
        ("4200", "a text, not a number"),
        ("", "an empty text"),
    ],
)
def test_what_looks_like_something_else_is_named(text: str, remark: str, shell: Any) -> None:
    """Lost: a payee whose name is drawn like that of another one (S13)."""
    begin(pays, [text, 1])
    (question,) = open_ids(shell)
    assert remark in shell.call("inbox", "show", question).out


def test_the_agents_words_stand_apart_and_are_marked(shell: Any) -> None:
    """Lost: an agent that words its own title or reason, and is taken for us (S11)."""
    begin(asks, {"words": ["APPROVED BY SECURITY"], "show": {"plan": "BY ORDER OF THE CEO"}})
    (question,) = open_ids(shell)
    ours, _, theirs = shell.call("inbox", "show", question).out.partition("The agent says (unverified)")
    assert "SECURITY" not in ours and "CEO" not in ours and "SECURITY" in theirs and "CEO" in theirs
    assert "SECURITY" not in shell.call("inbox").out


@hf.tool(effect="once", approve=hf.Ask("finance", within="30m", approvers=["ada", "bob"]))
async def wire(iban: str) -> str:
    """Only some may approve it; is never called here."""
    raise AssertionError


@hf.agent
async def wires(run: hf.Run, given: str) -> str:
    """Wires."""
    return await wire(given)


def test_who_may_not_answer_is_refused_and_told_who_may(shell: Any) -> None:
    """Lost: the list, on the one way to answer that needs no password."""
    begin(wires, "CH-1")
    shown = shell.call("inbox", "show", *open_ids(shell)).out
    assert "Who may answer: Only ada or bob." in shown
    refused = shell.call("answer", "k", "approve", "--by", "eve")
    assert refused.code == 2 and "eve is none of those who may answer it: ada, bob" in refused.err
    answered = shell.call("answer", "k", "approve", "--by", "bob")
    assert answered.code == 0 and "Approvals are advisory here" in answered.err


FORM = {
    "type": "object",
    "properties": {
        "street": {"type": "string", "minLength": 3, "title": "Street"},
        "boxes": {"type": "integer", "default": 1},
        "size": {"type": "string", "enum": ["s", "l"]},
    },
    "required": ["street", "size"],
    "propertyOrdering": ["street", "boxes", "size"],  # what a run is given comes sorted
}


def test_a_form_is_shown_with_what_each_field_takes_and_filled_in(shell: Any) -> None:
    """Lost: how to answer, for whoever has no page."""
    begin(asks, {"words": ["Where to?"], "form": FORM, "options": ["not ours"]})
    (question,) = open_ids(shell)
    lines = shell.call("inbox", "show", question).out.splitlines()
    assert "  street (Street): a text of at least 3 characters" in lines
    assert "  boxes: a whole number, may be left out" in lines and "  size: one of: s, l" in lines
    way = next(line for line in lines if "holdfast answer" in line)
    assert way.endswith("--field street=VALUE --field size=VALUE")
    listed = shell.call("answer", "k").err
    assert "give VALUE" in listed
    assert shell.call("answer", "k", "--field", "street=Main", "--field", "size=l", "--by", "ada").code == 0
    shown = shell.call("inbox", "show", question).out
    assert "What was filled in" in shown and "Main" in shown and "Answered by ada" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--field", "street=ab", "--field", "size=l"], 2, "'street'"),
        (["--field", "street=Main"], 2, "'size' is missing"),
        (["--field", "street"], 2, "NAME=VALUE"),
        (["--field", "street=Main", "--field", "street=Else"], 2, "each field once"),
        (["--form", '{"street": "Main"', "--field", "size=l"], 2, "no JSON"),
        (["--form", '["Main"]'], 2, "no object"),
        (["--form", '{"street": "Main", "street": "Else"}'], 2, "twice"),
        (["--form", '{"street": "Main"}', "--field", "street=Else"], 2, "each field once"),
        (["--form", '{"street": "Main", "size": "l", "boxes": "2"}'], 2, "'boxes'"),
        (["--form", '{"street": "Main", "size": "l"}', "--result", "1"], 2, "no part of a form"),
        (["Main"], 2, "is a form"),
        (["yes", "--field", "street=Main", "--field", "size=l"], 2, "goes without it"),
        (["--form", '{"street": "Main", "boxes": 2}', "--field", "size=l"], 0, ""),
    ],
)
def test_what_does_not_fit_a_form_is_refused(shell: Any, arguments: list[str], code: int, said: str) -> None:
    """Lost: the question, to an answer that the agent cannot use."""
    begin(asks, {"words": ["Where to?"], "form": FORM})
    done = shell.call("answer", "k", *arguments)
    assert done.code == code and said in done.err
    assert len(open_ids(shell)) == 1
    document = shell.call("inbox", "--json").document["questions"][0]
    assert document["state"] == ("open" if code else "posted")


def test_no_form_takes_no_fields(shell: Any) -> None:
    """Lost: an answer that is thrown away in silence."""
    begin(asks, {"words": ["Well?"]})
    assert "is no form" in shell.call("answer", "k", "--field", "a=b").err


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_words_of_a_form_steer_no_terminal(text: str, shell: Any) -> None:
    """Lost: what the terminal shows, to whoever words a field."""
    field = {"type": "string", "title": text, "description": text, "enum": [text, "b"]}
    begin(asks, {"words": ["?"], "form": {"type": "object", "properties": {"a": field}}})
    (question,) = open_ids(shell)
    for done in (shell.call("inbox", "show", question), shell.call("answer", "k"), shell.call("answer", "k", "x")):
        assert all(c.isprintable() or c == "\n" for c in done.out + done.err)


def test_stats_say_how_much_waits_and_how_people_answer(shell: Any) -> None:
    """Lost: the only look at a queue that grows (R39)."""
    begin(pays, ["K-17", 4200])
    begin(pays, ["K-18", 4200], key="other")
    answer(shell, "other", "decline")
    with pytest.raises(hf.errors.RunFailed):
        hf.App("sqlite:///holdfast.db").run_sync(pays, ["K-18", 4200], key="other", wait=5)
    said = shell.call("inbox", "--stats")
    assert said.code == 0 and said.out.startswith("1 open; the oldest waits for ")
    assert re.search(r"finance +1 +0", said.out) and re.search(r"ada +1 +0 +1", said.out)
    facts = shell.call("inbox", "--stats", "--json").document["stats"]
    assert facts["rates"] == [{"tool": "refund", "answered": 1, "approved": 0}] and facts["remarks"] == []


def test_a_command_is_marked_and_last_time_stands_beside_it(shell: Any) -> None:
    """Lost: on the terminal, what is uninspectable, and what has changed (S16)."""

    @hf.tool(effect="once", name="refund", approve=hf.Ask("finance"))
    async def refund_for_real(order: str, cents: int, note: Any = None) -> str:
        return "done"

    @hf.agent(name="pays")
    async def pays_for_real(run: hf.Run, given: list[Any]) -> str:
        return await refund_for_real(*given)

    begin(pays_for_real, ["K-17", 1, "x"], key="first")
    answer(shell, "first", "approve")
    hf.App("sqlite:///holdfast.db").run_sync(pays_for_real, ["K-17", 1, "x"], key="first", wait=5)
    begin(pays_for_real, ["K-18", 1, "rm -rf /"])
    said = shell.call("inbox", "show", *open_ids(shell)).out
    assert "Uninspectable: note is a command." in said and "uninspectable: a command" in said
    assert "Compared with the call that ada approved" in said and re.search(r"last time +K-17", said)


def test_who_asked_for_a_run_does_not_approve_what_it_does(shell: Any) -> None:
    """Lost: the four eyes, on the command line."""
    Path("payer.py").write_text(
        "import holdfast as hf\n"
        '@hf.tool(effect="once", approve=hf.Ask("finance"))\n'
        "async def pay(what: str) -> str:\n    return what\n"
        "@hf.agent\nasync def payer(run: hf.Run, what: str) -> str:\n    return await pay(what)\n"
    )
    shell.call("run", "payer.py:payer", '"K-17"', "--key", "k", "--by", "ada", "--wait", "0s")
    refused = shell.call("answer", "k", "approve", "--by", "ada")
    assert refused.code == 2 and "asked for this run" in refused.err
    assert shell.call("answer", "k", "approve", "--by", "bob").code == 0


@hf.tool(effect="read")
async def look(x: int) -> int:
    """Costs one tool call."""
    return x


@hf.agent(budget=hf.Budget(tool_calls=1, ask=hf.Ask("ada", within="2h")))
async def spends(run: hf.Run, given: int) -> list[int]:
    """Needs more than it has."""
    return [await look(x) for x in range(given)]


@pytest.mark.parametrize(
    "way", [["raise"], ["raise", "--field", "tool_calls=5"], ["--field", "tool_calls=5"], ["stop"]]
)
def test_a_cap_is_raised_on_the_terminal(shell: Any, way: list[str]) -> None:
    """Lost: how much more, to whoever has no page; or a printed command that does not work."""
    begin(spends, 2)
    (question,) = open_ids(shell)
    shown = shell.call("inbox", "show", question).out
    assert "raise --field tool_calls=VALUE" in shown and f"--question {question} stop" in shown
    assert "  tool_calls (More tool calls): a whole number from 1 to 1000000, may be left out" in shown
    assert shell.call("show", "k").out.count("Set aside") == 1
    assert shell.call("answer", "k", *way, "--by", "ada").code == 0
    app = hf.App("sqlite:///holdfast.db", settings=hf.Settings(quiet_s=0.01))
    if way == ["stop"]:
        with pytest.raises(hf.errors.BudgetExceeded, match="ada said no"):
            app.run_sync(spends, 2, key="k")
    else:
        assert app.run_sync(spends, 2, key="k") == [0, 1]


@hf.tool(effect="once")
async def pays_once(cents: int) -> int:
    """Is part of the record."""
    return cents


@hf.agent(name="shop", escalate="oncall")
async def old(run: hf.Run, given: int) -> list[Any]:
    """The code that the run began with."""
    return [await pays_once(1), (await run.ask("Go on?", options=["yes"])).value]


@hf.agent(name="shop", escalate="oncall")
async def new(run: hf.Run, given: int) -> list[Any]:
    """The code of the next deployment."""
    return [await pays_once(2), (await run.ask("Go on?", options=["yes"])).value]


@pytest.mark.parametrize("way", [["resume", "k"], ["answer", "k", "resume"]])
def test_a_blocked_run_is_resumed_by_the_command_or_by_the_answer(shell: Any, way: list[str]) -> None:
    """Lost: the command, to the question that offers the same."""
    begin(old, 1)
    answer(shell, "k", "yes")
    app = hf.App("sqlite:///holdfast.db", settings=hf.Settings(quiet_s=0.01, park_s=0.03))
    with pytest.raises(hf.errors.RunBlocked):
        app.run_sync(new, 1, key="k")
    (question,) = open_ids(shell)
    shown = shell.call("inbox", "show", question).out
    assert "The code of shop does not match its record" in shown and "It stays open" in shown
    assert shell.call(*way, "--by", "ada").code in (0, 75)
    assert hf.App("sqlite:///holdfast.db").run_sync(old, 1, key="k") == [1, "yes"] and open_ids(shell) == []
