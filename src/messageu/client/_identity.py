"""Who we are: ``me.info``, or ``my.info`` as half of the wild clients call it.

Line 1 is the name, line 2 the id in hex, line 3 the PKCS#8 DER of the private key in Base64
(docs/protocol/v2.md, "Files beside the programs"). What is read may deviate as the wild files do;
what is written does not.
"""

from __future__ import annotations

import binascii
import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Final, Self

from attrs import field, frozen

from messageu.crypto.v2 import CryptoError, PrivateKey
from messageu.model import NOBODY, ClientId, InvalidValue, UserName

from ._errors import AlreadyRegistered, IdentityInvalid
from ._files import read_small, remove, sync_folder, write_beside

IDENTITY_FILE: Final = "me.info"
IDENTITY_FILES: Final = (IDENTITY_FILE, "my.info")
"""The names that an identity file may have; the first that is there counts."""

_SIZE_LIMIT: Final = 64 * 1024


@frozen
class Identity:
    """A registered name, its id, and the private key, which ``repr`` does not show.

    ``name`` holds the bytes before the NUL: a foreign relay may have taken what ours refuses.
    """

    name: bytes
    client_id: ClientId
    private_key: PrivateKey = field(repr=False)

    def encode(self) -> bytes:
        """The identity file: three lines, lower-case hex, Base64 on one line."""
        key = b64encode(self.private_key.to_der())
        return b"\n".join((self.name, self.client_id.hex.encode("ascii"), key, b""))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read an identity file.

        Tolerated are CRLF, a byte order mark, what follows a NUL in the name, spaced or upper-case
        hex, and Base64 on any number of lines with blank ones between and after.

        :raises IdentityInvalid: when there is no identity in it. The text quotes nothing of it.
        """
        lines = data.removeprefix(b"\xef\xbb\xbf").splitlines()
        name = lines[0].partition(b"\0")[0] if lines else b""
        if not name:
            raise IdentityInvalid("line 1 holds no name")
        rest = [line.replace(b"\0", b"").strip() for line in lines[1:]]
        first, *key = [line for line in rest if line] or [b""]
        try:
            client_id = ClientId.from_hex(first.decode("ascii", "replace"))
        except InvalidValue:
            raise IdentityInvalid("line 2 holds no id of 32 hexadecimal digits") from None
        try:
            der = b64decode(b"".join(b"".join(key).split()), validate=True)
            return cls(name, client_id, PrivateKey.from_der(der))
        except (binascii.Error, CryptoError):
            raise IdentityInvalid("what follows line 2 is no private key in Base64") from None


def identity_file(folder: Path) -> Path | None:
    """The identity file of a folder, readable or not; None: nobody has registered there."""
    candidates = (folder / name for name in IDENTITY_FILES)
    return next((path for path in candidates if os.path.lexists(path)), None)


def read_identity(folder: Path) -> Identity | None:
    """The identity of a folder; None: nobody has registered there.

    :raises IdentityInvalid: when there is a file, and it cannot be used.
    """
    path = identity_file(folder)
    if path is None:
        return None
    try:
        return Identity.decode(read_small(path, _SIZE_LIMIT))
    except OSError as error:
        raise IdentityInvalid(f"{path.name} cannot be read: {error.strerror}") from None
    except IdentityInvalid as error:
        raise IdentityInvalid(f"{path.name} cannot be used: {error}") from None


class IdentityDraft:
    """An identity file that lacks nothing but the id.

    It is on the disk, under another name, before the relay is asked to register: a folder that
    cannot be written or is full is found out while the name is still free. The id is then written
    over zeros, which takes no more space. Only a crash between the relay's answer and that write
    loses the name; v2 has no way to ask for an id again.
    """

    def __init__(self, folder: Path, name: UserName, private_key: PrivateKey) -> None:
        """Write the draft.

        :raises AlreadyRegistered: when the folder has an identity file.
        :raises IdentityInvalid: when it cannot be written.
        """
        self._folder = folder
        self._identity = Identity(name.raw, NOBODY, private_key)
        existing = identity_file(folder)
        if existing is not None:
            raise AlreadyRegistered(f"{existing.name} exists: you are registered already")
        try:
            self._path = write_beside(folder / IDENTITY_FILE, self._identity.encode())
        except OSError as error:
            raise _unwritable(error) from None

    def complete(self, client_id: ClientId) -> Identity:
        """Put the identity in place, with the id that the relay gave.

        :raises AlreadyRegistered: when another process has registered in this folder meanwhile.
        :raises IdentityInvalid: when it cannot be written.
        """
        identity = Identity(self._identity.name, client_id, self._identity.private_key)
        try:
            with self._path.open("r+b") as opened:
                opened.write(identity.encode())
                opened.flush()
                os.fsync(opened.fileno())
            _link(self._path, self._folder / IDENTITY_FILE)
            sync_folder(self._folder)
        except FileExistsError:
            raise AlreadyRegistered(
                f"{IDENTITY_FILE} has come into being meanwhile: it stays as it is"
            ) from None
        except OSError as error:
            raise _unwritable(error) from None
        finally:
            self.discard()
        return identity

    def discard(self) -> None:
        """Remove the draft."""
        remove(self._path)


def _link(path: Path, target: Path) -> None:
    """Give a file its final name, unless that exists."""
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError:
        # Some file systems have no links. There the gap between the two calls must do.
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        path.rename(target)


def _unwritable(error: OSError) -> IdentityInvalid:
    return IdentityInvalid(f"{IDENTITY_FILE} cannot be written: {error.strerror}")
