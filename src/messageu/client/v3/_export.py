"""A profile moves to another machine: one encrypted file, and nothing that is used where it was.

Two copies that are used end in ratchets that no contact understands. So the profile is disabled,
on the disk, before anything of the file is written; a crash after that leaves no copy that is
used, and exporting again finishes it. A file can still be imported twice, and a folder can come
back out of a backup: both copies then go on from one generation, so that the relay refuses the
one that connects later (docs/protocol/v3.md, "Generation"). That is why importing changes no
generation: where the source was disabled, the next one is higher than all that the relay saw.

The file is a database of SQLCipher under its own key, then the recipe of that key, then its size
and a label. What is cut off has no label.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final

from messageu.crypto.v3 import DEFAULT_COST, Cost
from messageu.model.v3 import label

from ._database import Connection, transaction
from ._place import place
from ._recipe import RECIPE_LIMIT, Recipe
from ._vault import (
    IMPORT_NAME,
    connect,
    lock_vault,
    make_database,
    mark_exported,
    naming_database_errors,
    naming_os_errors,
    new_file,
    open_disabled,
    raw_key,
    remove_database,
    sync_file,
)
from ._vault_errors import ExportInvalid, VaultDamaged, VaultError, VaultExists

_LABEL: Final = label("export")
_TRAILER: Final = Struct(f"<I{len(_LABEL)}s")
_COPY_SIZE: Final = 2**20


def export_profile(
    folder: Path,
    passphrase: str | None,
    path: Path,
    export_passphrase: str,
    *,
    cost: Cost = DEFAULT_COST,
) -> None:
    """Write a profile that nobody has open to a new file, mode 0600, and disable it here.

    When that fails half-way the profile stays disabled: export it again, or take it back.

    :param export_passphrase: the file's own.
    :raises VaultError: as ``open_vault`` does; when there is a file of that name; when the
        file cannot be written.
    """
    recipe, key = Recipe.make(export_passphrase, cost)
    with naming_os_errors(), open_disabled(folder, passphrase) as vault:
        if os.path.lexists(path):
            raise VaultExists("there is a file of that name already")
        part = new_file(path.with_name(f".{path.name}.part"))
        try:
            with naming_database_errors(), vault.transaction() as connection:
                mark_exported(connection, True)
            with naming_database_errors():
                _copy(vault.connection, part, key)
            _append_recipe(part, recipe)
            sync_file(part)
            place(part, path)
        except BaseException:
            remove_database(part)
            raise


def take_back(folder: Path, passphrase: str | None) -> None:
    """Use a profile again that was exported, because the file was never imported.

    If it was, the relay refuses whichever of the two connects later.

    :raises VaultError: as ``open_vault`` does.
    """
    with (
        open_disabled(folder, passphrase) as vault,
        naming_database_errors(),
        vault.transaction() as connection,
    ):
        mark_exported(connection, False)


def import_profile(
    path: Path,
    export_passphrase: str,
    folder: Path,
    passphrase: str | None,
    *,
    cost: Cost = DEFAULT_COST,
) -> None:
    """Make a profile of an exported one. The file is not changed: it is the user's to destroy.

    :param folder: is made, mode 0700, if it is not there.
    :param passphrase: the new profile's; None for none.
    :raises ExportInvalid: when the file is no export, or not all of one.
    :raises VaultDamaged: when what is in it was changed.
    :raises VaultError: as ``open_vault`` does.
    """
    with naming_os_errors(), path.open("rb") as source:
        recipe, size = _read_recipe(source)
        key = recipe.key(export_passphrase)
        with lock_vault(folder, create=True):
            body = folder / IMPORT_NAME
            try:
                _copy_body(source, size, new_file(body))
                with _checked(body, key) as connection:
                    make_database(
                        folder,
                        passphrase,
                        cost,
                        lambda new, new_key: _found(connection, new, new_key),
                    )
            finally:
                remove_database(body)


@contextmanager
def _checked(path: Path, key: bytes) -> Iterator[Connection]:
    """A connection to a database of which each page is what was written."""
    connection = connect(path, key, "DELETE")
    try:
        with naming_database_errors():
            damage = connection.execute("PRAGMA cipher_integrity_check").fetchone()
            damage = damage or connection.execute("PRAGMA quick_check(1)").fetchone()
        if damage != ("ok",):
            raise VaultDamaged("the export is damaged")
        yield connection
    finally:
        connection.close()


def _found(connection: Connection, path: Path, key: bytes) -> None:
    with naming_database_errors():
        with transaction(connection):
            mark_exported(connection, False)
        _copy(connection, path, key)


def _copy(connection: Connection, path: Path, key: bytes) -> None:
    """Write all of a database to an empty file, under another key."""
    # It copies table by table: what one row needs of another comes later.
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("ATTACH DATABASE ? AS copy KEY ?", (str(path.absolute()), raw_key(key)))
    try:
        connection.execute("PRAGMA copy.journal_mode = OFF")
        connection.execute("SELECT sqlcipher_export('copy')").fetchall()
        for pragma in ("user_version", "application_id"):
            row = connection.execute(f"PRAGMA main.{pragma}").fetchone()
            number = row[0] if row else 0
            connection.execute(f"PRAGMA copy.{pragma} = {number:d}")
    finally:
        connection.execute("DETACH DATABASE copy")


def _append_recipe(path: Path, recipe: Recipe) -> None:
    encoded = recipe.encode()
    with path.open("ab") as opened:
        opened.write(encoded + _TRAILER.pack(len(encoded), _LABEL))


def _read_recipe(source: BinaryIO) -> tuple[Recipe, int]:
    """The recipe at the end of an export, and the size of the database before it."""
    if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        raise ExportInvalid("the file is no export of a profile")
    end = source.seek(0, os.SEEK_END) - _TRAILER.size
    if end < 0:
        raise ExportInvalid("the file is no export of a profile")
    source.seek(end)
    size, found = _TRAILER.unpack(source.read(_TRAILER.size))
    if found != _LABEL or size > min(RECIPE_LIMIT, end):
        raise ExportInvalid("the file is no export of a profile, or not all of one")
    source.seek(end - size)
    try:
        return Recipe.decode(source.read(size)), end - size
    except VaultError:
        raise ExportInvalid("the file is no export of a profile") from None


def _copy_body(source: BinaryIO, size: int, path: Path) -> None:
    source.seek(0)
    with path.open("r+b") as opened:
        while size and (data := source.read(min(size, _COPY_SIZE))):
            opened.write(data)
            size -= len(data)
