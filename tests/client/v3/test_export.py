"""A profile leaves its folder in a file, and arrives in another."""

from __future__ import annotations

import secrets
import stat
from pathlib import Path
from shutil import rmtree
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _place
from messageu.client.v3._export import export_profile, import_profile, take_back
from messageu.client.v3._vault import (
    DATABASE_NAME,
    IMPORT_NAME,
    NEW_NAME,
    RECIPE_NAME,
    open_vault,
    vault_exists,
)
from messageu.client.v3._vault_errors import (
    ExportInvalid,
    PassphraseInvalid,
    PassphraseWrong,
    ProfileExported,
    VaultDamaged,
    VaultError,
    VaultExists,
    VaultLocked,
    VaultMissing,
    VaultUnusable,
)

from .kill import kills
from .test_vault import CHEAP, CLIENT

OLD = "the source's"
TRAVEL = "the export's"
NEW = "the copy's"


class Case(SynchronousTestCase):
    """A profile with something in it, a path for its export, and a folder for a copy."""

    def setUp(self) -> None:
        self.prepare(Path(self.mktemp()))

    def prepare(self, base: Path) -> None:
        base.mkdir()
        self.source, self.path, self.target = base / "source", base / "export", base / "target"
        self.text = secrets.token_hex(16)
        with (
            open_vault(self.source, OLD, create=True, cost=CHEAP) as vault,
            vault.transaction() as connection,
        ):
            for statement in (
                "CREATE TABLE early (number INTEGER PRIMARY KEY, late REFERENCES late, text TEXT)",
                "CREATE TABLE counted (number INTEGER PRIMARY KEY AUTOINCREMENT)",
                "INSERT INTO counted VALUES (7)",
                "DELETE FROM counted",
                "CREATE TABLE late (number INTEGER PRIMARY KEY) STRICT",
                "CREATE TABLE small (id BLOB PRIMARY KEY) STRICT, WITHOUT ROWID",
                "CREATE INDEX by_text ON early (text)",
                "CREATE TRIGGER bad AFTER INSERT ON late BEGIN DELETE FROM early; END",
                "INSERT INTO late VALUES (5)",
                "INSERT INTO small VALUES (x'00ff')",
                "PRAGMA user_version = 12",
                "PRAGMA application_id = 34",
            ):
                connection.execute(statement)
            connection.execute("INSERT INTO early (late, text) VALUES (5, ?)", (self.text,))

    def export(self) -> None:
        export_profile(self.source, OLD, self.path, TRAVEL, cost=CHEAP)

    def load(self) -> None:
        import_profile(self.path, TRAVEL, self.target, NEW, cost=CHEAP)

    def found(self, folder: Path, passphrase: str) -> list[object]:
        """All that is in a profile."""
        with open_vault(folder, passphrase) as vault:
            return [
                vault.connection.execute(statement).fetchall()
                for statement in (
                    "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name",
                    "SELECT * FROM sqlite_sequence",
                    "SELECT * FROM early",
                    "SELECT * FROM late",
                    "SELECT * FROM small",
                    "SELECT * FROM vault_state",
                    "PRAGMA user_version",
                    "PRAGMA application_id",
                    "PRAGMA foreign_key_check",
                )
            ]


class MoveTests(Case):
    """Exporting and importing."""

    def test_all_arrives(self) -> None:
        """The copy has all that the source had, and the source is used no more."""
        before = self.found(self.source, OLD)
        self.export()
        self.assertRaises(ProfileExported, open_vault, self.source, OLD)
        self.load()
        self.assertEqual(self.found(self.target, NEW), before)
        self.assertRaises(PassphraseWrong, open_vault, self.target, TRAVEL)
        names = {path.name for path in self.target.iterdir()}
        self.assertFalse({NEW_NAME, IMPORT_NAME} & names)
        self.assertEqual(stat.S_IMODE((self.target / DATABASE_NAME).stat().st_mode), 0o600)

    def test_one_secret_file(self) -> None:
        """The export is one file, the user's alone, and nothing in it can be read."""
        self.export()
        self.assertEqual(
            {path.name for path in self.path.parent.iterdir()}, {"export", self.source.name}
        )
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        raw = self.path.read_bytes()
        for text in (self.text, "CREATE TABLE", "SQLite format"):
            self.assertNotIn(text.encode(), raw)

    def test_unchanged_by_import(self) -> None:
        """Importing leaves the file as it was, and a copy that failed can be made again."""
        self.export()
        before = self.path.read_bytes()
        with mock.patch("messageu.client.v3._vault.sync_file", side_effect=OSError(28, "full")):
            self.assertRaises(VaultUnusable, self.load)
        self.assertEqual({path.name for path in self.target.iterdir()}, {RECIPE_NAME, "state.lock"})
        self.load()
        self.assertEqual(self.path.read_bytes(), before)

    def test_without_passphrase(self) -> None:
        """A copy may be made without a passphrase."""
        self.export()
        import_profile(self.path, TRAVEL, self.target, None)
        open_vault(self.target, None).close()

    def test_again(self) -> None:
        """A profile that was exported is exported again, if the file is lost."""
        before = self.found(self.source, OLD)
        self.export()
        self.path.unlink()
        self.export()
        self.load()
        self.assertEqual(self.found(self.target, NEW), before)

    def test_taken_back(self) -> None:
        """A profile that was exported is used again when its user says so."""
        before = self.found(self.source, OLD)
        self.export()
        take_back(self.source, OLD)
        self.assertEqual(self.found(self.source, OLD), before)


class RefusalTests(Case):
    """What is not done, and what stays as it was."""

    def test_other_file(self) -> None:
        """A file, or a link to nowhere, that has the name is kept, and the profile is used on."""
        self.path.symlink_to("nowhere")
        self.assertRaises(VaultExists, self.export)
        self.path.unlink()
        self.path.write_bytes(b"precious")
        self.assertRaises(VaultExists, self.export)
        self.assertEqual(self.path.read_bytes(), b"precious")
        open_vault(self.source, OLD).close()

    def test_nowhere_to_write(self) -> None:
        """When the file cannot be made the profile is used on."""
        self.path = self.path.parent / "missing" / "export"
        self.assertRaises(VaultUnusable, self.export)
        open_vault(self.source, OLD).close()

    def test_bad_passphrases(self) -> None:
        """An export without a passphrase is not made, and one of another profile's neither."""
        for passphrases in ((OLD, ""), (TRAVEL, TRAVEL)):
            self.assertRaises(
                (PassphraseInvalid, PassphraseWrong),
                export_profile,
                self.source,
                passphrases[0],
                self.path,
                passphrases[1],
                cost=CHEAP,
            )
        open_vault(self.source, OLD).close()

    def test_in_use(self) -> None:
        """A profile that somebody has open is not exported."""
        with open_vault(self.source, OLD):
            self.assertRaises(VaultLocked, self.export)
            self.assertRaises(VaultLocked, take_back, self.source, OLD)

    def test_no_profile(self) -> None:
        """Where there is no profile there is nothing to export."""
        self.assertRaises(VaultMissing, export_profile, self.target, OLD, self.path, TRAVEL)

    def test_name_taken_meanwhile(self) -> None:
        """A file that got the name during the export is kept."""
        real = _place.os.link

        def late(*arguments: object, **keywords: object) -> None:
            self.path.write_bytes(b"precious")
            real(*arguments, **keywords)

        with mock.patch.object(_place.os, "link", late):
            self.assertRaises(VaultUnusable, self.export)
        self.assertEqual(self.path.read_bytes(), b"precious")
        self.assertEqual(
            {path.name for path in self.path.parent.iterdir()}, {"export", self.source.name}
        )

    def test_without_links(self) -> None:
        """On a file system without links the export gets its name all the same."""
        with mock.patch.object(_place.os, "link", side_effect=OSError(1, "not permitted")):
            self.export()
        self.load()

    def test_import_over(self) -> None:
        """A profile is not imported over another, nor over its own source."""
        self.export()
        self.load()
        self.assertRaises(VaultExists, self.load)
        self.target = self.source
        self.assertRaises(VaultExists, self.load)

    def test_wrong_passphrase(self) -> None:
        """With a wrong passphrase nothing is imported, and no folder is made."""
        self.export()
        self.assertRaises(PassphraseWrong, import_profile, self.path, OLD, self.target, NEW)
        self.assertFalse(self.target.exists())

    def test_no_export(self) -> None:
        """A file that is none, an empty one, a folder and nothing at all are refused."""
        for raw in (b"", b"x", bytes(100_000)):
            self.path.write_bytes(raw)
            self.assertRaises(ExportInvalid, self.load)
        self.path.unlink()
        self.assertRaises(VaultUnusable, self.load)
        self.path.mkdir()
        self.assertRaises(VaultUnusable, self.load)

    def test_cut_or_changed(self) -> None:
        """An export that lacks its end, or anything of itself, is refused, and leaves nothing."""
        self.export()
        whole = self.path.read_bytes()
        self.assertGreater(len(whole), 4 * 4096)
        cuts = [whole[:end] for end in (len(whole) - 1, len(whole) // 2, 4096)]
        holes = [whole[:at] + whole[at + 4096 :] for at in (0, 4096, 8192)]
        changes = [
            whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :]
            for at in (0, 20, 4095, 5000, 3 * 4096, len(whole) - 300, len(whole) - 1)
        ]
        swapped = whole[:4096] + whole[8192:12288] + whole[4096:8192] + whole[12288:]
        for raw in (*cuts, *holes, *changes, swapped):
            self.path.write_bytes(raw)
            self.assertRaises((ExportInvalid, VaultDamaged), self.load)
            self.assertFalse(vault_exists(self.target))
        self.path.write_bytes(whole)
        self.load()


class KilledTests(Case):
    """A process that ends at any line of ours."""

    def source_lives(self) -> bool:
        try:
            open_vault(self.source, OLD).close()
        except ProfileExported:
            return False
        return True

    def importable(self, path: Path) -> bool:
        """Whether a copy can be made of a file."""
        target = path.with_name("attempt")
        rmtree(target, ignore_errors=True)
        try:
            import_profile(path, TRAVEL, target, NEW, cost=CHEAP)
        except VaultError:
            return False
        return True

    def test_export(self) -> None:
        """Killed while it exports, it leaves no file that can be imported beside a live source.

        And exporting again finishes what was begun.
        """
        first = self.path.parent.parent / f"{self.path.parent.name}-runs"
        first.mkdir()
        outcomes = set()

        self.prepare_again(first / "0")
        for run in kills(CLIENT, lambda _: self.export()):
            lives = self.source_lives()
            others = [path for path in self.source.parent.iterdir() if path.is_file()]
            copies = sum(self.importable(path) for path in others)
            outcomes.add((lives, bool(copies)))
            self.assertFalse(lives and copies, f"killed at line {run}")
            self.assertTrue(not self.path.exists() or self.importable(self.path))
            if not self.path.exists():
                self.export()
            self.assertFalse(self.source_lives())
            self.load()
            self.assertEqual(self.texts(), ["moved"])
            self.prepare_again(first / str(run + 1))
        self.assertEqual(outcomes, {(True, False), (False, False), (False, True)})

    def test_import(self) -> None:
        """Killed while it imports, it leaves a good profile or none, and the next one is made."""
        first = self.path.parent.parent / f"{self.path.parent.name}-runs"
        self.prepare_again(first)
        self.export()
        outcomes = set()

        def act(run: int) -> None:
            import_profile(self.path, TRAVEL, first / str(run), NEW, cost=CHEAP)

        for run in kills(CLIENT, act):
            self.target = first / str(run)
            there = vault_exists(self.target)
            outcomes.add(there)
            if not there:
                self.load()
            self.assertEqual(self.texts(), ["moved"])
            names = {path.name for path in self.target.iterdir()}
            self.assertFalse({NEW_NAME, IMPORT_NAME} & names)
        self.assertEqual(outcomes, {False, True})

    def prepare_again(self, base: Path) -> None:
        """A small profile, so that it is quick."""
        base.mkdir()
        self.point_at(base)
        with (
            open_vault(self.source, OLD, create=True, cost=CHEAP) as vault,
            vault.transaction() as connection,
        ):
            connection.execute("CREATE TABLE note (text TEXT)")
            connection.execute("INSERT INTO note VALUES ('moved')")

    def point_at(self, base: Path) -> None:
        self.source, self.path, self.target = base / "source", base / "export", base / "target"

    def texts(self) -> list[str]:
        with open_vault(self.target, NEW) as vault:
            return [text for (text,) in vault.connection.execute("SELECT text FROM note")]
