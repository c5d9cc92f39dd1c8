"""The ciphers that v2 prescribes (docs/protocol/v2.md, "Message types"): weak by design.

RSA-1024 with e = 17, OAEP with SHA-1, MGF1-SHA-1 and an empty label; AES-128 in CBC mode with an
IV of zeros and PKCS#7. They are kept, and kept apart, because the clients that are out there speak
nothing else. Equal beginnings under one key give equal ciphertext, nothing proves who sealed a
message or that it is whole, and one lost private key opens the past. docs/security.md lists what
this cannot give; nothing else should be built on it.
"""

from .._errors import CryptoError
from ._rsa import (
    EXPONENT,
    MODULUS_BITS,
    PRIVATE_KEY_SIZE_LIMIT,
    WRAPPED_KEY_SIZE,
    PrivateKey,
    wrap,
)
from ._symmetric import KEY_SIZE, SymmetricKey

__all__ = [
    "EXPONENT",
    "KEY_SIZE",
    "MODULUS_BITS",
    "PRIVATE_KEY_SIZE_LIMIT",
    "WRAPPED_KEY_SIZE",
    "CryptoError",
    "PrivateKey",
    "SymmetricKey",
    "wrap",
]
