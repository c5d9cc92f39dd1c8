"""Whether somebody has signed something: all of cryptography that a relay needs."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def is_signed(key: bytes, signature: bytes, text: bytes) -> bool:
    """Whether the owner of an Ed25519 key, 32 bytes, has signed a text; what is no key has not."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True
