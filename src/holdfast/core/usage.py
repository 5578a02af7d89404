"""What one model call used, as its provider counted it. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Usage(NamedTuple):
    """Tokens of one call, as the provider counted them; the first four parts do not overlap."""

    input: int
    output: int
    """Reasoning included, where it is billed as output."""
    cache_read: int = 0
    cache_write: int = 0
    cache_write_long: int = 0
    """Those of `cache_write` that are kept for an hour; they cost more."""
    reasoning: int = 0
    """Those of `output` that nobody sees."""
    searches: int = 0
    """Web searches that the provider made and bills one by one."""
    sound_input: int = 0
    """Those of `input` that are sound; with some models they cost more."""
    sound_output: int = 0
    """Those of `output` that are sound."""
    picture_output: int = 0
    """Those of `output` that are pictures, or films."""
    tier: str = ""
    """The tier of service that it was billed at, where the provider says so: `fast`, `priority`, `flex`, `us`."""

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.input + self.output + self.cache_read + self.cache_write
