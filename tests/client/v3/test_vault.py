"""The encrypted database of a profile: made, opened, refused, killed and searched."""

from __future__ import annotations

import json
import os
import secrets
import stat
import subprocess
import sys
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

import messageu
from messageu.client.v3 import _recipe
from messageu.client.v3._database import DatabaseError
from messageu.client.v3._recipe import Recipe
from messageu.client.v3._vault import (
    DATABASE_NAME,
    IMPORT_NAME,
    LOCK_NAME,
    NEW_NAME,
    RECIPE_NAME,
    Vault,
    mark_exported,
    needs_passphrase,
    open_vault,
    vault_exists,
)
from messageu.client.v3._vault_errors import (
    PassphraseInvalid,
    PassphraseNeeded,
    PassphraseWrong,
    ProfileExported,
    VaultDamaged,
    VaultExists,
    VaultLocked,
    VaultMissing,
    VaultUnusable,
)
from messageu.crypto import CryptoError
from messageu.crypto.v3 import Cost

from .kill import kills

CHEAP = Cost(memory=8, passes=1, lanes=1)
PASSPHRASE = "correct horse battery staple"
CLIENT = Path(messageu.__file__).parent / "client"


def made(folder: Path, passphrase: str | None = PASSPHRASE) -> Vault:
    """A new profile, open."""
    return open_vault(folder, passphrase, create=True, cost=CHEAP)


def mode_of(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


class Case(SynchronousTestCase):
    """A folder that is not there yet."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def write_note(self, vault: Vault, text: str) -> None:
        with vault.transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS note (text TEXT)")
            connection.execute("INSERT INTO note VALUES (?)", (text,))

    def notes(self, passphrase: str | None = PASSPHRASE) -> list[str]:
        with open_vault(self.folder, passphrase) as vault:
            return [text for (text,) in vault.connection.execute("SELECT text FROM note")]


class OpenTests(Case):
    """Making a profile, and opening it again."""

    def test_kept(self) -> None:
        """What a transaction wrote is there when the profile is opened again."""
        with made(self.folder) as vault:
            self.write_note(vault, "kept")
        self.assertEqual(self.notes(), ["kept"])

    def test_rolled_back(self) -> None:
        """A transaction in which something is raised leaves nothing, and the next one works."""
        with made(self.folder) as vault:
            self.write_note(vault, "kept")
            with self.assertRaises(KeyError), vault.transaction() as connection:
                connection.execute("INSERT INTO note VALUES ('lost')")
                raise KeyError
            with self.assertRaises(DatabaseError), vault.transaction() as connection:
                connection.execute("INSERT INTO nothing VALUES ('lost')")
            self.write_note(vault, "later")
        self.assertEqual(self.notes(), ["kept", "later"])

    def test_modes(self) -> None:
        """The folder and each file in use are the user's alone, also when no umask says so."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        with made(self.folder) as vault:
            self.write_note(vault, "text")
            self.assertEqual(mode_of(self.folder), 0o700)
            names = {path.name: mode_of(path) for path in self.folder.iterdir()}
        self.assertEqual(
            names,
            dict.fromkeys([DATABASE_NAME, f"{DATABASE_NAME}-wal", RECIPE_NAME, LOCK_NAME], 0o600),
        )

    def test_never_readable(self) -> None:
        """No file is readable for others at any moment of its making, whatever the umask."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        opened: list[int] = []

        def hear(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open" and self.hearing and self.folder.is_dir():
                opened.extend(mode_of(path) for path in self.folder.iterdir())

        self.hearing = True
        sys.addaudithook(hear)
        made(self.folder).close()
        self.hearing = False
        self.assertEqual(set(opened), {0o600})

    def test_chmod(self) -> None:
        """A database that others may read, as out of a backup, is the user's alone again."""
        made(self.folder).close()
        (self.folder / DATABASE_NAME).chmod(0o644)
        open_vault(self.folder, PASSPHRASE).close()
        self.assertEqual(mode_of(self.folder / DATABASE_NAME), 0o600)

    def test_everybody_writes(self) -> None:
        """A folder in which everybody may write is refused: files in it could be exchanged."""
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self.assertRaises(VaultUnusable, made, self.folder)

    def test_missing(self) -> None:
        """Where there is no profile none is opened, and nothing is made."""
        self.assertRaises(VaultMissing, open_vault, self.folder, PASSPHRASE)
        self.assertRaises(VaultMissing, needs_passphrase, self.folder)
        self.assertFalse(self.folder.exists())
        self.folder.mkdir()
        self.assertRaises(VaultMissing, open_vault, self.folder, PASSPHRASE)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_exists(self) -> None:
        """A profile is not made over another, which is untouched."""
        with made(self.folder) as vault:
            self.write_note(vault, "kept")
        self.assertRaises(VaultExists, made, self.folder, "another")
        self.assertEqual(self.notes(), ["kept"])

    def test_closed_twice(self) -> None:
        """Closing again does nothing, also to a descriptor that has taken the number."""
        vault = made(self.folder)
        vault.close()
        with (self.folder / RECIPE_NAME).open("rb") as other:
            vault.close()
            self.assertTrue(other.read(1))

    def test_os_errors(self) -> None:
        """Where a folder cannot be the error is one of ours."""
        Path(self.folder).write_bytes(b"a file")
        self.assertRaises(VaultUnusable, made, self.folder)

    def test_no_room(self) -> None:
        """When the disk is full while it is made, nothing is left that counts."""
        full = OSError(28, "No space left on device")
        with mock.patch("messageu.client.v3._vault.sync_file", side_effect=full):
            error = self.assertRaises(VaultUnusable, made, self.folder)
        self.assertEqual(str(error), "the profile cannot be used: No space left on device")
        self.assertFalse(vault_exists(self.folder))
        made(self.folder).close()


class PassphraseTests(Case):
    """What opens a profile, and what does not."""

    def test_wrong(self) -> None:
        """A wrong passphrase is told from none, and from a damaged file."""
        made(self.folder).close()
        self.assertRaises(PassphraseWrong, open_vault, self.folder, "wrong")
        self.assertRaises(PassphraseInvalid, open_vault, self.folder, "")
        self.assertRaises(PassphraseNeeded, open_vault, self.folder, None)
        self.assertTrue(needs_passphrase(self.folder))

    def test_none(self) -> None:
        """A profile without a passphrase opens without one, and with none else."""
        with made(self.folder, None) as vault:
            self.write_note(vault, "kept")
        self.assertFalse(needs_passphrase(self.folder))
        self.assertRaises(PassphraseWrong, open_vault, self.folder, PASSPHRASE)
        self.assertEqual(self.notes(None), ["kept"])

    def test_keyboards(self) -> None:
        """A letter and its composition are the same passphrase."""
        made(self.folder, "Z\u00fcrich").close()
        open_vault(self.folder, "Zu\u0308rich").close()

    def test_said_nowhere(self) -> None:
        """No error, repr or standard error holds the passphrase or the key."""
        script = (
            "import sys, traceback\n"
            "from pathlib import Path\n"
            "from messageu.client.v3._vault import *\n"
            "from messageu.client.v3._recipe import Recipe\n"
            "from messageu.crypto.v3 import Cost\n"
            "from twisted.python.failure import Failure\n"
            "folder = Path(sys.argv[1])\n"
            "secret = 'p4ssphr4se'\n"
            "vault = open_vault(folder, secret, True, cost=Cost(8, 1, 1))\n"
            "recipe = Recipe.decode((folder / 'state.kdf').read_bytes())\n"
            "print(vault, recipe)\n"
            "key = recipe.key(secret)\n"
            "def failing(*arguments):\n"
            "    try:\n"
            "        open_vault(folder, *arguments).close()\n"
            "    except Exception:\n"
            "        print(Failure().getTraceback(), traceback.format_exc())\n"
            "    else:\n"
            "        raise SystemExit(3)\n"
            "failing(secret)\n"
            "vault.close()\n"
            "failing('p4ssphr4se2')\n"
            "failing('p4ssphr4se\\ud800')\n"
            "failing('p4ssphr4se' * 1000)\n"
            "failing(secret, True)\n"
            "raw = bytearray((folder / 'state.db').read_bytes())\n"
            "raw[100] ^= 1\n"
            "(folder / 'state.db').write_bytes(raw)\n"
            "failing(secret)\n"
            "try:\n"
            "    connect(folder / 'state.db', key)\n"
            "except Exception:\n"
            "    print(Failure().getTraceback())\n"
            "sys.stdout.flush()\n"
            "print(key.hex(), file=open(folder / 'key', 'w'))\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", script, str(self.folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertIn("PassphraseWrong", ran.stdout)
        self.assertIn("VaultDamaged", ran.stdout)
        key = (self.folder / "key").read_text().strip()
        self.assertEqual(len(key), 64)
        self.assertNotIn(key, ran.stdout)
        self.assertNotIn(repr(bytes.fromhex(key)), ran.stdout)
        lines = [line for line in ran.stdout.splitlines() if "failing(" not in line]
        self.assertNotIn("p4ssphr4se", "\n".join(lines))


class SecrecyTests(Case):
    """What the files of a profile show."""

    def assert_secret(self, text: str) -> None:
        """No file in the folder holds it, in any encoding that SQLite writes."""
        found = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        for name, raw in found.items():
            for encoded in (text.encode("utf-8"), text.encode("utf-16-le")):
                self.assertNotIn(encoded, raw, name)

    def test_no_plaintext(self) -> None:
        """A text is in no file: not in the database, its log, or its journal, nor after it is closed.

        What the check finds is shown with a database that is not encrypted.
        """
        text = secrets.token_hex(16)
        with made(self.folder) as vault:
            self.write_note(vault, text * 20)
            self.assertIn(f"{DATABASE_NAME}-wal", [path.name for path in self.folder.iterdir()])
            self.assert_secret(text)
            connection = vault.connection
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
            connection.execute("BEGIN")
            connection.execute("PRAGMA cache_spill = 1").fetchall()
            connection.execute("UPDATE note SET text = text || ?", (text * 20_000,))
            self.assertIn(f"{DATABASE_NAME}-journal", [path.name for path in self.folder.iterdir()])
            self.assert_secret(text)
            connection.execute("ROLLBACK")
        self.assert_secret(text)
        (self.folder / "plain").write_bytes(b"... " + text.encode())
        self.assertRaises(self.failureException, self.assert_secret, text)

    def test_deleted_is_overwritten(self) -> None:
        """A row that is deleted is not in the decrypted pages any more."""
        with made(self.folder) as vault:
            self.write_note(vault, "forgotten")
            row = vault.connection.execute("PRAGMA secure_delete").fetchone()
            self.assertEqual(row, (1,))


class DamageTests(Case):
    """Files that somebody or a disk has changed."""

    def setUp(self) -> None:
        super().setUp()
        made(self.folder).close()
        self.recipe = json.loads((self.folder / RECIPE_NAME).read_text())

    def assert_damaged(self, **fields: object) -> None:
        """With these fields the recipe is refused, and no key is derived."""
        changed = json.dumps(self.recipe | fields)
        (self.folder / RECIPE_NAME).write_text(changed)
        with mock.patch.object(_recipe, "derive_key", side_effect=AssertionError):
            self.assertRaises(VaultDamaged, open_vault, self.folder, PASSPHRASE)

    def test_absurd_costs(self) -> None:
        """A recipe that asks for more memory, passes or lanes than is sane is refused unread."""
        for field, number in (
            ("memory", 2**20 + 1),
            ("memory", 2**63),
            ("memory", 7),
            ("memory", -1),
            ("memory", 64.0),
            ("memory", True),
            ("memory", "64"),
            ("passes", 65),
            ("passes", 0),
            ("lanes", 17),
            ("lanes", 0),
        ):
            self.assert_damaged(**{field: number})

    def test_nonsense(self) -> None:
        """A recipe that is none is refused."""
        for fields in (
            {"version": 2},
            {"kdf": "scrypt"},
            {"kdf": "none"},
            {"kdf": []},
            {"salt": "00"},
            {"salt": "00" * 65},
            {"salt": "zz" * 16},
            {"salt": 5},
            {"check": ""},
        ):
            self.assert_damaged(**fields)
        for raw in (b"", b"[]", b"null", b"\xff", b"[" * 4000):
            (self.folder / RECIPE_NAME).write_bytes(raw)
            self.assertRaises(VaultDamaged, open_vault, self.folder, PASSPHRASE)

    def test_large_recipe(self) -> None:
        """A recipe that has no end is not read to it."""
        (self.folder / RECIPE_NAME).write_bytes(b" " * 2**20)
        self.assertRaises(VaultUnusable, open_vault, self.folder, PASSPHRASE)

    def test_recipe_missing(self) -> None:
        """Without its recipe a database is damaged, and not made anew."""
        (self.folder / RECIPE_NAME).unlink()
        self.assertRaises(VaultDamaged, open_vault, self.folder, PASSPHRASE)
        self.assertRaises(VaultExists, made, self.folder)

    def test_database_damaged(self) -> None:
        """A database that was changed, cut or emptied is damaged, and the passphrase is not wrong."""
        path = self.folder / DATABASE_NAME
        whole = path.read_bytes()
        for raw in (whole[:50] + b"\0" + whole[51:], whole[:100], bytes(4096), whole[::-1]):
            path.write_bytes(raw)
            self.assertRaises(VaultDamaged, open_vault, self.folder, PASSPHRASE)

    def test_emptied(self) -> None:
        """A database that was emptied is refused, not taken for a new one."""
        (self.folder / DATABASE_NAME).write_bytes(b"")
        self.assertRaises(VaultDamaged, open_vault, self.folder, PASSPHRASE)

    def test_key_damaged(self) -> None:
        """A key in the clear that was changed is damaged."""
        folder = self.folder / "other"
        made(folder, None).close()
        fields = json.loads((folder / RECIPE_NAME).read_text())
        (folder / RECIPE_NAME).write_text(json.dumps(fields | {"key": "00" * 32}))
        self.assertRaises(VaultDamaged, open_vault, folder, None)

    def test_no_memory(self) -> None:
        """When there is no memory for the key the error says so."""
        refusal = CryptoError("there is not enough memory for the passphrase's key")
        with mock.patch.object(_recipe, "derive_key", side_effect=refusal):
            self.assertRaises(VaultUnusable, open_vault, self.folder, PASSPHRASE)

    def test_encoded(self) -> None:
        """A recipe that is written and read is the same."""
        for passphrase in (None, PASSPHRASE):
            recipe, key = Recipe.make(passphrase, CHEAP)
            again = Recipe.decode(recipe.encode())
            self.assertEqual((again, again.key(passphrase)), (recipe, key))


class AloneTests(Case):
    """One process at a time."""

    def opened_elsewhere(self, lock: str = "") -> int:
        """What becomes of another process that opens the profile: 0, or 3 when it is locked."""
        script = (
            "import sys\n"
            "from pathlib import Path\n"
            "from messageu.client.v3 import _vault\n"
            f"{lock}\n"
            "try:\n"
            "    _vault.open_vault(Path(sys.argv[1]), sys.argv[2]).close()\n"
            "except _vault.VaultLocked as error:\n"
            "    print(error, file=sys.stderr)\n"
            "    raise SystemExit(3)\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", script, str(self.folder), PASSPHRASE],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode == 3:
            self.assertEqual(ran.stderr, "another program has the profile open\n")
        return ran.returncode

    def test_second_process(self) -> None:
        """A second process gets one clear error, and the profile once the first is through."""
        with made(self.folder) as vault:
            self.assertEqual(self.opened_elsewhere(), 3)
            self.write_note(vault, "untouched")
        self.assertEqual(self.opened_elsewhere(), 0)

    def test_without_flock(self) -> None:
        """Where the file system knows no such locks SQLite's own keeps the second out."""
        with made(self.folder):
            blind = "_vault.fcntl.flock = lambda *_: None"
            self.assertEqual(self.opened_elsewhere(blind), 3)
        with mock.patch("fcntl.flock", side_effect=OSError(95, "Operation not supported")):
            open_vault(self.folder, PASSPHRASE).close()

    def test_same_process(self) -> None:
        """The same process does not get it twice either."""
        with made(self.folder):
            self.assertRaises(VaultLocked, open_vault, self.folder, PASSPHRASE)
            self.assertRaises(VaultLocked, made, self.folder)

    def test_exported(self) -> None:
        """A profile that lives on elsewhere is not opened, and is not kept locked."""
        with made(self.folder) as vault, vault.transaction() as connection:
            mark_exported(connection, True)
        for _ in range(2):
            self.assertRaises(ProfileExported, open_vault, self.folder, PASSPHRASE)


class KilledTests(Case):
    """A process that ends at any line of ours."""

    def test_made(self) -> None:
        """Killed while it makes a profile, it leaves a good one or none, and the next makes it."""
        outcomes = set()
        base = self.folder
        for run in kills(CLIENT, lambda run: made(base / str(run)).close()):
            self.folder = base / str(run)
            there = vault_exists(self.folder)
            outcomes.add(there)
            with open_vault(self.folder, PASSPHRASE, create=not there, cost=CHEAP) as vault:
                self.write_note(vault, "good")
            self.assertEqual(self.notes(), ["good"])
            left = {path.name for path in self.folder.iterdir()}
            self.assertFalse({NEW_NAME, IMPORT_NAME} & left)
        self.assertEqual(outcomes, {False, True})
        self.assertGreater(run, 50)
