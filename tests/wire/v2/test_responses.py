import struct

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ListedClient, MessageId
from messageu.testing.strategies import (
    CONTENT_LIMIT,
    Verdict,
    listed_clients,
    response_events,
    responses,
    waiting_messages,
)
from messageu.wire import LocalProtocolError, Parser
from messageu.wire.v2 import (
    LISTED_CLIENT_SIZE,
    WAITING_HEAD_SIZE,
    ClientsList,
    EndOfClients,
    EndOfMessages,
    GeneralError,
    Registered,
    ResponseCode,
    ResponseCodec,
    WaitingMessage,
    WaitingMessages,
    clients_list_header,
    listed_client,
    waiting_message_head,
    waiting_messages_header,
)
from tests.wire._drive import answers_to, drain, outcomes

from . import _golden as golden
from ._golden import ALICE, BOB

CODEC = ResponseCodec(CONTENT_LIMIT)
REGISTERED = Registered(ALICE)


def frame(code: int, payload: bytes = b"", *, size: int | None = None, version: int = 2) -> bytes:
    """An answer of this code; ``size`` is what the header says when it lies."""
    return struct.pack("<BHI", version, code, len(payload) if size is None else size) + payload


def waiting(content: bytes, *, size: int | None = None) -> bytes:
    """An item of a 2104, from Alice; ``size`` is what its head says when it lies."""
    claimed = len(content) if size is None else size
    return struct.pack("<16sIBI", ALICE.raw, 7, 3, claimed) + content


def from_alice(content: bytes) -> WaitingMessage:
    """What :func:`waiting` decodes to."""
    return WaitingMessage(ALICE, MessageId(7), 3, content)


class GoldenTests(SynchronousTestCase):
    def test_encode(self):
        """Each answer becomes the bytes that were written out by hand."""
        for label, (response, _, text) in golden.RESPONSES.items():
            self.assertEqual(response.encode().hex(), text.replace(" ", ""), label)

    def test_decode(self):
        """The bytes that were written out by hand become each answer's events."""
        for label, (_, events, text) in golden.RESPONSES.items():
            self.assertEqual(outcomes(CODEC, bytes.fromhex(text)), list(events), label)

    def test_every_code(self):
        """There is a golden frame for each code."""
        self.assertEqual({int(label[:4]) for label in golden.RESPONSES}, set(ResponseCode))


class RoundTripTests(SynchronousTestCase):
    @given(responses())
    def test_round_trip(self, response):
        """Every answer that can be encoded decodes to its events."""
        self.assertEqual(outcomes(CODEC, response.encode()), list(response_events(response)))

    @given(listed_clients())
    def test_pieces_of_a_list(self, client):
        """A directory that is encoded a piece at a time is the same as the whole."""
        pieces = clients_list_header(2) + listed_client(client) * 2
        self.assertEqual(pieces, ClientsList((client, client)).encode())
        self.assertEqual(len(listed_client(client)), LISTED_CLIENT_SIZE)

    @given(waiting_messages())
    def test_pieces_of_waiting_messages(self, message):
        """Waiting messages that are encoded a piece at a time are the same as the whole."""
        size = len(message.content)
        head = waiting_message_head(
            message.sender.raw, message.message_id.number, message.type, size
        )
        self.assertEqual(len(head), WAITING_HEAD_SIZE)
        self.assertEqual(
            waiting_messages_header(WAITING_HEAD_SIZE + size) + head + message.content,
            WaitingMessages((message,)).encode(),
        )


class ToleranceTests(SynchronousTestCase):
    def test_any_version(self):
        """Any version byte will do."""
        for version in range(256):
            self.assertEqual(outcomes(CODEC, frame(2100, ALICE.raw, version=version)), [REGISTERED])

    def test_error_with_payload(self):
        """What a foreign relay says in a 9000 is skipped, before or after it has come."""
        stream = frame(9000, b"no such client") + REGISTERED.encode()
        self.assertEqual(outcomes(CODEC, stream), [GeneralError(), REGISTERED])
        self.assertEqual(outcomes(CODEC, frame(9000, size=2**32 - 1)), [GeneralError()])

    def test_garbage_after_a_listed_name(self):
        """A listed name ends at its first NUL; without one it fills the field."""
        names = {
            b"alice".ljust(255, b"\0"): b"alice",
            b"alice\0bob\xff".ljust(255, b"\x1b"): b"alice",
            bytes(255): b"",
            b"\xff" * 255: b"\xff" * 255,
        }
        payload = b"".join(ALICE.raw + field for field in names)
        expected = [ListedClient(ALICE, name) for name in names.values()]
        self.assertEqual(outcomes(CODEC, frame(2101, payload)), [*expected, EndOfClients()])

    def test_any_message_id(self):
        """Message ids that are zero, or repeated, are carried as they are."""
        same = WaitingMessage(ALICE, MessageId(0), 3, b"x")
        self.assertEqual(
            outcomes(CODEC, WaitingMessages((same, same)).encode()), [same, same, EndOfMessages()]
        )

    def test_message_above_the_limit(self):
        """A message above the limit is skipped with an error, and the others come through."""
        items = [waiting(b"first"), waiting(bytes(CONTENT_LIMIT + 1)), waiting(b"third")]
        self.assertEqual(
            outcomes(CODEC, frame(2104, b"".join(items)) + REGISTERED.encode()),
            [
                from_alice(b"first"),
                Verdict.REFUSED,
                from_alice(b"third"),
                EndOfMessages(),
                REGISTERED,
            ],
        )

    def test_message_of_just_the_limit(self):
        """A message of just the limit comes through."""
        content = bytes(CONTENT_LIMIT)
        self.assertEqual(
            outcomes(CODEC, frame(2104, waiting(content))), [from_alice(content), EndOfMessages()]
        )

    def test_message_above_the_limit_is_not_stored(self):
        """Nothing of a message above the limit is kept, however it comes."""
        parser = Parser(CODEC)
        parser.receive_data(frame(2104, size=25 + 10_000) + waiting(b"", size=10_000))
        self.assertEqual([answer.outcome for answer in drain(parser)], [Verdict.REFUSED])
        for left in range(10_000, 0, -1000):
            self.assertEqual((parser.missing, parser.buffered), (left, 0))
            parser.receive_data(bytes(1000))
        self.assertEqual([answer.outcome for answer in drain(parser)], [EndOfMessages()])
        self.assertFalse(parser.mid_frame)


class FatalTests(SynchronousTestCase):
    def test_unknown_codes(self):
        """An unknown code is fatal: no request of ours asks for it."""
        for code in (0, 600, 2099, 2105, 9001, 0xFFFF):
            self.assertEqual(outcomes(CODEC, frame(code)), [Verdict.FATAL])

    def test_fixed_sizes(self):
        """A code of fixed size with another size is fatal, before its payload is there."""
        for code, right in {2100: 16, 2102: 176, 2103: 20}.items():
            for size in {0, 1, right - 1, right + 1, 2**32 - 1}:
                self.assertEqual(outcomes(CODEC, frame(code, size=size)), [Verdict.FATAL])

    def test_list_of_no_whole_clients(self):
        """A directory whose size is no multiple of 271 is fatal, before its payload is there."""
        for size in (1, 16, 270, 272, 2**32 - 1):
            self.assertEqual(outcomes(CODEC, frame(2101, size=size)), [Verdict.FATAL])

    def test_truncated_head(self):
        """A 2104 that ends inside a head is fatal, after the messages before it."""
        for size in (1, 24):
            answers = answers_to(CODEC, [frame(2104, waiting(b"x") + bytes(size))])
            self.assertEqual([a.outcome for a in answers], [from_alice(b"x"), Verdict.FATAL])
            self.assertEqual(answers[-1].reason, "a payload ends inside an item")

    def test_message_longer_than_its_answer(self):
        """A message longer than what is left of its 2104 is fatal, above the limit or not."""
        for size in (2, CONTENT_LIMIT, CONTENT_LIMIT + 1, 2**32 - 1):
            answers = answers_to(CODEC, [frame(2104, waiting(b"") + waiting(b"x", size=size))])
            self.assertEqual([a.outcome for a in answers], [from_alice(b""), Verdict.FATAL])
            self.assertEqual(answers[-1].reason, "an item is longer than its payload")


class EncodeTests(SynchronousTestCase):
    def test_names_that_do_not_fit(self):
        """A listed name with a NUL, or without room for one, cannot be sent."""
        for name in (b"a\0b", b"a" * 255, b"a" * 300):
            self.assertRaises(LocalProtocolError, listed_client, ListedClient(ALICE, name))
            self.assertRaises(LocalProtocolError, ClientsList((ListedClient(ALICE, name),)).encode)

    def test_more_than_a_header_can_announce(self):
        """A list or a content of more than 32 bits of size cannot be sent."""
        self.assertEqual(len(clients_list_header((2**32 - 1) // 271)), 7)
        self.assertRaises(LocalProtocolError, clients_list_header, 2**32 // 271 + 1)
        self.assertEqual(len(waiting_messages_header(2**32 - 1)), 7)
        self.assertRaises(LocalProtocolError, waiting_messages_header, 2**32)
        self.assertRaises(LocalProtocolError, waiting_message_head, BOB.raw, 1, 3, 2**32)

    def test_types_that_are_no_byte(self):
        """A message type of more than a byte cannot be sent."""
        for kind in (-1, 256):
            message = WaitingMessage(ALICE, MessageId(1), kind, b"")
            self.assertRaises(LocalProtocolError, WaitingMessages((message,)).encode)

    def test_repr(self):
        """The repr of a waiting message leaves the content out."""
        self.assertNotIn("sealed", repr(from_alice(b"sealed")))
