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

__all__ = [
    "ContactLink",
    "RelayLink",
    "is_link",
    "parse_contact",
    "parse_relay",
    "read_relay",
    "write_relay",
]
