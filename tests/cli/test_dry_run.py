"""`holdfast run --dry-run` and `--policy`: what would be run, before anything is.

If these fail, an operator learns from the bill what a run could cost, and under which policies it was made.
"""

from __future__ import annotations

from typing import Any

AGENT = """
import holdfast as hf

@hf.tool(effect="read", retry=hf.Retry(attempts=4, wait=0))
async def look(what: str) -> str:
    open("begun", "w").close()
    raise ConnectionError("gone")

@hf.agent(budget=hf.Budget(usd=2, tokens=1000, tool_calls=20), models=["our-model"])
async def shop(run: hf.Run, what: str) -> str:
    return await look(what)

@hf.agent
async def plain(run: hf.Run, what: str) -> str:
    return await look(what)
"""
PRICES = '[prices."our-model"]\ninput = 3\noutput = 15\n'


def test_it_shows_caps_prices_tools_and_policies_and_starts_nothing(shell: Any) -> None:
    """Lost: the look before the leap."""
    shell.write(AGENT, "shop.py")
    shell.write(PRICES + '[tools.look]\ntimeout = "5s"\n[budget.day]\nusd = 50\n', "holdfast.toml")
    order = ("run", "shop.py:shop", "x", "--key", "k", "--dry-run", "--policy", "look.retry.attempts=2")
    said = shell.run(*order)
    assert said.code == 0, said.err
    assert "agent shop" in said.out and "usd $2.0000" in said.out and "tokens 1000" in said.out
    assert "model our-model: $3 in, $15 out per million" in said.out
    assert "tool look (read): retry.attempts=2" in said.out and "timeout_s=5.0" in said.out
    assert "at most $0.0165: 1000 tokens, all of the dearest sort of our-model" in said.out
    assert "at most 20 tool calls: the cap on tool_calls" in said.out
    assert "all runs, day: usd $50.0000" in said.out and "Nothing was started." in said.out
    picture = shell.run(*order, "--json").document
    assert picture["models"] == [
        {"name": "our-model", "price": {"input": 3.0, "output": 15.0, "source": "holdfast.toml"}}
    ]
    most = picture["most"]
    assert (most["tool_calls"]["most"], most["tokens"]["most"], most["model_calls"]["most"]) == (20, 1000, None)
    assert most["usd"]["most"] == 0.0165, "1,000 tokens of the dearest sort, in the dearest tier"
    assert picture["limits"]["usd_nano"] == 2_000_000_000 and not picture["is_default"]
    (look,) = (tool for tool in picture["tools"] if tool["name"] == "look")
    assert look["policy"]["retry"]["attempts"] == 2 and look["policy"]["timeout_s"] == 5.0
    assert not list(shell.home.glob("*.db*")) and not (shell.home / "begun").exists()


def test_a_cap_in_usd_without_a_price_is_2(shell: Any) -> None:
    """Lost: a dry run that promises what the run will refuse."""
    shell.write(AGENT, "shop.py")
    said = shell.run("run", "shop.py:shop", "x", "--key", "k", "--dry-run")
    assert said.code == 2 and "the price of our-model is not known" in said.err
    assert not list(shell.home.glob("*.db*"))


def test_a_run_without_a_budget_shows_the_defaults(shell: Any) -> None:
    """Lost: caps that nobody stated, found out at the stop."""
    shell.write(AGENT, "shop.py")
    said = shell.run("run", "shop.py:plain", "x", "--key", "k", "--dry-run")
    assert said.code == 0 and "tool_calls 1000" in said.out and "the defaults" in said.out
    assert shell.run("run", "shop.py:plain", "x", "--key", "k", "--dry-run", "--policy", "look.speed=1").code == 2


def test_a_policy_on_the_command_line_holds_for_the_run_and_is_named_in_how_to_go_on(shell: Any) -> None:
    """Lost: the same run goes on under another policy than it began with."""
    shell.write(AGENT, "shop.py")
    flag = ("--policy", "look.retry.attempts=1")
    said = shell.run("run", "shop.py:plain", "x", "--key", "k", *flag)
    assert said.code == 1 and f"{flag[0]} {flag[1]}" in said.err
    gave_up = [line for line in shell.call("show", "k", "--json").document["decisions"] if line["what"] == "give up"]
    assert "attempt 1 of 1 failed" in gave_up[0]["because"]
    said = shell.run("resume", "k", "shop.py:plain", "--policy", "look.retry.attempts=2")
    assert said.code == 1
    lines = shell.call("show", "k", "--json").document["decisions"]
    assert [line["what"] for line in lines if line["what"] in ("config", "retry")] == ["config", "retry"]
