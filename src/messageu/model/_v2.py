"""The values of v2. The id and the checks serve v3 as well."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, Self

from attrs import field, frozen

CLIENT_ID_SIZE: Final = 16
PUBLIC_KEY_SIZE: Final = 160
NAME_SIZE_LIMIT: Final = 254
MESSAGE_ID_LIMIT: Final = 2**32


class InvalidValue(ValueError):
    """A value that cannot be what it is meant to be."""


def _exactly(size: int, what: str, raw: bytes) -> None:
    if len(raw) != size:
        raise InvalidValue(f"{what} has {size} bytes, not {len(raw)}")


@frozen(repr=False, order=True)
class ClientId:
    """A client's 16 raw bytes, a random UUID in RFC order.

    In v2 whoever knows the id can act as the client, so that its ``repr`` shows only a part.

    :raises InvalidValue: for any other size.
    """

    raw: bytes = field()

    @raw.validator
    def _check(self, _: object, raw: bytes) -> None:
        _exactly(CLIENT_ID_SIZE, "a client id", raw)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """Read 32 hexadecimal digits of either case; white space and dashes may stand between.

        :raises InvalidValue: for anything else.
        """
        try:
            return cls(bytes.fromhex("".join(text.replace("-", "").split())))
        except ValueError as error:
            raise InvalidValue("a client id is 32 hexadecimal digits") from error

    @property
    def hex(self) -> str:
        """The 32 lower-case hexadecimal digits."""
        return self.raw.hex()

    def __repr__(self) -> str:
        return f"ClientId({self.raw[:2].hex()}…)"


NOBODY: Final = ClientId(bytes(CLIENT_ID_SIZE))
"""The id in the header of a request from somebody who has none yet."""


@frozen(order=True)
class UserName:
    """A name that can be registered: 1 to 254 bytes of printable ASCII, compared byte for byte.

    :raises InvalidValue: for an empty or longer name, a control character, or a byte over 126.
    """

    raw: bytes = field()

    @raw.validator
    def _check(self, _: object, raw: bytes) -> None:
        if not 1 <= len(raw) <= NAME_SIZE_LIMIT:
            raise InvalidValue(f"a name has 1 to {NAME_SIZE_LIMIT} characters")
        if not all(0x20 <= byte <= 0x7E for byte in raw):
            raise InvalidValue("a name is made of printable ASCII characters")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The name that a person typed.

        :raises InvalidValue: when it cannot be registered.
        """
        return cls(text.encode("utf-8", "surrogatepass"))

    def __str__(self) -> str:
        return self.raw.decode("ascii")


@frozen(repr=False)
class PublicKey:
    """The 160 bytes that a client published as its key. The relay never looks inside.

    :raises InvalidValue: for any other size.
    """

    raw: bytes = field()

    @raw.validator
    def _check(self, _: object, raw: bytes) -> None:
        _exactly(PUBLIC_KEY_SIZE, "a public key", raw)

    def __repr__(self) -> str:
        return f"PublicKey({self.raw[-8:].hex()})"


@frozen
class MessageId:
    """The u32 by which v2 names a message, unique among what waits for one recipient.

    :raises InvalidValue: outside of 0 to 2**32 - 1.
    """

    number: int = field()

    @number.validator
    def _check(self, _: object, number: int) -> None:
        if not 0 <= number < MESSAGE_ID_LIMIT:
            raise InvalidValue("a message id is an unsigned 32-bit number")


@frozen
class ListedClient:
    """One line of the directory: an id, and the name up to its NUL as the other side sent it.

    ``name`` is not a :class:`UserName`: a foreign relay may list names that ours would refuse.
    """

    client_id: ClientId
    name: bytes


@frozen
class Envelope:
    """A message on its way to the relay's store: sealed content that the relay cannot open."""

    sender: ClientId
    recipient: ClientId
    type: int
    content: bytes = field(repr=False)


class Refusal(Enum):
    """Why a well-formed request is not carried out. A result, not an error."""

    NAME_TAKEN = auto()
    UNKNOWN_CLIENT = auto()
    UNKNOWN_RECIPIENT = auto()
    MAILBOX_FULL = auto()
