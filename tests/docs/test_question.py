"""Each fact of a question has its place in the protocols that carry such questions."""

from __future__ import annotations

import re
from pathlib import Path

from holdfast.core.heads import OpenQuestion

TEXT = (Path(__file__).resolve().parent.parent.parent / "docs" / "concepts.md").read_text("utf-8")


def test_each_fact_of_the_record_is_mapped() -> None:
    """Lost: a fact that an adapter has to drop, and nobody has said so."""
    table = TEXT.partition("| fact | MCP")[2].partition("\n\n")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    assert all(len(row) == 7 and all(cell.strip() for cell in row) for row in rows)
    named = set(re.findall(r"`(\w+)`", " ".join(row[0] for row in rows)))
    assert named == set(OpenQuestion.__dataclass_fields__) | {"why", "outcome", "choice", "by", "via"}
