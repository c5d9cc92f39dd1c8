"""What three foreign clients sent and kept, byte for byte (wild-clients.json)."""

import json
from base64 import b64decode
from pathlib import Path

from attrs import frozen


@frozen
class WildIdentity:
    """An identity file, taken apart as simply as can be: the client's own reader is tested with it."""

    name: bytes
    client_id: bytes
    private_key: bytes


@frozen
class WildFrame:
    """A request frame, and which of the peer's connections carried it."""

    connection: int
    code: int
    frame: bytes


@frozen
class WildPeer:
    """One foreign client: two people who use it, and all that they sent, in order."""

    label: str
    identities: dict[str, WildIdentity]
    requests: tuple[WildFrame, ...]

    def connections(self) -> dict[int, list[bytes]]:
        """The frames of each connection, in order."""
        streams: dict[int, list[bytes]] = {}
        for request in self.requests:
            streams.setdefault(request.connection, []).append(request.frame)
        return streams


def wild_peers() -> list[WildPeer]:
    """Every peer of the file."""
    text = Path(__file__).with_name("wild-clients.json").read_text(encoding="ascii")
    return [
        WildPeer(
            label,
            {who: _identity(kept["text"]) for who, kept in peer["identities"].items()},
            tuple(
                WildFrame(sent["connection"], sent["code"], bytes.fromhex(sent["frame"]))
                for sent in peer["requests"]
            ),
        )
        for label, peer in json.loads(text)["peers"].items()
    ]


def _identity(text: str) -> WildIdentity:
    name, client_id, *key = text.split("\n")
    return WildIdentity(name.encode(), bytes.fromhex(client_id), b64decode("".join(key)))
