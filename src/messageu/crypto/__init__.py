"""Sealing and opening what travels between clients. The relay never imports this package."""

from ._errors import CryptoError

__all__ = ["CryptoError"]
