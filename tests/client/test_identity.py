"""me.info: what is read, and what is written."""

from __future__ import annotations

import errno
from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.client import AlreadyRegistered, Identity, IdentityInvalid, identity_file
from messageu.client._identity import IdentityDraft, read_identity
from messageu.model import ClientId, UserName

from .relay import ANNA, wild_clients

ID = ClientId(bytes(range(0xA0, 0xB0)))
HEX = b"a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
KEY = b64encode(ANNA.private_key.to_der())
FULL = OSError(errno.ENOSPC, "No space left on device")


class WildFilesTests(SynchronousTestCase):
    """The identity files of foreign clients."""

    def test_all_are_read(self) -> None:
        """Each file of the three clients is read, and its key is the one that was registered."""
        for peer in wild_clients().values():
            registered = [
                bytes.fromhex(request["frame"])
                for request in peer["requests"]
                if request["code"] == 600
            ]
            for frame, each in zip(registered, peer["identities"].values(), strict=True):
                identity = Identity.decode(each["text"].encode("utf-8"))
                self.assertEqual(identity.name, frame[23:].partition(b"\0")[0])
                self.assertEqual(identity.private_key.public_key.raw, frame[-160:])
                self.assertEqual(identity.client_id.hex, each["text"].split("\n")[1])


class DecodeTests(SynchronousTestCase):
    """Files that differ from ours."""

    def assert_read(self, data: bytes, name: bytes = b"anna") -> None:
        """This is anna's identity."""
        identity = Identity.decode(data)
        self.assertEqual(identity, Identity(name, ID, ANNA.private_key))

    def test_variants(self) -> None:
        """Line ends, hex, padding and Base64 of any kind are understood."""
        half = len(KEY) // 2
        spaced = b" ".join(HEX[at : at + 2] for at in range(0, 32, 2))
        for data in (
            b"anna\n" + HEX + b"\n" + KEY,
            b"anna\r\n" + HEX + b"\r\n" + KEY + b"\r\n",
            b"anna\n" + HEX.upper() + b"\n" + KEY + b"\n",
            b"anna\n" + spaced + b" \n" + KEY + b"\n",
            b"anna\n" + spaced.upper() + b"\n" + KEY + b"\n",
            b"anna" + bytes(251) + b"\n" + HEX + b"\n" + KEY + b"\n",
            b"anna\0garbage\n" + HEX + b"\0\n" + KEY + b"\0",
            b"anna\n" + HEX + b"\n" + KEY[:half] + b"\n" + KEY[half:] + b"\n\n\n",
            b"anna\r\n\r\n" + HEX + b"\r\n\r\n" + KEY[:64] + b"\r\n" + KEY[64:] + b"\r\n\r\n",
            b"anna\n" + HEX + b"\n" + KEY[:half] + b" \t" + KEY[half:] + b"\n",
            b"\xef\xbb\xbfanna\n" + HEX + b"\n" + KEY + b"\n",
        ):
            self.assert_read(data)

    def test_name_is_any_bytes(self) -> None:
        """A name that our relay would refuse is an identity's name."""
        self.assert_read("zoë ".encode("latin-1") + b"\n" + HEX + b"\n" + KEY, b"zo\xeb ")

    def test_broken_files(self) -> None:
        """A part that is missing or damaged is named, and nothing is quoted."""
        for data, words in (
            (b"", "line 1"),
            (b"\n" + HEX + b"\n" + KEY, "line 1"),
            (b"\0anna\n" + HEX + b"\n" + KEY, "line 1"),
            (b"anna", "line 2"),
            (b"anna\n" + HEX[:-1] + b"\n" + KEY, "line 2"),
            (b"anna\n" + KEY, "line 2"),
            (b"anna\n" + HEX + b"00\n" + KEY, "line 2"),
            (b"anna\n" + HEX, "what follows line 2"),
            (b"anna\n" + HEX + b"\n" + KEY[:-5], "what follows line 2"),
            (b"anna\n" + HEX + b"\n!" + KEY, "what follows line 2"),
            (b"anna\n" + HEX + b"\n" + KEY[4:], "what follows line 2"),
            (b"anna\n" + HEX + b"\n" + b64encode(b"key"), "what follows line 2"),
        ):
            with self.assertRaises(IdentityInvalid) as caught:
                Identity.decode(data)
            self.assertIn(words, str(caught.exception))
            self.assertNotIn("anna", str(caught.exception))
            self.assertIsNone(caught.exception.__cause__)

    @given(st.binary(max_size=100), st.integers(0, 900), st.integers(0, 900))
    def test_damage_is_one_error(self, noise: bytes, start: int, size: int) -> None:
        """A file with noise anywhere in it is an identity, or raises the one error."""
        whole = ANNA.encode()
        try:
            identity = Identity.decode(whole[:start] + noise + whole[start + size :])
        except IdentityInvalid:
            return
        self.assertTrue(identity.name)

    def test_repr_hides_the_key(self) -> None:
        """An identity can be logged."""
        self.assertNotIn("PrivateKey", repr(ANNA))
        self.assertNotIn(ANNA.client_id.hex, repr(ANNA))


class FolderTests(SynchronousTestCase):
    """The file in its folder."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def names(self) -> list[str]:
        """What is in the folder."""
        return sorted(path.name for path in self.folder.iterdir())

    def draft(self) -> IdentityDraft:
        """anna is about to register."""
        return IdentityDraft(self.folder, UserName(b"anna"), ANNA.private_key)

    def test_none(self) -> None:
        """An empty folder has no identity."""
        self.assertIsNone(read_identity(self.folder))
        self.assertIsNone(identity_file(self.folder))

    def test_either_name(self) -> None:
        """my.info is read, and me.info instead if both are there."""
        (self.folder / "my.info").write_bytes(b"old\n" + HEX + b"\n" + KEY)
        self.assertEqual(read_identity(self.folder).name, b"old")
        (self.folder / "me.info").write_bytes(b"new\n" + HEX + b"\n" + KEY)
        self.assertEqual(read_identity(self.folder).name, b"new")

    def test_damaged_file_is_no_missing_one(self) -> None:
        """A file that cannot be used is an error, and stands in the way of my.info, too."""
        (self.folder / "my.info").write_bytes(ANNA.encode())
        (self.folder / "me.info").write_bytes(b"")
        with self.assertRaisesRegex(IdentityInvalid, r"^me\.info cannot be used: line 1"):
            read_identity(self.folder)
        (self.folder / "me.info").unlink()
        (self.folder / "me.info").symlink_to("nowhere")
        with self.assertRaisesRegex(IdentityInvalid, r"^me\.info cannot be read: No such file"):
            read_identity(self.folder)

    def test_written_strictly(self) -> None:
        """Three lines, lower-case hex, Base64 on one line, for the owner alone; nothing else is
        left in the folder."""
        identity = self.draft().complete(ID)
        self.assertEqual(identity, Identity(b"anna", ID, ANNA.private_key))
        self.assertEqual(self.names(), ["me.info"])
        file = self.folder / "me.info"
        self.assertEqual(file.read_bytes(), b"anna\n" + HEX + b"\n" + KEY + b"\n")
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.assertEqual(read_identity(self.folder), identity)

    def test_draft_is_no_identity(self) -> None:
        """Until the relay has answered there is no identity; the key is on the disk, for the owner
        alone."""
        self.draft()
        self.assertIsNone(identity_file(self.folder))
        [name] = self.names()
        self.assertEqual((self.folder / name).stat().st_mode & 0o777, 0o600)

    def test_discarded_draft_leaves_nothing(self) -> None:
        """A draft that is given up is gone."""
        draft = self.draft()
        draft.discard()
        draft.discard()
        self.assertEqual(self.names(), [])

    def test_registered_folder_is_refused(self) -> None:
        """Where there is an identity file, even one that cannot be used, no draft is made."""
        for name in ("me.info", "my.info"):
            (self.folder / name).write_bytes(b"")
            with self.assertRaisesRegex(AlreadyRegistered, name):
                self.draft()
            (self.folder / name).unlink()

    def test_second_registration_loses(self) -> None:
        """Of two that register in one folder at once, the first to finish stays."""
        first, second = self.draft(), self.draft()
        first.complete(ID)
        with self.assertRaises(AlreadyRegistered):
            second.complete(ClientId(bytes(16)))
        self.assertEqual(read_identity(self.folder).client_id, ID)
        self.assertEqual(self.names(), ["me.info"])

    def test_full_disk_is_found_out_before(self) -> None:
        """A draft that the disk does not take is an error, and leaves nothing."""
        full = mock.patch("os.fsync", side_effect=FULL)
        with full, self.assertRaisesRegex(IdentityInvalid, "No space left"):
            self.draft()
        self.assertEqual(self.names(), [])

    def test_failure_at_the_end(self) -> None:
        """An identity that cannot be put in place is an error, not half a file."""
        draft = self.draft()
        full = mock.patch("os.fsync", side_effect=FULL)
        with full, self.assertRaisesRegex(IdentityInvalid, "No space left"):
            draft.complete(ID)
        self.assertEqual(self.names(), [])

    def test_file_system_without_links(self) -> None:
        """Where there are no hard links the file is renamed, and still replaces nothing."""
        draft, late = self.draft(), self.draft()
        with mock.patch("os.link", side_effect=OSError(errno.EPERM, "not permitted")):
            draft.complete(ID)
            with self.assertRaises(AlreadyRegistered):
                late.complete(ClientId(bytes(16)))
        self.assertEqual(read_identity(self.folder).client_id, ID)
        self.assertEqual(self.names(), ["me.info"])
