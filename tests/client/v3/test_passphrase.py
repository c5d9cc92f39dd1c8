"""Passphrases out of files and variables."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3._passphrase import (
    PASSPHRASE_LIMIT,
    VARIABLE,
    passphrase_from_environment,
    passphrase_from_file,
)
from messageu.client.v3._vault_errors import PassphraseInvalid


class FileTests(SynchronousTestCase):
    """A file that holds a passphrase."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def read(self, raw: bytes) -> str:
        self.path.write_bytes(raw)
        return passphrase_from_file(self.path)

    def test_line_end(self) -> None:
        """One line end is not part of it; spaces and more line ends are."""
        for raw, passphrase in (
            (b"secret", "secret"),
            (b"secret\n", "secret"),
            (b"secret\r\n", "secret"),
            (b" secret \n\n", " secret \n"),
            (b"x" * PASSPHRASE_LIMIT + b"\n", "x" * PASSPHRASE_LIMIT),
            ("Zu\u0308rich".encode(), "Z\u00fcrich"),
        ):
            self.assertEqual(self.read(raw), passphrase)

    def test_none(self) -> None:
        """An empty file, one that is too long and one that is not UTF-8 are refused."""
        for raw in (b"", b"\n", b"\r\n", b"x" * (PASSPHRASE_LIMIT + 1), b"p4ss\xff"):
            error = self.assertRaises(PassphraseInvalid, self.read, raw)
            self.assertNotIn("p4ss", str(error))
            self.assertNotIn("xxxx", str(error))

    def test_no_file(self) -> None:
        """What is missing, or no regular file, is refused and not waited for."""
        self.assertRaises(PassphraseInvalid, passphrase_from_file, self.path)
        os.mkfifo(self.path)
        self.assertRaises(PassphraseInvalid, passphrase_from_file, self.path)


class EnvironmentTests(SynchronousTestCase):
    """A variable that holds a passphrase."""

    def test_set(self) -> None:
        """It is taken as it is."""
        self.assertEqual(passphrase_from_environment({VARIABLE: " secret\n"}), " secret\n")

    def test_not_set(self) -> None:
        """Where there is none nothing is answered."""
        self.assertIsNone(passphrase_from_environment({"OTHER": "secret"}))

    def test_invalid(self) -> None:
        """An empty one, and bytes that are no text, are refused; the error does not quote them."""
        for text in ("", "p4ss\udcff", "p4ss" * 300):
            error = self.assertRaises(
                PassphraseInvalid, passphrase_from_environment, {VARIABLE: text}
            )
            self.assertNotIn("p4ss", str(error))
