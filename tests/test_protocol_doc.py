"""The dumps in docs/protocol/v2.md are what the code sends and reads."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.v2 import SymmetricKey
from messageu.model import NOBODY, ClientId, ListedClient, MessageId, PublicKey, UserName
from messageu.wire import NEED_DATA, Parser, v2
from tests.dumps import dumps

DUMPS = dumps("v2.md")

ALICE = ClientId(bytes(range(0xA1, 0xB1)))
BOB = ClientId(bytes(range(0xB1, 0xC1)))
SEALED = SymmetricKey(bytes(range(16))).seal(b"hello")
KEY = PublicKey(
    bytes.fromhex("30819d300d06092a864886f70d010101050003818b0030818702818100")
    + b"\xc5" * 128
    + bytes.fromhex("020111")
)
WAITING = (
    v2.WaitingMessage(ALICE, MessageId(41), v2.MessageType.KEY_REQUEST, b""),
    v2.WaitingMessage(ALICE, MessageId(42), v2.MessageType.TEXT, SEALED),
)

REQUESTS = {
    "600": v2.Request(NOBODY, v2.Register(UserName(b"alice"), KEY)),
    "601": v2.Request(ALICE, v2.ListClients()),
    "602": v2.Request(ALICE, v2.GetPublicKey(BOB)),
    "603": v2.Request(ALICE, v2.SendMessage(BOB, v2.MessageType.TEXT, SEALED)),
    "604": v2.Request(BOB, v2.FetchMessages()),
}
RESPONSES = {
    "2100": v2.Registered(ALICE),
    "2101": v2.ClientsList((ListedClient(BOB, b"bob"),)),
    "2102": v2.PublicKeyOf(BOB, KEY),
    "2103": v2.Stored(BOB, MessageId(42)),
    "2104": v2.WaitingMessages(WAITING),
    "9000": v2.GeneralError(),
}


class DocumentTests(SynchronousTestCase):
    """docs/protocol/v2.md."""

    def test_every_code_has_a_dump(self) -> None:
        """Each request and each answer is dumped, and nothing that does not exist."""
        codes = {*map(int, v2.RequestCode), *map(int, v2.ResponseCode)}
        self.assertEqual(set(DUMPS), {str(code) for code in codes} | {"sealed"})

    def test_dumps_are_what_is_sent(self) -> None:
        """The frame that the code makes is the frame that the document shows."""
        for name, frame in (REQUESTS | RESPONSES).items():
            self.assertEqual(DUMPS[name].hex(" "), frame.encode().hex(" "), name)
        self.assertEqual(DUMPS["sealed"].hex(" "), SEALED.hex(" "))

    def test_dumps_are_read(self) -> None:
        """The relay reads the requests that the document shows, as what it says they are."""
        parser = Parser(v2.RequestCodec())
        for name, request in REQUESTS.items():
            parser.receive_data(DUMPS[name])
            self.assertEqual(parser.next_event(), request)
        self.assertIs(parser.next_event(), NEED_DATA)
