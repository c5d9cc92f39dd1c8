"""What operations on accounts are done with: one transaction, and the SQL of its database."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

AccountRow: TypeAlias = tuple[int, bytes, bytes, str, bytes]
"""An account: its integer key, its two public keys, its name, its generation."""

MailboxRow: TypeAlias = tuple[int, int, int, int]
"""A mailbox: its account's integer key, the last sequence in it, its messages and their bytes."""

Place: TypeAlias = Any
"""By what a database finds an envelope again that it has named."""

MailRow: TypeAlias = tuple[int, int, int, bytes, int, bytes]
"""Mail to come: place, account, sequence, envelope id, HPKE key id, what is sealed."""

TombstoneRow: TypeAlias = tuple[int, int, int, bytes, bytes, int]
"""The memory of it: place, account, sequence, envelope id, digest, hour of arrival."""


class AccountStatements(Protocol):
    """The SQL of every operation on accounts. Ids are of 16 bytes, the other numbers of 8 bytes."""

    def find_account(self, cursor: Any, account_id: bytes) -> AccountRow | None: ...
    def set_generation(self, cursor: Any, account: int, generation: bytes) -> None: ...
    def is_skeleton_taken(self, cursor: Any, skeleton: str) -> bool: ...
    def add_account(
        self,
        cursor: Any,
        account_id: bytes,
        keys: tuple[bytes, bytes],
        name: str,
        generation: bytes,
    ) -> int: ...
    def add_name(self, cursor: Any, name: str, skeleton: str, account: int) -> None: ...
    def find_keys_of_name(self, cursor: Any, name: str) -> tuple[bytes, bytes] | None: ...
    def release_name(self, cursor: Any, name: str) -> bool: ...
    def delete_account(self, cursor: Any, account: int, name: str) -> None: ...

    def add_token(self, cursor: Any, digest: bytes) -> None: ...
    def has_token(self, cursor: Any, digest: bytes) -> bool: ...
    def delete_token(self, cursor: Any, digest: bytes) -> None: ...

    def find_published(
        self, cursor: Any, account_id: bytes
    ) -> tuple[int, bytes | None, bytes | None] | None: ...
    def set_bundle(self, cursor: Any, account: int, bundle: bytes) -> None: ...
    def count_one_time_keys(self, cursor: Any, account: int, lowest: bytes = ...) -> int: ...
    def drop_one_time_keys(self, cursor: Any, account: int, lowest: bytes) -> None: ...
    def add_one_time_keys(
        self, cursor: Any, account: int, keys: Sequence[tuple[bytes, bytes, bytes]]
    ) -> None: ...
    def take_one_time_key(self, cursor: Any, account: int) -> tuple[bytes, bytes, bytes] | None: ...

    def find_term(self, cursor: Any, account_id: bytes) -> tuple[int, int] | None: ...
    def set_term(self, cursor: Any, account: int, term: int) -> None: ...
    def find_mailboxes(
        self, cursor: Any, account_ids: Sequence[bytes]
    ) -> Mapping[bytes, MailboxRow]: ...
    def take_from_mailboxes(self, cursor: Any, rows: Sequence[tuple[int, int, int]]) -> None: ...

    def find_tombstones(
        self, cursor: Any, envelopes: Sequence[tuple[int, bytes]]
    ) -> Mapping[tuple[int, bytes], tuple[bytes, int]]: ...
    def last_place(self, cursor: Any) -> int: ...
    def store_mail(
        self,
        cursor: Any,
        mail: Sequence[MailRow],
        tombstones: Sequence[TombstoneRow],
        mailboxes: Sequence[tuple[int, int, int, int]],
    ) -> None: ...
    def list_waiting(
        self, cursor: Any, account: int, after: int, limit: int
    ) -> Generator[tuple[int, int], None, None]: ...
    def read_mail(
        self, cursor: Any, account: int, first: int, last: int
    ) -> Iterable[tuple[int, bytes, int, bytes]]: ...
    def list_mail(
        self, cursor: Any, account: int, sequences: Sequence[int]
    ) -> Sequence[tuple[Place, int, int]]: ...
    def list_older(
        self, cursor: Any, hour: int, limit: int
    ) -> Sequence[tuple[Place, int, int | None]]: ...
    def find_rubbish(self, cursor: Any) -> int | None: ...
    def list_rubbish(
        self, cursor: Any, account: int, limit: int
    ) -> Sequence[tuple[Place, int, int | None]]: ...
    def delete_rubbish(self, cursor: Any, account: int) -> None: ...
    def delete_mail(self, cursor: Any, places: Sequence[Place]) -> None: ...
    def delete_tombstones(self, cursor: Any, places: Sequence[Place]) -> None: ...


class AccountWork(Protocol):
    """One transaction.

    :ivar accounts: the SQL of its database.
    """

    cursor: Any
    accounts: AccountStatements

    def take_deletable(self, sizes: Iterable[int]) -> int:
        """How many of what has these sizes this transaction may still delete, from the first on."""
        ...  # pragma: no cover

    def committed(self) -> None:
        """As of every work."""

    def rolled_back(self) -> None:
        """As of every work."""
