"""A plugin of pytest for tests of code that is broken on purpose: that they fail is enough.

Hypothesis looks for no smallest example then, which takes longer than to find one, and keeps none: it would be of a bug
that nobody has.
"""

from __future__ import annotations

from hypothesis import Phase, settings

PROFILE = "broken"

settings.register_profile(PROFILE, phases=(Phase.explicit, Phase.generate), database=None)
settings.load_profile(PROFILE)
