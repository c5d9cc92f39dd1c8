"""What opens and seals v3's envelopes, files and sessions. The relay never imports this package."""

from .._errors import CryptoError
from ._files import FILE_KEY_SIZE, open_piece, piece_envelope_id, seal_piece
from ._messages import (
    DIGEST_SIZE,
    DISPLAY_NAME_SIZE_LIMIT,
    FILE_NAME_SIZE_LIMIT,
    FILE_SIZE_LIMIT,
    MEDIA_TYPE_SIZE_LIMIT,
    MESSAGE_ID_SIZE,
    RECEIPT_IDS_LIMIT,
    TEXT_SIZE_LIMIT,
    FileOffer,
    Kind,
    Message,
    decode_receipt,
    encode_receipt,
)
from ._olm import NORMAL, PRE_KEY, Account, Ciphertext, Session
from ._padding import padded_size, padme, piece_count
from ._passphrases import DEFAULT_COST, SALT_SIZE_MIN, Cost, derive_key
from ._safety import safety_number
from ._seals import HPKE_SECRET_SIZE, HpkeKey, Unsealed, seal, unseal

__all__ = [
    "DEFAULT_COST",
    "DIGEST_SIZE",
    "DISPLAY_NAME_SIZE_LIMIT",
    "FILE_KEY_SIZE",
    "FILE_NAME_SIZE_LIMIT",
    "FILE_SIZE_LIMIT",
    "HPKE_SECRET_SIZE",
    "MEDIA_TYPE_SIZE_LIMIT",
    "MESSAGE_ID_SIZE",
    "NORMAL",
    "PRE_KEY",
    "RECEIPT_IDS_LIMIT",
    "SALT_SIZE_MIN",
    "TEXT_SIZE_LIMIT",
    "Account",
    "Ciphertext",
    "Cost",
    "CryptoError",
    "FileOffer",
    "HpkeKey",
    "Kind",
    "Message",
    "Session",
    "Unsealed",
    "decode_receipt",
    "derive_key",
    "encode_receipt",
    "open_piece",
    "padded_size",
    "padme",
    "piece_count",
    "piece_envelope_id",
    "safety_number",
    "seal",
    "seal_piece",
    "unseal",
]
