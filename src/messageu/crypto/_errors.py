"""The error of every cipher. Any other exception for what a peer sent is a bug of ours."""

from __future__ import annotations


class CryptoError(Exception):
    """A key or a sealed message that cannot be what it is meant to be.

    The text is ours: it holds no input, no secret and no word of the library's.
    """
