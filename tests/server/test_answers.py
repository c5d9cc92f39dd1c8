"""Answers in pieces: whatever the size of the pieces, the same bytes."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ClientId, Envelope, PublicKey, UserName
from messageu.server._answers import DirectoryStream, MailStream, Stream
from messageu.store import Directory, Lease, MemoryStore
from messageu.wire import NEED_DATA, Parser, v2

SIZES = (0, 1, 39, 75, 0, 0, 100, 3)


class StreamTests(SynchronousTestCase):
    """Mail and a directory of a store in memory."""

    def setUp(self) -> None:
        self.store = MemoryStore(now=lambda: 0.0)
        self.store.open()
        self.sender, self.recipient = (self.register(name) for name in ("ada", "bob"))

    def register(self, name: str) -> ClientId:
        client = self.successResultOf(
            self.store.register(UserName.from_text(name), PublicKey(bytes(160)))
        )
        assert isinstance(client, ClientId)
        return client

    def read_all(self, stream: Stream) -> list[bytes]:
        """The pieces, until it says that there are no more."""
        pieces = []
        while not stream.exhausted:
            pieces.append(self.successResultOf(Deferred.fromCoroutine(stream.next_chunk())))
        return pieces

    def lease(self, page: int) -> Lease:
        lease = self.successResultOf(self.store.lease(self.recipient, 100, 10_000, page))
        assert isinstance(lease, Lease)
        return lease

    def test_mail_is_the_same_in_pieces_of_any_size(self) -> None:
        """A piece may end anywhere, also right behind a message's head, and no byte comes twice."""
        contents = [bytes([index]) * size for index, size in enumerate(SIZES)]
        for content in contents:
            envelope = Envelope(self.sender, self.recipient, 3, content)
            self.successResultOf(self.store.put([envelope]))
        whole = b"".join(
            self.read_all(MailStream(self.store, self.lease(10_000), 10_000, self.fail))
        )
        parser = Parser(v2.ResponseCodec())
        parser.receive_data(whole)
        events = list(iter(parser.next_event, NEED_DATA))
        self.assertEqual(
            [event.content for event in events if isinstance(event, v2.WaitingMessage)], contents
        )
        for chunk in range(1, len(whole) + 1):
            pieces = self.read_all(MailStream(self.store, self.lease(chunk), chunk, self.fail))
            self.assertEqual(b"".join(pieces), whole, chunk)
            limit = v2.RESPONSE_HEADER_SIZE + v2.WAITING_HEAD_SIZE + chunk
            self.assertTrue(all(0 < len(piece) <= limit for piece in pieces), chunk)

    def test_directory_is_the_same_in_pieces_of_any_size(self) -> None:
        """So is the list of clients."""
        for number in range(6):
            self.register(f"user-{number}")
        directory = self.successResultOf(self.store.directory(self.sender))
        assert isinstance(directory, Directory)
        whole = b"".join(self.read_all(DirectoryStream(self.store, directory, 100_000)))
        self.assertEqual(len(whole), v2.RESPONSE_HEADER_SIZE + 7 * v2.LISTED_CLIENT_SIZE)
        for chunk in (1, 271, 272, 600, 1355, 1897, 2000):
            pieces = self.read_all(DirectoryStream(self.store, directory, chunk))
            self.assertEqual(b"".join(pieces), whole, chunk)
