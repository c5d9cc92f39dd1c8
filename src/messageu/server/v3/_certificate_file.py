"""Where a relay keeps its certificate and the key of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from attrs import field, frozen

from messageu.crypto import CryptoError
from messageu.crypto.certificates import check_certificate, make_certificate

CERTIFICATE_MODE: Final = 0o600
CERTIFICATE_SIZE_LIMIT: Final = 64 * 1024


class CertificateUnusable(Exception):
    """There is no certificate to serve with; the text says why in one line."""


@frozen
class OwnCertificate:
    """A certificate, its key, and the pin by which clients know it."""

    pem: bytes = field(repr=False)
    pin: bytes


def open_certificate(path: Path) -> OwnCertificate:
    """The certificate in a file. If there is none, one is made: for its owner only from its first
    byte on, and whole before it has its name. Called while the database is locked for us.

    :raises CertificateUnusable: when that is not possible, or others can read its key.
    """
    try:
        try:
            pem = _read(path)
        except FileNotFoundError:
            _make(path)
            pem = _read(path)
        return OwnCertificate(pem, check_certificate(pem))
    except CryptoError as error:
        raise CertificateUnusable(f"the certificate {path} cannot be used: {error}") from None
    except OSError as error:
        raise CertificateUnusable(
            f"the certificate {path} cannot be used: {error.strerror}"
        ) from None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise CertificateUnusable(f"the certificate {path} cannot be used: it is no file")
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise CertificateUnusable(
                f"the certificate {path} cannot be used: others than its owner may read it, or more"
            )
        return file.read(CERTIFICATE_SIZE_LIMIT)


def _make(path: Path) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(
        partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, CERTIFICATE_MODE
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(make_certificate())
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
