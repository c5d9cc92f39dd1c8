"""What the payloads of both directions have in common."""

from __future__ import annotations

from typing import ClassVar, Protocol, Self

from attrs import frozen

from . import _fields as fields


class Body(Protocol):
    """What follows the correlation in the payload of one code.

    ``min_size`` and ``max_size`` bound it, in bytes; a ``max_size`` of None leaves it to the limit
    of whoever reads it.
    """

    min_size: ClassVar[int]
    max_size: ClassVar[int | None]

    def encode(self) -> bytes:
        """Its bytes.

        :raises LocalProtocolError: when the protocol cannot carry it.
        """
        ...  # pragma: no cover

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read its bytes, whose number is within the bounds.

        :raises InvalidValue: when they contradict themselves.
        """
        ...  # pragma: no cover


class Empty:
    """Its code and nothing more."""

    __slots__ = ()

    min_size: ClassVar[int] = 0
    max_size: ClassVar[int | None] = 0

    def encode(self) -> bytes:
        return b""

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        fields.exactly(0, raw)
        return cls()


@frozen
class KeyCount:
    """So many one-time keys. 2 bytes."""

    min_size: ClassVar[int] = fields.U16.size
    max_size: ClassVar[int | None] = fields.U16.size

    one_time_keys: int

    def encode(self) -> bytes:
        return fields.pack(fields.U16, self.one_time_keys)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        return cls(*fields.U16.unpack(raw))
