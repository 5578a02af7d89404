"""[channels.…] of the kinds slack and apprise: what is misspelt, or would be heard by nobody, is refused at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import PolicyInvalid
from holdfast.inbox.config import load
from holdfast.inbox.directory import Apprise, FromEnvironment, Slack
from holdfast.inbox.load import load as loaded
from holdfast.inbox.picture import picture

WHOLE = """
[people.ada]
slack = "U012AB3CD"
apprise = "env:ADA_PHONE"
[people.bob]
slack = "U012AB3CE"
[channels.chat]
kind = "slack"
token = "env:SLACK_TOKEN"
team = "T012AB3CD"
app = "A012AB3CD"
signing_secret = "env:SIGNING"
app_token = "env:APP_TOKEN"
shows_call = true
[channels.push]
kind = "apprise"
[chains.finance]
levels = [{ to = ["ada", "bob"], by = ["push", "chat"] }]
"""
ENVIRON = {"SLACK_TOKEN": "xoxb-1", "ADA_PHONE": "json://localhost"}


def written(tmp_path: Path, text: str) -> Path:
    """A file with this text."""
    file = tmp_path / "holdfast.toml"
    file.write_text(text, "utf-8")
    return file


def test_all_of_it(tmp_path: Path) -> None:
    """Lost: what stands in the file is not what is done."""
    directory = load(written(tmp_path, WHOLE))
    assert directory.channels == {
        "chat": Slack(
            name="chat",
            token=FromEnvironment("SLACK_TOKEN"),
            team="T012AB3CD",
            app="A012AB3CD",
            signing=(FromEnvironment("SIGNING"),),
            app_token=FromEnvironment("APP_TOKEN"),
            shows_call=True,
        ),
        "push": Apprise(name="push"),
    }
    assert directory.ways("ada", ("push", "chat")) == ("push", "chat")
    assert directory.ways("bob", ("push", "chat")) == ("chat",)
    assert (directory.by_slack("U012AB3CE"), directory.by_slack("U0NOBODY"), directory.by_slack("")) == ("bob", "", "")
    drawn = "\n".join(picture(directory, 1_800_000_000.0))
    assert "buttons by /slack of holdfast serve and Socket Mode" in drawn and "own URL" in drawn


def test_a_worker_that_only_tells_needs_no_secret_of_those_that_hear(tmp_path: Path) -> None:
    """Lost: the signing secret lies in the environment of each worker, and so of each agent's tools."""
    pytest.importorskip("apprise", reason="needs apprise")
    assert loaded(written(tmp_path, WHOLE), ENVIRON, lambda: 0.0) is not None
    for missing in ENVIRON:
        left = {name: value for name, value in ENVIRON.items() if name != missing}
        with pytest.raises(PolicyInvalid, match=rf"needs {missing}, which the environment does not have"):
            loaded(written(tmp_path, WHOLE), left, lambda: 0.0)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('slack = "U012AB3CD"', 'slack = "@ada"', "[people.ada] has slack = '@ada', which is no member id"),
        ('slack = "U012AB3CE"', 'slack = "U012AB3CD"', "[people.bob] has the slack = 'U012AB3CD' of ada"),
        ('apprise = "env:ADA_PHONE"', 'apprise = "tgram://token"', "must not hold apprise itself"),
        ('token = "env:SLACK_TOKEN"', 'token = "xoxb-1"', "must not hold token itself"),
        ('token = "env:SLACK_TOKEN"', "", "must not hold token itself"),
        ('signing_secret = "env:SIGNING"', 'signing_secret = "s"', "must not hold signing_secret itself"),
        ('app_token = "env:APP_TOKEN"', 'app_token = "xapp-1"', "must not hold app_token itself"),
        ('team = "T012AB3CD"', "", "[channels.chat] has buttons, and no team whose buttons count. Write team ="),
        ('app = "A012AB3CD"', 'app = "ours"', "[channels.chat] has buttons, and no app whose buttons count"),
        ("shows_call = true", "shows_call = 1", "[channels.chat] has shows_call = 1"),
        ("shows_call = true", 'url = "http://slack.com/api"', "which is no https URL"),
        ("shows_call = true", "shows_cal = true", "says 'shows_cal', which is not understood"),
        ('kind = "apprise"', 'kind = "apprise"\nurl = "json://x"', "says 'url', which is not understood"),
        (
            'signing_secret = "env:SIGNING"\napp_token = "env:APP_TOKEN"\n',
            "",
            "[channels.chat] shows calls, and hears no answer",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    """Lost: a mistake that shows at night."""
    assert old in WHOLE
    with pytest.raises(PolicyInvalid) as refused:
        load(written(tmp_path, WHOLE.replace(old, new, 1)))
    assert told in str(refused.value) and "xoxb-1" not in str(refused.value)
