"""What the wire needs to know about one model call, whichever provider it goes to.

A provider is a module of plain functions (`Provider`); so far there is `anthropic`. Nothing here does I/O, and a
provider never sees a header that holds a secret's value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class Usage(NamedTuple):
    """Tokens of one call, as the provider counted them; the four parts do not overlap."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    cache_write_long: int = 0
    """Those of `cache_write` that are kept for an hour; they cost more."""

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.input + self.output + self.cache_read + self.cache_write


class Asked(NamedTuple):
    """A request."""

    body: dict[str, Any]
    model: str
    input_max: int
    """Upper bound of the input tokens, cached ones included."""
    output_max: int
    keeps_long: bool
    """It may write a cache that is kept for an hour."""
    is_stream: bool
    shown: str
    """As a person reads it."""


class Answered(NamedTuple):
    """A response."""

    status: int
    """HTTP status; the one that the error stands for, where an error came with a 2xx."""
    is_object: bool
    """Whether the body is a JSON object."""
    served: str = ""
    """The model that answered."""
    stop_reason: str = ""
    usage: Usage | None = None
    """None when absent, or when its numbers make no sense."""
    error: str = ""
    """The provider's type of error; empty without one."""
    code: str = ""
    """The most telling of its error codes."""
    message: str = ""


class Provider(Protocol):
    """One provider's dialect."""

    NAME: str
    STEP: str
    """Name of its steps."""

    def is_call(self, method: str, path: str, headers: Mapping[str, str]) -> bool:
        """Whether this request asks the model; everything else of the provider's passes untouched."""

    def asked(self, raw: bytes) -> Asked | None:
        """Read a request; None when its body is no JSON object, so that only the provider can answer it."""

    def answered(self, status: int, raw: bytes) -> Answered:
        """Read a response; never raises."""
