"""The blocks of bytes that the documents of the protocols show."""

from __future__ import annotations

import re
from pathlib import Path

PROTOCOLS = Path(__file__).resolve().parent.parent / "docs" / "protocol"


def dumps(document: str) -> dict[str, bytes]:
    """The bytes of each block of a document, by its name."""
    text = (PROTOCOLS / document).read_text("utf-8")
    blocks = re.findall(r"^```hex ([\w-]+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shown = {name: b"".join(_octets(block)) for name, block in blocks}
    if len(shown) != len(blocks):
        raise ValueError("two blocks have one name")
    return shown


def _octets(block: str) -> list[bytes]:
    octets = []
    for line in block.splitlines():
        for word in line.partition("#")[0].split():
            octet, _, times = word.partition("*")
            octets.append(bytes.fromhex(octet) * int(times or 1))
    return octets
