"""Credentials in texts that leave the record.

If these fail, a search shows a key that stood in the input of a run, also to an agent.
"""

import pytest

from holdfast.core.credential import HIDDEN, is_secret, without

SECRETS = (
    "sk-ant-" + "a1B2c3D4" * 4,
    "sk_live_" + "51H8abcdefghijklmnop",
    "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2",
    "github_pat_" + "11ABCDEFG0abcdefghijkl",
    "xoxb-" + "123456789012-abcdefABCDEF",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
)


@pytest.mark.parametrize("secret", SECRETS)
def test_what_providers_mint_is_hidden(secret: str) -> None:
    """Lost: the keys that are pasted most."""
    for text in (secret, f"use {secret}.", f'{{"a":"{secret}"}}', f"https://x.example/?k={secret}&b=1"):
        assert secret not in without(text) and HIDDEN in without(text)


@pytest.mark.parametrize(
    "text",
    [
        "password=correcthorse",
        '"api_key": "abcdefgh1"',
        "DB_PASSWORD: hunter2hunter2",
        "Authorization: Bearer abcdefgh12345678",
        "x-api-key = 0a1b2c3d4e5f",
        "postgres://ada:s3cret@db/x",
        "client_secret='zyxwvuts'",
    ],
)
def test_what_a_name_calls_secret_is_hidden(text: str) -> None:
    """Lost: passwords in settings and addresses."""
    shown = without(text)
    assert HIDDEN in shown
    for value in ("correcthorse", "abcdefgh", "hunter2", "0a1b2c3d", "s3cret", "zyxwvuts"):
        assert value not in shown


def test_a_private_key_is_hidden_as_a_whole() -> None:
    """Lost: the one text of which a part is enough."""
    begin, end = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
    assert without(f"a {begin}\nMIIE\n{end} b") == f"a {HIDDEN} b"
    assert "MIIE" not in without(f"{begin}\nMIIE cut off")


def test_what_is_none_stays() -> None:
    """Lost: texts in which everything is hidden, which nobody finds."""
    for text in (
        "1500 tokens were used",
        "tokens: 150000",
        "the author: Christopher",
        "sk-8",
        "a task-force",
        "key-4711",
    ):
        assert without(text) == text
    assert [name for name in ("author", "authors", "key", "keyboard", "customer", "session") if is_secret(name)] == []
    assert all(map(is_secret, ("password", "apiKey", "API_KEY", "auth", "access_token", "Set-Cookie", "pwd")))


def test_it_is_linear_in_a_text_that_was_made_to_hurt() -> None:
    """Lost: a search that one run brings to a stand."""
    for piece in ("sk-", "eyJ", "password=", "-----BEGIN PRIVATE KEY-----", "://", "auth" * 3, "Bearer "):
        without(piece * (64_000 // len(piece)))
