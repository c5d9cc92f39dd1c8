"""The header of the PROXY protocol, in which a balancer says whose connection it passes on.

Both versions of https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt, as functions of bytes.
Any split of any bytes gives the same header, or the same refusal.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from attrs import frozen

TEXT_MARK: Final = b"PROXY "
TEXT_SIZE_LIMIT: Final = 107
"""Bytes of a header of version 1, with the end of its line: the longest that there can be."""

BINARY_MARK: Final = b"\r\n\r\n\0\r\nQUIT\n"
BINARY_REST_LIMIT: Final = 2_048
"""Bytes after the 16 with which a header of version 2 begins. Addresses take 216 at the most; what
else a balancer tells there is passed over."""

_HEAD: Final = struct.Struct("!12sBBH")

HEADER_SIZE_LIMIT: Final = max(TEXT_SIZE_LIMIT, _HEAD.size + BINARY_REST_LIMIT)


class BadHeader(Exception):
    """This is no header of the PROXY protocol; the text is ours, and quotes nothing."""


@frozen
class Header:
    """What a header says.

    :ivar host: the client's address, as ``ipaddress`` writes it; None: the connection is the
        balancer's own, or of a kind that has no such address.
    :ivar size: bytes of the header.
    """

    host: str | None
    size: int


def read_header(data: bytes | bytearray) -> Header | None:
    """The header with which these bytes begin, or None: there have to be more.

    :raises BadHeader: whatever may follow.
    """
    for mark, read in ((TEXT_MARK, _read_text), (BINARY_MARK, _read_binary)):
        if data.startswith(mark):
            return read(data)
        if mark.startswith(data):
            return None
    raise BadHeader("it does not begin as one does")


class HeaderReader:
    """Reads the header of one connection, and stores no more than that."""

    __slots__ = ("_stored",)

    def __init__(self) -> None:
        self._stored = bytearray()

    def feed(self, data: bytes) -> tuple[Header, bytes] | None:
        """The header and what came after it, or None: it is not complete.

        :raises BadHeader: when there will be none.
        """
        before = len(self._stored)
        self._stored += data[: HEADER_SIZE_LIMIT - before]
        header = read_header(self._stored)
        return None if header is None else (header, data[header.size - before :])


# Version 1.

_TEXT_KINDS: Final[Mapping[bytes, type[IPv4Address | IPv6Address]]] = {
    b"TCP4": IPv4Address,
    b"TCP6": IPv6Address,
}


def _read_text(data: bytes | bytearray) -> Header | None:
    end = data.find(b"\r\n", 0, TEXT_SIZE_LIMIT)
    if end >= 0:
        return Header(_text_host(bytes(data[len(TEXT_MARK) : end]).split(b" ")), end + 2)
    if len(data) >= TEXT_SIZE_LIMIT:
        raise BadHeader("its line does not end")
    return None


def _text_host(words: list[bytes]) -> str | None:
    match words:
        case [b"UNKNOWN", *_]:
            return None
        case [kind, source, target, source_port, target_port] if kind in _TEXT_KINDS:
            if not (_is_port(source_port) and _is_port(target_port)):
                raise BadHeader("there is something else in the place of a port")
            _text_address(kind, target)
            return _text_address(kind, source)
    raise BadHeader("its line is not of a form that there is")


def _is_port(text: bytes) -> bool:
    return text.isdigit() and len(text) <= 5 and b"%d" % int(text) == text and int(text) < 65_536


def _text_address(kind: bytes, text: bytes) -> str:
    try:
        if b"%" not in text:  # a zone is known to one machine only
            return _show(_TEXT_KINDS[kind](text.decode("ascii")))
    except (AddressValueError, UnicodeDecodeError):
        pass
    raise BadHeader("there is something else in the place of an address")


# Version 2.

_VERSION_2: Final = 2
_LOCAL, _PROXY = 0, 1


@frozen
class _Family:
    """A kind of connection: bytes of both of its ends, and how the first of them is read."""

    size: int
    address: type[IPv4Address | IPv6Address] | None = None
    address_size: int = 0


_FAMILIES: Final[Mapping[int, _Family]] = {
    0x00: _Family(0),  # unspecified
    0x11: _Family(12, IPv4Address, 4),  # TCP
    0x21: _Family(36, IPv6Address, 16),
    0x31: _Family(216),  # a Unix socket, of which there is a path at most
    # Datagrams, which we do not serve: as if they were unspecified.
    0x12: _Family(12),
    0x22: _Family(36),
    0x32: _Family(216),
}


def _read_binary(data: bytes | bytearray) -> Header | None:
    if len(data) < _HEAD.size:
        return None
    _, command, family_code, rest = _HEAD.unpack_from(data)
    if command >> 4 != _VERSION_2 or command & 15 not in (_LOCAL, _PROXY):
        raise BadHeader("it is of another version, or orders something else")
    if rest > BINARY_REST_LIMIT:
        raise BadHeader("it is too long")
    size = _HEAD.size + rest
    if command & 15 == _LOCAL:
        return Header(None, size) if len(data) >= size else None
    family = _FAMILIES.get(family_code)
    if family is None or rest < family.size:
        raise BadHeader("its addresses are of no kind that there is, or cut off")
    if len(data) < size:
        return None
    if family.address is None:
        return Header(None, size)
    source = bytes(data[_HEAD.size : _HEAD.size + family.address_size])
    return Header(_show(family.address(source)), size)


def _show(address: IPv4Address | IPv6Address) -> str:
    # One client has one address, whichever way it takes.
    return str(getattr(address, "ipv4_mapped", None) or address)
