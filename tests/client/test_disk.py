"""The disk under a client: full, failing, or gone with the program in the middle of a write."""

from __future__ import annotations

import errno
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from messageu.client import IdentityInvalid, _files, _keyring, read_identity
from messageu.client._identity import IdentityDraft
from messageu.client._keyring import KeyringFile
from messageu.crypto.v2 import PrivateKey, SymmetricKey
from messageu.model import ClientId, UserName

from ..torture import report, scaled
from .relay import ANNA, BERN, ClientCase

ME = ClientId(b"m" * 16)
ONE = ClientId(b"1" * 16)
TWO = ClientId(b"2" * 16)
KEY = SymmetricKey(bytes(16))
FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """The kernel lets no file grow beyond so many bytes: a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class DiskCase(SynchronousTestCase):
    """A folder."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.warnings: list[str] = []

    def left(self) -> dict[str, bytes]:
        """All files of the folder, which are for their owner alone."""
        for path in self.folder.iterdir():
            self.assertEqual(path.stat().st_mode & 0o077, 0, path.name)
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


class KeyringOnDiskTests(DiskCase):
    """me.keys."""

    def setUp(self) -> None:
        super().setUp()
        self.file = KeyringFile(self.folder, self.warnings.append)
        self.ring = self.file.load(ME)
        self.ring.share(ONE, KEY)
        self.file.save(self.ring)
        self.before = self.left()
        self.ring.share(TWO, KEY)

    def check_failed(self) -> None:
        """The old file is whole and alone, it was said, and later all is saved."""
        self.assertEqual(self.left(), self.before)
        self.assertEqual(len(self.warnings), 1)
        self.assertTrue(self.warnings[0].startswith("me.keys cannot be written ("))
        self.file.save(self.ring)
        saved = KeyringFile(self.folder, self.warnings.append).load(ME)
        self.assertEqual({peer.client_id for peer in saved.peers}, {ONE, TWO})
        self.assertEqual(len(self.warnings), 1)

    def test_every_step(self) -> None:
        """Whichever step fails, and however: the old file stays whole, and nothing else stays."""
        real = os.open

        def opens_only_folders(path: str, flags: int, *rest: int) -> int:
            if flags & os.O_CREAT:
                raise OSError(number, "failing")
            return real(path, flags, *rest)

        for number in FAILURES:
            error = OSError(number, "failing")
            steps = {
                "making the new file": mock.patch("os.open", opens_only_folders),
                "writing it": room_for(40),
                "waiting for the disk": mock.patch("os.fsync", side_effect=error),
                "giving it its name": mock.patch("pathlib.Path.replace", side_effect=error),
            }
            for step, failing in steps.items():
                self.setUp()
                with failing:
                    self.file.save(self.ring)
                try:
                    self.check_failed()
                except Exception as failed:
                    raise AssertionError(f"{step}: {failed}") from failed

    def test_no_room(self) -> None:
        """However far the new file gets before the disk is full, the old one stays whole."""
        size = len(self.ring.encode())
        for room in range(0, size, 7):
            self.setUp()
            with room_for(room):
                self.file.save(self.ring)
            self.check_failed()

    def test_writing_in_place_would_be_noticed(self) -> None:
        """A program that writes over the old file loses it: these tests see that."""
        with mock.patch.object(_keyring, "replace_file", Path.write_bytes), room_for(40):
            self.file.save(self.ring)
        self.assertNotEqual(self.left(), self.before)

    def test_nothing_works(self) -> None:
        """When the new file cannot even be removed, it is for its owner alone."""
        failing = OSError(errno.EIO, "failing")
        with (
            mock.patch("os.fsync", side_effect=failing),
            mock.patch("pathlib.Path.unlink", side_effect=failing),
        ):
            self.file.save(self.ring)
        left = self.left()
        self.assertEqual(len(left), 2)
        self.assertEqual(left["me.keys"], self.before["me.keys"])

    def test_folder_that_cannot_be_opened(self) -> None:
        """Once the new file has its name, nothing that fails makes it an old one."""
        new = self.ring.encode()
        with mock.patch.object(_files, "_opened", side_effect=OSError(errno.EMFILE, "too many")):
            _files.replace_file(self.folder / "me.keys", new)
        self.assertEqual(self.left(), {"me.keys": new})


class IdentityOnDiskTests(DiskCase):
    """me.info."""

    def draft(self) -> IdentityDraft:
        """anna is about to register."""
        return IdentityDraft(self.folder, UserName(b"anna"), ANNA.private_key)

    def test_no_room_for_the_draft(self) -> None:
        """However far the draft gets before the disk is full: nothing is left of it."""
        for room in range(0, len(ANNA.encode()), 50):
            with room_for(room), self.assertRaisesRegex(IdentityInvalid, "cannot be written"):
                self.draft()
            self.assertEqual(self.left(), {})

    def test_no_room_after_the_draft(self) -> None:
        """A disk that is full once the draft is there has room for the id."""
        draft = self.draft()
        ((_, data),) = self.left().items()
        with room_for(len(data)):
            draft.complete(ME)
        identity = read_identity(self.folder)
        self.assertEqual((identity.name, identity.client_id), (b"anna", ME))
        self.assertEqual(list(self.left()), ["me.info"])

    def test_every_step_at_the_end(self) -> None:
        """Whichever step fails after the relay has answered: a whole identity, or none."""
        for culprit in ("pathlib.Path.open", "os.fsync", "os.link"):
            for number in FAILURES:
                draft = self.draft()
                failing = mock.patch(culprit, side_effect=OSError(number, "failing"))
                renaming = mock.patch("pathlib.Path.rename", side_effect=OSError(number, "failing"))
                with failing, renaming, self.assertRaisesRegex(IdentityInvalid, "failing"):
                    draft.complete(ME)
                self.assertEqual(self.left(), {})

    def test_folder_that_cannot_be_opened(self) -> None:
        """Once the identity is in its place, nothing that fails takes it back."""
        draft = self.draft()
        with mock.patch.object(_files, "_opened", side_effect=OSError(errno.EMFILE, "too many")):
            draft.complete(ME)
        self.assertEqual(read_identity(self.folder).client_id, ME)

    def test_older_file_is_never_touched(self) -> None:
        """An identity that has come into being meanwhile stays as it is on a full disk, too."""
        draft = self.draft()
        (self.folder / "me.info").write_bytes(BERN.encode())
        (self.folder / "me.info").chmod(0o600)
        with mock.patch("os.fsync", side_effect=OSError(errno.ENOSPC, "full")):
            self.assertRaises(IdentityInvalid, draft.complete, ME)
        self.assertEqual(self.left(), {"me.info": BERN.encode()})


class RegistrationTests(ClientCase):
    """A client on a full disk."""

    def test_relay_is_not_asked(self) -> None:
        """A disk that is full is found out before the name is taken."""
        folder = self.folder_of(None, "new")
        client = self.client_in(folder)
        with mock.patch.object(PrivateKey, "generate", return_value=ANNA.private_key), room_for(99):
            text = self.fails(client.register(UserName(b"carl")), IdentityInvalid)
        self.assertIn("me.info cannot be written: File too large", text)
        self.assertEqual(self.relay.requests, [])
        self.assertEqual(list(folder.iterdir()), [])

    def test_key_that_cannot_be_saved_serves(self) -> None:
        """A key that came while the disk was full serves until the program ends, and is saved when
        there is room."""
        self.relay.put_key()
        with room_for(40):
            self.fetch()
        self.assertIn("me.keys cannot be written (File too large)", self.warnings[0])
        self.get(self.client.send_text(BERN.client_id, "hello"))
        self.assertIsNotNone(self.client_in(self.folder).keyring.peer(BERN.client_id).symmetric_key)


PEERS = 500
SAVES = f"""
import sys
from pathlib import Path
from messageu.client._keyring import KeyringFile
from messageu.crypto.v2 import SymmetricKey
from messageu.model import ClientId

file = KeyringFile(Path(sys.argv[1]), print)
ring = file.load(ClientId(b"m" * 16))
one = ClientId(b"1" * 16)
known = ring.peer(one).symmetric_key
number = int.from_bytes(known.raw, "big") if known else 0
for other in range({PEERS} - 1):
    ring.share(ClientId(other.to_bytes(16, "big")), SymmetricKey(bytes(16)))
while True:
    number += 1
    ring.share(one, SymmetricKey(number.to_bytes(16, "big")))
    file.save(ring)
    print(number, flush=True)
"""


class KilledTests(DiskCase):
    """A program that is killed while it saves, again and again."""

    def test_killed_while_it_saves(self) -> None:
        """me.keys is whole, has lost nothing that was saved, and nobody else can read what is
        left beside it."""
        runs = scaled(4, 200)
        chance = random.Random(runs)
        saved = 0
        for _ in range(runs):
            with subprocess.Popen(
                [sys.executable, "-c", SAVES, str(self.folder)], stdout=subprocess.PIPE
            ) as program:
                for _ in range(chance.randint(1, 20)):
                    saved = int(program.stdout.readline())
                program.kill()
            self.left()
            ring = KeyringFile(self.folder, self.warnings.append).load(ME)
            self.assertEqual(len(ring.peers), PEERS)
            number = int.from_bytes(ring.peer(ONE).symmetric_key.raw, "big")
            self.assertGreaterEqual(number, saved)
        self.assertEqual(self.warnings, [])
        report("client killed while it saves me.keys", runs=runs, damaged=0, lost=0)
