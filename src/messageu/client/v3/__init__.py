"""A client of MessageU v3 for an application with its own reactor."""

from ._address import (
    ContactLink,
    RelayLink,
    is_link,
    parse_contact,
    parse_relay,
    read_relay,
    write_relay,
)
from ._connection import RelayNotTrusted, RelayNotV3

__all__ = [
    "ContactLink",
    "RelayLink",
    "RelayNotTrusted",
    "RelayNotV3",
    "is_link",
    "parse_contact",
    "parse_relay",
    "read_relay",
    "write_relay",
]
