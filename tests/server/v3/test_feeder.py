"""Pages of mail that are read when there is room for them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from messageu.model.v3 import Reason
from messageu.store import Subscribed
from messageu.store.v3 import MemoryAccountStore
from messageu.testing.transport import Faults, Line
from messageu.wire import v3

from .relay import NOW, MemoryClient, MemoryRelay, Person, envelope
from .test_subscriptions import SlowPages

LARGE = 2**19
"""Bytes of an envelope that is as large as there may be."""


class RoomTests(SynchronousTestCase):
    """A relay that holds 2 MiB of answers, and envelopes of half a MiB."""

    def setUp(self) -> None:
        self.store = SlowPages(MemoryAccountStore(now=lambda: NOW))
        self.relay = MemoryRelay(self.store, sealed_size=LARGE, output_bytes=4 * LARGE, streams=8)
        self.feeder = self.relay.factory.exchange.postmaster.feeder
        self.anna = Person()
        self.sender = self.relay.log_in(self.anna, name="anna", host="198.51.100.1")
        self.people: list[Person] = []

    def person(self, mail: int = LARGE) -> Person:
        """Somebody for whom an envelope of so many bytes waits."""
        person = Person()
        client = self.relay.log_in(person, name=f"person{len(self.people)}")
        self.people.append(person)
        client.close()
        self.assertIsInstance(self.sender.ask(envelope(person, bytes(mail))), v3.Stored)
        return person

    def connect(self, person: Person, window: int | None = None) -> MemoryClient:
        """His connection, which reads nothing if it has a window, and asks for his mail."""
        faults = None if window is None else Faults(window=window)
        client = self.relay.log_in(person, 2, from_server=faults)
        client.line.server.held = window is not None
        client.side.transport.write(v3.Request(99, v3.Subscribe(10, 2**22)).encode())
        client.line.run()
        return client

    def read_pages(self) -> None:
        """Let all pages be read that are asked for."""
        while self.store.pages:
            self.store.pages.pop(0).callback(None)

    def test_pages_at_once(self) -> None:
        """Pages on their way from the store have half of the room, however many are asked for, and
        each may be as large as an envelope."""
        clients = [self.connect(self.person()) for _ in range(5)]
        self.assertEqual(len(self.store.pages), 2)
        self.store.pages.pop(0).callback(None)
        self.assertEqual(len(self.store.pages), 2)
        for client in clients:
            self.read_pages()
            client.line.run()
        self.assertEqual([client.sequences_behind(99) for client in clients], [[1]] * 5)

    def test_whoever_does_not_read_is_waited_for(self) -> None:
        """While answers have not left no page is read for which there would be no room; whoever has
        not read for some seconds is cut off, and the others get their mail."""
        slow = [self.connect(self.person(), window=4_000) for _ in range(6)]
        for client in slow:
            self.read_pages()
            client.line.run()
        self.assertGreater(self.relay.limits.output_bytes, 2 * LARGE)
        self.assertLessEqual(self.relay.limits.output_bytes, 4 * LARGE)
        self.assertEqual(self.relay.limits.hits["output_bytes"], 0)
        self.assertGreater(self.feeder.held_back, 0)
        honest = self.connect(self.person())
        for _ in range(10):
            self.relay.wait(1, honest, *slow)
            self.read_pages()
        self.assertEqual(honest.sequences_behind(99), [1])
        self.assertGreater(self.relay.limits.hits["crowded_deadline"], 0)
        self.assertEqual(self.relay.limits.hits["output_bytes"], 0)
        self.assertFalse(honest.closed)

    def test_large_mail_waits(self) -> None:
        """New mail that is large is left in the store while there is no room, and comes when there
        is; small mail is pushed all the same."""
        bert = self.person(mail=10)
        honest = self.connect(bert)
        self.read_pages()
        honest.line.run()
        self.read_pages()
        self.assertEqual(honest.sequences_behind(99), [1])
        slow = [self.connect(self.person(), window=4_000) for _ in range(6)]
        for client in slow:
            self.read_pages()
            client.line.run()
        self.assertFalse(self.feeder.has_room)
        self.sender.ask(envelope(bert, bytes(500)))
        self.assertEqual(honest.sequences(), [2])
        self.sender.ask(envelope(bert, bytes(100_000)))
        self.read_pages()
        self.assertEqual(honest.sequences(), [])
        self.sender.ask(envelope(bert, bytes(500)))  # which does not overtake it
        for client in slow:
            client.line.reset()
        self.relay.wait(1)
        self.read_pages()
        honest.line.run()
        self.read_pages()
        self.assertEqual(honest.sequences(), [3, 4])

    def test_subscribed_again_and_again(self) -> None:
        """Whoever subscribes without end while there is no room leaves nothing behind."""
        slow = [self.connect(self.person(), window=4_000) for _ in range(6)]
        for client in slow:
            self.read_pages()
            client.line.run()
        waiting = self.feeder.held_back
        bert = self.connect(self.person())
        for number in range(100, 150):
            bert.side.transport.write(v3.Request(number, v3.Subscribe(10, 2**22)).encode())
            bert.line.run()
        self.assertEqual(self.feeder.held_back, waiting + 1)
        bert.close()
        self.assertEqual(self.feeder.held_back, waiting)

    def test_displaced_elsewhere(self) -> None:
        """Whoever is displaced at another relay while there is no room leaves nothing behind."""
        for client in [self.connect(self.person(), window=4_000) for _ in range(6)]:
            self.read_pages()
            client.line.run()
        waiting, bert = self.feeder.held_back, self.person()
        client = self.connect(bert)
        self.assertEqual(self.feeder.held_back, waiting + 1)
        self.relay.factory.exchange.postmaster.hear(Subscribed(bert.account, 2**40))
        self.assertEqual(self.feeder.held_back, waiting)
        self.assertEqual(client.take()[-1].body, v3.Displaced())

    def test_deleted(self) -> None:
        """An account that is deleted waits for nothing."""
        bert = self.connect(self.person())
        self.assertEqual(bert.ask(v3.DeleteAccount()), v3.AccountDeleted())
        self.read_pages()
        self.assertEqual(self.feeder.held_back, 0)
        self.assertEqual(bert.ask(v3.Acknowledge((1,))), v3.Error(Reason.NOT_REGISTERED))


class SmallRoomTests(SynchronousTestCase):
    """A relay whose room for answers is smaller than an envelope may be."""

    def test_one_at_a_time(self) -> None:
        """A page is read when nothing else is held, and mail arrives."""
        relay = MemoryRelay(sealed_size=LARGE, output_bytes=2**17, connection_output=2**16)
        anna = Person()
        client = relay.log_in(anna, name="anna")
        for _ in range(3):
            client.ask(envelope(anna, bytes(60_000)))
        client.subscribe(10, 2**20)
        Line.run(client.line)
        self.assertEqual(client.sequences(), [1, 2, 3])
