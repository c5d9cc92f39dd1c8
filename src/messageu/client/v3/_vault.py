"""The encrypted database that holds all of a profile, and the folder that it lies in.

``state.db`` is SQLCipher's, ``state.kdf`` says how its key is made, ``state.lock`` is held by
whoever has it open. The profile exists from the moment at which ``state.db`` has its name: all
before can be left by a crash, and is made anew.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, Final, Protocol, Self

import sqlcipher3.dbapi2 as sqlcipher  # type: ignore[import-untyped]
from attrs import field, frozen

from messageu.client._files import read_small, remove, replace_file, sync_folder
from messageu.crypto.v3 import DEFAULT_COST, Cost

from ._database import Connection, DatabaseError, transaction
from ._recipe import RECIPE_LIMIT, Recipe
from ._vault_errors import (
    ProfileExported,
    VaultDamaged,
    VaultError,
    VaultExists,
    VaultLocked,
    VaultMissing,
    VaultUnusable,
)

DATABASE_NAME: Final = "state.db"
RECIPE_NAME: Final = "state.kdf"
LOCK_NAME: Final = "state.lock"
NEW_NAME: Final = ".state.db.new"
IMPORT_NAME: Final = ".state.db.import"
_LEFT_OVER: Final = ("", "-journal", "-wal")

JOURNAL_LIMIT: Final = 4 * 2**20
"""Bytes that the write-ahead log keeps between transactions."""


class OwnConnection(Connection, Protocol):
    """A connection that we have opened, and close."""

    def close(self) -> None: ...


@frozen
class Vault:
    """A profile's database, open for this process alone.

    :ivar connection: bound to no thread, so that it can be opened in one; only one may use it at
        a time.
    """

    folder: Path
    connection: OwnConnection = field(repr=False)
    _lock: FileIO = field(repr=False)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All that is written within is kept, or none of it; it is on the disk at the end.

        :raises DatabaseError: when it could not be kept.
        """
        with transaction(self.connection):
            yield self.connection

    def close(self) -> None:
        """Let others open it. Doing so again does nothing."""
        self.connection.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def vault_exists(folder: Path) -> bool:
    """Whether there is a profile in a folder."""
    return os.path.lexists(folder / DATABASE_NAME)


def needs_passphrase(folder: Path) -> bool:
    """Whether the profile in a folder was made with a passphrase.

    :raises VaultError: when there is none, or it cannot be read.
    """
    return _read_recipe(folder).cost is not None


def open_vault(
    folder: Path, passphrase: str | None, create: bool = False, *, cost: Cost = DEFAULT_COST
) -> Vault:
    """Open the profile in a folder, or make an empty one. Deriving the key takes a while.

    :param passphrase: None for a profile without one, whose key then lies beside it in the clear.
    :param create: make the profile, and the folder (mode 0700) if it is not there.
    :param cost: Argon2id's, for a new profile.
    :raises VaultMissing: when there is none, or its making was cut short.
    :raises VaultExists: when one is to be made and there is one.
    :raises VaultLocked: when another program has it open.
    :raises PassphraseNeeded: when there is a passphrase and none was given.
    :raises PassphraseWrong: when it is another, or there is none.
    :raises VaultDamaged: when the files are not what was written.
    :raises ProfileExported: when it lives on elsewhere.
    :raises VaultUnusable: when the operating system is in the way.
    """
    with naming_os_errors():
        lock = lock_vault(folder, create=create)
        try:
            if create:
                key = make_database(folder, passphrase, cost, _found)
            else:
                key = _read_recipe(folder).key(passphrase)
            vault = Vault(folder, _open_database(folder, key), lock)
            refuse_exported(vault)
        except BaseException:
            lock.close()
            raise
        return vault


def open_disabled(folder: Path, passphrase: str | None) -> Vault:
    """Open a profile also when it was exported. Raises as :func:`open_vault` does."""
    with naming_os_errors():
        lock = lock_vault(folder, create=False)
        try:
            key = _read_recipe(folder).key(passphrase)
            return Vault(folder, _open_database(folder, key), lock)
        except BaseException:
            lock.close()
            raise


def refuse_exported(vault: Vault) -> None:
    """Let nobody use what lives on elsewhere; it is closed then.

    :raises ProfileExported: when it was exported.
    """
    if is_exported(vault.connection):
        vault.close()
        raise ProfileExported("the profile was exported and is not used here any more")


def is_exported(connection: Connection) -> bool:
    """Whether a profile lives on elsewhere."""
    with naming_database_errors():
        row = connection.execute("SELECT exported FROM vault_state").fetchone()
    return row is None or row[0] != 0


def mark_exported(connection: Connection, exported: bool) -> None:
    """Say whether a profile lives on elsewhere."""
    connection.execute("UPDATE vault_state SET exported = ?", (int(exported),))


def lock_vault(folder: Path, *, create: bool) -> FileIO:
    """Keep all others out, until what is answered is closed or the process ends.

    SQLite's own lock would do for the database; this one covers its making and its export, too.
    Where a file system knows no such locks, SQLite's is what there is.

    :raises VaultMissing: when there is no folder, and none is to be made.
    :raises VaultUnusable: when everybody may write in the folder.
    :raises VaultLocked: when another program has it.
    :raises OSError: when the folder cannot be used.
    """
    if create:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif not vault_exists(folder):
        raise VaultMissing("there is no profile in the folder")
    if folder.stat().st_mode & stat.S_IWOTH:
        raise VaultUnusable("everybody may write in the profile's folder: chmod o-w")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    lock = FileIO(os.open(folder / LOCK_NAME, flags, 0o600), "r+")
    try:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            lock.close()
            raise VaultLocked("another program has the profile open") from None
    for name in (NEW_NAME, IMPORT_NAME):
        remove_database(folder / name)  # what a crash has left
    return lock


def make_database(
    folder: Path, passphrase: str | None, cost: Cost, fill: Callable[[Path, bytes], None]
) -> bytes:
    """Make ``state.kdf`` and ``state.db``, and answer the key; the folder is locked.

    The recipe is on the disk before the database has its name: what a crash leaves is either
    nothing that counts or all of it.

    :param fill: writes a database under a key into an empty file.
    :raises VaultExists: when there is one.
    """
    if vault_exists(folder):
        raise VaultExists("there is a profile in the folder already")
    recipe, key = Recipe.make(passphrase, cost)
    new = new_file(folder / NEW_NAME)
    try:
        replace_file(folder / RECIPE_NAME, recipe.encode())
        fill(new, key)
        sync_file(new)
        new.rename(folder / DATABASE_NAME)
    except BaseException:
        remove_database(new)
        raise
    sync_folder(folder)
    return key


def connect(path: Path, key: bytes, journal: str = "WAL") -> OwnConnection:
    """A connection to the database under a key, which is in no statement and in no log.

    :param journal: DELETE while it is made: then it is one file when it is closed, whatever failed.
    :raises VaultLocked: when somebody else has it open.
    :raises VaultDamaged: when it is none of this key.
    :raises VaultUnusable: when it cannot be opened.
    """
    with naming_database_errors():
        # Absolute: a name that begins with "file:" would be read as a URI.
        connection: Any = sqlcipher.connect(
            str(path.absolute()), timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            _set_up(connection, key, journal)
        except BaseException:
            connection.close()
            raise
    opened: OwnConnection = connection
    return opened


def _set_up(connection: Any, key: bytes, journal: str) -> None:
    # It would tell standard error of every page that does not open.
    connection.execute("PRAGMA cipher_log_level = NONE")
    connection.set_key(raw_key(key))
    # Locking memory against the swap (cipher_memory_security) is left off: it slows every page, and
    # the keys and texts that Python holds would go there all the same.
    for statement in (
        "PRAGMA locking_mode = EXCLUSIVE",
        # With the lock for one process alone there is no -shm file that others could write to.
        f"PRAGMA journal_mode = {journal}",
        f"PRAGMA journal_size_limit = {JOURNAL_LIMIT}",
        # FULL: what was committed survives a loss of power.
        "PRAGMA synchronous = FULL",
        # Old ratchet keys are overwritten, not only forgotten.
        "PRAGMA secure_delete = ON",
        "PRAGMA temp_store = MEMORY",
        "PRAGMA foreign_keys = ON",
        "PRAGMA trusted_schema = OFF",
        "BEGIN EXCLUSIVE",
        "COMMIT",
    ):
        connection.execute(statement).fetchall()


def raw_key(key: bytes) -> str:
    """A key as SQLCipher takes it without deriving another from it."""
    return f"x'{key.hex()}'"


def remove_database(path: Path) -> None:
    """Remove a database and what SQLite may have left beside it, if that is possible."""
    for suffix in _LEFT_OVER:
        remove(path.with_name(path.name + suffix))


def new_file(path: Path) -> Path:
    """An empty file, mode 0600, in place of what a crash has left.

    :raises OSError: when it cannot be made.
    """
    remove_database(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o600))
    return path


def sync_file(path: Path) -> None:
    """Wait until the disk has a file.

    :raises OSError: when that failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _found(path: Path, key: bytes) -> None:
    connection = connect(path, key, "DELETE")
    try:
        with naming_database_errors(), transaction(connection):
            connection.execute("CREATE TABLE vault_state (exported INTEGER NOT NULL) STRICT")
            connection.execute("INSERT INTO vault_state VALUES (0)")
    finally:
        connection.close()


def _open_database(folder: Path, key: bytes) -> OwnConnection:
    path = folder / DATABASE_NAME
    with suppress(OSError):
        path.chmod(0o600)  # it may come out of a backup
    return connect(path, key)


def _read_recipe(folder: Path) -> Recipe:
    if not vault_exists(folder):
        raise VaultMissing("there is no profile in the folder")
    try:
        raw = read_small(folder / RECIPE_NAME, RECIPE_LIMIT)
    except FileNotFoundError:
        raise VaultDamaged(f"{RECIPE_NAME} is missing; without it nothing can be read") from None
    except OSError as error:
        raise VaultUnusable(f"{RECIPE_NAME} cannot be read: {error.strerror}") from None
    return Recipe.decode(raw)


@contextmanager
def naming_os_errors() -> Iterator[None]:
    """Errors of the operating system become :class:`VaultUnusable`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or "the disk or the folder fails"
        raise VaultUnusable(f"the profile cannot be used: {reason}") from None


_BY_CODE: Final[dict[int, tuple[type[VaultError], str]]] = {
    sqlcipher.SQLITE_BUSY: (VaultLocked, "another program has the profile open"),
    sqlcipher.SQLITE_ERROR: (VaultDamaged, "the profile's database is damaged"),  # no such table
    sqlcipher.SQLITE_NOTADB: (VaultDamaged, "the profile's database is damaged"),
    sqlcipher.SQLITE_CORRUPT: (VaultDamaged, "the profile's database is damaged"),
    sqlcipher.SQLITE_FULL: (VaultUnusable, "the disk is full"),
}
_OTHERWISE: Final = (VaultUnusable, "the profile's database cannot be opened")
_PRIMARY: Final = 0xFF


@contextmanager
def naming_database_errors() -> Iterator[None]:
    """Errors of SQLite become ours, whose text is ours, too."""
    try:
        yield
    except DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0)
        kind, text = _BY_CODE.get(code & _PRIMARY, _OTHERWISE)
        raise kind(text) from None
