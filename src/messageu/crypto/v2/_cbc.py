"""AES-128-CBC with an IV of zeros over whole blocks, by the fastest library that is there.

Only the cipher differs: padding, and what is said of a failure, do not depend on the library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen
from Cryptodome.Cipher import AES

try:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
except ImportError:  # it is an extra
    _HAS_OPENSSL = False
else:
    _HAS_OPENSSL = True

BLOCK_SIZE: Final = AES.block_size
_ZERO_IV: Final = bytes(BLOCK_SIZE)


@frozen
class Cbc:
    """What one library does with a key and whole blocks; both raise ValueError for others.

    :ivar library: the package that it is imported from.
    """

    library: str
    encrypt: Callable[[bytes, bytes], bytes]
    decrypt: Callable[[bytes, bytes], bytes]


def _encrypt(key: bytes, blocks: bytes) -> bytes:
    return AES.new(key, AES.MODE_CBC, iv=_ZERO_IV).encrypt(blocks)


def _decrypt(key: bytes, blocks: bytes) -> bytes:
    return AES.new(key, AES.MODE_CBC, iv=_ZERO_IV).decrypt(blocks)


def _encrypt_by_openssl(key: bytes, blocks: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CBC(_ZERO_IV)).encryptor()
    sealed = encryptor.update(blocks)
    encryptor.finalize()  # returns nothing: it sees to it that the blocks were whole
    return sealed


def _decrypt_by_openssl(key: bytes, blocks: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(_ZERO_IV)).decryptor()
    opened = decryptor.update(blocks)
    decryptor.finalize()
    return opened


_CRYPTODOME: Final = Cbc("Cryptodome", _encrypt, _decrypt)
_OPENSSL: Final = Cbc("cryptography", _encrypt_by_openssl, _decrypt_by_openssl)

INSTALLED: Final = (_OPENSSL, _CRYPTODOME) if _HAS_OPENSSL else (_CRYPTODOME,)
"""The fastest first."""
