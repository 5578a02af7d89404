"""What in a text was made by a clock or a generator: replaced by a sign, so that texts are equal that say the same.

Pure, and linear in the text: every repetition in a pattern is bounded, and a text too long for it is left as it is.
In doubt nothing is masked: two texts that say different things never become equal, but for a time or a generated id.

Rules
1. A *time* is a date with its year, a date with its weekday, a time of day with seconds, half of the day or zone, or a
   number of seconds or milliseconds that its name calls a time. `3:16`, `1.2.3`, `17/4` and `1234567890` stay.
2. An *id* is a uuid, sixteen or more hexadecimal digits, or one of the prefixes that providers and frameworks mint.
3. Equal times and ids within one text, or one `Masks`, get equal signs, others get others: what belongs together still
   does.
"""

from __future__ import annotations

import re

TEXT_MAX = 65_536
"""Characters; of longer texts nothing is masked."""

_DAY = r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_YEAR, _NN = r"(?:19|20|21)\d\d", r"(?:0?[1-9]|[12]\d|3[01])"
_ISO = rf"{_YEAR}(?:-(?:0[1-9]|1[0-2])-|/(?:0[1-9]|1[0-2])/|\.(?:0[1-9]|1[0-2])\.)(?:0[1-9]|[12]\d|3[01])"
_ZONE = r"(?: ?(?:Z|UTC|GMT|[ECMP][SD]T|CES?T)\b| ?[+-]\d\d:?\d\d)"
_CLOCK = r"(?:[01]?\d|2[0-3]):[0-5]\d"
_HALF = r" ?[AaPp]\.?[Mm]\b\.?"
_EXACT = rf"{_CLOCK}:[0-6]\d(?:[.,]\d{{1,9}})?(?:{_HALF})?{_ZONE}?"
_LOOSE = rf"{_CLOCK}(?::[0-6]\d(?:[.,]\d{{1,9}})?)?(?:{_HALF})?{_ZONE}?"
_DATE = "|".join(
    (
        _ISO,
        rf"{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?=T\d{{4}})",
        rf"{_NN}/{_NN}/{_YEAR}",
        rf"{_NN}\.{_NN}\.{_YEAR}",
        rf"(?:{_DAY},? {{1,2}})?{_MONTH} {{1,2}}{_NN}(?:st|nd|rd|th)?,? {{1,2}}{_YEAR}",
        rf"(?:{_DAY},? {{1,2}})?{_NN}(?:st|nd|rd|th)?[ -]{_MONTH},?[ -]{_YEAR}",
        rf"{_DAY},? {{1,2}}{_MONTH} {{1,2}}{_NN}(?:st|nd|rd|th)?(?: {{1,2}}{_LOOSE}(?: {{1,2}}{_YEAR})?)?",
        rf"{_DAY},? {{1,2}}{_NN}(?:st|nd|rd|th)? {_MONTH}",
    )
)
_SAID = (  # one letter first, so that the search leaps from one such letter to the next
    r"[TtNnCcEeUuDdA_](?:(?<![A-Za-z].)(?:(?<=[Tt])(?:ime(?:stamp)?|s)|(?<=[Nn])ow|(?<=[Cc])(?:lock|reated)"
    r"|(?<=[Ee])poch|(?<=[Uu])pdated|(?<=[Dd])ate)|(?<=[a-z]A)t|(?<=[a-z]T)ime(?:stamp)?|(?<=[a-z]D)ate|(?<=_)at)"
)
_END = r"(?![\w:-]|\.\d)"
TIME = re.compile(
    rf"(?<![\w.-])(?:{_DAY},? {{1,2}})?(?:{_DATE})(?:(?:T|,? {{1,2}}|,? at ){_LOOSE}|T\d{{4,6}}Z?)?(?: ?\({_DAY}\))?"
    r"(?![\w-]|\.\d)"
    rf"|(?<![\w.:-])(?:{_EXACT}|{_CLOCK}(?:{_HALF}{_ZONE}?|{_ZONE})){_END}"
    rf"|(?<![\w.-])1\d{{9}}\.\d{{3,9}}(?![\w.-])"
)
SAID_TIME = re.compile(
    rf"({_SAID}[\"']?(?: is|:| =|=) {{0,2}}[\"']?)(?:({_LOOSE})|(1\d{{9}}(?:\.\d{{1,9}})?|1\d{{12}})){_END}"
)
"""Times that only the word before them tells from other numbers; the word is kept."""
LIKELY_TIME = re.compile(r"[\dMTWFSJAOND](?<![\w.-].)")
"""Where one may begin. Found first, as this is much faster than to try `TIME` everywhere."""
LIKELY_SAID = re.compile(r"[:=s] {0,2}[\"']?\d")
ID_MIN = 16
"""Characters of the shortest id."""
LIKELY_ID = re.compile(r"[0-9A-Za-z](?<![\w-].)[\w-]{15,200}")
ID = re.compile(
    r"[0-9a-f]{16,128}|[0-9A-F]{16,128}"
    r"|(?:call|toolu|srvtoolu|chatcmpl|msg|resp|req|run|fc|rs|ws|pyd_ai|lc|gen)[_-](?:tool-)?[0-9A-Za-z]{12,128}"
)
UUID = re.compile(
    r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?![\w-])"
)
_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[A-Za-z]")


class Masks:
    """Signs for what was masked so far."""

    def __init__(self) -> None:
        self._signs: dict[str, str] = {}

    def sign(self, sort: str, found: str) -> str:
        """The sign of a time or an id."""
        return self._signs.setdefault(found, f"\0{sort}{len(self._signs)}\0")

    def times(self, text: str) -> str:
        """The text without its times."""
        return self._without_times(_plain(text)) if _is_read(text) else _plain(text)

    def all(self, text: str) -> str:
        """The text without its times and generated ids."""
        plain = _plain(text)
        if not _is_read(text):
            return plain
        has_long = max(map(len, plain.split()), default=0) >= ID_MIN
        return self._without_times(LIKELY_ID.sub(self._id, plain) if has_long else plain)

    def _without_times(self, text: str) -> str:
        parts, end = [], 0
        for likely in LIKELY_TIME.finditer(text):
            found = TIME.match(text, likely.start()) if likely.start() >= end else None
            if found is not None:
                parts += [text[end : found.start()], self.sign("time", found[0])]
                end = found.end()
        text = "".join([*parts, text[end:]])
        if not LIKELY_SAID.search(text):
            return text
        return SAID_TIME.sub(lambda match: match[1] + self.sign("time", match[2] or match[3]), text)

    def _id(self, match: re.Match[str]) -> str:
        found = match[0]
        if not (_DIGIT.search(found) and _LETTER.search(found)):  # a number, or call_customerservice
            return found
        if ID.fullmatch(found):
            return self.sign("id", found)
        return UUID.sub(lambda match: self.sign("id", match[0]), found)


def _is_read(text: str) -> bool:
    return len(text) <= TEXT_MAX and _DIGIT.search(text) is not None


def _plain(text: str) -> str:
    """A text of its own never looks like a sign."""
    return text.replace("\0", "\0nul\0")
