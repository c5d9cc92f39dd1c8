"""One connection of the relay, over a line in memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from messageu.model import NOBODY, ClientId, ListedClient, UserName
from messageu.testing.transport import Faults
from messageu.wire import v2

from .relay import KEY, MemoryRelay

ERROR = [v2.GeneralError()]
STRANGER = ClientId(b"?" * 16)


class RequestTests(SynchronousTestCase):
    """Each request, and how it is refused."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.anna = self.relay.register("anna")
        self.bern = self.relay.register("bern")
        self.client = self.relay.dial()

    def test_register(self) -> None:
        """A registration is answered with a new id."""
        (answer,) = self.client.ask(v2.Register(UserName(b"carl"), KEY))
        self.assertNotIn(answer.client_id, (NOBODY, self.anna, self.bern))

    def test_taken_name(self) -> None:
        """A name that is taken is refused; one in another case is not taken."""
        self.assertEqual(self.client.ask(v2.Register(UserName(b"anna"), KEY)), ERROR)
        (answer,) = self.client.ask(v2.Register(UserName(b"ANNA"), KEY))
        self.assertIsInstance(answer, v2.Registered)

    def test_name_cut_at_nul(self) -> None:
        """What follows a name's NUL is nobody's business: such a name is taken, too."""
        frame = v2.Request(b_id(b"garbage"), v2.Register(UserName(b"anna"), KEY)).encode()
        field = b"anna\0and then garbage".ljust(255, b"!")
        self.client.send(frame[:23] + field + frame[23 + 255 :])
        self.assertEqual(self.client.take(), ERROR)

    def test_list(self) -> None:
        """The list has everybody but the one who asks, in order of registration."""
        carl = self.relay.register("carl")
        self.assertEqual(
            self.client.ask(v2.ListClients(), self.bern),
            [ListedClient(self.anna, b"anna"), ListedClient(carl, b"carl"), v2.EndOfClients()],
        )

    def test_public_key(self) -> None:
        """A public key is handed out as it was registered."""
        self.assertEqual(
            self.client.ask(v2.GetPublicKey(self.bern), self.anna),
            [v2.PublicKeyOf(self.bern, KEY)],
        )

    def test_public_key_of_stranger(self) -> None:
        """There is no public key of somebody who is not registered."""
        self.assertEqual(self.client.ask(v2.GetPublicKey(STRANGER), self.anna), ERROR)

    def test_send_and_fetch(self) -> None:
        """What was sent is fetched, with its sender, type, content and the id it was given."""
        (stored,) = self.client.ask(v2.SendMessage(self.bern, 3, b"sealed"), self.anna)
        self.assertEqual(stored.recipient, self.bern)
        self.assertEqual(
            self.client.ask(v2.FetchMessages(), self.bern),
            [v2.WaitingMessage(self.anna, stored.message_id, 3, b"sealed"), v2.EndOfMessages()],
        )

    def test_empty_mailbox(self) -> None:
        """Nothing waiting is no error."""
        self.assertEqual(self.client.ask(v2.FetchMessages(), self.bern), [v2.EndOfMessages()])

    def test_any_type(self) -> None:
        """A message of a type that the relay does not know is carried, with content or without."""
        for kind in (0, 1, 5, 255):
            for content in (b"", b"c" * 128):
                self.client.ask(v2.SendMessage(self.bern, kind, content), self.anna)
                received, _ = self.client.ask(v2.FetchMessages(), self.bern)
                self.assertEqual((received.type, received.content), (kind, content))

    def test_strangers(self) -> None:
        """Whoever is not registered gets nothing but errors, and nothing can be sent to him."""
        for body in (
            v2.ListClients(),
            v2.GetPublicKey(self.anna),
            v2.SendMessage(self.anna, 1, b""),
            v2.FetchMessages(),
        ):
            self.assertEqual(self.client.ask(body, STRANGER), ERROR)
        self.assertEqual(self.client.ask(v2.SendMessage(STRANGER, 1, b""), self.anna), ERROR)
        self.assertEqual(self.relay.waiting(self.anna), [])

    def test_any_version(self) -> None:
        """Any version byte is answered, always with version 2."""
        for version in (0, 1, 2, 3, 255):
            self.client.send(v2.Request(self.anna, v2.ListClients(), version).encode())
            self.assertEqual(self.client.side.received[0], 2)
            self.client.take()

    def test_long_answers(self) -> None:
        """Answers of many pieces are whole: many clients, many messages, large ones."""
        names = [b"client %d" % number for number in range(590)]
        for name in names:
            self.client.ask(v2.Register(UserName(name), KEY))
        *listed, _ = self.client.ask(v2.ListClients(), self.anna)
        self.assertEqual([client.name for client in listed], [b"bern", *names])
        contents = [bytes([n % 256]) * size for n, size in enumerate([0, 1, 70_000, 0, 300, 65_511])]
        for content in contents * 20:
            self.relay.send(self.anna, self.bern, content)
        *received, _ = self.client.ask(v2.FetchMessages(), self.bern)
        self.assertEqual([message.content for message in received], contents * 20)


def b_id(text: bytes) -> ClientId:
    """An id out of any bytes."""
    return ClientId(text.ljust(16, b"*"))
