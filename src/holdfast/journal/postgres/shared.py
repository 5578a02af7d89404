"""What runs share, in Postgres: cells and accounts. All of it inside a transaction.

Invariants
1. A row is handed out when its seal has been checked (J12).
2. What is written is what was judged: whoever changes a row has locked it, in the order of the names, before it read.
   A row that is not there cannot be locked; whoever makes it second meets the first one's, and begins again.

Never: judges a charge (`core.accounts` does), knows what a cell means.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

from holdfast.core.accounts import Account
from holdfast.core.budget import Limits
from holdfast.errors import JournalCorrupt
from holdfast.journal.postgres.server import Db, row, rows
from holdfast.journal.rows import FORMAT, KEY_ID, Row
from holdfast.journal.shared import SUMS, account_row, read_account, read_cell, seal
from holdfast.protocols import Cell

T = TypeVar("T")

_NAMES = "SELECT name FROM cells WHERE tenant = $1 ORDER BY name"
_KEYS = "SELECT key FROM accounts WHERE tenant = $1 ORDER BY key"
_CELL = "SELECT version, value, seal FROM cells WHERE tenant = $1 AND name = $2"
_CELLS = "SELECT name, version, value, seal FROM cells WHERE tenant = $1 AND name = ANY($2) ORDER BY name FOR UPDATE"
_TRANSACTION = "SELECT pg_current_xact_id()::xid::text"
_WRITER = "SELECT xmin::text FROM cells WHERE tenant = $1 AND name = $2"
_ADD_CELL = "INSERT INTO cells VALUES ($1, $2, $3, $4, $5, $6, $7)"
_SET_CELL = (
    "UPDATE cells SET version = $3, value = $4, seal = $5, format = $6, key_id = $7 WHERE tenant = $1 AND name = $2"
)
_ACCOUNT = f"SELECT {SUMS}, seal FROM accounts WHERE tenant = $1 AND key = $2"
_ACCOUNTS = f"SELECT key, {SUMS}, seal FROM accounts WHERE tenant = $1 AND key = ANY($2) ORDER BY key FOR UPDATE"
_PLACES = ", ".join(f"${place}" for place in range(1, 16))
_ADD_ACCOUNT = f"INSERT INTO accounts (tenant, key, {SUMS}, seal) VALUES ({_PLACES})"
_SET_ACCOUNT = (
    f"UPDATE accounts SET ({SUMS}, seal) = ROW({', '.join(f'${place}' for place in range(3, 16))})"
    " WHERE tenant = $1 AND key = $2"
)


def cell(db: Db, tenant: str, name: str) -> Cell | None:
    """The cell of that name, checked."""
    found = row(db, _CELL, tenant, name)
    return None if found is None else read_cell(tenant, name, *found)


def account(db: Db, tenant: str, key: str) -> Account | None:
    """The account of that key, checked."""
    found = row(db, _ACCOUNT, tenant, key)
    return None if found is None else read_account(tenant, key, found)


class Shared:
    """The cells and accounts that a transaction has locked, as they will be after it."""

    def __init__(self, db: Db, tenant: str, names: Collection[str], keys: Collection[str]) -> None:
        self._db = db
        self._tenant = tenant
        cells = db.execute(_CELLS, (tenant, sorted(names)), binary=True) if names else None
        accounts = db.execute(_ACCOUNTS, (tenant, sorted(keys)), binary=True) if keys else None
        self._cells: dict[str, Any] = {name: found for name, *found in cells.fetchall()} if cells else {}
        self._accounts: dict[str, Any] = {key: found for key, *found in accounts.fetchall()} if accounts else {}
        self._were_there = {("cell", name) for name in self._cells} | {("account", key) for key in self._accounts}
        self._changed: dict[tuple[str, str], Row] = {}

    def cell(self, name: str) -> Cell | None:
        """The cell, checked when it is asked for."""
        found = self._cells.get(name)
        return found if found is None or isinstance(found, Cell) else read_cell(self._tenant, name, *found)

    def set_cell(self, name: str, value: str) -> None:
        """Write the cell, whatever it was."""
        before = self.cell(name)
        self.put_cell(name, Cell(1 if before is None else before.version + 1, value))

    def put_cell(self, name: str, changed: Cell) -> None:
        """Write the cell with this version."""
        self._cells[name] = changed
        sealed = seal(self._tenant, "cell", name, *changed)
        self._changed["cell", name] = (self._tenant, name, *changed, sealed, FORMAT, KEY_ID)

    def account(self, key: str) -> Account | None:
        """The account, checked when it is asked for."""
        found = self._accounts.get(key)
        return found if found is None or isinstance(found, Account) else read_account(self._tenant, key, found)

    def set_accounts(self, accounts: Iterable[tuple[str, Account]]) -> None:
        """Write these accounts."""
        for key, changed in accounts:
            self._accounts[key] = changed
            self._changed["account", key] = account_row(self._tenant, key, changed)

    def flush(self) -> None:
        """Send what was changed."""
        for what, values in sorted(self._changed.items()):
            is_there = what in self._were_there
            self._were_there.add(what)
            if what[0] == "cell":
                self._db.execute(_SET_CELL if is_there else _ADD_CELL, values)
            else:
                self._db.execute(_SET_ACCOUNT if is_there else _ADD_ACCOUNT, values)
        self._changed.clear()


def cells(db: Db, tenant: str) -> dict[str, Cell | None]:
    """All cells by name, None for one that is damaged."""
    return {name: _unless_damaged(lambda: cell(db, tenant, name)) for (name,) in rows(db, _NAMES, tenant)}  # noqa: B023 - called at once


def accounts(db: Db, tenant: str) -> dict[str, Account | None]:
    """All accounts by key, None for one that is damaged."""
    return {key: _unless_damaged(lambda: account(db, tenant, key)) for (key,) in rows(db, _KEYS, tenant)}  # noqa: B023 - called at once


def _unless_damaged(find: Callable[[], T | None]) -> T | None:
    try:
        return find()
    except JournalCorrupt:
        return None


def is_cell(db: Db, tenant: str, name: str, wanted: Cell) -> bool:
    """Whether the cell is so."""
    return _unless_damaged(lambda: cell(db, tenant, name)) == wanted


def is_account(db: Db, tenant: str, key: str, wanted: Account) -> bool:
    """Whether the account is so."""
    return _unless_damaged(lambda: account(db, tenant, key)) == wanted


def put_cell(db: Db, tenant: str, name: str, before: Cell | None, wanted: Cell) -> bool:
    """Write the cell over `before`, or over what is damaged."""
    shared = Shared(db, tenant, [name], [])
    try:
        if shared.cell(name) != before:
            return False
    except JournalCorrupt:
        pass  # whoever calls has seen that it is damaged
    shared.put_cell(name, wanted)
    shared.flush()
    return True


def put_account(db: Db, tenant: str, key: str, before: Account | None, wanted: Account) -> bool:
    """Write the account over `before`, or over what is damaged."""
    shared = Shared(db, tenant, [], [key])
    try:
        if shared.account(key) != before:
            return False
    except JournalCorrupt:
        pass  # whoever calls has seen that it is damaged
    shared.set_accounts([(key, wanted)])
    shared.flush()
    return True


def swap(db: Db, tenant: str, name: str, version: int, value: str) -> str | None:
    """Write the cell if it is of this version; the server's name of the transaction that did."""
    shared = Shared(db, tenant, [name], [])
    before = shared.cell(name)
    if version != (0 if before is None else before.version):
        return None
    shared.set_cell(name, value)
    shared.flush()
    return str(row(db, _TRANSACTION)[0])


def wrote(db: Db, tenant: str, name: str, transaction: str) -> bool:
    """Whether that transaction wrote the cell as it is. By its value it could be another writer's."""
    return bool(row(db, _WRITER, tenant, name) == (transaction,))


def cap(db: Db, tenant: str, key: str, limits: Limits) -> None:
    """Set the caps of an account, which is made when there is none."""
    shared = Shared(db, tenant, [], [key])
    before = shared.account(key) or Account()
    shared.set_accounts([(key, before._replace(limits=limits))])
    shared.flush()
