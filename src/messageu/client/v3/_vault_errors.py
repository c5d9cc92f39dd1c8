"""What can go wrong with a profile on the disk. No text holds a passphrase, a key or a statement."""

from __future__ import annotations

from messageu.client._errors import ClientError


class VaultError(ClientError):
    """The profile on the disk cannot be used; the text says why."""


class VaultMissing(VaultError):
    """There is no profile in the folder."""


class VaultExists(VaultError):
    """There is a profile in the folder already."""


class VaultLocked(VaultError):
    """Another program has the profile open."""


class VaultDamaged(VaultError):
    """The profile's files, or those of an export, are not what was written."""


class VaultUnusable(VaultError):
    """The operating system does not let us use the profile's files."""


class PassphraseNeeded(VaultError):
    """It cannot be opened without a passphrase, and none was given, or an empty one."""


class PassphraseWrong(VaultError):
    """It cannot be opened with this passphrase."""


class ProfileExported(VaultError):
    """The profile was exported: it lives on in the file that was written, and no more here."""


class PassphraseInvalid(VaultError):
    """That cannot be a passphrase, or it cannot be read."""


class ExportInvalid(VaultError):
    """The file is no export of a profile, or not all of one."""
