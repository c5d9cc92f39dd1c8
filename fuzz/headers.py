"""What a balancer, or whoever is taken for one, sends before a connection."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import TypeAlias

from messageu.server import BadHeader, HeaderReader

SIZE_LIMIT = 2_064
"""Bytes of a header, which are all that a reader keeps."""

Outcome: TypeAlias = tuple[str | None, bytes] | str | None
"""A client's address and what comes after the header; that it is refused; or that more is awaited."""


def header(data: bytes) -> None:
    """The beginning of a connection: any split gives the same, and an address is one."""
    whole = _outcome([data])
    for pieces in (
        [data[place : place + 1] for place in range(len(data))],
        *([data[:cut], data[cut:]] for cut in (1, 5, 6, 12, 13, 15, 16, 28, 107, len(data) - 1)),
    ):
        assert _outcome(pieces) == whole, "the pieces give something else"
    if isinstance(whole, tuple):
        host, rest = whole
        size = len(data) - len(rest)
        assert 8 < size <= SIZE_LIMIT and data.endswith(rest)
        assert host is None or str(ip_address(host)) == host
        assert _outcome([data[: size - 1]]) is None, "it was told before it was there"


def _outcome(pieces: Sequence[bytes]) -> Outcome:
    reader = HeaderReader()
    for number, piece in enumerate(pieces):
        try:
            read = reader.feed(piece)
        except BadHeader:
            return "refused"
        if read is not None:
            return read[0].host, read[1] + b"".join(pieces[number + 1 :])
    return None
