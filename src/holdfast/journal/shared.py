"""What runs share, in SQLite: cells and accounts. All of it inside a transaction of the caller's.

Invariants
1. A row is handed out when its seal has been checked: one that was changed behind holdfast's back, or is another
   tenant's, decides nothing (J12).
2. What is written is what was judged: `swap` reads the version, and `log` the sums, in the transaction that writes.

Never: judges a charge (`core.accounts` does), knows what a cell means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import apsw

from holdfast.core.accounts import Account
from holdfast.core.budget import Limits
from holdfast.core.events import Charge
from holdfast.errors import JournalCorrupt
from holdfast.journal.rows import FORMAT, KEY_ID, Row
from holdfast.protocols import Cell

T = TypeVar("T")

_FIND_CELL = "SELECT version, value, seal FROM cells WHERE tenant = ? AND name = ?"
_SET_CELL = "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?, ?)"
SUMS = (
    "tool_calls, model_calls, tokens, usd_nano, "
    "reserved_tool_calls, reserved_model_calls, reserved_tokens, reserved_usd_nano, "
    "max_tool_calls, max_model_calls, max_tokens, max_usd_nano"
)
_FIND_ACCOUNT = f"SELECT {SUMS}, seal FROM accounts WHERE tenant = ? AND key = ?"
SET_ACCOUNT = f"INSERT OR REPLACE INTO accounts (tenant, key, {SUMS}, seal) VALUES (?{', ?' * 14})"


def cell(db: apsw.Connection, tenant: str, name: str) -> Cell | None:
    """The cell of that name, checked."""
    found: Any = db.execute(_FIND_CELL, (tenant, name)).fetchone()
    if found is None:
        return None
    return read_cell(tenant, name, *found)


def read_cell(tenant: str, name: str, version: int, value: str, sealed: bytes) -> Cell:
    """The cell of a row, checked."""
    if seal(tenant, "cell", name, version, value) != sealed:
        raise corrupt("cell", name)
    return Cell(version, value)


def set_cell(db: apsw.Connection, tenant: str, name: str, value: str) -> None:
    """Write the cell, whatever it was."""
    before = cell(db, tenant, name)
    version = 1 if before is None else before.version + 1
    sealed = seal(tenant, "cell", name, version, value)
    db.execute(_SET_CELL, (tenant, name, version, value, sealed, FORMAT, KEY_ID))


def swap(db: apsw.Connection, tenant: str, name: str, version: int, value: str) -> bool:
    """Write the cell if it is of this version."""
    before = cell(db, tenant, name)
    if version != (0 if before is None else before.version):
        return False
    set_cell(db, tenant, name, value)
    return True


def account(db: apsw.Connection, tenant: str, key: str) -> Account | None:
    """The account of that key, checked."""
    found: Any = db.execute(_FIND_ACCOUNT, (tenant, key)).fetchone()
    if found is None:
        return None
    return read_account(tenant, key, found)


def read_account(tenant: str, key: str, found: Sequence[Any]) -> Account:
    """The account of a row, checked."""
    sums = found[:12]
    if seal(tenant, "account", key, *sums) != found[12]:
        raise corrupt("account", key)
    return Account(Charge(*sums[:4]), Charge(*sums[4:8]), Limits(*sums[8:]))


def cap(db: apsw.Connection, tenant: str, key: str, limits: Limits) -> None:
    """Set the caps of an account, which is made when there is none."""
    before = account(db, tenant, key) or Account()
    db.execute(SET_ACCOUNT, account_row(tenant, key, before._replace(limits=limits)))


def account_row(tenant: str, key: str, account: Account) -> Row:
    """What `SET_ACCOUNT` writes."""
    sums = (*account.spent, *account.reserved, *account.limits[: len(account.spent)])  # an account has no time
    return (tenant, key, *sums, seal(tenant, "account", key, *sums))


# --- upkeep -----------------------------------------------------------------------------------------------------


def cells(db: apsw.Connection, tenant: str) -> dict[str, Cell | None]:
    """All cells by name, None for one that is damaged."""
    names = [name for (name,) in db.execute("SELECT name FROM cells WHERE tenant = ? ORDER BY name", (tenant,))]
    return {name: _unless_damaged(cell, db, tenant, name) for name in names}


def accounts(db: apsw.Connection, tenant: str) -> dict[str, Account | None]:
    """All accounts by key, None for one that is damaged."""
    keys = [key for (key,) in db.execute("SELECT key FROM accounts WHERE tenant = ? ORDER BY key", (tenant,))]
    return {key: _unless_damaged(account, db, tenant, key) for key in keys}


def _unless_damaged(
    find: Callable[[apsw.Connection, str, str], T], db: apsw.Connection, tenant: str, key: str
) -> T | None:
    try:
        return find(db, tenant, key)
    except JournalCorrupt:
        return None


def is_cell(db: apsw.Connection, tenant: str, name: str, wanted: Cell) -> bool:
    """Whether the cell is so."""
    return _unless_damaged(cell, db, tenant, name) == wanted


def is_account(db: apsw.Connection, tenant: str, key: str, wanted: Account) -> bool:
    """Whether the account is so."""
    return _unless_damaged(account, db, tenant, key) == wanted


def put_cell(db: apsw.Connection, tenant: str, name: str, before: Cell | None, wanted: Cell) -> bool:
    """Write the cell over `before`, or over what is damaged."""
    try:
        if cell(db, tenant, name) != before:
            return False
    except JournalCorrupt:
        pass  # whoever calls has seen that it is damaged
    sealed = seal(tenant, "cell", name, *wanted)
    db.execute(_SET_CELL, (tenant, name, *wanted, sealed, FORMAT, KEY_ID))
    return True


def put_account(db: apsw.Connection, tenant: str, key: str, before: Account | None, wanted: Account) -> bool:
    """Write the account over `before`, or over what is damaged."""
    try:
        if account(db, tenant, key) != before:
            return False
    except JournalCorrupt:
        pass  # whoever calls has seen that it is damaged
    db.execute(SET_ACCOUNT, account_row(tenant, key, wanted))
    return True


def seal(*parts: object) -> bytes:
    """The seal of a row with these columns."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).digest()


def corrupt(what: str, name: str) -> JournalCorrupt:
    """What is raised for a cell or an account that is not what was written."""
    return JournalCorrupt(
        f"The {what} {name} is not what was written: its row was changed behind holdfast's back, or the disk lost it. "
        f"Nothing was changed. Copy the store away and restore it from a backup; see `holdfast doctor`."
    )
