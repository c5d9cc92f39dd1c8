"""What operations work on during one transaction of PostgreSQL, and what they learn in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import define, field

from messageu.model import ClientId

from .._caches import ClientKeys
from .._interface import Quota
from ..v3 import AccountStatements
from . import _statements as statements
from ._engine import Cursor

DELETABLE: Final = 8 * 2**20
"""Bytes of accounts' mail that one transaction deletes, but at least one envelope of it."""


@define
class Mailbox:
    """A mailbox of v2, which is locked.

    :ivar last_sequence: of all that have ever been in it.
    :ivar settled: up to which messages have arrived.
    :ivar epoch: counts expiries of what a lease held.
    :ivar messages: how many it holds, and ``content`` how many bytes of content.
    :ivar changed: whether it is not in the database as it is here.
    :ivar is_cleared: whether what is to go of it has been looked for.
    """

    client: int
    last_sequence: int
    settled: int
    epoch: int
    messages: int
    content: int
    changed: bool = False
    is_cleared: bool = False

    def has_room(self, quota: Quota, size: int) -> bool:
        """Whether a message of so many bytes may come."""
        return self.messages < quota.messages and self.content + size <= quota.content


@define
class PostgresWork:
    """What the operations of one attempt work on; what they learn is kept if it is committed.

    :ivar accounts: the SQL of accounts.
    :ivar quota: what a mailbox of v2 may hold.
    :ivar relay: the id of this relay, of 32 hexadecimal digits.
    """

    cursor: Cursor
    accounts: AccountStatements
    quota: Quota
    relay: str
    _keys: ClientKeys
    _learned: dict[bytes, int] = field(init=False, factory=dict)
    _missing: set[bytes] = field(init=False, factory=set)
    _locked: bool = field(init=False, default=False)
    _mailboxes: dict[int, Mailbox] = field(init=False, factory=dict)
    _deletable: int = field(init=False, default=DELETABLE)

    def find_keys(self, ids: Iterable[bytes]) -> None:
        """Learn the integer keys of these clients, if there are such clients, all at once."""
        unknown = {raw for raw in ids if self._known(raw) is None} - self._missing
        if unknown:
            self._learned.update(statements.find_clients(self.cursor, list(unknown)))
            self._missing |= unknown - self._learned.keys()

    def learn(self, raw: bytes, key: int) -> None:
        """There is a client of this id, who has this key."""
        self._learned[raw] = key

    def key_of(self, client_id: ClientId) -> int | None:
        """A client's integer key; None when there is no such client."""
        return self.key_of_raw(client_id.raw)

    def key_of_raw(self, raw: bytes) -> int | None:
        """The same, by its 16 bytes."""
        key = self._known(raw)
        if key is None:
            self.find_keys([raw])
            key = self._learned.get(raw)
        return key

    def _known(self, raw: bytes) -> int | None:
        key = self._learned.get(raw)
        return self._keys.get(raw) if key is None else key

    def forget_keys(self) -> None:
        """What was learned by former transactions is not to be relied on any more."""
        self._keys.clear()

    def lock_mailboxes(self, clients: Iterable[int], readers: Iterable[int] = ()) -> None:
        """Lock these mailboxes, those of the lowest keys first, and read what they hold.

        :param readers: those that are to be locked only if something waits in them.
        """
        wanted = set(clients) - self._mailboxes.keys()
        looked_at = set(readers) - wanted - self._mailboxes.keys()
        if looked_at:
            wanted.update(statements.find_waiting(self.cursor, list(looked_at)))
        if wanted:
            for row in statements.lock_mailboxes(self.cursor, sorted(wanted)):
                self._mailboxes[row[0]] = Mailbox(*row)

    def lock_all(self, clients: Iterable[int], readers: Iterable[int]) -> None:
        """Lock all mailboxes of v2 that this transaction changes."""
        self.lock_mailboxes(clients, readers)
        self._locked = True

    def mailbox(self, client: int) -> Mailbox:
        """A client's mailbox, locked; every client has one."""
        if client not in self._mailboxes:
            self.lock_mailboxes([client])
        return self._mailboxes[client]

    def mailbox_of_reader(self, client: int) -> Mailbox | None:
        """A client's mailbox, locked, unless nothing waits in it."""
        if not self._locked:
            self.lock_mailboxes((), [client])
        return self._mailboxes.get(client)

    def write_mailboxes(self) -> None:
        """Put what has changed into the database."""
        changed = self.take_changed()
        if changed:
            statements.write_mailboxes(self.cursor, changed)

    def take_changed(self) -> Sequence[Mailbox]:
        """The mailboxes that have changed, which whoever asks puts into the database."""
        changed = [each for each in self._mailboxes.values() if each.changed]
        for each in changed:
            each.changed = False
        return changed

    def take_deletable(self, sizes: Iterable[int]) -> int:
        """How many of what has these sizes this transaction may still delete, from the first on."""
        taken = 0
        for size in sizes:
            if self._deletable < size and self._deletable < DELETABLE:
                break
            self._deletable -= size
            taken += 1
        return taken

    def committed(self) -> None:
        """What was learned is on the disk."""
        self._keys.update(self._learned)

    def rolled_back(self) -> None:
        """What was learned is void."""
        self._learned.clear()


def ids_of(needs: Iterable[Sequence[bytes]]) -> list[bytes]:
    """Each of these ids once."""
    return list(dict.fromkeys(raw for ids in needs for raw in ids))
