"""What a form of ours has sent: a few short fields, each once."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

BYTES_MAX: Final = 64 * 1024
FIELDS_MAX: Final = 1_000


async def fields(request: Request) -> dict[str, str]:
    """All fields; an `HTTPException` for what no form of ours sends. Reads at most `BYTES_MAX`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "This is no form of ours. Nothing was done.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BYTES_MAX:
            raise HTTPException(413, f"An answer has at most {BYTES_MAX // 1024} KB. Nothing was done.")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=FIELDS_MAX)
        found = dict(pairs)
    except ValueError as wrong:
        raise HTTPException(400, "This form cannot be read. Nothing was done.") from wrong
    if len(found) != len(pairs):
        raise HTTPException(400, "A field stands twice in this form. Nothing was done.")
    return found
