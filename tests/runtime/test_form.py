"""A question that is answered by filling in a form. Each test says what the agent would get otherwise."""

from __future__ import annotations

import dataclasses
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

import holdfast as hf
from holdfast.core import accept
from holdfast.core.events import Kind
from holdfast.core.form import checked, names
from holdfast.core.heads import Head, Status
from holdfast.errors import MessageRefused, RunBlocked, RunWaiting, UsageError

FORM = {
    "type": "object",
    "properties": {
        "street": {"type": "string", "minLength": 3, "title": "Street"},
        "boxes": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1},
    },
    "required": ["street"],
}


@dataclasses.dataclass
class Order:
    """Where it goes."""

    street: str
    by: date
    size: Literal["s", "l"] = "s"
    boxes: Annotated[int, Field(ge=1, le=9)] = 1
    note: str | None = None


class Model(BaseModel):
    """The same as a model."""

    street: str = Field(min_length=3)
    fragile: bool = False


class Table(TypedDict):
    """The same as a dict."""

    street: str
    boxes: int


def asking(form: Any, **more: Any) -> Any:
    """An agent that asks so, and says what it got."""

    @hf.agent(name="asks")
    async def agent(run: hf.Run, given: Any) -> Any:
        got = await run.ask("Where to?", form=form, **more)
        return [got.outcome, repr(got.value), got.by]

    return agent


def ask(world: Any, form: Any, **more: Any) -> Any:
    """The question is open."""
    agent = asking(form, **more)
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    return agent


def fill(world: Any, values: Any, value: Any = None) -> None:
    """A person answers from another process."""
    (question,) = world.head().questions
    world.play(lambda app: app.answer(world.id(), question.id, value, form=values, by="ada"))


def test_the_form_is_a_fact_of_the_question(world: Any) -> None:
    """Lost: who answers from elsewhere knows no field."""
    ask(world, FORM)
    (question,) = world.head().questions
    assert question.schema == checked(FORM) == world.events(Kind.QUESTION_ASKED)[0].facts["schema"]
    assert names(question.schema) == ["street", "boxes"], "in the order of the agent"
    assert Head.from_facts(world.head().facts()).questions == (question,)


def test_the_agent_gets_what_was_filled_in_with_the_defaults(world: Any) -> None:
    """Lost: an agent that has to look whether each field is there."""
    agent = ask(world, FORM)
    fill(world, {"street": "Main"})
    first = world.run(agent)
    assert first == ["answered", "{'boxes': 1, 'street': 'Main'}", "ada"]
    assert world.run(agent) == first


@pytest.mark.parametrize(
    ("form", "values", "got"),
    [
        (
            Order,
            {"street": "Main", "by": "2026-01-31", "size": "l"},
            "Order(street='Main', by=datetime.date(2026, 1, 31), size='l', boxes=1, note=None)",
        ),
        (Model, {"street": "Main", "fragile": True}, "Model(street='Main', fragile=True)"),
        (Table, {"street": "Main", "boxes": 2}, "{'street': 'Main', 'boxes': 2}"),
    ],
)
def test_a_class_comes_back_as_itself_also_on_replay(world: Any, form: Any, values: Any, got: str) -> None:
    """Lost: live and on replay the agent gets two different things."""
    seen: list[str] = []

    @hf.agent(name="asks")
    async def agent(run: hf.Run, given: Any) -> Any:
        seen.append(repr((await run.ask("Where to?", form=form)).value))
        return (await run.ask("Sure?", options=["yes"])).value

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    fill(world, values)
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    fill(world, None, "yes")
    assert world.run(agent) == "yes" and set(seen) == {got} and len(seen) >= 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"street": "ab"}, "Field 'street'"),
        ({"street": "Main", "boxes": 10}, "Field 'boxes'"),
        ({"boxes": 1}, "'street' is missing"),
        ({"street": "Main", "colour": "red"}, "no field 'colour'"),
        ({"street": "Ma\0n"}, "Field 'street'"),
        ({"street": "\ud800ain"}, "Field 'street'"),
    ],
)
def test_what_does_not_fit_is_refused_and_stores_nothing(world: Any, values: Any, said: str) -> None:
    """Lost: the question, to a wrong answer; or the run, which cannot read it."""
    agent = ask(world, FORM)
    before = world.store.mail(world.id())
    with pytest.raises(MessageRefused, match=said):
        fill(world, values)
    assert world.store.mail(world.id()) == before
    fill(world, {"street": "Main"})
    assert world.run(agent)[0] == "answered"


@pytest.mark.parametrize("value", ["Main street", None])
def test_a_text_is_no_filled_in_form(world: Any, value: Any) -> None:
    """Lost: an agent that asks for fields and gets a sentence."""
    ask(world, FORM)
    with pytest.raises(MessageRefused, match="is a form: it takes a value for street, boxes"):
        fill(world, None, value)
    with pytest.raises(MessageRefused, match="carries no form"):
        fill(world, {"street": "Main"}, "also this")


def test_a_form_is_no_answer_to_what_is_none(world: Any) -> None:
    """Lost: an option that is taken by nobody."""

    @hf.agent(name="asks")
    async def agent(run: hf.Run, given: Any) -> Any:
        return (await run.ask("Well?", options=["yes", "no"])).value

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    with pytest.raises(MessageRefused, match="is no form"):
        fill(world, {"street": "Main"}, "yes")


def test_what_counts_is_what_was_checked(world: Any) -> None:
    """Lost: a forged body beside the fields that the guard has looked at."""
    agent = ask(world, FORM)
    (question,) = world.head().questions
    forged = accept.answer(question.id, choice=None, by="eve", body=b'{"street":"x"}', form={"street": "Main"})
    assert world.store.post(world.id(), "m1", forged).is_stored
    assert world.run(agent)[1] == "{'boxes': 1, 'street': 'Main'}"


def test_instead_of_the_form_an_option_may_be_taken(world: Any) -> None:
    """Lost: whoever cannot fill it in has no way to say so."""
    agent = ask(world, Order, options=["not ours"])
    with pytest.raises(MessageRefused, match="or one of: not ours"):
        fill(world, None, "maybe")
    fill(world, None, "not ours")
    assert world.run(agent) == ["answered", "'not ours'", "ada"]


@pytest.mark.parametrize(
    ("form", "default", "got"),
    [
        (FORM, {"street": "Main"}, "{'street': 'Main'}"),
        (Model, Model(street="Main"), "Model(street='Main', fragile=False)"),
        (
            Order,
            Order("Main", date(2026, 1, 31)),
            "Order(street='Main', by=datetime.date(2026, 1, 31), size='s', boxes=1",
        ),
        (Order, {"street": "Main", "by": "2026-01-31"}, "Order(street='Main', by=datetime.date(2026, 1, 31), size='s'"),
        (Table, {"street": "Main", "boxes": 2}, "{'street': 'Main', 'boxes': 2}"),
        (FORM, None, "None"),
    ],
    ids=["schema", "model", "dataclass", "its fields", "table", "none"],
)
def test_nobody_answers_in_time(world: Any, form: Any, default: Any, got: str) -> None:
    """Lost: a default of another shape than the answer."""
    agent = ask(world, form, within="1h", default=default)
    world.clock.by_s += 3_601
    outcome, value, by = world.run(agent)
    assert (outcome, by) == ("expired", "") and value.startswith(got)


@pytest.mark.parametrize(
    "how",
    [
        {"form": {"type": "object"}},
        {"form": int},
        {"form": "street"},
        {"form": FORM, "within": "1h", "default": {"boxes": 1}},
        {"form": FORM, "within": "1h", "default": "Main"},
        {"form": Order, "within": "1h", "default": {"street": "Main", "by": "soon"}},
    ],
    ids=str,
)
def test_what_cannot_be_filled_in_is_refused_before_anybody_is_asked(world: Any, how: Any) -> None:
    """Lost: a run that waits for an answer that nobody can give."""

    @hf.agent(name="asks")
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            await run.ask("Where to?", **how)
        except UsageError as refused:
            return str(refused)

    assert "Nothing was asked" in world.run(agent)
    assert Kind.QUESTION_ASKED not in world.kinds()


def test_code_that_does_not_take_what_was_filled_in_blocks_the_run(world: Any) -> None:
    """Lost: an agent that goes on with half an answer after a deployment."""
    ask(world, FORM)
    fill(world, {"street": "Main"})
    with pytest.raises(RunBlocked):
        world.run(asking(Order))
    assert world.head().status is Status.SUSPENDED
    assert "ask: what was filled in" in str(world.events(Kind.RUN_SUSPENDED)[-1].facts["difference"])
