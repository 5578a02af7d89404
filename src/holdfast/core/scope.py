"""Scopes: the path of composites in which a step was made, as the text that its address holds.

A composite's outcome closes its scope: nobody asks again for what is in it. A call that is made in the body of another
step belongs to one attempt of it; such a scope is closed from its beginning, since no later process makes that attempt.

Invariants
1. Two composites never share a scope, and no name of a tool can be mistaken for a part of a path.
2. A scope is below another when its path begins with the other's.
"""

from __future__ import annotations

from holdfast.core.events import Address

_ESCAPES = str.maketrans({"%": "%25", "/": "%2F", "@": "%40"})


def inside(address: Address) -> str:
    """The scope of the steps that the body of this composite makes."""
    segment = f"{address.name.translate(_ESCAPES)}:{address.digest}#{address.n}"
    return f"{address.scope}/{segment}" if address.scope else segment


def of_attempt(address: Address, attempt: int, epoch: int) -> str:
    """The scope of what one attempt of this step calls: never that of another attempt, or of another process."""
    return f"{inside(address)}@{attempt}.{epoch}"


def is_of_attempt(scope: str) -> bool:
    """Whether steps of this scope belong to one attempt, and so are never answered from the journal."""
    return "@" in scope


def is_within(scope: str, outer: str) -> bool:
    """Whether `scope` is `outer` or below it."""
    return scope == outer or scope.startswith(f"{outer}/")


def enclosing(scope: str) -> list[str]:
    """This scope and those around it, the innermost first."""
    found = []
    while scope:
        found.append(scope)
        scope = scope.rpartition("/")[0]
    return found
