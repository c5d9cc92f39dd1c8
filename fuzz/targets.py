"""What can be fuzzed, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen

from . import contents, databases, envelopes, files, frames, frames_v3, headers, texts

FOLDER: Final = Path(__file__).resolve().parent


@frozen
class Target:
    """A function that takes any bytes, and raises when a promise is broken.

    :ivar dictionary: words that its inputs are made of, in ``dictionaries``.
    :ivar max_size: bytes of an input.
    """

    name: str
    run: Callable[[bytes], None]
    dictionary: str
    max_size: int = 4096

    @property
    def corpus(self) -> Path:
        """The folder with its seeds, and with what once broke something."""
        return FOLDER / "corpus" / self.name

    @property
    def dictionary_file(self) -> Path:
        """The file with its words."""
        return FOLDER / "dictionaries" / f"{self.dictionary}.dict"

    def inputs(self) -> dict[str, bytes]:
        """The corpus, by file name."""
        return {path.name: path.read_bytes() for path in sorted(self.corpus.iterdir())}


TARGETS: Final = {
    target.name: target
    for target in (
        Target("requests", frames.requests, "frames"),
        Target("responses", frames.responses, "frames"),
        Target("requests_v3", frames_v3.requests, "frames_v3"),
        Target("responses_v3", frames_v3.responses, "frames_v3"),
        Target("header", headers.header, "header"),
        Target("identity", files.identity, "identity"),
        Target("keyring", files.keyring, "keyring"),
        Target("address", files.address, "address", max_size=256),
        Target("envelopes", envelopes.envelopes, "envelopes", max_size=1024),
        Target("contents", contents.contents, "contents"),
        Target("terminal", texts.terminal, "terminal", max_size=1024),
        Target("rows", databases.rows, "rows", max_size=2048),
        Target("database", databases.database, "database", max_size=16384),
    )
}
