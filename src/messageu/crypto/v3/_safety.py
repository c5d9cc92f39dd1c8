"""What two people compare to know that nobody is between them."""

from __future__ import annotations

from hashlib import sha512
from typing import Final

from messageu.model import v3

_LABEL: Final = v3.label("safety number")
_ROUNDS: Final = 5_200
_GROUPS: Final = 6
_GROUP_SIZE: Final = 5


def safety_number(one: v3.Identity, other: v3.Identity) -> str:
    """60 digits, the same on both sides and another for each pair. Takes some milliseconds."""
    return "".join(sorted((_half(one), _half(other))))


def _half(identity: v3.Identity) -> str:
    digest = _LABEL
    for _ in range(_ROUNDS):
        digest = sha512(digest + identity.raw).digest()
    groups = (digest[at : at + _GROUP_SIZE] for at in range(0, _GROUPS * _GROUP_SIZE, _GROUP_SIZE))
    return "".join(f"{int.from_bytes(group, 'big') % 100_000:05}" for group in groups)
