"""The file that holds a relay's certificate."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.certificates import check_certificate
from messageu.server.v3 import CertificateUnusable, _certificate_file, open_certificate


class FileTests(SynchronousTestCase):
    """How it is made, and read again."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "own.pem"

    def test_made_once(self) -> None:
        """Where there is none one is made, for nobody else to read; later it is the same."""
        self.addCleanup(os.umask, os.umask(0))
        own = open_certificate(self.path)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(own.pin, check_certificate(self.path.read_bytes()))
        self.assertEqual(open_certificate(self.path), own)
        self.assertEqual(list(self.folder.iterdir()), [self.path])
        self.assertNotIn("PRIVATE", repr(own))

    def test_broken_off(self) -> None:
        """It has its name when it is whole: what was broken off is made anew, and in no moment can
        anybody else read it."""
        modes = []

        def broken_off() -> bytes:
            (partial,) = self.folder.iterdir()
            modes.append(stat.S_IMODE(partial.stat().st_mode))
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(_certificate_file, "make_certificate", broken_off)
        error = self.assertRaises(CertificateUnusable, open_certificate, self.path)
        self.assertEqual(
            str(error), f"the certificate {self.path} cannot be used: No space left on device"
        )
        self.assertEqual((modes, self.path.exists()), ([0o600], False))
        self.patch(_certificate_file, "make_certificate", self.made)
        open_certificate(self.path)

    made = staticmethod(_certificate_file.make_certificate)

    def test_unusable(self) -> None:
        """What others can read, what is no file and what is no certificate is refused, and stays."""
        self.path.write_bytes(self.made())
        for mode in (0o640, 0o604, 0o660):
            self.path.chmod(mode)
            error = self.assertRaises(CertificateUnusable, open_certificate, self.path)
            self.assertIn("others than its owner", str(error))
        self.path.write_bytes(b"none")
        self.path.chmod(0o600)
        self.assertRaises(CertificateUnusable, open_certificate, self.path)
        self.assertEqual(self.path.read_bytes(), b"none")
        self.assertRaises(CertificateUnusable, open_certificate, self.folder)
        self.assertRaises(CertificateUnusable, open_certificate, self.folder / "no" / "own.pem")
