"""What the operator is told of users and their mail, on a connection in memory."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ClientId, Envelope, PublicKey, UserName
from messageu.model.v3 import Handle, IdentityKeys
from messageu.server import (
    Answer,
    ControlFactory,
    Done,
    ExpireRequest,
    Failed,
    Inspection,
    MailboxesRequest,
    Request,
    UsersRequest,
    Value,
    decode_answer,
    encode_request,
)
from messageu.server._inspection import DAY
from messageu.store import MemoryStore


class InspectionTests(SynchronousTestCase):
    """Requests, and what they are answered."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000 * DAY)
        self.store = MemoryStore(now=self.clock.seconds)
        self.store.open()
        accounts = self.store.accounts
        inspection = Inspection(
            self.store.surveys,
            {"v2": self.store.expire, "v3": accounts.expire},
            self.clock.seconds,
        )
        self.factory = ControlFactory(
            self.store, dict, self.clock, lambda _: 0, accounts, inspection
        )

    def register(self, name: str) -> ClientId:
        """A client of v2."""
        registered = self.store.register(UserName.from_text(name), PublicKey(bytes(160)))
        return self.successResultOf(registered)

    def put(self, client: ClientId, *sizes: int) -> None:
        """Let messages wait for a client."""
        self.store.put([Envelope(client, client, 3, bytes(size)) for size in sizes])

    def ask(self, request: Request) -> Sequence[Answer]:
        """All answers to a request."""
        connection = self.factory.buildProtocol(None)
        transport = StringTransportWithDisconnection()
        transport.protocol = connection
        transport.getHandle = lambda: None
        connection.makeConnection(transport)
        connection.dataReceived(encode_request(request) + b"\n")
        return [decode_answer(line) for line in transport.value().splitlines()]

    def test_counts(self) -> None:
        """Users are counted for each protocol."""
        self.register("anna")
        self.store.accounts.register(
            IdentityKeys(bytes(32), bytes(32)), 1 << 32, Handle("bob"), None
        )
        self.register("carl")
        self.assertEqual(
            self.ask(UsersRequest()), [Value("users_v2", "2"), Value("users_v3", "1"), Done(0)]
        )

    def test_names(self) -> None:
        """Names come with ids, a page at a time, and the last page says that it is."""
        ids = [self.register(name).raw.hex() for name in ("anna", "bob", "carl")]
        first = self.ask(UsersRequest("v2", 0, 2))
        self.assertEqual(
            first[:2], [Value("user", f"{ids[0]} anna"), Value("user", f"{ids[1]} bob")]
        )
        self.assertEqual(first[2].name, "next")
        self.assertEqual(
            self.ask(UsersRequest("v2", int(first[2].text), 2)),
            [Value("user", f"{ids[2]} carl"), Done(0)],
        )
        self.assertEqual(self.ask(UsersRequest("v3", 0, 2)), [Done(0)])

    def test_mailboxes(self) -> None:
        """The largest mailboxes come first, by id; no more than were asked for, and none that is
        empty."""
        anna, bob, carl, _ = map(self.register, ("anna", "bob", "carl", "dora"))
        self.put(anna, 10)
        self.put(bob, 1, 1)
        self.put(carl, 30)
        rows = [
            Value("mailbox", f"v2 {client.raw.hex()} {messages} {size}")
            for client, messages, size in ((bob, 2, 2), (carl, 1, 30), (anna, 1, 10))
        ]
        self.assertEqual(self.ask(MailboxesRequest(9)), [*rows, Done(0)])
        self.assertEqual(self.ask(MailboxesRequest(2)), [*rows[:2], Done(0)])

    def test_expire(self) -> None:
        """What has waited for longer than so many days is gone, and what has not is there."""
        anna = self.register("anna")
        self.put(anna, 1, 2)
        self.clock.advance(2 * DAY)
        self.put(anna, 3)
        gone = [Value("expired_v2", "2"), Value("expired_v3", "0"), Done(0)]
        self.assertEqual(self.ask(ExpireRequest(1.5)), gone)
        self.assertEqual(
            self.ask(MailboxesRequest(1))[0], Value("mailbox", f"v2 {anna.raw.hex()} 1 3")
        )

    def test_store_fails(self) -> None:
        """When the store cannot tell, that is the answer."""
        self.store.close()
        for request in (UsersRequest(), MailboxesRequest(1), ExpireRequest(1.0)):
            self.assertEqual(self.ask(request), [Failed("the store is not open")])
