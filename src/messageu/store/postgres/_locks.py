"""The locks of a batch, taken before anything is done: always in the same order, by everybody."""

from __future__ import annotations

from collections.abc import Sequence

from .._work import Operation
from . import _account_statements as account_statements
from . import _statements as statements
from ._work import PostgresWork, ids_of


def take_locks(work: PostgresWork, batch: Sequence[Operation[PostgresWork]]) -> None:
    """Lock the registry if need be, then mailboxes of clients, then those of accounts, each kind by
    their keys. Whoever keeps to this order never waits for somebody who waits for him."""
    needs = [operation.needs for operation in batch]
    if any(each.registry for each in needs):
        statements.lock_registry(work.cursor)
    clients = ids_of(each.clients for each in needs)
    readers = ids_of(each.readers for each in needs)
    if clients or readers:
        work.find_keys([*clients, *readers])
        work.lock_all(_keys(work, clients), _keys(work, readers))
    accounts = ids_of(each.accounts for each in needs)
    if accounts:
        account_statements.lock_accounts(work.cursor, accounts)


def _keys(work: PostgresWork, ids: Sequence[bytes]) -> list[int]:
    keys = [work.key_of_raw(raw) for raw in ids]
    return [key for key in keys if key is not None]
