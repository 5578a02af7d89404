"""What `import holdfast` gives, and what it costs: the surface that users build on."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys

import pytest

import holdfast

HEAVY = ("pydantic", "asyncio", "apsw", "rich", "click", "httpx2", "anthropic")


def _loaded_by(code: str) -> list[str]:
    """Which of `HEAVY` a fresh interpreter has loaded after `code`."""
    command = [sys.executable, "-c", f"{code}; import json, sys; print(json.dumps(sorted(sys.modules)))"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    modules = json.loads(done.stdout)
    return [name for name in HEAVY if name in modules]


def test_importing_it_loads_no_third_party_and_no_event_loop() -> None:
    """Lost: a command line that answers at once, and a library that costs nothing until it is used."""
    assert _loaded_by("import holdfast") == []


def test_the_check_itself_finds_what_it_looks_for() -> None:
    """Lost: the test above, if it looked at the wrong process."""
    assert "asyncio" in _loaded_by("import holdfast; holdfast.App")


@pytest.mark.parametrize("name", holdfast.__all__)
def test_every_name_in_all_can_be_imported(name: str) -> None:
    """Lost: a name that completion offers and that fails when it is used."""
    assert getattr(holdfast, name) is not None
    assert name in dir(holdfast)


def test_all_is_what_type_checkers_see() -> None:
    """Lost: a name that works at run time and is unknown to mypy, or the other way round."""
    source = inspect.getsource(holdfast)
    listed = [line.split(" as ")[1] for line in source.splitlines() if line.startswith("    from holdfast.")]
    assert sorted(["errors", *listed]) == sorted(holdfast.__all__)
    assert len(set(holdfast.__all__)) == len(holdfast.__all__)


def test_there_are_about_thirty_names() -> None:
    """Lost: a surface that fits into one head. A new name needs a reason, and one of these numbers changed."""
    assert (
        25 <= len(holdfast.__all__) <= 43
    )  # a raw loop: Toolset, for_model, ForModel; its memory: search_runs, Project, Session


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """Lost: `hasattr`, and every tool that asks before it takes."""
    assert not hasattr(holdfast, "Workflow")
    with pytest.raises(AttributeError, match="Workflow"):
        _ = holdfast.Workflow  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(set(holdfast.__all__) - {"INJECTED", "ONE_REQUEST"}))
def test_every_public_thing_says_what_it_is(name: str) -> None:
    """Lost: help(holdfast.X), which is where people look first. (The two constants are texts; see the reference.)"""
    thing = getattr(holdfast, name)
    assert thing.__doc__ and thing.__doc__.strip()
    for member, value in vars(thing).items() if inspect.isclass(thing) else ():
        if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert inspect.getdoc(value), f"{name}.{member}"


def test_every_public_module_says_what_it_is() -> None:
    """Lost: the reader of a traceback who opens the file."""
    homes = {getattr(getattr(holdfast, name), "__module__", None) or "holdfast" for name in holdfast.__all__}
    assert [home for home in sorted(homes) if not importlib.import_module(home).__doc__] == []
