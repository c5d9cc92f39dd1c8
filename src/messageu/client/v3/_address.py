"""``messageu://host:port#<pin>`` is a relay, and with an identity before the ``#`` somebody there."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Final

from attrs import field, frozen

from messageu.model.v3 import IDENTITY_SIZE, Identity

from .._address import ADDRESS_FILE, RelayAddress, parse_address
from .._errors import AddressInvalid
from .._files import read_small, replace_file

SCHEME: Final = "messageu://"
PIN_SIZE: Final = 32
LINK_LIMIT: Final = 512
"""Characters of a link: the longest name of a host, a port, an identity and a pin fit."""

_FILE_SIZE_LIMIT: Final = 4096
_LINK: Final = re.compile(
    r"messageu://(?P<place>[A-Za-z0-9._:\[\]-]+)(?:/(?P<identity>[^/#]*))?#(?P<pin>[^/#]*)",
    re.ASCII,
)
_PORT_WITH_ZEROS: Final = re.compile(r".*:0[0-9]+", re.ASCII)
_WANTED: Final = "it looks like messageu://host:port#pin"


@frozen
class RelayLink:
    """Where a relay is, and how it is known.

    :ivar pin: SHA-256 of the SubjectPublicKeyInfo of its certificate, 32 bytes.
    """

    address: RelayAddress
    pin: bytes = field(repr=False)

    @pin.validator
    def _check(self, _: object, pin: bytes) -> None:
        if len(pin) != PIN_SIZE:
            raise AddressInvalid(f"a pin has {PIN_SIZE} bytes")

    def __str__(self) -> str:
        return f"{SCHEME}{self.address}#{_encode(self.pin)}"


@frozen
class ContactLink:
    """Somebody, and where to write to him."""

    relay: RelayLink
    identity: Identity

    def __str__(self) -> str:
        relay = self.relay
        return f"{SCHEME}{relay.address}/{_encode(self.identity.raw)}#{_encode(relay.pin)}"


def is_link(text: str) -> bool:
    """Whether a person meant a link, right or wrong, and no name."""
    return text.strip().lower().startswith("messageu:")


def parse_relay(text: str) -> RelayLink:
    """Read the link of a relay. Spaces around it are ignored.

    :raises AddressInvalid: for anything else.
    """
    found = _parse(text)
    if isinstance(found, ContactLink):
        raise AddressInvalid("this is the link of a contact, and not the address of a relay")
    return found


def parse_contact(text: str) -> ContactLink:
    """Read the link of a contact. Spaces around it are ignored.

    :raises AddressInvalid: for anything else.
    """
    found = _parse(text)
    if isinstance(found, RelayLink):
        raise AddressInvalid("this is the address of a relay, and not the link of a contact")
    return found


def read_relay(folder: Path) -> RelayLink | None:
    """The relay that ``server.info`` names; None when there is no such file, or it is of v2.

    :raises AddressInvalid: when it says that it is of v3, and is not.
    """
    try:
        text = read_small(folder / ADDRESS_FILE, _FILE_SIZE_LIMIT).decode("utf-8-sig", "replace")
    except OSError:
        return None
    lines = [line.strip() for line in text.splitlines()]
    line = next(filter(None, lines), "")
    if not is_link(line):
        return None
    try:
        return parse_relay(line)
    except AddressInvalid as error:
        raise AddressInvalid(f"{ADDRESS_FILE} is invalid: {error}") from None


def write_relay(folder: Path, relay: RelayLink) -> None:
    """Make a folder one of v3, with this relay.

    :raises AddressInvalid: when the file cannot be written.
    """
    try:
        replace_file(folder / ADDRESS_FILE, f"{relay}\n".encode("ascii"))
    except OSError as error:
        raise AddressInvalid(f"{ADDRESS_FILE} cannot be written: {error.strerror}") from None


def _parse(text: str) -> RelayLink | ContactLink:
    line = text.strip(" \t\r\n")
    found = _LINK.fullmatch(line) if len(line) <= LINK_LIMIT else None
    if found is None:
        raise AddressInvalid(f"this is no link of MessageU: {_WANTED}")
    place, identity, pin = found["place"], found["identity"], found["pin"]
    if _PORT_WITH_ZEROS.fullmatch(place):
        raise AddressInvalid("the port is no number from 1 to 65535")
    relay = RelayLink(parse_address(place), _decode(pin, PIN_SIZE, "pin"))
    if identity is None:
        return relay
    return ContactLink(relay, Identity(_decode(identity, IDENTITY_SIZE, "identity")))


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _decode(text: str, size: int, what: str) -> bytes:
    """Read base64url in the only way that it is written: unpadded, with no bits to spare."""
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raw = b""
    if len(raw) != size or _encode(raw) != text:
        raise AddressInvalid(f"the {what} in the link is not whole: copy all of it")
    return raw
