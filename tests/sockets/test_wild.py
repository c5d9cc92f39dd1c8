"""The frames of foreign clients, replayed to the relay over the connections that they used."""

from __future__ import annotations

import struct
from collections import defaultdict

from tests.vectors import WildPeer, wild_peers

from .client import SocketClient
from .relay import RelayTestCase, blocking


class Replay:
    """What a foreign client would see: its frames go out with the ids that this relay gave."""

    def __init__(self, peer: WildPeer) -> None:
        self.old_ids = {who.name: who.client_id for who in peer.identities.values()}
        self.new_ids: dict[bytes, bytes] = {}
        self.names: dict[bytes, bytes] = {}
        self.keys: dict[bytes, bytes] = {}
        self.mail: dict[bytes, list[bytes]] = defaultdict(list)

    def adapt(self, frame: bytes) -> bytes:
        """The same frame with our ids, except in a registration."""
        for old, new in self.new_ids.items():
            frame = frame.replace(old, new)
        return frame

    def check(self, case: RelayTestCase, frame: bytes, answer: tuple[int, int, bytes]) -> None:
        """The answer to a frame is the one that it must be, byte for byte."""
        sender, code = frame[:16], int.from_bytes(frame[17:19], "little")
        version, answered, payload = answer
        case.assertEqual((version, answered), (2, code + 1500))
        getattr(self, f"check_{code}")(case, sender, frame[23:], payload)

    def check_600(self, case: RelayTestCase, _: bytes, request: bytes, payload: bytes) -> None:
        """A new id."""
        name = request[:255].partition(b"\0")[0]
        case.assertEqual(len(payload), 16)
        self.new_ids[self.old_ids[name]] = payload
        self.names[payload] = name
        self.keys[payload] = request[255:]

    def check_601(self, case: RelayTestCase, sender: bytes, _: bytes, payload: bytes) -> None:
        """Everybody else."""
        listed = [
            client_id + name.ljust(255, b"\0")
            for client_id, name in self.names.items()
            if client_id != sender
        ]
        case.assertEqual(payload, b"".join(listed))

    def check_602(self, case: RelayTestCase, _: bytes, request: bytes, payload: bytes) -> None:
        """The key that was registered."""
        case.assertEqual(payload, request + self.keys[request])

    def check_603(self, case: RelayTestCase, sender: bytes, request: bytes, payload: bytes) -> None:
        """Stored for the recipient, under a number that the mail will carry."""
        recipient, number = struct.unpack("<16s4s", payload)
        case.assertEqual(recipient, request[:16])
        self.mail[recipient].append(sender + number + request[16:])

    def check_604(self, case: RelayTestCase, sender: bytes, _: bytes, payload: bytes) -> None:
        """What was sent since the last time."""
        case.assertEqual(payload, b"".join(self.mail.pop(sender, [])))


class WildTests(RelayTestCase):
    """Three foreign clients; each has a relay for itself, as their people have the same names."""

    def setUp(self) -> None:
        self.port = self.start_relay()

    def replay(self, label: str) -> list[int]:
        """Replay one client's frames; the codes that it was answered."""
        (peer,) = (peer for peer in wild_peers() if peer.label == label)
        replay = Replay(peer)
        connections: dict[int, SocketClient] = {}
        codes = []
        for request in peer.requests:
            if request.connection not in connections:
                connections[request.connection] = self.dial(self.port)
            frame = request.frame if request.code == 600 else replay.adapt(request.frame)
            answer = connections[request.connection].ask(frame)
            replay.check(self, frame, answer)
            codes.append(answer.code)
        self.assertEqual(dict(replay.mail), {})
        return codes

    @blocking
    def test_peer_a(self) -> None:
        """One that says version 1, and exchanges keys and texts both ways."""
        self.assertEqual(self.replay("peer-a").count(2104), 5)

    @blocking
    def test_peer_b(self) -> None:
        """One that asks for the list before everything."""
        self.assertEqual(self.replay("peer-b").count(2101), 14)

    @blocking
    def test_peer_c(self) -> None:
        """One that leaves garbage in the id of its registration."""
        self.assertEqual(self.replay("peer-c"), [2100, 2100])
