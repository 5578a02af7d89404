"""Pages out of templates. Whatever a template writes is made safe to show and escaped, also what its author forgot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from holdfast.views.text import safe_lines

_HERE = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def _shown(value: Any) -> Any:
    """A value as it may stand on a page: what is no markup of our own templates is text that steers nothing."""
    if value is None or isinstance(value, Markup):
        return value
    return safe_lines(str(value)).replace("\r", "")


_environment = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, status: int = 200, /, **facts: Any) -> HTMLResponse:
    """The page of this template."""
    return HTMLResponse(_environment.get_template(f"{template}.html").render(facts), status)


def static(name: str) -> Response | None:
    """One of our own files; None for another name."""
    found = {path.name: path for path in (_HERE / "static").iterdir()}.get(name)
    if found is None or found.suffix not in _TYPES:
        return None
    return Response(found.read_bytes(), media_type=_TYPES[found.suffix])
