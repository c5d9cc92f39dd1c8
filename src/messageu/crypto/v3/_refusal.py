"""The one place where what a library raises becomes our error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cryptography.exceptions import InvalidTag

from .._errors import CryptoError

_REFUSALS: Final = (InvalidTag, OverflowError, ValueError)
"""What the libraries raise for keys and ciphertexts that are none."""

_PANICS: Final = "pyo3_runtime"
"""The module of a panic, which is named nowhere else."""


@contextmanager
def refused(words: str) -> Iterator[None]:
    """Let the libraries work on what a peer sent.

    :raises CryptoError: with these words, when they cannot.
    """
    try:
        yield
    except _REFUSALS:
        raise CryptoError(words) from None
    except BaseException as error:
        # A library in Rust panics with what is no Exception: nobody above would catch it.
        if type(error).__module__ != _PANICS:
            raise
        raise CryptoError(words) from None
