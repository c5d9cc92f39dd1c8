"""Whether somebody has signed something: all of cryptography that a relay needs."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from messageu.model import v3


def is_signed(key: bytes, signature: bytes, text: bytes) -> bool:
    """Whether the owner of an Ed25519 key, 32 bytes, has signed a text; what is no key has not."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_bundle_signed(keys: v3.IdentityKeys, bundle: v3.Bundle) -> bool:
    """Whether a bundle is of these keys' identity, and signed by it. Its times are not judged."""
    if bundle.identity != keys.identity:
        return False
    return is_signed(keys.ed25519, bundle.signature, bundle.signed_text)


def is_one_time_key_signed(keys: v3.IdentityKeys, one_time_key: v3.OneTimeKey) -> bool:
    """Whether a one-time key is signed by these keys' identity, which the signed text holds."""
    return is_signed(keys.ed25519, one_time_key.signature, one_time_key.signed_text(keys.identity))
