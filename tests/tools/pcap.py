"""A capture of TCP segments, as a file that Wireshark reads: written without any right to capture."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from attrs import define, field

CLIENT: Final = bytes((192, 0, 2, 1))
RELAY: Final = bytes((192, 0, 2, 2))
RAW_IP: Final = 101
"""The link type of packets that begin with an IP header."""
SEGMENT_LIMIT: Final = 65_000
"""Bytes of one segment, so that it fits into an IPv4 packet."""


@define
class Capture:
    """What was seen on the network, oldest first: a packet each millisecond.

    :ivar snap_length: bytes of each packet that are kept.
    """

    snap_length: int = 65_535
    _packets: list[bytes] = field(factory=list)
    _streams: int = 0

    def stream(self, port: int) -> Stream:
        """A new connection to this port of the relay, from a port of its own."""
        self._streams += 1
        return Stream(self, 20_000 + self._streams, port)

    def add(self, packet: bytes) -> None:
        """One more IP packet."""
        millisecond = len(self._packets)
        stamp = divmod(millisecond, 1000)
        kept = packet[: self.snap_length]
        record = struct.pack("<IIII", stamp[0], stamp[1] * 1000, len(kept), len(packet))
        self._packets.append(record + kept)

    def encode(self) -> bytes:
        """The file."""
        header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, self.snap_length, RAW_IP)
        return header + b"".join(self._packets)


@define
class Stream:
    """One connection.

    :ivar client_port: no other connection has it.
    """

    _capture: Capture
    client_port: int
    _port: int
    _sent: dict[bool, int] = field(factory=lambda: {True: 1, False: 1})

    def send(self, data: bytes, *, from_client: bool, cuts: Iterable[int] = ()) -> None:
        """The bytes in segments, which end at each of ``cuts`` and at the end."""
        ends = sorted({*cuts, *range(SEGMENT_LIMIT, len(data), SEGMENT_LIMIT), len(data)})
        start = 0
        for end in ends:
            if end > start:
                self._segment(data[start:end], from_client)
            start = end

    def _segment(self, data: bytes, from_client: bool) -> None:
        ports = (self.client_port, self._port) if from_client else (self._port, self.client_port)
        addresses = (CLIENT, RELAY) if from_client else (RELAY, CLIENT)
        sent = (self._sent[from_client], self._sent[not from_client])
        # Five words of header, PSH and ACK, a window, and a checksum that nobody verifies.
        segment = struct.pack(">HHIIBBHHH", *ports, *sent, 5 << 4, 0x18, 65_535, 0, 0) + data
        packet = struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0, *addresses
        )
        self._capture.add(packet + segment)
        self._sent[from_client] += len(data)
