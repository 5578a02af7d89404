"""Features: what a project is to be able to do, and the check that says whether it does.

A list of features is plain data until a person has frozen it: from then on its `digest` says which list that was, and
the check of each is what decides (`core.board`), by what it found (`core.verdict`). Pure.

Invariants
1. What is malformed is refused whole, with the feature and the field that is wrong.
2. `digest` covers all of a list, in its order: another check, step or priority is another digest.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

from holdfast.core.policy import seconds
from holdfast.errors import PolicyInvalid, UsageError

KINDS: Final = ("command", "pytest", "http", "python")
FEATURES_MAX: Final = 1_000
TEXT_MAX: Final = 2_000
STEPS_MAX: Final = 50
PINS_MAX: Final = 50
TIMEOUT_S: Final = 600.0
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_OF_SHELLS: Final = ("&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1")
_FIELDS: Final = ("id", "description", "steps", "check", "priority", "after")
_LIST_FIELDS: Final = ("features", "checks")
_SHARED_FIELDS: Final = ("keep", "in_tree")
"""Of a check; under `checks` of the whole list they hold for each that does not say otherwise."""
_CHECK_FIELDS: Final = (*KINDS, "status", "contains", "timeout", "pins", "artefacts", *_SHARED_FIELDS)


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
    keep: tuple[str, ...] = ()
    """What git ignores and it needs, such as dependencies: linked from the working tree into its checkout."""
    in_tree: bool = False
    """It is performed in the working tree, not in a checkout of what is committed: what git ignores may make it
    pass."""

    @property
    def words(self) -> str:
        """On one line, with all that it asks for."""
        of_http = f" has status {self.status}" if self.kind == "http" else ""
        contains = f" and contains {self.contains!r}" if self.contains else ""
        return f"{self.kind}: {self.target}{of_http}{contains}{self.ground}"

    @property
    def ground(self) -> str:
        """Where it is performed, as words behind it; empty: nowhere, or in a checkout with nothing beside it."""
        if self.kind == "http":
            return ""
        if self.in_tree:
            return ", in the working tree with all that git ignores"
        return f", with {', '.join(self.keep)} of the working tree" if self.keep else ""

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
    fixed: Mapping[str, str] = field(default_factory=dict)
    """By path, the id of each file that tells a pinned pytest check how to run; empty: there was none when the list was
    frozen. They are so when the check is performed, and stay as they are in the tree."""

    def facts(self) -> dict[str, Any]:
        """As plain data; `feature` reads it."""
        return asdict(self)


def of_facts(facts: Mapping[str, Any]) -> Feature:
    """The feature that `Feature.facts` wrote."""
    check = {**facts["check"], **{name: tuple(facts["check"].get(name, ())) for name in ("pins", "artefacts", "keep")}}
    lists = {name: tuple(facts[name]) for name in ("steps", "after")}
    blobs = {name: dict(facts.get(name, {})) for name in ("pinned", "fixed")}
    return Feature(**{**facts, **lists, **blobs, "check": Check(**check)})


def digest(features: Iterable[Feature]) -> str:
    """Of a whole list: what a person freezes is exactly this."""
    text = json.dumps([feature.facts() for feature in features], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- reading a list ----------------------------------------------------------------------------------------------


def features(data: Any) -> list[Feature]:
    """The features that a file or an agent lists: a list of tables, or a table with such a list under `features`, and
    under `checks` what holds for all their checks."""
    listed = data.get("features", data) if isinstance(data, Mapping) else data
    shared = data.get("checks", {}) if isinstance(data, Mapping) else {}
    if not isinstance(listed, Sequence) or isinstance(listed, str | bytes) or not listed:
        raise UsageError(
            'There is no list of features. Write a list of tables, such as {"id": "add", "description": "adds two '
            'numbers", "check": "pytest:tests/test_add.py"}. Nothing was done.'
        )
    if len(listed) > FEATURES_MAX:
        raise UsageError(f"{len(listed)} features are more than the {FEATURES_MAX} that one project holds.")
    if isinstance(data, Mapping):
        _only("The list", data, _LIST_FIELDS)
    if not isinstance(shared, Mapping):
        raise UsageError(f"checks = {shared!r:.100} of the list is no table. Nothing was done.")
    _only("checks of the list", shared, _SHARED_FIELDS)
    found = [_feature(place, each, shared) for place, each in enumerate(listed, 1)]
    _check_links(found)
    return found


def _feature(place: int, data: Any, shared: Mapping[str, Any]) -> Feature:
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
        check=_check(where, data.get("check"), shared),
        steps=_texts(where, "steps", data.get("steps", ()), STEPS_MAX),
        priority=priority,
        after=_texts(where, "after", data.get("after", ()), FEATURES_MAX),
    )


def _check(where: str, data: Any, shared: Mapping[str, Any]) -> Check:
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
    data = {**shared, **data}
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
        keep=_kept(where, data.get("keep", ())),
        in_tree=data.get("in_tree", False),
    )
    if type(check.in_tree) is not bool:
        raise UsageError(f"{where}: in_tree = {check.in_tree!r} is neither true nor false. Nothing was done.")
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
        if not _is_inside(path):
            raise UsageError(f"{where}: {name} = {path!r} is no path within the directory. Nothing was done.")
    return paths


def _is_inside(path: str) -> bool:
    return not path.startswith(("/", "-")) and ".." not in path.split("/") and "\\" not in path


def _kept(where: str, value: Any) -> tuple[str, ...]:
    """Whole directories or files below the top; git's own is none of them."""
    paths = tuple(path.rstrip("/") for path in _paths(where, "keep", value))
    for path in paths:
        if any(part in ("", ".", ".git") for part in path.split("/")):
            raise UsageError(
                f'{where}: keep = {path!r} is no path below the top of the tree, such as "node_modules". '
                "Nothing was done."
            )
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
        is_pinned = all(path in given.check.pins for path in given.pinned) and all(map(_is_inside, given.fixed))
        is_by_id = all(isinstance(blob, str) for blob in (*given.pinned.values(), *given.fixed.values()))
        if replace(feature, pinned=given.pinned, fixed=given.fixed) != given or not (is_pinned and is_by_id):
            raise UsageError(f"Feature {feature.id!r} is not as holdfast writes it. Nothing was done.")
    return found


def _table(feature: Feature) -> dict[str, Any]:
    check = {**asdict(feature.check), feature.check.kind: feature.check.target, "timeout": feature.check.timeout_s}
    for name in ("kind", "target", "timeout_s"):
        del check[name]
    return {**{name: getattr(feature, name) for name in _FIELDS}, "check": check}
