"""One connection of the relay, over a line in memory."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any, ClassVar
from unittest import mock
from weakref import ref

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import INegotiated
from twisted.python.components import proxyForInterface
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from messageu.model import NOBODY, ClientId, Envelope, ListedClient, UserName
from messageu.server._accepting import DEADLINE_STEP
from messageu.server._probe import BlindProbe
from messageu.store import (
    Directory,
    DirectoryPage,
    IMailboxStore,
    Lease,
    MemoryStore,
    Page,
    Position,
    Quota,
    StoreError,
    StoreUnavailable,
)
from messageu.testing.transport import Faults, Line
from messageu.wire import v2

from .relay import KEY, MemoryClient, MemoryRelay, SlowStore

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
        contents = [
            bytes([n % 256]) * size for n, size in enumerate([0, 1, 70_000, 0, 300, 65_511])
        ]
        for content in contents * 20:
            self.relay.send(self.anna, self.bern, content)
        *received, _ = self.client.ask(v2.FetchMessages(), self.bern)
        self.assertEqual([message.content for message in received], contents * 20)

    def test_pieces_end_anywhere(self) -> None:
        """An answer is whole wherever its pieces end: before, in and after a message's head."""
        for size in range(100 - 25 - 30, 100 - 25 + 2):
            relay = MemoryRelay(chunk=100)
            anna = relay.register("anna")
            contents = [b"a" * size, b"b" * 10, b"", b"c" * 200]
            for content in contents:
                relay.send(anna, anna, content)
            *received, _ = relay.dial().ask(v2.FetchMessages(), anna)
            self.assertEqual([message.content for message in received], contents, size)


def b_id(text: bytes) -> ClientId:
    """An id out of any bytes."""
    return ClientId(text.ljust(16, b"*"))


class FaultyPut(proxyForInterface(IMailboxStore, "store")):
    """A store that has trouble with the second message of each put."""

    def put(self, envelopes: Sequence[Envelope]) -> Deferred[Any]:
        """Say so."""

        def fail_second(outcomes: Sequence[object]) -> list[object]:
            return [outcomes[0], StoreError("the operation put failed"), *outcomes[2:]]

        return self.store.put(envelopes).addCallback(fail_second)


class OrderTests(SynchronousTestCase):
    """Answers in the order of the requests, however these arrive."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.anna = self.relay.register("anna")
        self.bern = self.relay.register("bern")

    def requests(self) -> bytes:
        """One of each, barriers among them, and two that are refused."""
        return b"".join(
            [
                v2.Request(self.anna, v2.SendMessage(self.bern, 3, b"one")).encode(),
                v2.Request(self.anna, v2.SendMessage(self.bern, 3, b"two")).encode(),
                v2.Request(self.bern, v2.ListClients()).encode(),
                v2.Request(STRANGER, v2.ListClients()).encode(),
                v2.Request(self.bern, v2.FetchMessages()).encode(),
                UNKNOWN_CODE,
                v2.Request(self.anna, v2.SendMessage(self.bern, 3, b"three")).encode(),
                v2.Request(self.anna, v2.GetPublicKey(self.bern)).encode(),
            ]
        )

    def check(self, events: list[v2.ResponseEvent]) -> None:
        """These are the answers to :meth:`requests`."""
        self.assertEqual(
            [type(event).__name__ for event in events],
            [
                *("Stored", "Stored", "ListedClient", "EndOfClients", "GeneralError"),
                *("WaitingMessage", "WaitingMessage", "EndOfMessages"),
                *("GeneralError", "Stored", "PublicKeyOf"),
            ],
        )

    def test_all_at_once(self) -> None:
        """Several requests in one segment are answered in order."""
        client = self.relay.dial()
        client.send(self.requests())
        self.check(client.take())

    def test_registrations_one_by_one(self) -> None:
        """A connection that asks for many registrations at once has one in progress, so that whoever
        asks for something else need not wait for all of them."""
        asked: list[Deferred[ClientId]] = []

        def later(*_: object) -> Deferred[ClientId]:
            asked.append(Deferred())
            return asked[-1]

        self.patch(MemoryStore, "register", later)
        client = self.relay.dial()
        names = (b"carl", b"dora", b"emil")
        client.send(*(v2.Request(NOBODY, v2.Register(UserName(n), KEY)).encode() for n in names))
        for number in range(len(names)):
            self.assertEqual(len(asked), number + 1)
            asked[number].callback(self.anna)
            client.line.run()
        self.assertEqual(client.take(), [v2.Registered(self.anna)] * len(names))

    def test_byte_by_byte(self) -> None:
        """Bytes that arrive one at a time make the same requests."""
        client = self.relay.dial(from_client=Faults(piece=1), from_server=Faults(piece=1))
        client.send(self.requests())
        self.check(client.take())

    def test_header_and_payload_apart(self) -> None:
        """A header is answered only when its payload is there."""
        client = self.relay.dial()
        frame = v2.Request(self.anna, v2.SendMessage(self.bern, 3, b"one")).encode()
        client.send(frame[:23])
        self.assertEqual(client.take(), [])
        client.send(frame[23:])
        self.assertEqual(len(client.take()), 1)

    def test_sends_do_not_wait_for_each_other(self) -> None:
        """Requests that follow each other are with the store at the same time, up to the limit;
        their answers wait for the first."""
        store = SlowStore(self.relay.store)
        relay = MemoryRelay(store, read_ahead=10)
        client = relay.dial()
        frame = v2.Request(self.anna, v2.SendMessage(self.bern, 3, b"one")).encode()
        for _ in range(30):
            client.send(frame)
        self.assertEqual(len(store.waiting), 10)
        for number in range(9, 0, -1):
            store.finish(number)
        client.line.run()
        self.assertEqual(client.take(), [])
        store.finish(0)
        client.line.run()
        self.assertEqual(len(client.take()), 10)
        self.assertEqual(sum(len(envelopes) for envelopes, _ in store.waiting), 10)

    def test_sends_that_come_together(self) -> None:
        """Requests to send that come together are given to the store together, those of other
        connections too; each is answered by itself, and what stands between keeps its place."""
        store = SlowStore(self.relay.store)
        relay = MemoryRelay(store)
        client, other = relay.dial(), relay.dial()
        good = v2.Request(self.anna, v2.SendMessage(self.bern, 3, b"x")).encode()
        bad = v2.Request(self.anna, v2.SendMessage(STRANGER, 3, b"x")).encode()
        client.line.client.write(good + bad + good + UNKNOWN_CODE + good + bad)
        other.line.client.write(good)
        Line.run(client.line)
        other.line.run()
        self.assertEqual([len(envelopes) for envelopes, _ in store.waiting], [6])
        store.finish(0)
        other.line.run()
        self.assertEqual([type(event) for event in other.take()], [v2.Stored])
        client.line.run()
        self.assertEqual(
            [type(event) for event in client.take()],
            [
                *(v2.Stored, v2.GeneralError, v2.Stored),
                *(v2.GeneralError, v2.Stored, v2.GeneralError),
            ],
        )

    def test_sends_that_fail_together(self) -> None:
        """When the store can do nothing, each of them gets its 9000."""
        client = self.relay.dial()
        frame = v2.Request(self.anna, v2.SendMessage(self.bern, 3, b"x")).encode()
        self.successResultOf(self.relay.store.close())
        client.send(frame * 5)
        self.assertEqual(client.take(), ERROR * 5)

    def test_send_that_fails_alone(self) -> None:
        """A message that the store has trouble with gets its 9000, and the log a line; those that
        came with it are stored."""
        store = FaultyPut(self.relay.store)
        client = MemoryRelay(store).dial()
        frame = v2.Request(self.anna, v2.SendMessage(self.bern, 3, b"x")).encode()
        client.send(frame * 3)
        self.assertEqual(
            [type(event) for event in client.take()], [v2.Stored, v2.GeneralError, v2.Stored]
        )

    def test_mailbox_full(self) -> None:
        """Who sends to a full mailbox gets 9000, which is counted, and what is there stays."""
        store = MemoryStore(now=lambda: 0.0, quota=Quota(messages=2, content=100))
        relay = MemoryRelay(store)
        anna = relay.register("anna")
        client = relay.dial()
        client.send(v2.Request(anna, v2.SendMessage(anna, 3, b"x")).encode() * 4)
        self.assertEqual(
            [type(event) for event in client.take()], [v2.Stored] * 2 + [v2.GeneralError] * 2
        )
        self.assertEqual(relay.limits.hits["mailbox_full"], 2)
        self.assertEqual(relay.waiting(anna), [b"x"] * 2)

    def test_reading_stops_when_too_much_is_read_ahead(self) -> None:
        """A client that sends without end is not read without end."""
        store = SlowStore(self.relay.store)
        relay = MemoryRelay(store, read_ahead=2)
        client = relay.dial()
        frame = v2.Request(self.anna, v2.SendMessage(self.bern, 3, b"x" * 300)).encode()
        client.send(frame * 2000)
        self.assertGreater(client.line.server.unread(), 200_000)
        while store.waiting:
            store.finish(0)
            client.line.run()
        self.assertEqual(len(client.take()), 2000)

    def test_few_requests_each_when_there_are_many(self) -> None:
        """When as many requests are in progress as may be, whoever has none gets one more, and
        nobody more than that; those that wait are answered in turn."""
        store = SlowStore(self.relay.store)
        relay = MemoryRelay(store, requests=10)
        clients = [relay.dial() for _ in range(5)]
        frame = v2.Request(self.anna, v2.SendMessage(self.anna, 3, b"x")).encode()
        for client in clients:
            client.send(frame * 8)
        self.assertEqual([len(envelopes) for envelopes, _ in store.waiting], [8, 2, 1, 1, 1])
        self.assertEqual(relay.limits.requests, 13)
        clients[4].line.reset()
        self.assertEqual(relay.limits.requests, 13)
        while store.waiting:
            store.finish(0)
            for client in clients:
                client.line.run()
            self.assertLessEqual(relay.limits.requests, 14)
        self.assertEqual([len(client.take()) for client in clients], [8, 8, 8, 8, 0])
        self.assertEqual(relay.limits.requests, 0)

    def test_what_is_decoded_is_not_held(self) -> None:
        """Behind requests that wait, only what is not decoded of a segment is held, and all of that
        is counted."""
        relay = MemoryRelay(streams=1)
        anna = relay.register("anna")
        relay.send(anna, anna, b"x" * 200_000)
        fetch = v2.Request(anna, v2.FetchMessages()).encode()
        stuck = relay.dial(from_server=Faults(window=1000))
        stuck.line.server.held = True
        stuck.send(fetch)
        client = relay.dial()
        client.send(header(605, 60_000) + bytes(60_000) + fetch + header(603, 1000) + bytes(500))
        parser = client.line.server.protocol._session._parser
        self.assertLess(parser.held, 2 * parser.buffered + 1)
        self.assertEqual(relay.limits.input_bytes, parser.held)

    def test_barriers_wait(self) -> None:
        """A fetch sees what was sent before it on its connection, and nothing sent after."""
        store = SlowStore(self.relay.store)
        client = MemoryRelay(store).dial()
        client.send(
            v2.Request(self.anna, v2.SendMessage(self.bern, 3, b"before")).encode(),
            v2.Request(self.bern, v2.FetchMessages()).encode(),
            v2.Request(self.anna, v2.SendMessage(self.bern, 3, b"after")).encode(),
        )
        self.assertEqual(len(store.waiting), 1)
        store.finish(0)
        client.line.run()
        self.assertEqual(len(store.waiting), 1)
        stored, message, _ = client.take()
        self.assertEqual(message.content, b"before")
        self.assertEqual(message.message_id, stored.message_id)

    def test_slow_reader(self) -> None:
        """Who does not read his answers is asked for no more requests."""
        client = self.relay.dial(from_server=Faults(window=100))
        client.line.server.held = True
        client.send(v2.Request(self.anna, v2.GetPublicKey(self.bern)).encode() * 20_000)
        self.assertLess(self.relay.limits.output_bytes, 100_000)
        self.assertGreater(client.line.server.unread(), 500_000)
        client.line.server.held = False
        client.line.run()
        self.assertEqual(len(client.take()), 20_000)
        self.assertEqual(self.relay.limits.output_bytes, 0)


class RefusalTests(SynchronousTestCase):
    """Frames that are refused, and what becomes of their connection."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.anna = self.relay.register("anna")
        self.client = self.relay.dial()

    def test_well_framed(self) -> None:
        """What is well framed and refused is answered with 9000, and the connection goes on."""
        disagreeing = v2.Request(self.anna, v2.SendMessage(self.anna, 3, b"abc")).encode()
        disagreeing = disagreeing[:40] + b"\x04" + disagreeing[41:]
        for frame in (
            UNKNOWN_CODE,
            disagreeing,
            registration(b"\0"),
            registration(b"\0anna"),
            registration(b"x" * 255),
            registration(b"an\nna\0"),
            registration(b"an\x7fna\0"),
            registration("änna".encode() + b"\0"),
        ):
            self.client.send(frame)
            self.assertEqual(self.client.take(), ERROR, frame[:60])
            self.assertEqual(
                self.client.ask(v2.ListClients(), self.anna), [v2.EndOfClients()], frame[:60]
            )
        self.assertEqual(self.relay.waiting(self.anna), [])

    def test_unknown_payload_is_not_stored(self) -> None:
        """The payload of an unknown code is skipped as it comes, and holds nothing."""
        self.client.send(header(999, 1_000_000), b"x" * 999_999)
        self.assertEqual(self.client.take(), ERROR)
        self.assertEqual(self.relay.limits.input_bytes, 0)
        self.client.send(b"x")
        self.assertEqual(self.client.ask(v2.FetchMessages(), self.anna), [v2.EndOfMessages()])

    def test_not_to_be_trusted(self) -> None:
        """A frame that cannot be trusted is answered with 9000, and with the end of our half;
        what still comes is thrown away, and when the client closes the connection is gone."""
        for code, size in (
            (603, 0xFFFFFFFF),
            (603, 20),
            (600, 414),
            (600, 416),
            (601, 1),
            (602, 15),
            (602, 17),
            (604, 1),
            (999, 0xFFFFFFFF),
        ):
            client = self.relay.dial()
            client.send(header(code, size), b"x" * 3_000_000)
            self.assertEqual(client.take(), ERROR, (code, size))
            self.assertTrue(client.side.input_ended)
            self.assertFalse(client.line.server.closed)
            self.assertEqual(self.relay.limits.input_bytes, 0)
            client.line.client.loseConnection()
            client.line.run()
            self.assertTrue(client.line.server.closed)
        self.assertEqual(self.relay.limits.connections, 1)

    def test_earlier_answers_come_first(self) -> None:
        """What was asked before a frame that cannot be trusted is answered, and nothing after."""
        request = v2.Request(self.anna, v2.ListClients()).encode()
        self.client.send(request + header(601, 9) + request)
        self.assertEqual(self.client.take(), [v2.EndOfClients(), *ERROR])

    def test_endless_garbage(self) -> None:
        """Who goes on sending after such a frame is cut off, by size and by time."""
        relay = MemoryRelay(discarded_bytes=1_000_000)
        client = relay.dial()
        client.send(header(601, 9), b"x" * 1_000_000)
        self.assertFalse(client.line.server.closed)
        client.send(b"x" * 100_000)
        self.assertTrue(client.line.server.closed)
        client = relay.dial()
        client.send(header(601, 9))
        client.wait(12)
        self.assertTrue(client.line.server.closed)
        self.assertEqual(relay.limits.connections, 0)


class FailingStoreTests(SynchronousTestCase):
    """A store that cannot do its work."""

    def test_unavailable(self) -> None:
        """When the store can do nothing, a request gets 9000, and the connection goes on."""
        relay = MemoryRelay()
        anna = relay.register("anna")
        client = relay.dial()
        self.successResultOf(relay.store.close())
        for body in (
            v2.Register(UserName(b"bern"), KEY),
            v2.ListClients(),
            v2.GetPublicKey(anna),
            v2.SendMessage(anna, 3, b"x"),
            v2.FetchMessages(),
        ):
            self.assertEqual(client.ask(body, anna), ERROR)
        relay.store.open()
        self.assertEqual(client.ask(v2.ListClients(), anna), [v2.EndOfClients()])

    def test_bug(self) -> None:
        """Whatever the store raises, the client gets 9000 and nothing of it, and the log has it."""
        relay = MemoryRelay()
        anna = relay.register("anna")
        client = relay.dial()
        self.patch(MemoryStore, "put", lambda *_: 1 / 0)
        self.assertEqual(client.ask(v2.SendMessage(anna, 3, b"x"), anna), ERROR)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(client.ask(v2.ListClients(), anna), [v2.EndOfClients()])

    def test_broken_answer(self) -> None:
        """An answer whose rest cannot be read is broken off, never padded; its mail waits."""
        relay = MemoryRelay()
        anna = relay.register("anna")
        relay.send(anna, anna, b"x" * 200_000)
        client = relay.dial()
        reads: list[object] = []
        read = MemoryStore.read
        gone = StoreUnavailable("gone")

        def fail_later(store: MemoryStore, lease: Lease, start: Position, page: int) -> object:
            reads.append(start)
            return read(store, lease, start, page) if len(reads) < 3 else fail(gone)

        self.patch(MemoryStore, "read", fail_later)
        client.send(v2.Request(anna, v2.FetchMessages()).encode())
        self.assertTrue(client.line.server.closed)
        self.assertLess(len(client.side.received), 200_000)
        self.patch(MemoryStore, "read", read)
        self.assertEqual(relay.waiting(anna), [b"x" * 200_000])

    def test_truncated_answer(self) -> None:
        """A store that gives less or more than it promised breaks the answer off, too."""
        for pieces, following in (
            ([], None),
            ([], (1, 65_536)),
            ([(1, bytes(16), 3, 66_000, 65_536, b"x" * 463)], None),
            ([(1, bytes(16), 3, 66_000, 65_536, b"x" * 465)], None),
        ):
            relay = MemoryRelay()
            anna = relay.register("anna")
            relay.send(anna, anna, b"x" * 66_000)
            client = relay.dial()
            page = Page(pieces, following)
            self.patch(MemoryStore, "read", lambda *_, page=page: succeed(page))
            client.send(v2.Request(anna, v2.FetchMessages()).encode())
            self.assertTrue(client.line.server.closed)
            self.assertLessEqual(len(client.side.received), 7 + 25 + 65_536)

    def test_truncated_directory(self) -> None:
        """So does a directory with fewer clients than it announced."""
        relay = MemoryRelay()
        anna = relay.register("anna")
        relay.register("bern")
        client = relay.dial()
        self.patch(MemoryStore, "directory_page", lambda *_: succeed(DirectoryPage((), None)))
        client.send(v2.Request(anna, v2.ListClients()).encode())
        self.assertTrue(client.line.server.closed)
        self.assertEqual(bytes(client.side.received), b"")

    def test_directory_too_large(self) -> None:
        """A directory that no header can announce is refused, and the log says so."""
        relay = MemoryRelay()
        anna = relay.register("anna")
        client = relay.dial()
        huge = Directory(anna, 2**32 // 271 + 1, 1)
        self.patch(MemoryStore, "directory", lambda *_: succeed(huge))
        self.assertEqual(client.ask(v2.ListClients(), anna), ERROR)

    def test_bug_in_an_answer(self) -> None:
        """Whatever goes wrong in the middle of an answer, the connection is aborted, and the log
        has it."""
        relay = MemoryRelay()
        anna = relay.register("anna")
        relay.send(anna, anna, bytes(2**17))
        client = relay.dial()
        self.patch(MemoryStore, "read", lambda *_: 1 / 0)
        client.send(v2.Request(anna, v2.FetchMessages()).encode())
        self.assertTrue(client.line.server.closed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_lease_cannot_be_ended(self) -> None:
        """Mail that cannot be deleted comes again, and the log says so if that is a bug."""
        for failure, logged in ((StoreUnavailable("full"), 0), (ZeroDivisionError(), 1)):
            relay = MemoryRelay()
            anna = relay.register("anna")
            relay.send(anna, anna)
            client = relay.dial()
            with mock.patch.object(MemoryStore, "settle", lambda *_, f=failure: fail(f)):
                client.ask(v2.FetchMessages(), anna)
                client.ask(v2.ListClients(), anna)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), logged)
            self.assertEqual(len(relay.waiting(anna)), 1)


class TlsTests(SynchronousTestCase):
    """Connections of which the kernel cannot tell."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.relay.factory.exchange = evolve(
            self.relay.factory.exchange, probe_of=lambda _: BlindProbe()
        )
        self.anna = self.relay.register("anna")
        self.relay.send(self.anna, self.anna)
        self.client = self.relay.dial()
        alsoProvides(self.client.line.server, INegotiated)

    def test_asks_again(self) -> None:
        """A request that had not come when the answer went is a proof."""
        self.client.ask(v2.FetchMessages(), self.anna)
        self.assertEqual(len(self.relay.waiting(self.anna)), 1)
        self.client.ask(v2.ListClients(), self.anna)
        self.assertEqual(self.relay.waiting(self.anna), [])

    def test_closes(self) -> None:
        """A close proves nothing there."""
        self.client.ask(v2.FetchMessages(), self.anna)
        self.client.line.client.loseConnection()
        self.client.wait(1)
        self.assertTrue(self.client.line.server.closed)
        self.assertEqual(len(self.relay.waiting(self.anna)), 1)

    def test_not_to_be_trusted(self) -> None:
        """After a frame that cannot be trusted, both halves are closed: TLS has only both."""
        self.client.send(header(601, 9))
        self.assertEqual(self.client.take(), ERROR)
        self.assertTrue(self.client.line.server.closed)


class HalfCloseTests(SynchronousTestCase):
    """Clients that shut down their sending half and then read."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.anna = self.relay.register("anna")

    def test_answers_come(self) -> None:
        """Everything that was asked before is answered, and then the connection is closed."""
        for piece in (1, 7, 65_536):
            client = self.relay.dial(from_client=Faults(piece=piece))
            client.line.client.write(v2.Request(self.anna, v2.ListClients()).encode() * 3)
            client.line.client.write(UNKNOWN_CODE)
            client.line.client.loseWriteConnection()
            client.line.run()
            self.assertEqual(client.take(), [v2.EndOfClients()] * 3 + ERROR)
            self.assertTrue(client.line.server.closed)

    def test_answers_that_take_their_time(self) -> None:
        """A client that has shut down its half waits for the store, and for its turn."""
        store = SlowStore(self.relay.store)
        relay = MemoryRelay(store, read_ahead=2)
        client = relay.dial()
        frame = v2.Request(self.anna, v2.SendMessage(self.anna, 3, b"x")).encode()
        client.line.client.write(frame * 9 + v2.Request(self.anna, v2.FetchMessages()).encode())
        client.line.client.loseWriteConnection()
        client.line.run()
        while store.waiting:
            self.assertFalse(client.line.server.closed)
            store.finish(0)
            client.line.run()
        client.wait(1)
        self.assertEqual(len(client.take()), 9 + 9 + 1)
        self.assertTrue(client.line.server.closed)

    def test_half_a_request(self) -> None:
        """Half a request at the end is nothing."""
        client = self.relay.dial()
        client.line.client.write(v2.Request(self.anna, v2.ListClients()).encode()[:-1])
        client.line.client.loseWriteConnection()
        client.line.run()
        self.assertEqual(client.take(), [])
        self.assertTrue(client.line.server.closed)

    def test_untrusted_at_the_end(self) -> None:
        """A frame that cannot be trusted is answered also to who has shut down his half."""
        for held in (False, True):
            client = self.relay.dial()
            client.line.server.held = held
            client.line.client.write(header(601, 1) + b"x")
            client.line.client.loseWriteConnection()
            client.line.run()
            client.line.server.held = False
            client.line.run()
            self.assertEqual(client.take(), ERROR)
            self.assertTrue(client.line.server.closed)

    def test_does_not_read(self) -> None:
        """Who has shut down his half and does not read is aborted at a deadline."""
        for index in range(600):
            self.relay.send(self.anna, self.anna, b"%d" % index * 100)
        client = self.relay.dial(from_server=Faults(window=1000))
        client.line.server.held = True
        client.line.client.write(v2.Request(self.anna, v2.FetchMessages()).encode())
        client.line.client.loseWriteConnection()
        client.wait(25)
        self.assertFalse(client.line.server.closed)
        client.wait(10)
        self.assertTrue(client.line.server.closed)
        self.assertEqual(self.relay.limits.output_bytes, 0)
        self.assertEqual(len(self.relay.waiting(self.anna)), 600)


class DeliveryOnTheLineTests(SynchronousTestCase):
    """What becomes of mail, by how its reader behaves."""

    MAIL: ClassVar[list[bytes]] = [b"a" * 1000, b"b" * 100_000, b""]

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.anna = self.relay.register("anna")
        for content in self.MAIL:
            self.relay.send(self.anna, self.anna, content)

    def fetch(self, **faults: Faults) -> MemoryClient:
        """A client that has asked for its mail."""
        client = self.relay.dial(**faults)
        client.send(v2.Request(self.anna, v2.FetchMessages()).encode())
        return client

    def assert_waits(self) -> None:
        """All mail waits, and nothing is pinned."""
        self.assertEqual(self.relay.waiting(self.anna), self.MAIL)

    def assert_gone(self) -> None:
        """No mail waits."""
        self.assertEqual(self.relay.waiting(self.anna), [])

    def test_asks_again(self) -> None:
        """Who asks for something else on the same connection has got his mail."""
        client = self.fetch()
        self.assertEqual(len(client.take()), 4)
        self.assert_waits()
        client.ask(v2.ListClients(), self.anna)
        self.assert_gone()

    def test_asks_again_and_is_refused(self) -> None:
        """Also when what he asks for is refused."""
        client = self.fetch()
        client.send(UNKNOWN_CODE)
        self.assert_gone()

    def test_fetches_again(self) -> None:
        """A second fetch on the same connection brings what is new, and nothing twice."""
        client = self.fetch()
        client.take()
        self.relay.send(self.anna, self.anna, b"new")
        message, _ = client.ask(v2.FetchMessages(), self.anna)
        self.assertEqual(message.content, b"new")
        self.assertEqual(client.ask(v2.FetchMessages(), self.anna), [v2.EndOfMessages()])

    def test_asked_before(self) -> None:
        """A request that was there before the answer went proves nothing: the mail comes again,
        and the next request settles it."""
        client = self.relay.dial()
        client.send(v2.Request(self.anna, v2.FetchMessages()).encode() * 2)
        self.assertEqual(len(client.take()), 8)
        self.assert_waits()
        client.ask(v2.ListClients(), self.anna)
        self.assert_gone()

    def test_closes(self) -> None:
        """Who closes when he has everything has got his mail."""
        client = self.fetch()
        client.line.client.loseConnection()
        client.line.run()
        self.assert_gone()

    def test_shuts_down_his_half(self) -> None:
        """Who shuts down his half when he has everything has got his mail, too."""
        client = self.fetch()
        client.line.client.loseWriteConnection()
        client.line.run()
        self.assert_gone()

    def test_shuts_down_his_half_before(self) -> None:
        """Who shuts down his half before the answer gets it all, and has it when his kernel says
        so."""
        client = self.relay.dial()
        client.line.client.write(v2.Request(self.anna, v2.FetchMessages()).encode())
        client.line.client.loseWriteConnection()
        client.line.run()
        self.assert_waits()
        self.assertFalse(client.line.server.closed)
        client.wait(1)
        self.assertEqual(len(client.take()), 4)
        self.assert_gone()
        self.assertTrue(client.line.server.closed)

    def test_shuts_down_his_half_and_is_slow(self) -> None:
        """The end of the client's half proves nothing while his kernel lacks a part."""
        client = self.relay.dial()
        client.line.server.held = True
        client.line.client.write(v2.Request(self.anna, v2.FetchMessages()).encode())
        client.line.client.loseWriteConnection()
        client.wait(5)
        self.assert_waits()
        client.line.server.held = False
        client.wait(1)
        self.assert_gone()

    def test_shuts_down_his_half_and_is_never_seen_again(self) -> None:
        """If his kernel never has it all, the mail waits again at a deadline."""
        client = self.relay.dial()
        client.line.server.held = True
        client.line.client.write(v2.Request(self.anna, v2.FetchMessages()).encode())
        client.line.client.loseWriteConnection()
        client.wait(12)
        self.assertTrue(client.line.server.closed)
        self.assert_waits()

    def test_shuts_down_his_half_and_is_reset(self) -> None:
        """A reset that nobody watches for is seen, and the mail waits again."""
        client = self.relay.dial()
        client.line.server.held = True
        client.line.client.write(v2.Request(self.anna, v2.FetchMessages()).encode())
        client.line.client.loseWriteConnection()
        client.line.run()
        client.line.reset()
        client.wait(1)
        self.assertTrue(client.line.server.closed)
        self.assert_waits()

    def test_breaks_anywhere(self) -> None:
        """A connection that breaks at any byte of the answer loses nothing."""
        size = 7 + sum(25 + len(content) for content in self.MAIL)
        for cut in (0, 1, 6, 7, 8, 31, 32, 1031, 1032, 1057, 65_536, 65_543, size - 1):
            client = self.fetch(from_server=Faults(cut_after=cut))
            self.assertEqual(len(client.side.received), cut)
            self.assertTrue(client.line.server.closed)
            self.assert_waits()

    def test_breaks_after_everything(self) -> None:
        """A reset after the last byte is no proof: the mail comes again."""
        client = self.fetch()
        client.line.reset()
        self.assert_waits()

    def test_vanishes(self) -> None:
        """Who reads nothing and says nothing is aborted at a deadline, and the mail waits."""
        client = self.fetch(from_server=Faults(window=1000))
        client.line.server.held = True
        client.line.run()
        other = self.relay.dial(from_server=Faults(window=1000))
        other.line.server.held = True
        other.send(v2.Request(self.anna, v2.FetchMessages()).encode())
        other.wait(35)
        self.assertTrue(other.line.server.closed)
        self.assert_waits()

    def test_two_fetchers(self) -> None:
        """Two connections get the same mail; it is gone when one has it, and stays readable for
        the other until its answer has ended."""
        slow = self.fetch(from_server=Faults(window=1000, piece=10))
        slow.line.server.held = True
        slow = self.relay.dial(from_server=Faults(window=1000))
        slow.line.server.held = True
        slow.send(v2.Request(self.anna, v2.FetchMessages()).encode())
        quick = self.fetch()
        self.assertEqual(len(quick.take()), 4)
        quick.ask(v2.ListClients(), self.anna)
        self.assert_gone()
        slow.line.server.held = False
        slow.line.run()
        self.assertEqual([m.content for m in slow.take()[:-1]], self.MAIL)

    def test_too_much_for_one_answer(self) -> None:
        """One answer carries as much as the limit says, and the rest comes with the next."""
        relay = MemoryRelay(answer_bytes=3000, answer_messages=10)
        anna = relay.register("anna")
        contents = [bytes([65 + n]) * 1000 for n in range(5)] + [b"F" * 50_000] + [b""] * 25
        for content in contents:
            relay.send(anna, anna, content)
        client = relay.dial()
        rounds = []
        while len(received := client.ask(v2.FetchMessages(), anna)) > 1:
            rounds.append([message.content for message in received[:-1]])
        self.assertEqual([len(one) for one in rounds], [2, 2, 1, 1, 10, 10, 5])
        self.assertEqual([content for one in rounds for content in one], contents)

    def test_lost_while_the_store_works(self) -> None:
        """A connection that is gone before its mail was found leaves it free."""
        lease = MemoryStore.lease
        asked: list[Deferred[Lease]] = []

        def later(store: MemoryStore, *arguments: object) -> Deferred[Lease]:
            asked.append(Deferred())
            asked[-1].addCallback(lambda _: lease(store, *arguments))
            return asked[-1]

        self.patch(MemoryStore, "lease", later)
        client = self.fetch()
        client.line.reset()
        asked[0].callback(None)
        self.patch(MemoryStore, "lease", lease)
        self.assert_waits()

    def test_gone_while_the_store_works(self) -> None:
        """Those who ask and are gone, again and again, leave no more work in the store than there
        are places, so that whoever stays is answered next."""
        relay = MemoryRelay(streams=2)
        anna = relay.register("anna")
        relay.send(anna, anna)
        lease = MemoryStore.lease
        asked: list[Deferred[Lease]] = []

        def later(store: MemoryStore, *arguments: object) -> Deferred[Lease]:
            asked.append(Deferred())
            asked[-1].addCallback(lambda _: lease(store, *arguments))
            return asked[-1]

        self.patch(MemoryStore, "lease", later)
        for _ in range(20):
            gone = relay.dial()
            gone.send(v2.Request(anna, v2.FetchMessages()).encode())
            gone.line.reset()
        stays = relay.dial()
        stays.send(v2.Request(anna, v2.FetchMessages()).encode())
        self.assertEqual(len(asked), 4)  # two for long answers, and two for brief ones
        asked[0].callback(None)
        stays.line.run()
        self.assertEqual(len(asked), 5)
        for each in asked[1:]:
            each.callback(None)
        stays.line.run()
        self.assertEqual(len(stays.take()), 2)
        self.assertEqual(relay.limits.leased, 1)

    def test_no_place(self) -> None:
        """When as many answers stream as may, the next waits for a place; who goes gives up his."""
        relay = MemoryRelay(streams=1)
        anna = relay.register("anna")
        relay.send(anna, anna, b"x" * 200_000)
        first, second, third, fourth = (
            relay.dial(from_server=Faults(window=1000)) for _ in range(4)
        )
        first.line.server.held = True
        for client in (first, second, third, fourth):
            client.send(v2.Request(anna, v2.FetchMessages()).encode())
        self.assertEqual(second.take(), [])
        second.line.reset()
        first.line.reset()
        third.line.run()
        self.assertEqual(len(third.take()), 2)
        fourth.line.run()
        self.assertEqual(len(fourth.take()), 2)

    def test_place_of_one_of_many_that_go(self) -> None:
        """When many that wait for places go at once with one that has a place, nobody leases mail
        for them."""
        for go in ("reset", "abort"):
            relay = MemoryRelay(streams=1)
            anna = relay.register("anna")
            relay.send(anna, anna, b"x" * 200_000)
            clients = [relay.dial(from_server=Faults(window=1000)) for _ in range(5)]
            clients[0].line.server.held = True
            for client in clients:
                client.send(v2.Request(anna, v2.FetchMessages()).encode())
            with mock.patch.object(
                MemoryStore, "lease", autospec=True, side_effect=MemoryStore.lease
            ) as lease:
                for client in clients[:4]:
                    if go == "reset":
                        client.line.reset()
                    else:
                        client.line.server.protocol.abort()
                for client in clients:
                    client.line.run()
            self.assertEqual(lease.call_count, 1)
            self.assertEqual(len(clients[4].take()), 2)

    def test_many_messages_in_many_answers(self) -> None:
        """When answers hold as many messages together as they may, the next ones hold few each; what
        has ended counts no more."""
        relay = MemoryRelay(leased_messages=500)
        anna = relay.register("anna")
        relay.store.put([Envelope(anna, anna, 3, b"x")] * 600)
        clients = [relay.dial(from_server=Faults(window=100)) for _ in range(3)]
        fetch = v2.Request(anna, v2.FetchMessages()).encode()
        for client, leased in zip(clients, (500, 756, 1012), strict=True):
            client.line.server.held = True
            client.send(fetch)
            self.assertEqual(relay.limits.leased, leased)
        clients[0].line.reset()
        self.assertEqual(relay.limits.leased, 512)
        for client in clients[1:]:
            client.line.server.held = False
            client.line.run()
            self.assertEqual(len(client.take()), 257)
            client.ask(v2.ListClients(), anna)
        self.assertEqual(relay.limits.leased, 0)
        self.assertEqual(len(clients[1].ask(v2.FetchMessages(), anna)), 345)

    def test_brief_answers_need_no_place(self) -> None:
        """While large answers have taken all places, whoever has little mail gets it, whoever has
        much gets some of it, and short lists are answered, too."""
        relay = MemoryRelay(streams=1)
        anna, bern = relay.register("anna"), relay.register("bern")
        relay.send(anna, anna, b"x" * 200_000)
        contents = [b"a" * 20_000, b"b" * 10_000, b"c" * 20_000]
        for content in contents:
            relay.send(anna, bern, content)
        stuck = relay.dial(from_server=Faults(window=1000))
        stuck.line.server.held = True
        stuck.send(v2.Request(anna, v2.FetchMessages()).encode())
        client = relay.dial()
        fetched = []
        while len(received := client.ask(v2.FetchMessages(), bern)) > 1:
            fetched.append([message.content for message in received[:-1]])
        self.assertEqual(fetched, [contents[:2], contents[2:]])
        self.assertEqual(relay.waiting(bern), [])
        self.assertEqual(len(client.ask(v2.ListClients(), bern)), 2)

    def test_lost_while_it_tries_a_brief_answer(self) -> None:
        """A connection that is gone before it is known that its mail is too much for that takes
        no place, and leaves its mail free."""
        relay = MemoryRelay(streams=1)
        anna = relay.register("anna")
        relay.send(anna, anna, b"x" * 200_000)
        stuck, gone, waits = (relay.dial(from_server=Faults(window=1000)) for _ in range(3))
        stuck.line.server.held = True
        stuck.send(v2.Request(anna, v2.FetchMessages()).encode())
        lease = MemoryStore.lease
        asked: list[Deferred[Lease]] = []

        def later(store: MemoryStore, *arguments: object) -> Deferred[Lease]:
            asked.append(Deferred())
            asked[-1].addCallback(lambda _: lease(store, *arguments))
            return asked[-1]

        self.patch(MemoryStore, "lease", later)
        gone.send(v2.Request(anna, v2.FetchMessages()).encode())
        gone.line.reset()
        self.patch(MemoryStore, "lease", lease)
        asked[0].callback(None)
        self.assertEqual(len(relay.factory.exchange.streams.waiting), 0)
        stuck.line.reset()
        self.assertEqual(len(waits.ask(v2.FetchMessages(), anna)), 2)

    def test_kept_answers_make_way(self) -> None:
        """Those who have read their mail and never say so are sent away when the relay would have
        to remember too many messages, the oldest first; their mail waits again."""
        relay = MemoryRelay(leased_messages=4)
        anna = relay.register("anna")
        for number in range(4):
            relay.send(anna, anna, b"%d" % number)
        clients = [relay.dial() for _ in range(4)]
        for client in clients:
            self.assertEqual(len(client.ask(v2.FetchMessages(), anna)), 5)
        for client in clients:
            client.line.run()
        self.assertEqual(
            [client.line.server.closed for client in clients], [True, True, False, False]
        )
        self.assertEqual(relay.limits.hits["leased_messages"], 2)
        self.assertEqual(len(relay.waiting(anna)), 4)
        clients[2].ask(v2.FetchMessages(), anna)
        clients[3].line.reset()
        self.assertEqual(relay.waiting(anna), [])
        self.assertEqual(relay.limits.leased, 0)

    def test_who_does_not_read_makes_way(self) -> None:
        """Who stands still on a place that others wait for loses it within seconds, and no mail."""
        relay = MemoryRelay(streams=1)
        anna = relay.register("anna")
        relay.send(anna, anna, b"x" * 200_000)
        stuck, waits = (relay.dial(from_server=Faults(window=1000)) for _ in range(2))
        stuck.line.server.held = True
        for client in (stuck, waits):
            client.send(v2.Request(anna, v2.FetchMessages()).encode())
        self.assertEqual(waits.take(), [])
        for _ in range(5):
            waits.wait(1)
            stuck.line.run()
        waits.line.run()
        self.assertEqual(len(waits.take()), 2)
        self.assertEqual(relay.limits.hits["crowded_deadline"], 1)


class DeadlineTests(SynchronousTestCase):
    """Who takes too long."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.anna = self.relay.register("anna")
        self.client = self.relay.dial()

    def test_idle(self) -> None:
        """A connection on which nothing has come for ten minutes is closed, with nobody hurt."""
        self.client.wait(500)
        self.client.ask(v2.ListClients(), self.anna)
        self.client.wait(590)
        self.assertFalse(self.client.line.server.closed)
        self.client.wait(15)
        self.assertTrue(self.client.line.server.closed)
        self.assertEqual(self.relay.limits.hits["idle_deadline"], 1)

    def test_drip(self) -> None:
        """A frame must be complete in a minute, however busily it comes."""
        self.client.send(header(603, 10_000))
        for _ in range(59):
            self.client.send(b"x")
            self.client.wait(1)
        self.assertEqual(self.client.take(), [])
        self.client.send(b"x")
        self.client.wait(2)
        self.assertEqual(self.client.take(), ERROR)
        self.assertTrue(self.client.side.input_ended)
        self.client.wait(12)
        self.assertTrue(self.client.line.server.closed)
        self.assertEqual(self.relay.limits.hits["frame_deadline"], 1)

    def test_many_at_once(self) -> None:
        """When very many are overdue at once, others are served between them."""
        self.client.line.reset()
        clients = [self.relay.dial() for _ in range(3 * DEADLINE_STEP)]
        for client in clients:
            client.send(header(603, 100)[:12])
        self.relay.clock.advance(60)
        hits = self.relay.limits.hits
        seen: list[int] = []
        self.relay.clock.callLater(1, lambda: seen.append(hits["frame_deadline"]))
        self.relay.clock.advance(1)
        self.assertEqual(seen, [DEADLINE_STEP])
        self.assertEqual(hits["frame_deadline"], len(clients))

    def test_each_frame_has_its_own_minute(self) -> None:
        """The deadline is that of one frame, not of a connection."""
        frame = v2.Request(self.anna, v2.ListClients()).encode()
        for _ in range(10):
            self.client.send(frame[:10])
            self.client.wait(30)
            self.client.send(frame[10:])
        self.assertEqual(self.client.take(), [v2.EndOfClients()] * 10)

    def test_large_frames_together(self) -> None:
        """When all together hold too much, the oldest incomplete frame is given up; the others are
        served."""
        relay = MemoryRelay(input_bytes=1_000_000)
        anna = relay.register("anna")
        clients = [relay.dial() for _ in range(4)]
        frame = v2.Request(anna, v2.SendMessage(anna, 3, b"x" * 300_000)).encode()
        for client in clients:
            client.send(frame[:260_000])
        clients[0].line.run()
        self.assertEqual([client.take() for client in clients], [ERROR, [], [], []])
        for client in clients[1:]:
            client.send(frame[260_000:])
            self.assertIsInstance(client.take()[0], v2.Stored)
        self.assertEqual(relay.limits.input_bytes, 0)

    def test_registrations(self) -> None:
        """An address may register so many clients a minute; another address is not hurt."""
        relay = MemoryRelay(registrations_a_minute=3)
        for number in range(3):
            relay.register(f"client {number}")
        client = relay.dial()
        body = v2.Register(UserName(b"one more"), KEY)
        self.assertEqual(client.ask(body), ERROR)
        self.assertIsInstance(relay.dial(host="198.51.100.7").ask(body)[0], v2.Registered)

    def test_many_that_send_at_once(self) -> None:
        """Of many connections less is read at once: nobody is given up for what all have sent."""
        relay = MemoryRelay(input_bytes=1_000_000, streams=1)
        anna = relay.register("anna")
        relay.send(anna, anna, b"x" * 200_000)
        fetch = v2.Request(anna, v2.FetchMessages()).encode()
        clients = [relay.dial(from_server=Faults(window=1000)) for _ in range(100)]
        clients[0].line.server.held = True
        clients[0].send(fetch)
        clients[0].wait(2)
        more = v2.Request(anna, v2.ListClients()).encode() * 2_000
        for client in clients:
            client.send(fetch + more)
        self.assertEqual(relay.limits.hits["input_bytes"], 0)
        self.assertGreater(relay.limits.input_bytes, 500_000)

    def test_everything_is_given_back(self) -> None:
        """When all connections are gone, in whatever way, every counter is at zero."""
        for piece in (header(603, 10_000) + b"x" * 5_000, header(601, 1), b"x", b""):
            for end in ("loseConnection", "loseWriteConnection", "abortConnection"):
                client = self.relay.dial()
                client.send(piece)
                getattr(client.line.client, end)()
                client.wait(15)
                self.assertTrue(client.line.server.closed, (piece[:30], end))
        self.client.line.reset()
        limits = self.relay.limits
        self.assertEqual((limits.connections, limits.input_bytes, limits.output_bytes), (0, 0, 0))
        self.assertEqual(limits.requests, 0)


class GarbageTests(SynchronousTestCase):
    """What a connection leaves behind."""

    def test_nothing_for_the_collector(self) -> None:
        """A connection that is gone is freed at once: the collector comes seldom, and whoever
        connects and goes again and again must not be remembered until then."""
        relay = MemoryRelay()
        anna = relay.register("anna")
        relay.send(anna, anna)
        requests = (
            b"",
            header(601, 9),
            UNKNOWN_CODE,
            header(603, 21) + bytes(20) + b"\1",
            v2.Request(anna, v2.SendMessage(anna, 3, b"x")).encode(),
            v2.Request(anna, v2.FetchMessages()).encode(),
        )
        gc.disable()
        self.addCleanup(gc.enable)
        for request in requests:
            client = relay.dial(from_server=Faults(window=20))
            client.line.server.held = request == requests[-1]  # in the middle of its answer
            client.send(request)
            protocol = client.line.server.protocol
            connection, session = ref(protocol), ref(protocol._session or client)
            client.line.reset()
            client.line.server.protocol = None
            client.line.server = client = protocol = None
            self.assertIsNone(connection(), request[:25])
            self.assertIsNone(session(), request[:25])


class StopTests(SynchronousTestCase):
    """The end of the relay, for its connections."""

    def setUp(self) -> None:
        self.memory = MemoryRelay()
        self.anna = self.memory.register("anna")
        self.store = SlowStore(self.memory.store)
        self.relay = MemoryRelay(self.store)

    def test_idle(self) -> None:
        """Idle connections are closed, and then it is over."""
        client = self.relay.dial()
        stopped = self.relay.factory.drain()
        self.assertNoResult(stopped)
        client.line.run()
        self.successResultOf(stopped)
        self.assertIsNone(self.relay.factory.buildProtocol(None))

    def test_nobody(self) -> None:
        """Without connections it is over at once, and no timer is left."""
        self.successResultOf(self.relay.factory.drain())
        self.assertEqual(self.relay.clock.getDelayedCalls(), [])

    def test_answers_in_progress(self) -> None:
        """What was taken is answered; what comes now is not."""
        client = self.relay.dial()
        frame = v2.Request(self.anna, v2.SendMessage(self.anna, 3, b"x")).encode()
        client.send(frame)
        stopped = self.relay.factory.drain()
        client.send(frame)
        self.assertEqual(len(self.store.waiting), 1)
        self.store.finish(0)
        client.line.run()
        self.assertEqual(len(client.take()), 1)
        self.assertTrue(client.side.input_ended)
        self.assertNoResult(stopped)
        client.line.client.loseConnection()
        client.line.run()
        self.successResultOf(stopped)

    def send_many(self, client: Any, count: int) -> None:
        """Send messages at once, of which the store answers none yet."""
        client.send(v2.Request(self.anna, v2.SendMessage(self.anna, 3, b"x")).encode() * count)

    def test_what_waits_to_be_taken(self) -> None:
        """What has arrived is answered, too, when there was no room yet to take it: all of it, and
        nothing that comes later. Then this half is shut down."""
        for half_closed in (False, True):
            relay = self.relay = MemoryRelay(SlowStore(self.memory.store), read_ahead=2)
            client = relay.dial()
            self.send_many(client, 7)
            if half_closed:
                client.line.client.loseWriteConnection()
                client.line.run()
            stopped = relay.factory.drain()
            if not half_closed:
                self.send_many(client, 3)
            answered = 0
            while relay.store.waiting:
                relay.store.finish(0)
                client.line.run()
                answered += len(client.take())
            self.assertEqual(answered, 7)
            self.assertTrue(client.side.input_ended)
            client.line.client.loseConnection()
            client.line.run()
            self.successResultOf(stopped)
            self.assertEqual(len(relay.clock.getDelayedCalls()), 0)

    def test_what_waits_to_be_read(self) -> None:
        """So is what the kernel has and nobody has read, on a connection that was at rest, and on a
        new one."""
        for is_new in (False, True):
            client = self.relay.dial()
            if not is_new:
                self.send_many(client, 1)
                self.store.finish(0)
                client.line.run()
                client.take()
            client.line.client.write(
                v2.Request(self.anna, v2.SendMessage(self.anna, 3, b"x")).encode()
            )
            client.line.client.step()
            self.relay.factory.drain()
            client.line.run()
            self.store.finish(0)
            client.line.run()
            self.assertEqual(len(client.take()), 1)
            self.assertTrue(client.side.input_ended)
            self.setUp()

    def test_half_a_request(self) -> None:
        """A request of which only a part has arrived is not waited for."""
        client = self.relay.dial()
        client.send(header(603, 100) + b"x")
        self.relay.factory.drain()
        client.line.run()
        self.assertTrue(client.side.input_ended)
        self.assertEqual(client.take(), [])

    def test_grace(self) -> None:
        """Who is not done within the grace period is aborted, and keeps his mail."""
        self.store.store.put([Envelope(self.anna, self.anna, 3, b"x" * 1_000_000)])
        client = self.relay.dial(from_server=Faults(window=1000))
        client.line.server.held = True
        client.send(v2.Request(self.anna, v2.FetchMessages()).encode())
        stopped = self.relay.factory.drain()
        client.wait(9)
        self.assertNoResult(stopped)
        client.wait(2)
        self.successResultOf(stopped)
        self.assertEqual(self.memory.waiting(self.anna), [b"x" * 1_000_000])

    def test_shutdown_settles_nothing(self) -> None:
        """Mail whose arrival is not proven waits when the relay stops."""
        self.store.store.put([Envelope(self.anna, self.anna, 3, b"x")])
        client = self.relay.dial()
        client.send(v2.Request(self.anna, v2.FetchMessages()).encode())
        stopped = self.relay.factory.drain()
        client.line.run()
        self.successResultOf(stopped)
        self.assertEqual(self.memory.waiting(self.anna), [b"x"])


def header(code: int, size: int) -> bytes:
    """The header of a request from nobody."""
    return NOBODY.raw + b"\x02" + code.to_bytes(2, "little") + size.to_bytes(4, "little")


def registration(field: bytes) -> bytes:
    """A 600 whose name field holds these bytes and then whatever is there."""
    return header(600, 415) + field.ljust(255, b"!" if b"\0" in field else b"y")[:255] + KEY.raw


UNKNOWN_CODE = header(605, 3) + b"???"
