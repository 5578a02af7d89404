"""Features: what a project is to be able to do, and the check that says whether it does.

A list of features is plain data until a person has frozen it: from then on its `digest` says which list that was, and
the check of each is what decides (`core.board`). An agent can say that a feature is done; what counts is what holdfast
saw when it ran the check (`Result`, `judged`). Pure.

Invariants
1. What is malformed is refused whole, with the feature and the field that is wrong.
2. `digest` covers all of a list, in its order: another check, step or priority is another digest.
3. A check that did not run, or ran nothing, has not passed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from holdfast.core.policy import seconds
from holdfast.errors import PolicyInvalid, UsageError

KINDS: Final = ("command", "pytest", "http", "python")
FEATURES_MAX: Final = 1_000
TEXT_MAX: Final = 2_000
STEPS_MAX: Final = 50
PINS_MAX: Final = 50
TIMEOUT_S: Final = 600.0
LINE_MAX: Final = 200
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_OF_SHELLS: Final = ("&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1")
_FIELDS: Final = ("id", "description", "steps", "check", "priority", "after")
_CHECK_FIELDS: Final = (*KINDS, "status", "contains", "timeout", "pins", "artefacts")


@dataclass(frozen=True, slots=True)
class Check:
    """How it is found out whether a feature is there; holdfast runs it, never the agent."""

    kind: str
    """command, pytest, http or python."""
    target: str
    """A command line (split as a shell would, run without one), a pytest id, a URL, or the name of a function."""
    timeout_s: float = TIMEOUT_S
    status: int = 200
    """Of an http check: the status that is wanted."""
    contains: str = ""
    """Of an http check: what the answer has to contain."""
    pins: tuple[str, ...] = ()
    """Files that the check is made of: as they were when the list was frozen, so they are put back before it runs."""
    artefacts: tuple[str, ...] = ()
    """Files that it makes and that are kept with its result; patterns as of a shell, within the directory."""

    @property
    def words(self) -> str:
        """On one line, with all that it asks for."""
        of_http = f" has status {self.status}" if self.kind == "http" else ""
        contains = f" and contains {self.contains!r}" if self.contains else ""
        return f"{self.kind}: {self.target}{of_http}{contains}"

    @property
    def argv(self) -> list[str]:
        """Of a command: what is run."""
        return shlex.split(self.target)


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that the project is to be able to do."""

    id: str
    description: str
    check: Check
    steps: tuple[str, ...] = ()
    """How a person would try it."""
    priority: int = 0
    """Higher ones come first; equal ones in the order of the list."""
    after: tuple[str, ...] = ()
    """Features that have to pass before work on this one begins."""
    pinned: Mapping[str, str] = field(default_factory=dict)
    """The check's pins by path: the id of each file's content, as git names it. Set when the list is frozen."""

    def facts(self) -> dict[str, Any]:
        """As plain data; `feature` reads it."""
        return asdict(self)


def of_facts(facts: Mapping[str, Any]) -> Feature:
    """The feature that `Feature.facts` wrote."""
    check = {**facts["check"], **{name: tuple(facts["check"][name]) for name in ("pins", "artefacts")}}
    lists = {name: tuple(facts[name]) for name in ("steps", "after")}
    return Feature(**{**facts, **lists, "check": Check(**check), "pinned": dict(facts.get("pinned", {}))})


def digest(features: Iterable[Feature]) -> str:
    """Of a whole list: what a person freezes is exactly this."""
    text = json.dumps([feature.facts() for feature in features], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- reading a list ----------------------------------------------------------------------------------------------


def features(data: Any) -> list[Feature]:
    """The features that a file or an agent lists: a list of tables, or a table with such a list under `features`."""
    listed = data.get("features", data) if isinstance(data, Mapping) else data
    if not isinstance(listed, Sequence) or isinstance(listed, str | bytes) or not listed:
        raise UsageError(
            'There is no list of features. Write a list of tables, such as {"id": "add", "description": "adds two '
            'numbers", "check": "pytest:tests/test_add.py"}. Nothing was done.'
        )
    if len(listed) > FEATURES_MAX:
        raise UsageError(f"{len(listed)} features are more than the {FEATURES_MAX} that one project holds.")
    found = [_feature(place, each) for place, each in enumerate(listed, 1)]
    _check_links(found)
    return found


def _feature(place: int, data: Any) -> Feature:
    if not isinstance(data, Mapping):
        raise UsageError(f"Feature {place} of the list is {data!r}, which is no table. Nothing was done.")
    name = data.get("id") or f"{place:03d}"
    where = f"Feature {name!r}"
    _only(where, data, _FIELDS)
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise UsageError(f"{where}: an id is 1 to 80 of a-z, 0-9, dot, dash and underscore. Nothing was done.")
    description = _text(where, "description", data.get("description"))
    priority = data.get("priority", 0)
    if type(priority) is not int:
        raise UsageError(f"{where}: priority = {priority!r} is no whole number. Nothing was done.")
    return Feature(
        id=name,
        description=description,
        check=_check(where, data.get("check")),
        steps=_texts(where, "steps", data.get("steps", ()), STEPS_MAX),
        priority=priority,
        after=_texts(where, "after", data.get("after", ()), FEATURES_MAX),
    )


def _check(where: str, data: Any) -> Check:
    if isinstance(data, str):
        kind, colon, target = data.partition(":")
        known = colon and kind in KINDS
        data = {kind: target.strip()} if known and kind != "http" else {_kind_of(data): data}
    if not isinstance(data, Mapping):
        raise UsageError(
            f"{where} has no check, so nothing could say that it is done. Nothing was done. Write check = "
            '"pytest:tests/test_add.py", "command:python tool.py 1 2", "http://127.0.0.1:8000/" or "python:adds".'
        )
    _only(f"{where}, check", data, _CHECK_FIELDS)
    kinds = [kind for kind in KINDS if kind in data]
    if len(kinds) != 1:
        raise UsageError(f"{where}: a check is one of {', '.join(KINDS)}. Nothing was done.")
    status = data.get("status", 200)
    if type(status) is not int or not 100 <= status <= 599:
        raise UsageError(f"{where}: status = {status!r} is no HTTP status. Nothing was done.")
    check = Check(
        kind=kinds[0],
        target=_text(where, kinds[0], data[kinds[0]]),
        timeout_s=_timeout(where, data.get("timeout", TIMEOUT_S)),
        status=status,
        contains=_text(where, "contains", data.get("contains", ""), may_be_empty=True),
        pins=_paths(where, "pins", data.get("pins", ())),
        artefacts=_paths(where, "artefacts", data.get("artefacts", ())),
    )
    _check_target(where, check)
    return check


def _kind_of(text: str) -> str:
    return "http" if text.startswith(("http://", "https://")) else "command"


def _check_target(where: str, check: Check) -> None:
    if check.kind == "command":
        try:
            wrong = "" if check.argv else "is empty"
            if meant := [word for word in check.argv if word in _OF_SHELLS]:
                wrong = f"is run without a shell, where {meant[0]} means nothing; write sh -c '...'"
        except ValueError as error:
            wrong = f"cannot be split: {error}"
    elif check.kind == "http":
        parts = urlsplit(check.target)
        wrong = "" if parts.scheme in ("http", "https") and parts.hostname else "is no http(s) URL"
    else:
        wrong = "begins with a dash" if check.target.startswith("-") else ""
    if wrong:
        raise UsageError(f"{where}: its {check.kind} check {check.target!r} {wrong}. Nothing was done.")


def _timeout(where: str, given: Any) -> float:
    try:
        return seconds(given, "timeout")
    except (PolicyInvalid, TypeError) as wrong:
        raise UsageError(f"{where}: {wrong} Nothing was done.") from wrong


def _only(where: str, data: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = [name for name in data if name not in known]
    if unknown:
        raise UsageError(f"{where} says {unknown[0]!r}, which is not known: {', '.join(known)}. Nothing was done.")


def _text(where: str, name: str, value: Any, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str) or len(value) > TEXT_MAX or not (value.strip() or may_be_empty):
        raise UsageError(
            f"{where}: {name} = {value!r:.100} is no text of 1 to {TEXT_MAX} characters. Nothing was done."
        )
    return value.strip()


def _texts(where: str, name: str, value: Any, most: int) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) > most:
        raise UsageError(f"{where}: {name} = {value!r:.100} is no list of at most {most} texts. Nothing was done.")
    return tuple(_text(where, name, each) for each in value)


def _paths(where: str, name: str, value: Any) -> tuple[str, ...]:
    paths = _texts(where, name, value, PINS_MAX)
    for path in paths:
        if path.startswith(("/", "-")) or ".." in path.split("/") or "\\" in path:
            raise UsageError(f"{where}: {name} = {path!r} is no path within the directory. Nothing was done.")
    return paths


def _check_links(found: Sequence[Feature]) -> None:
    """Each id once; what a feature comes after is there, and not, over others, after it."""
    ids = [feature.id for feature in found]
    if twice := [name for name in ids if ids.count(name) > 1]:
        raise UsageError(f"Two features are called {twice[0]!r}. Nothing was done.")
    open_ones = {feature.id: set(feature.after) for feature in found}
    for name, after in open_ones.items():
        if strangers := after - open_ones.keys():
            raise UsageError(f"Feature {name!r} comes after {min(strangers)!r}, which is not there. Nothing was done.")
    while ready := [name for name, after in open_ones.items() if not after & open_ones.keys()]:
        for name in ready:
            del open_ones[name]
    if open_ones:
        raise UsageError(
            f"Features {', '.join(sorted(open_ones))} come after one another in a circle. Nothing was done."
        )


def listed(data: Iterable[Mapping[str, Any]]) -> list[Feature]:
    """The features that `Feature.facts` wrote; UsageError when `features` could not have read them."""
    try:
        found = [of_facts(each) for each in data]
        read = features([_table(each) for each in found])
    except (AttributeError, KeyError, TypeError, ValueError) as wrong:
        raise UsageError(f"This is no list of features as holdfast writes it: {wrong!r}. Nothing was done.") from wrong
    for feature, given in zip(read, found, strict=True):
        is_pinned = all(path in given.check.pins and isinstance(blob, str) for path, blob in given.pinned.items())
        if replace(feature, pinned=given.pinned) != given or not is_pinned:
            raise UsageError(f"Feature {feature.id!r} is not as holdfast writes it. Nothing was done.")
    return found


def _table(feature: Feature) -> dict[str, Any]:
    check = {**asdict(feature.check), feature.check.kind: feature.check.target, "timeout": feature.check.timeout_s}
    for name in ("kind", "target", "timeout_s"):
        del check[name]
    return {**{name: getattr(feature, name) for name in _FIELDS}, "check": check}


# --- what a check found ------------------------------------------------------------------------------------------


class Artefact(NamedTuple):
    """A file that a check made."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Result:
    """One performance of a check."""

    has_run: bool
    """False: it never came to say anything (not found, no test collected, nothing to ask)."""
    passed: bool
    why: str = ""
    """One line: why it did not pass, or did not run."""
    exit_code: int | None = None
    output: str = ""
    """The end of what it said; for people and the agent."""
    output_sha256: str = ""
    """Of all that it said."""
    took_s: float = 0.0
    artefacts: tuple[Artefact, ...] = ()


def as_result(facts: Mapping[str, Any]) -> Result:
    """The result whose fields `facts` has, as plain data."""
    return Result(**{**facts, "artefacts": tuple(Artefact(*each) for each in facts.get("artefacts", ()))})


class Verdict(NamedTuple):
    """What several performances of one check amount to."""

    passed: bool
    has_run: bool
    is_flaky: bool
    """It said one thing and then another, of the same tree."""
    because: str


RERUNS: Final = 2
"""How often a check that did not pass is performed again, to find out whether it is flaky."""


def wants_another(results: Sequence[Result]) -> bool:
    """Whether the check is to be performed once more before it is judged."""
    if results[0].passed or not results[-1].has_run or len(results) > RERUNS:
        return False
    return len(results) == 1 or results[-1].passed


def judged(results: Sequence[Result]) -> Verdict:
    """What these performances, one after the other on one tree, amount to.

    The first passes: passed. The first does not and the second does not: failed. They differ: flaky, and passed only
    when the last two passed.
    """
    first, last = results[0], results[-1]
    if first.passed and len(results) == 1:
        return Verdict(True, True, False, "passed")
    if not last.has_run:
        return Verdict(False, False, any(r.passed for r in results), last.why or "did not run")
    said = {result.passed for result in results}
    if len(said) == 1:
        return Verdict(
            first.passed,
            True,
            False,
            "passed" if first.passed else f"{first.why}, {len(results)} times{_last_line(last.output)}",
        )
    passed = len(results) > RERUNS and all(result.passed for result in results[-2:])
    count = sum(result.passed for result in results)
    return Verdict(passed, True, True, f"flaky: passed {count} of {len(results)} times")


def _last_line(output: str) -> str:
    """What a check said last, for whoever reads why it does not pass."""
    said = [line.strip() for line in output.splitlines() if line.strip()]
    return f": {said[-1][:LINE_MAX]}" if said else ""
