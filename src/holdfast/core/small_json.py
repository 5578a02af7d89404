"""Small JSON texts, written and read by Python's own C halves: `json` does more around them than a few facts cost.

The texts and the values are those of `json.dumps` and `json.loads`.

Never: reads or writes values of users (`journal.codec`), follows a value that contains itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def writer(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """What `encoder.encode` does. It makes its C half anew for each value; here that is made once. Where Python has
    none, it is `encoder.encode` itself. No circle is looked for: there one is a `RecursionError`."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    quoted = json.encoder.encode_basestring_ascii if encoder.ensure_ascii else json.encoder.encode_basestring
    separators = encoder.key_separator, encoder.item_separator
    chunks = make(
        None, encoder.default, quoted, None, *separators, encoder.sort_keys, encoder.skipkeys, encoder.allow_nan
    )
    join = "".join
    return lambda value: join(chunks(value, 0))


_decode = json.JSONDecoder().raw_decode


def read(text: str) -> Any:
    """The value of a text; `json.JSONDecodeError` where it is none."""
    if text[:1] != "{":
        return json.loads(text)
    value, end = _decode(text)
    return value if end == len(text) else json.loads(text)
