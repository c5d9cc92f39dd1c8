"""Both stores beside a model of what the interface says, over any order of operations."""

from functools import partial

from attrs import define, field, frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ClientId, Envelope, ListedClient, PublicKey, Refusal, UserName
from messageu.store import START
from tests.store.contract import HUGE, MemoryFixture, SqliteFixture, contents_of

NAMES = st.sampled_from([UserName(name) for name in (b"Alice", b"ALICE", b"Bob", b"Cid", b"Dan")])
NUMBERS = st.integers(0, 5)
PAGES = st.sampled_from((1, 3, 40, HUGE))


def id_of(number):
    """The id of the client that is registered so many times after the first."""
    return ClientId(number.to_bytes(16, "big"))


@define(eq=False)
class Message:
    sender: ClientId
    recipient: ClientId
    content: bytes
    time: float
    pins: int = 0
    unwanted: bool = False


@frozen
class Held:
    lease: object
    messages: list = field(hash=False)


class StoreMachine(RuleBasedStateMachine):
    """Operations are asked for one by one, and carried out when :meth:`run` comes along."""

    def __init__(self, make_fixture):
        super().__init__()
        ids = map(id_of, range(1_000_000))
        self.fixture = make_fixture(new_client_id=partial(next, ids))
        self.attempts = 0
        self.clients = {}
        self.messages = []
        self.held = []
        self.ended = []
        self.checks = []

    @property
    def store(self):
        return self.fixture.store

    def requester(self, number):
        """One of the clients, or nobody."""
        known = list(self.clients)
        return known[number] if number < len(known) else id_of(999_999)

    def expect(self, deferred, expected):
        self.checks.append((deferred, lambda result: self.equal(result, expected)))

    @staticmethod
    def equal(result, expected):
        assert result == expected, (result, expected)

    @rule(name=NAMES)
    def register(self, name):
        deferred = self.store.register(name, PublicKey(name.raw.ljust(160)))
        client_id = id_of(self.attempts)
        # An id is drawn for each attempt, or only for those that succeed: both are allowed.
        if name in self.clients.values():
            self.expect(deferred, Refusal.NAME_TAKEN)
            self.attempts += not isinstance(self.fixture, MemoryFixture)
        else:
            self.attempts += 1
            self.clients[client_id] = name
            self.expect(deferred, client_id)

    @rule(asking=NUMBERS, asked=NUMBERS)
    def public_key(self, asking, asked):
        requester, client_id = self.requester(asking), self.requester(asked)
        known = requester in self.clients and client_id in self.clients
        self.expect(
            self.store.public_key(requester, client_id),
            PublicKey(self.clients[client_id].raw.ljust(160)) if known else Refusal.UNKNOWN_CLIENT,
        )

    @rule(number=NUMBERS, limit=st.integers(1, 3))
    def directory(self, number, limit):
        requester = self.requester(number)
        listed = [
            ListedClient(client_id, name.raw)
            for client_id, name in self.clients.items()
            if client_id != requester
        ]

        def check(result):
            if requester not in self.clients:
                assert result is Refusal.UNKNOWN_CLIENT
                return
            assert result.count == len(listed)
            start, pages = 0, []
            while start is not None:
                page = self.fixture.result(self.store.directory_page(result, start, limit))
                pages.extend(page.clients)
                start = page.next
            self.equal(pages, listed)

        self.checks.append((self.store.directory(requester), check))

    @rule(sending=NUMBERS, receiving=NUMBERS, content=st.binary(max_size=5))
    def put(self, sending, receiving, content):
        sender, recipient = self.requester(sending), self.requester(receiving)
        deferred = self.store.put([Envelope(sender, recipient, 3, content)])
        if sender not in self.clients:
            self.expect(deferred, [Refusal.UNKNOWN_CLIENT])
        elif recipient not in self.clients:
            self.expect(deferred, [Refusal.UNKNOWN_RECIPIENT])
        else:
            self.messages.append(Message(sender, recipient, content, self.fixture.time))
            self.checks.append((deferred, lambda result: None))

    @rule(number=NUMBERS, max_messages=st.integers(1, 4), max_bytes=st.integers(0, 12), page=PAGES)
    def lease(self, number, max_messages, max_bytes, page):
        requester = self.requester(number)
        listed = []
        room = max_bytes
        for message in self.messages:
            if message.recipient == requester and not message.unwanted:
                room -= len(message.content)
                if listed and (len(listed) >= max_messages or room < 0):
                    break
                listed.append(message)
        for message in listed:
            message.pins += 1

        def check(result):
            if requester not in self.clients:
                assert result is Refusal.UNKNOWN_CLIENT
                return
            self.equal(
                (result.count, result.size),
                (len(listed), sum(len(message.content) for message in listed)),
            )
            for piece, message in zip(result.first.pieces, listed, strict=False):
                self.equal(piece[1:5], (message.sender.raw, 3, len(message.content), 0))
            self.held.append(Held(result, listed))

        deferred = self.store.lease(requester, max_messages, max_bytes, page)
        self.checks.append((deferred, check))

    @rule(number=NUMBERS, size=PAGES)
    def read(self, number, size):
        if number < len(self.held) and self.held[number].messages:
            held = self.held[number]
            contents = [message.content for message in held.messages]

            def check(page):
                pieces = list(page.pieces)
                while page.next is not None:
                    page = self.fixture.result(self.store.read(held.lease, page.next, size))
                    pieces += page.pieces
                self.equal(contents_of(pieces), contents)

            self.checks.append((self.store.read(held.lease, START, size), check))

    @rule(number=NUMBERS, settled=st.booleans())
    def end(self, number, settled):
        if number < len(self.held):
            self.run()  # pages are not read in order with the end of their lease
            held = self.held.pop(number)
            self.ended.append(held)
            for message in held.messages:
                message.pins -= 1
                message.unwanted |= settled
            self.forget()
            end = self.store.settle if settled else self.store.release
            self.expect(end(held.lease), None)

    @rule(number=NUMBERS, settled=st.booleans())
    def end_again(self, number, settled):
        if number < len(self.ended):
            end = self.store.settle if settled else self.store.release
            self.expect(end(self.ended[number].lease), None)

    @rule(age=st.integers(0, 4))
    def expire(self, age):
        before = self.fixture.time - age
        old = [each for each in self.messages if each.time < before and not each.unwanted]
        for message in old:
            message.unwanted = True
        self.forget()
        self.expect(self.store.expire(before), len(old))

    @rule(seconds=st.integers(-2, 2))
    def wait(self, seconds):
        self.fixture.time += seconds

    @rule()
    def run(self):
        checks, self.checks = self.checks, []
        for deferred, check in checks:
            check(self.fixture.result(deferred))

    @rule()
    def reopen(self):
        self.run()
        self.fixture.reopen()
        for held in self.held:
            for message in held.messages:
                message.pins = 0
        self.held.clear()
        # Another store has numbers of its own for its leases.
        self.ended.clear()
        self.forget()

    def forget(self):
        self.messages = [each for each in self.messages if each.pins or not each.unwanted]

    def teardown(self):
        self.run()
        self.fixture.dispose()


class StoreModelTests(SynchronousTestCase):
    def run_machine(self, make_fixture, examples):
        run_state_machine_as_test(
            lambda: StoreMachine(make_fixture), settings=settings(max_examples=examples)
        )

    def test_memory(self):
        """The store in memory does what the interface says."""
        self.run_machine(MemoryFixture, 100)

    def test_sqlite(self):
        """The store in SQLite does what the interface says, however operations are grouped."""
        self.run_machine(SqliteFixture, 50)
