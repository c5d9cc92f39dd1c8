"""Both stores beside a model of what the interface says, over any order of operations."""

from functools import partial
from unittest import mock

from attrs import define, field, frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import (
    MESSAGE_ID_LIMIT,
    ClientId,
    Envelope,
    ListedClient,
    MessageId,
    PublicKey,
    Refusal,
    UserName,
)
from messageu.store import (
    NO_QUOTA,
    START,
    Quota,
    StoreError,
    StoreUnavailable,
    _sqlite,
    _statements,
)
from messageu.store._sqlite import HOUSEKEEPING_PAUSE
from messageu.testing.store import POISON
from tests.store.contract import HUGE, MemoryFixture, SqliteFixture, contents_of, result_of
from tests.torture import scaled

NAMES = st.sampled_from([UserName(name) for name in (b"Alice", b"ALICE", b"Bob", b"Cid", b"Dan")])
SMALL_QUOTA = Quota(messages=3, content=20)
NUMBERS = st.integers(0, 5)
PAGES = st.sampled_from((1, 3, 40, HUGE))
SMALL_STEPS = {"DELETION_STEP": 2, "ARRIVALS_LIMIT": 3, "RUBBISH_BACKLOG": 1, "PIECE_SIZE": 4}
"""Limits so low that a few small messages meet them, and are deleted and indexed in many steps."""


ENVELOPES = st.lists(
    st.tuples(NUMBERS, NUMBERS, st.sampled_from((3, 3, 3, POISON)), st.binary(max_size=9)),
    max_size=4,
)
"""Numbers of sender and recipient, type and content. A poisoned one only SQLite has."""


FAULTS = {"a full disk": {"is_full": True}, "a failing commit": {"failing_commits": 1}}


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
    message_id: MessageId | None = None


@frozen
class Held:
    lease: object
    messages: list = field(hash=False)


class StoreMachine(RuleBasedStateMachine):
    """Operations are asked for one by one, and carried out when :meth:`run` comes along."""

    def __init__(self, make_fixture, quota=NO_QUOTA):
        super().__init__()
        ids = map(id_of, range(1_000_000))
        self.quota = quota
        self.fixture = make_fixture(new_client_id=partial(next, ids), quota=quota)
        self.engine = getattr(self.fixture, "engine", None)
        self.ids = set()
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
        known = [*self.clients, id_of(999_999)]
        return known[number % len(known)]

    def one_of(self, leases, number):
        """Where one of some leases stands; None when there is none."""
        return number % len(leases) if leases else None

    def expect(self, deferred, expected):
        self.checks.append((deferred, lambda result: self.equal(result, expected)))

    @staticmethod
    def equal(result, expected):
        assert result == expected, (result, expected)

    @initialize()
    def begin(self):
        """Two clients are there from the beginning."""
        self.register(UserName(b"Alice"))
        self.register(UserName(b"Bob"))

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

    @rule(envelopes=ENVELOPES)
    def put(self, envelopes):
        outcomes = []
        if self.quota is not NO_QUOTA:
            self.run()  # what is being deleted may count, and what is gone does not
        for sending, receiving, kind, content in envelopes:
            outcomes.append(self.place(*map(self.requester, (sending, receiving)), kind, content))
        deferred = self.store.put([envelope for envelope, _ in outcomes])

        def check(results):
            self.equal(len(results), len(outcomes))
            for result, (_, expected) in zip(results, outcomes, strict=True):
                if isinstance(expected, Message):
                    assert isinstance(result, MessageId)
                    # In the mailbox, or in all of them.
                    where = None if self.fixture.one_sequence else expected.recipient
                    assert (where, result) not in self.ids
                    self.ids.add((where, result))
                    expected.message_id = result
                elif expected is StoreError:
                    assert type(result) is StoreError
                else:
                    self.equal(result, expected)

        self.checks.append((deferred, check))

    def place(self, sender, recipient, kind, content):
        """An envelope, and what is to become of it."""
        kind = kind if self.engine is not None else 3
        envelope = Envelope(sender, recipient, kind, content)
        if sender not in self.clients:
            return envelope, Refusal.UNKNOWN_CLIENT
        if recipient not in self.clients:
            return envelope, Refusal.UNKNOWN_RECIPIENT
        held = [each for each in self.messages if each.recipient == recipient]
        size = sum(len(each.content) for each in held) + len(content)
        if len(held) >= self.quota.messages or size > self.quota.content:
            return envelope, Refusal.MAILBOX_FULL
        if kind == POISON:
            return envelope, StoreError
        message = Message(sender, recipient, content, self.fixture.time)
        self.messages.append(message)
        return envelope, message

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
                self.equal(MessageId(piece[0] % MESSAGE_ID_LIMIT), message.message_id)
            self.held.append(Held(result, listed))

        deferred = self.store.lease(requester, max_messages, max_bytes, page)
        self.checks.append((deferred, check))

    @rule(number=NUMBERS, size=PAGES)
    def read(self, number, size):
        number = self.one_of(self.held, number)
        if number is not None and self.held[number].messages:
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
        number = self.one_of(self.held, number)
        if number is not None:
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
        number = self.one_of(self.ended, number)
        if number is not None:
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

    @rule(fault=st.sampled_from(sorted(FAULTS)), number=NUMBERS, name=NAMES)
    def fail_to_write(self, fault, number, name):
        """What writes fails when the disk does, and nothing of it was done."""
        if self.engine is None:
            return
        self.run()
        me = self.requester(number)
        with mock.patch.multiple(self.engine, **FAULTS[fault]):
            failing = [
                self.store.put([Envelope(me, me, 3, b"lost")]),
                self.store.register(name, PublicKey(bytes(160))),
                self.store.expire(self.fixture.time + 1),
            ]
            self.attempts += 1
            for deferred in failing:
                self.assert_unavailable(deferred)

    @rule(fault=st.sampled_from(sorted(FAULTS)), number=NUMBERS, settled=st.booleans())
    def fail_to_end(self, fault, number, settled):
        """A lease whose end fails has ended as if released; what should have been deleted with it
        waits again."""
        self.run()
        number = self.one_of(self.held, number)
        if self.engine is None or number is None or not self.held[number].messages:
            return
        held = self.held.pop(number)
        self.ended.append(held)
        for message in held.messages:
            message.pins -= 1
            message.unwanted &= message.pins > 0
        end = self.store.settle if settled else self.store.release
        with mock.patch.multiple(self.engine, **FAULTS[fault]):
            self.assert_unavailable(end(held.lease))

    @rule(number=NUMBERS)
    def fail_alone(self, number):
        """To read what a lease does not hold any more is an error of that read alone."""
        number = self.one_of(self.ended, number)
        if number is not None and self.ended[number].messages:
            self.run()
            read = self.store.read(self.ended[number].lease, START, HUGE)
            try:
                self.fixture.result(read)
            except StoreUnavailable:
                raise AssertionError from None
            except StoreError:
                pass
            else:
                raise AssertionError("it could be read")

    def assert_unavailable(self, deferred):
        try:
            result = self.fixture.result(deferred)
        except StoreUnavailable:
            return
        raise AssertionError(result)

    @rule(envelopes=ENVELOPES)
    def reopen(self, envelopes):
        """What was asked for before the end is done; what is asked for after it fails."""
        self.run()
        self.put(envelopes)
        closed = self.store.close()
        failing = [
            self.store.put([]),
            self.store.public_key(id_of(0), id_of(0)),
            self.store.lease(id_of(0), 1, 1, 1),
            self.store.expire(self.fixture.time),
        ]
        self.fixture.result(closed)
        for deferred in failing:
            self.assert_unavailable(deferred)
        (deferred, check), self.checks = self.checks[0], []
        check(result_of(deferred))
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
        if self.engine is not None:
            self.check_rows()
        self.fixture.dispose()

    def check_rows(self):
        """Nothing is left in the database of what is gone, when it has had time, but for what a
        stop has left and remembers as rubbish: that goes later."""
        for _ in range(30):
            self.fixture.clock.advance(HOUSEKEEPING_PAUSE)
        self.equal(self.fixture.sql("SELECT count(*) FROM messages"), [(len(self.messages),)])
        self.equal(
            self.fixture.sql(
                "SELECT count(*) FROM mailbox_piece"
                " WHERE message NOT IN (SELECT sequence FROM mailbox_message)"
                " AND message NOT IN (SELECT message FROM mailbox_rubbish)"
            ),
            [(0,)],
        )


class StoreModelTests(SynchronousTestCase):
    def run_machine(self, make_fixture, examples, quota=NO_QUOTA):
        run_state_machine_as_test(
            lambda: StoreMachine(make_fixture, quota),
            settings=settings(max_examples=examples, stateful_step_count=30),
        )

    def test_memory(self):
        """The store in memory does what the interface says."""
        self.run_machine(MemoryFixture, scaled(60, 2_000))

    def test_memory_with_quota(self):
        """So it does where mailboxes become full."""
        self.run_machine(MemoryFixture, scaled(40, 1_000), SMALL_QUOTA)

    def test_sqlite(self):
        """The store in SQLite does what the interface says, however operations are grouped, also
        while the disk is full or fails."""
        self.run_machine(SqliteFixture, scaled(50, 1_000))

    def test_sqlite_with_quota(self):
        """So it does where mailboxes become full."""
        self.run_machine(SqliteFixture, scaled(25, 500), SMALL_QUOTA)

    def test_sqlite_in_steps(self):
        """So it does where everything is in pieces, and takes many steps."""
        piece_size = SMALL_STEPS["PIECE_SIZE"]
        with (
            mock.patch.multiple(_sqlite, **SMALL_STEPS),
            mock.patch.object(_statements, "PIECE_SIZE", piece_size),
        ):
            self.run_machine(SqliteFixture, scaled(50, 1_000))
