"""People, channels, rotas, chains: an operator's typing error must not become a question that nobody hears."""

from __future__ import annotations

from datetime import datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from holdfast.core.chain import Reach
from holdfast.errors import PolicyInvalid
from holdfast.inbox.config import load
from holdfast.inbox.directory import Chain, Directory, Email, FromEnvironment, Step, Webhook
from holdfast.inbox.picture import picture, warnings
from holdfast.runtime import config

ZURICH = ZoneInfo("Europe/Zurich")
WHOLE = """
[people.ada]
email = "ada@example.com"
zone = "Europe/Zurich"
quiet = "22:00-07:00"
per_hour = 5
[people.bob]
slack = "U012AB3CD"
[people.eve]
email = "eve@example.com"

[channels.mail]
kind = "email"
host = "smtp.example.com"
from = "holdfast@example.com"
user = "holdfast"
password = "env:SMTP_PASSWORD"
[channels.hook]
kind = "webhook"
url = "https://example.com/in"
secret = ["env:NEW", "env:OLD"]

[rotas.oncall]
people = ["ada", "bob"]
from = "2026-01-05T09:00"
turns = "1w"
zone = "Europe/Zurich"
off = [{ who = "ada", from = 2026-02-03, to = "2026-02-04T12:00" }, { who = "bob", from = 2026-02-03, to = 2026-02-04 }]

[chains.finance]
levels = [
  { to = ["eve"], by = ["mail", "hook"], wait = "15m" },
  { to = ["oncall"], by = ["hook"] },
]
repeat = 1
ack = "1h"
[chains.default]
levels = [{ to = ["ada", "eve"], by = ["mail"], wait = "1h" }]
repeat = 0
"""


def at(*when: int) -> float:
    """A wall clock in Zurich, as a time."""
    return datetime(*when, tzinfo=ZURICH).timestamp()  # type: ignore[misc,arg-type]


def written(tmp_path: Path, text: str) -> Path:
    """A file with this text."""
    file = tmp_path / "holdfast.toml"
    file.write_text(text, "utf-8")
    return file


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """The whole one."""
    return load(written(tmp_path, WHOLE))


def test_what_is_declared_is_read(directory: Directory) -> None:
    """Lost: a setting that everybody believes in and nothing follows."""
    ada = directory.people["ada"]
    assert ada.email == "ada@example.com" and ada.quiet is not None and ada.per_hour == 5
    assert (ada.quiet.begins, ada.quiet.ends, ada.quiet.zone) == (time(22), time(7), ZURICH)
    mail, hook = directory.channels["mail"], directory.channels["hook"]
    assert isinstance(mail, Email) and (mail.port, mail.tls) == (587, "starttls")
    assert mail.password == FromEnvironment("SMTP_PASSWORD")
    assert isinstance(hook, Webhook) and hook.secrets == (FromEnvironment("NEW"), FromEnvironment("OLD"))
    assert directory.rotas["oncall"].on_call(at(2026, 1, 13, 9)) == "bob"
    steps = (Step(("eve",), ("mail", "hook"), 900.0), Step(("oncall",), ("hook",), 600.0))
    assert directory.chains["finance"] == Chain("finance", steps, 1, 3600.0)


def test_the_runtime_reads_the_same_file(tmp_path: Path) -> None:
    """Lost: a worker that refuses to start since somebody can be asked."""
    assert config.load(written(tmp_path, WHOLE)).tools == {}


def test_without_a_word_there_is_nobody(tmp_path: Path) -> None:
    """Lost: an App without chains that does not open."""
    assert load(written(tmp_path, "")) == Directory({}, {}, {}, {})


def test_a_plan_names_who_is_on_call_then_and_how_they_can_be_told(directory: Directory) -> None:
    """Lost: whoever was on call when the process began is called for weeks."""
    finance = directory.chains["finance"]
    first = directory.plan(finance, at(2026, 1, 6, 12), deadline=None, is_urgent=False)
    assert [level.people for level in first.levels] == [
        (Reach("eve", ("mail", "hook")),),
        (Reach("ada", ("hook",)),),
    ]
    night = directory.plan(finance, at(2026, 1, 6, 23), deadline=5.0, is_urgent=True)
    assert night.quiet_until == {"ada": at(2026, 1, 7, 7)} and (night.deadline, night.is_urgent) == (5.0, True)
    later = directory.plan(finance, at(2026, 1, 13, 12), deadline=None, is_urgent=False)
    assert later.levels[1].people == (Reach("bob", ("hook",)),)
    gap = directory.plan(finance, at(2026, 2, 3, 12), deadline=None, is_urgent=False)
    assert gap.levels[1].people == ()


def test_by_which_chain_a_question_goes(directory: Directory) -> None:
    """Lost: a question to a person that goes to nobody, since no chain is called so."""
    assert directory.chain_for("finance") is directory.chains["finance"]
    assert directory.chain_for("") is directory.chains["default"]
    assert directory.chain_for("somebody else") is directory.chains["default"]
    alone = directory.chain_for("eve")
    assert alone is not None and alone.levels == (Step(("eve",), ("mail", "hook"), 600.0),)
    rota = directory.chain_for("oncall")
    assert rota is not None and rota.levels[0].to == ("oncall",)
    assert Directory().chain_for("finance") is None


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[people.bob]", "[people.bob]\nphone = 1", "[people.bob] says 'phone', which is not understood. There are"),
        ('email = "ada@example.com"', 'email = "ada"', "[people.ada] has email = 'ada', which is no address"),
        ('email = "ada@example.com"', 'email = "a\\nb@x.org"', "which is no line of text"),
        ('email = "ada@example.com"', "email = 1", "which is no line of text"),
        ('zone = "Europe/Zurich"\nquiet', 'zone = "Europe/Zurch"\nquiet', "which this system knows no time zone by"),
        ("per_hour = 5", "per_hour = 0", "per_hour"),
        ("per_hour = 5", "per_hour = 501", "per_hour"),
        ('zone = "Europe/Zurich"\nquiet', "quiet", '[people.ada] does not say zone. Write zone = "Europe/Zurich"'),
        ('"22:00-07:00"', '"22-7"', "which is no span of a day"),
        ('"22:00-07:00"', '"22:00-22:00"', "which is no span of a day"),
        ('kind = "email"', 'kind = "pigeon"', "[channels.mail] is of the kind 'pigeon'"),
        ('kind = "email"', "", "[channels.mail] does not say kind"),
        ('host = "smtp.example.com"', "", "[channels.mail] does not say host"),
        ('host = "smtp.example.com"', 'host = "h"\nport = 0', "[channels.mail] has port = 0. Write a whole number"),
        ('host = "smtp.example.com"', 'host = "h"\nport = true', "[channels.mail] has port = True"),
        ('host = "smtp.example.com"', 'host = "h"\ntls = "no"', "[channels.mail] has tls = 'no'"),
        ('host = "smtp.example.com"', 'host = "h"\ntls = "none"', "would send the password in the clear"),
        ('from = "holdfast@example.com"', 'from = "holdfast"', "has from = 'holdfast', which is no address"),
        ('user = "holdfast"\n', "", "has only one of user and password"),
        ('"env:SMTP_PASSWORD"', '"hunter2"', "must not hold password itself"),
        ('"https://example.com/in"', '"http://example.com/in"', "which is no https URL"),
        ('"https://example.com/in"', '"https://a:b@example.com/in"', "has a password in its url"),
        ('"https://example.com/in"', '"https://[::1/in"', "which is no URL"),
        ('["env:NEW", "env:OLD"]', '["whsec_secret"]', "must not hold secret itself"),
        ('secret = ["env:NEW", "env:OLD"]', "", "must not hold secret itself"),
        ('secret = ["env:NEW", "env:OLD"]', 'secret = "env:A"\nallow = "x"', "has allow = 'x'"),
        ('people = ["ada", "bob"]', 'people = ["ada", "bib"]', "names 'bib' in people, which is none of the people of"),
        ('people = ["ada", "bob"]', "people = []", "which is no list of people"),
        ('from = "2026-01-05T09:00"', 'from = "monday"', "which is no moment"),
        ('from = "2026-01-05T09:00"', "", "has from = None, which is no moment"),
        ('turns = "1w"', 'turns = "1m"', "has turns = '1m'. Write from 3600 s to 90 d"),
        ('turns = "1w"', 'turns = "a week"', "[rotas.oncall] has turns = 'a week'"),
        ('who = "ada", from', 'who = "eva", from', "[rotas.oncall] off, number 1, names 'eva'"),
        ('to = "2026-02-04T12:00"', 'to = "2026-02-01"', "ends at 2026-02-01 00:00:00, not after 2026-02-03 00:00:00"),
        ("[rotas.oncall]", "[rotas.eve]", "[rotas.eve] is the name of a person, too"),
        ("[chains.default]", "[chains.eve]", "[chains.eve] is the name of a person or a rota, too"),
        ('to = ["eve"]', 'to = ["evi"]', "[chains.finance] level 1 names 'evi' in to, which is none of the people and"),
        (
            'by = ["hook"]',
            'by = ["hoook"]',
            "[chains.finance] level 2 names 'hoook' in by, which is none of the",
        ),
        ('by = ["hook"]', 'by = ["mail"]', "[chains.finance] level 2 cannot reach bob by mail"),
        ('wait = "15m"', 'wait = "1s"', "[chains.finance] level 1 has wait = '1s'. Write from 10 s"),
        ('wait = "15m"', "wayt = 1", "[chains.finance] level 1 says 'wayt', which is not understood"),
        (
            'levels = [{ to = ["ada", "eve"], by = ["mail"], wait = "1h" }]',
            "levels = []",
            "[chains.default] has 0",
        ),
        ("repeat = 1", "repeat = -1", "[chains.finance] has repeat = -1"),
        ('ack = "1h"', "ack = 0", "[chains.finance] has ack = 0"),
        ("[chains.finance]", '[chains."fin ance"]', "[chains] names 'fin ance'. Use letters"),
    ],
)
def test_every_mistake_is_named_with_what_to_write(tmp_path: Path, old: str, new: str, told: str) -> None:
    """Lost: a chain that looks whole in the file and tells nobody; or hours over a message that names no line."""
    assert WHOLE.count(old) >= 1
    with pytest.raises(PolicyInvalid) as refused:
        load(written(tmp_path, WHOLE.replace(old, new, 1)))
    said = str(refused.value)
    assert told in said and "holdfast.toml" in said and said.endswith("Nothing was started.")


def test_a_table_that_is_none(tmp_path: Path) -> None:
    """Lost: an error of Python where a word would do."""
    with pytest.raises(PolicyInvalid, match=r"\[people\] must be a table. Write \[people.ada\] with email"):
        load(written(tmp_path, "people = 1"))
    with pytest.raises(PolicyInvalid, match=r"\[people.ada\] must be a table"):
        load(written(tmp_path, "[people]\nada = 1"))


def test_a_secret_that_stands_in_the_file_is_not_repeated(tmp_path: Path) -> None:
    """Lost: the password is in the log, too."""
    with pytest.raises(PolicyInvalid) as refused:
        load(written(tmp_path, WHOLE.replace("env:SMTP_PASSWORD", "hunter2")))
    assert "hunter2" not in str(refused.value)


def test_a_private_receiver_may_be_allowed_by_name(tmp_path: Path) -> None:
    """Lost: a receiver on the same machine cannot be used at all; or every private one can."""
    text = WHOLE.replace("https://example.com/in", "http://127.0.0.1:8080/in")
    text = text.replace('secret = ["env:NEW", "env:OLD"]', 'secret = "env:A"\nallow = ["127.0.0.1:8080"]')
    hook = load(written(tmp_path, text)).channels["hook"]
    assert isinstance(hook, Webhook) and hook.allow == ("127.0.0.1:8080",)


def test_when_nobody_will_be_on_call_is_said_before(directory: Directory) -> None:
    """Lost: the gap is found by the question that falls into it."""
    [said] = warnings(directory, at(2026, 1, 20))
    assert said == (
        "chain finance, level 2: nobody is on call from 2026-02-03 00:00 (Europe/Zurich) to 2026-02-04 00:00 "
        "(Europe/Zurich); the next level is told at once"
    )
    assert warnings(directory, at(2026, 2, 5)) == []


def test_a_level_has_a_gap_only_when_all_its_rotas_have(tmp_path: Path) -> None:
    """Lost: warnings that nobody reads any more, since most are about nothing."""
    second = """
[rotas.other]
people = ["eve"]
from = "2026-01-05T09:00"
zone = "UTC"
off = [{ who = "eve", from = 2026-02-03T20:00:00, to = 2026-02-08 }]
"""
    text = WHOLE.replace("[chains.finance]", f"{second}[chains.finance]").replace(
        'to = ["oncall"]', 'to = ["oncall", "other"]'
    )
    [gap] = load(written(tmp_path, text)).gaps(at(2026, 1, 20), at(2026, 2, 20))
    assert gap.shift[1:] == (at(2026, 2, 3, 21), at(2026, 2, 4))


def test_the_picture(directory: Directory) -> None:
    """Lost: who reads the file for the first time at night, and cannot tell who is called when."""
    golden = Path(__file__).parent / "picture.txt"
    assert [*picture(directory, at(2026, 1, 20)), ""] == golden.read_text("utf-8").split("\n")
