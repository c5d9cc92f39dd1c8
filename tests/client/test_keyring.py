"""What is known of others, and its file."""

from __future__ import annotations

import errno
import json
import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.client import Keyring, KeyringInvalid, Peer, _files, _keyring
from messageu.client._keyring import KeyringFile
from messageu.crypto.v2 import SymmetricKey
from messageu.model import NOBODY, ClientId, ListedClient, PublicKey
from messageu.testing import strategies

ME = ClientId(b"m" * 16)
ONE = ClientId(b"1" * 16)
TWO = ClientId(b"2" * 16)
KEY = SymmetricKey(bytes(16))
PUBLIC = PublicKey(bytes(160))


class KeyringTests(SynchronousTestCase):
    """The keyring without its file."""

    def test_unknown_peer(self) -> None:
        """Of an unknown client only the id is known."""
        self.assertEqual(Keyring(ME).peer(ONE), Peer(ONE))
        self.assertIsNone(Keyring(ME).named(b"one"))

    def test_learns(self) -> None:
        """Names and keys add up; a new key replaces the old one."""
        ring = Keyring(ME)
        ring.learn_public_key(ONE, PUBLIC)
        ring.share(ONE, KEY)
        ring.learn_names([ListedClient(ONE, b"one")])
        self.assertEqual(ring.peer(ONE), Peer(ONE, b"one", PUBLIC, KEY))
        ring.share(ONE, SymmetricKey(b"n" * 16))
        self.assertEqual(ring.peer(ONE).symmetric_key.raw, b"n" * 16)
        self.assertEqual(ring.peers, (ring.peer(ONE),))

    def test_knows_what_has_changed(self) -> None:
        """Only something new is a change."""
        ring = Keyring(ME)
        ring.relay_version = None
        self.assertFalse(ring.changed)
        for learn in (
            lambda: ring.learn_name(ListedClient(ONE, b"one")),
            lambda: ring.share(ONE, KEY),
            lambda: ring.learn_public_key(ONE, PUBLIC),
            lambda: setattr(ring, "relay_version", 1),
        ):
            learn()
            self.assertTrue(ring.changed)
            ring.saved()
            learn()
            self.assertFalse(ring.changed)

    def test_names_are_compared_byte_for_byte(self) -> None:
        """A name in other letters is another name."""
        ring = Keyring(ME)
        ring.learn_names([ListedClient(ONE, b"ANNA"), ListedClient(TWO, b"anna")])
        self.assertEqual(ring.named(b"anna").client_id, TWO)
        self.assertIsNone(ring.named(b"Anna"))

    def test_one_of_several_of_a_name(self) -> None:
        """Those on the last list come first, then those with a key, then the first."""
        ring = Keyring(ME)
        ring.learn_names([ListedClient(ONE, b"x"), ListedClient(TWO, b"x")])
        self.assertEqual(ring.named(b"x").client_id, ONE)
        ring.share(TWO, KEY)
        self.assertEqual(ring.named(b"x").client_id, TWO)
        ring.learn_names([ListedClient(ONE, b"x")])
        self.assertEqual(ring.named(b"x").client_id, ONE)

    def test_is_bounded(self) -> None:
        """A list is remembered as far as there is room; who is needed drives out who has no key."""
        ring = Keyring(ME, limit=2)
        ring.share(ONE, KEY)
        ring.learn_names([ListedClient(TWO, b"two"), ListedClient(NOBODY, b"three")])
        self.assertEqual([peer.client_id for peer in ring.peers], [ONE, TWO])
        ring.learn_name(ListedClient(NOBODY, b"three"))
        self.assertEqual([peer.client_id for peer in ring.peers], [ONE, NOBODY])
        ring.share(NOBODY, KEY)
        ring.share(TWO, KEY)
        self.assertEqual([peer.client_id for peer in ring.peers], [NOBODY, TWO])

    def test_repr_hides_keys(self) -> None:
        """A peer can be logged."""
        self.assertNotIn("symmetric", repr(Peer(ONE, b"one", PUBLIC, KEY)))

    @given(
        st.lists(
            st.builds(
                Peer,
                strategies.client_ids(),
                st.none() | st.binary(max_size=255),
                st.none() | strategies.public_keys(),
                st.none() | st.binary(min_size=16, max_size=16).map(SymmetricKey),
            ),
            max_size=4,
            unique_by=lambda peer: peer.client_id,
        ),
        st.none() | st.integers(0, 255),
    )
    def test_round_trip(self, peers: list[Peer], version: int | None) -> None:
        """What is written is read again, names of any bytes included."""
        read = Keyring.decode(Keyring(ME, peers, version).encode(), ME)
        self.assertEqual(read.peers, tuple(peers))
        self.assertEqual(read.relay_version, version)
        self.assertFalse(read.changed)

    def test_damage(self) -> None:
        """Whatever is no keyring of ours raises the one error, which quotes nothing."""
        good = json.loads(Keyring(ME, [Peer(ONE, b"one", PUBLIC, KEY)]).encode())
        bad_peers: list[object] = [
            {},
            {"id": "zz"},
            {"id": 7},
            7,
            {"id": ONE.hex, "name": 7},
            {"id": ONE.hex, "name": "\ud800"},
            {"id": ONE.hex, "public_key": "00"},
            {"id": ONE.hex, "symmetric_key": "secret"},
            {"id": ONE.hex, "symmetric_key": "00"},
        ]
        documents: list[object] = [
            [],
            7,
            {},
            {**good, "format": 2},
            {**good, "owner": None},
            {**good, "owner": TWO.hex},
            {**good, "relay_version": 256},
            {**good, "relay_version": "two"},
            {**good, "relay_version": {}},
            {**good, "relay_version": "2"},
            {**good, "relay_version": 1.5},
            {**good, "relay_version": True},
            {**good, "relay_version": float("inf")},
            {**good, "peers": 7},
            *({**good, "peers": [peer]} for peer in bad_peers),
        ]
        damaged = [json.dumps(document).encode() for document in documents]
        for data in (*damaged, b"", b"{", b"\xff\xfe", b"[" * 100_000):
            with self.assertRaises(KeyringInvalid, msg=data[:80]) as caught:
                Keyring.decode(data, ME)
            self.assertLess(len(str(caught.exception)), 40)


class FileTests(SynchronousTestCase):
    """me.keys."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.file = self.folder / "me.keys"
        self.warnings: list[str] = []

    def open(self) -> KeyringFile:
        """A program that begins to use the file."""
        return KeyringFile(self.folder, self.warnings.append)

    def load(self) -> Keyring:
        """Read the file."""
        return self.open().load(ME)

    def save(self, ring: Keyring) -> None:
        """Write the file."""
        self.open().save(ring)

    def test_kept_between_runs(self) -> None:
        """What is saved is there in the next run, for the owner alone."""
        ring = self.load()
        self.save(ring)
        self.assertFalse(self.file.exists())
        ring.share(ONE, KEY)
        self.save(ring)
        self.assertEqual(self.load().peer(ONE).symmetric_key, KEY)
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
        self.assertEqual(list(self.folder.iterdir()), [self.file])
        self.assertEqual(self.warnings, [])

    def test_unusable_file_is_put_aside(self) -> None:
        """A file that cannot be used is kept under another name, and said in one line."""
        for content, words in (
            (b"{", "it is damaged"),
            (Keyring(TWO).encode(), "it belongs to another identity"),
        ):
            self.file.write_bytes(content)
            self.assertEqual(self.load().peers, ())
            self.assertFalse(self.file.exists())
            self.assertEqual((self.folder / "me.keys.aside").read_bytes(), content)
            self.assertIn(words, self.warnings[-1])
            self.assertNotIn("\n", self.warnings[-1])

    def test_unreadable_file_is_put_aside(self) -> None:
        """What is no regular file is put aside, too; when even that fails, it is said."""
        self.file.mkdir()
        with mock.patch.object(Path, "replace", side_effect=OSError(errno.EROFS, "read-only")):
            self.load()
        self.assertIn("it cannot be put aside: read-only", self.warnings.pop())
        self.load()
        self.assertIn("not a regular file; it is now me.keys.aside", self.warnings.pop())

    def test_two_programs_add_up(self) -> None:
        """What two programs learn, of the same client or of others, is kept, whoever saves last."""
        first, second = self.open(), self.open()
        ring, other = first.load(ME), second.load(ME)
        ring.share(ONE, KEY)
        first.save(ring)
        other.learn_names([ListedClient(ONE, b"one"), ListedClient(TWO, b"two")])
        other.relay_version = 1
        second.save(other)
        ring.learn_public_key(TWO, PUBLIC)
        first.save(ring)
        expected = (Peer(ONE, b"one", None, KEY), Peer(TWO, b"two", PUBLIC))
        for read in (ring, self.load()):
            self.assertEqual((read.peers, read.relay_version), (expected, 1))
        self.assertEqual(list(self.folder.iterdir()), [self.file])
        self.assertEqual(self.warnings, [])

    def test_later_word_counts(self) -> None:
        """Of two keys for one client the one that was saved last is shared, in both programs."""
        first, second = self.open(), self.open()
        ring, other = first.load(ME), second.load(ME)
        ring.share(ONE, KEY)
        other.share(ONE, SymmetricKey(b"n" * 16))
        first.save(ring)
        second.save(other)
        first.refresh(ring)
        for read in (ring, other, self.load()):
            self.assertEqual(read.peer(ONE).symmetric_key.raw, b"n" * 16)

    def test_refreshing_keeps_what_is_new(self) -> None:
        """What has not been saved yet outlives what somebody else has saved."""
        first, second = self.open(), self.open()
        ring, other = first.load(ME), second.load(ME)
        ring.share(ONE, KEY)
        ring.relay_version = 2
        other.share(TWO, KEY)
        other.relay_version = 1
        second.save(other)
        first.refresh(ring)
        self.assertEqual(ring.peer(ONE).symmetric_key, KEY)
        self.assertEqual(ring.peer(TWO).symmetric_key, KEY)
        self.assertEqual(ring.relay_version, 2)
        self.assertTrue(ring.changed)

    def test_refreshing_stays_within_the_limit(self) -> None:
        """What is forgotten for want of room is not new any more."""
        ring = Keyring(ME, limit=1)
        ring.learn_name(ListedClient(ONE, b"one"))
        ring.share(TWO, KEY)
        ring.take_up(Keyring(ME, [Peer(NOBODY, b"nobody")]))
        self.assertEqual(ring.peers, (Peer(TWO, symmetric_key=KEY),))

    def test_file_is_read_when_it_is_another(self) -> None:
        """A file that nobody has touched is not read again."""
        opened = self.open()
        ring = opened.load(ME)
        ring.share(ONE, KEY)
        opened.save(ring)
        with mock.patch.object(_keyring, "read_small", side_effect=AssertionError):
            opened.refresh(ring)
            ring.share(TWO, KEY)
            opened.save(ring)
        self.assertEqual(len(self.load().peers), 2)

    def test_file_that_is_gone_is_written_whole(self) -> None:
        """When somebody takes the file away, all that is known is written with the next change."""
        opened = self.open()
        ring = opened.load(ME)
        ring.share(ONE, KEY)
        opened.save(ring)
        self.file.unlink()
        opened.refresh(ring)
        ring.share(TWO, KEY)
        opened.save(ring)
        self.assertEqual(len(self.load().peers), 2)

    def test_file_that_is_spoilt_meanwhile(self) -> None:
        """A file that somebody has spoilt is put aside, and nothing of ours is lost."""
        opened = self.open()
        ring = opened.load(ME)
        ring.share(ONE, KEY)
        opened.save(ring)
        self.file.write_bytes(b"{")
        ring.share(TWO, KEY)
        opened.save(ring)
        self.assertEqual(len(self.load().peers), 2)
        self.assertEqual((self.folder / "me.keys.aside").read_bytes(), b"{")
        self.assertEqual(len(self.warnings), 1)

    def test_lock_that_is_kept(self) -> None:
        """A program that keeps the folder locked is waited for, and not for ever; then it is said,
        the file stays as it was, and the next change is saved with this one."""
        ring = self.load()
        ring.share(ONE, KEY)
        pauses: list[float] = []
        with mock.patch("time.sleep", pauses.append):
            with _files.lock_folder(self.folder):
                self.save(ring)
            self.assertFalse(self.file.exists())
            self.assertIn("me.keys cannot be written (another program", self.warnings.pop())
            self.assertAlmostEqual(sum(pauses), _files.LOCK_PATIENCE, 3)
            ring.share(TWO, KEY)
            self.save(ring)
        self.assertEqual(len(self.load().peers), 2)

    def test_lock_that_is_let_go(self) -> None:
        """A lock that somebody else lets go of is taken."""
        ring = self.load()
        ring.share(ONE, KEY)
        with ExitStack() as other:
            other.enter_context(_files.lock_folder(self.folder))
            with mock.patch("time.sleep", lambda _: other.close()):
                self.save(ring)
        self.assertEqual(self.load().peer(ONE).symmetric_key, KEY)

    def test_file_system_without_locks(self) -> None:
        """Where there are no locks the file is written all the same."""
        ring = self.load()
        ring.share(ONE, KEY)
        with mock.patch("fcntl.flock", side_effect=OSError(errno.ENOLCK, "No locks")):
            self.save(ring)
        self.assertEqual(self.load().peer(ONE).symmetric_key, KEY)

    def test_full_disk_leaves_the_old_file(self) -> None:
        """A file that cannot be written stays as it was; it is said, and tried again."""
        ring = self.load()
        ring.share(ONE, KEY)
        self.save(ring)
        before = self.file.read_bytes()
        ring.share(TWO, KEY)
        full = OSError(errno.ENOSPC, "No space left on device")
        for culprit in ("os.fsync", "pathlib.Path.replace"):
            with mock.patch(culprit, side_effect=full):
                self.save(ring)
            self.assertIn("me.keys cannot be written (No space left", self.warnings.pop())
            self.assertEqual(self.file.read_bytes(), before)
            self.assertEqual(list(self.folder.iterdir()), [self.file])
        self.save(ring)
        self.assertEqual(self.load().peer(TWO).symmetric_key, KEY)

    def test_folder_that_cannot_be_flushed(self) -> None:
        """A file system that cannot flush a folder is no reason to lose keys."""
        ring = self.load()
        ring.share(ONE, KEY)
        flush = os.fsync
        calls: list[int] = []

        def only_files(descriptor: int) -> None:
            calls.append(descriptor)
            if len(calls) > 1:
                raise OSError(errno.EINVAL, "Invalid argument")
            flush(descriptor)

        with mock.patch("os.fsync", only_files):
            self.save(ring)
        self.assertEqual(len(calls), 2)
        self.assertEqual(self.warnings, [])
