"""Where a machine has a passphrase from. A person is asked by the cli."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from unicodedata import normalize

from messageu.client._files import read_small

from ._vault_errors import PassphraseInvalid

PASSPHRASE_LIMIT: Final = 1024
"""Bytes of a passphrase in UTF-8."""

VARIABLE: Final = "MESSAGEU_PASSPHRASE"


def checked(passphrase: str) -> str:
    """A passphrase in the form that keys are made of: the same on each keyboard (RFC 8265).

    :raises PassphraseInvalid: when it is empty, too long or no text.
    """
    composed = normalize("NFC", passphrase)
    try:
        size = len(composed.encode("utf-8"))
    except UnicodeEncodeError:
        raise PassphraseInvalid("the passphrase is not UTF-8") from None
    if not 0 < size <= PASSPHRASE_LIMIT:
        raise PassphraseInvalid(f"a passphrase has 1 to {PASSPHRASE_LIMIT} bytes")
    return composed


def passphrase_from_file(path: Path) -> str:
    """The passphrase in a regular file; one line end after it is not part of it.

    :raises PassphraseInvalid: when it cannot be read, or there is none in it.
    """
    try:
        raw = read_small(path, PASSPHRASE_LIMIT + len("\r\n"))
    except OSError as error:
        reason = error.strerror
        raise PassphraseInvalid(f"the passphrase's file cannot be read: {reason}") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise PassphraseInvalid("the passphrase is not UTF-8") from None
    return checked(text.removesuffix("\n").removesuffix("\r"))


def passphrase_from_environment(
    environment: Mapping[str, str], variable: str = VARIABLE
) -> str | None:
    """The passphrase in a variable; None when it is not set.

    :raises PassphraseInvalid: when there is none in it.
    """
    passphrase = environment.get(variable)
    return None if passphrase is None else checked(passphrase)
