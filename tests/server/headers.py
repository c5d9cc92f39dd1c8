"""Headers of the PROXY protocol, as balancers send them."""

from __future__ import annotations

import socket
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

LOCAL, PROXY = 0, 1
UNSPECIFIED, TCP4, UDP4, TCP6, UDP6, UNIX, UNIX_DATAGRAM = 0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32


def text(source: str = "192.0.2.7", target: str = "198.51.100.1", kind: str | None = None) -> bytes:
    """A header of version 1."""
    kind = kind or ("TCP6" if ":" in source else "TCP4")
    return f"PROXY {kind} {source} {target} 51000 1357\r\n".encode()


def binary(
    rest: bytes,
    *,
    command: int = PROXY,
    family: int = TCP4,
    version: int = 2,
    size: int | None = None,
) -> bytes:
    """A header of version 2, with this behind its first 16 bytes."""
    size = len(rest) if size is None else size
    return SIGNATURE + struct.pack("!BBH", version << 4 | command, family, size) + rest


def addresses(source: str = "192.0.2.7", target: str = "198.51.100.1") -> bytes:
    """Both ends of a connection, as version 2 writes them."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, target)
    return ends + struct.pack("!HH", 51000, 1357)


def extension(kind: int, value: bytes) -> bytes:
    """One of the other things that version 2 can tell."""
    return struct.pack("!BH", kind, len(value)) + value
