"""Whom mail is pushed to: the rules by themselves, over interleavings, and over connections."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.python.components import proxyForInterface
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ClientId
from messageu.model.v3 import Delivery, EnvelopeId, Reason
from messageu.server.v3._subscriptions import Subscription, Subscriptions, UnderWay, Wanted
from messageu.store.v3 import IAccountStore, MemoryAccountStore
from messageu.testing.transport import Faults
from messageu.wire import v3

from .relay import NOW, MemoryRelay, Person, envelope

ACCOUNT = ClientId(bytes(16))


def mail(sequence: int, size: int = 1) -> Delivery:
    """Mail at a place, of a size."""
    return Delivery(sequence, EnvelopeId(sequence.to_bytes(16, "big")), 1, bytes(size))


class Taker:
    """A subscriber that remembers what it was pushed."""

    def __init__(self) -> None:
        self.ready = True
        self.taken: list[int] = []
        self.displaced = 0

    def deliver(self, delivery: Delivery) -> None:
        self.taken.append(delivery.sequence)

    def displace(self) -> None:
        self.displaced += 1

    def prekeys_low(self, left: int) -> None:
        """It has no prekeys."""


class WindowTests(SynchronousTestCase):
    """One subscription."""

    def setUp(self) -> None:
        self.taker = Taker()
        self.subscription = Subscription(ACCOUNT, 1, self.taker, 3, 100, 60)

    def read(self, *page: Delivery) -> list[int]:
        """Let a page be read; what was pushed since the last time."""
        self.assertIsNotNone(self.subscription.begin_page())
        self.subscription.end_page(page)
        return self.taken()

    def taken(self) -> list[int]:
        taken, self.taker.taken = self.taker.taken, []
        return taken

    def test_page(self) -> None:
        """A page is asked for once at a time, from the place on, as far as the window goes and not
        more than a page has."""
        self.assertEqual(self.subscription.begin_page(), Wanted(0, 3, 60))
        self.assertIsNone(self.subscription.begin_page())
        self.subscription.end_page([mail(4, 50)])
        self.assertEqual(self.subscription.begin_page(), Wanted(4, 2, 50))

    def test_new_mail(self) -> None:
        """Once a page was empty, new mail is pushed without another page."""
        self.assertEqual(self.read(mail(1)), [1])
        self.assertEqual(self.read(), [])
        self.subscription.stored(mail(2))
        self.assertEqual(self.taken(), [2])
        self.assertIsNone(self.subscription.begin_page())

    def test_new_mail_while_behind(self) -> None:
        """New mail does not overtake what waits: it comes with a later page."""
        self.subscription.stored(mail(2))
        self.assertEqual(self.taken(), [])
        self.assertEqual(self.read(mail(1), mail(2)), [1, 2])

    def test_new_mail_while_reading(self) -> None:
        """What comes while an empty page is read is asked for; what the page has is not pushed
        twice."""
        self.subscription.begin_page()
        self.subscription.stored(mail(1))
        self.subscription.end_page([])
        self.assertEqual(self.read(mail(1)), [1])
        self.subscription.stored(mail(1))
        self.assertEqual(self.taken(), [])

    def test_window_of_messages(self) -> None:
        """No more messages are on the way than were allowed, and acknowledgements in any order,
        and more than once, make room."""
        self.assertEqual(self.read(mail(1), mail(2), mail(3)), [1, 2, 3])
        self.assertIsNone(self.subscription.begin_page())
        self.subscription.acknowledge([2, 2, 77])
        self.assertEqual(self.read(mail(4)), [4])
        self.assertIsNone(self.subscription.begin_page())
        self.subscription.acknowledge([4, 1])
        self.assertEqual(self.subscription.begin_page(), Wanted(4, 2, 60))

    def test_window_of_bytes(self) -> None:
        """What does not fit waits, is not asked for before it fits, and nothing overtakes it."""
        self.assertEqual(self.read(mail(1, 30), mail(2, 40), mail(3, 50)), [1, 2])
        self.assertIsNone(self.subscription.begin_page())
        self.subscription.stored(mail(4))
        self.assertEqual(self.taken(), [])
        self.subscription.acknowledge([1])
        self.assertEqual(self.subscription.begin_page(), Wanted(2, 2, 60))

    def test_larger_than_window(self) -> None:
        """A message that is larger than the window comes alone."""
        self.assertEqual(self.read(mail(1, 500), mail(2)), [1])
        self.assertIsNone(self.subscription.begin_page())
        self.subscription.acknowledge([1])
        self.assertEqual(self.read(mail(2), mail(3, 500)), [2])
        self.assertIsNone(self.subscription.begin_page())
        self.subscription.acknowledge([2])
        self.assertEqual(self.read(mail(3, 500)), [3])

    def test_new_mail_with_full_window(self) -> None:
        """New mail that does not fit is asked for later."""
        self.read(mail(1), mail(2), mail(3))
        self.subscription.stored(mail(4))
        self.assertEqual(self.taken(), [])
        self.subscription.acknowledge([1])
        self.assertEqual(self.read(mail(4)), [4])

    def test_not_ready(self) -> None:
        """A subscriber that takes nothing is not pushed anything, and no page is read for him."""
        self.read()
        self.taker.ready = False
        self.subscription.stored(mail(1))
        self.assertIsNone(self.subscription.begin_page())
        self.taker.ready = True
        self.assertEqual(self.read(mail(1)), [1])

    def test_failed_page(self) -> None:
        """A page that could not be read is asked for again."""
        self.subscription.begin_page()
        self.subscription.fail_page()
        self.assertEqual(self.subscription.begin_page(), Wanted(0, 3, 60))

    def test_displaced(self) -> None:
        """A subscription that has ended pushes nothing: neither new mail nor a page that was being
        read. The one after it begins with the oldest mail."""
        row, other = Subscriptions(), Taker()
        row.begin(self.subscription)
        self.read(mail(1))
        self.subscription.begin_page()
        newer = Subscription(ACCOUNT, 2, other, 3, 100, 60)
        row.begin(newer)
        self.subscription.end_page([mail(2)])
        self.subscription.stored(mail(3))
        self.assertEqual((self.taken(), self.taker.displaced), ([], 1))
        self.assertIsNone(self.subscription.begin_page())
        self.assertEqual(newer.begin_page(), Wanted(0, 3, 60))
        row.end(self.subscription)
        self.assertIs(row.of(ACCOUNT), newer)
        row.end(newer)
        self.assertEqual((row.of(ACCOUNT), other.displaced), (None, 0))


class UnderWayTests(SynchronousTestCase):
    """What was pushed and is not acknowledged."""

    @given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=20), st.data())
    def test_as_a_dictionary(self, sequences: list[int], data: st.DataObject) -> None:
        """It is the same as a dictionary of sizes: whatever is discarded, in any order, and again."""
        under_way, model = UnderWay(), {}
        for sequence in sorted(sequences):
            model[sequence] = data.draw(st.integers(0, 2**28))
            under_way.add(sequence, model[sequence])
        for sequence in data.draw(st.lists(st.sampled_from([0, *sequences, *sequences]))):
            under_way.discard(sequence)
            model.pop(sequence, None)
            self.assertEqual((len(under_way), under_way.size), (len(model), sum(model.values())))

    def test_memory(self) -> None:
        """A thousand messages that nobody acknowledges take little: there may be thousands of clients
        who do not."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        under_way = UnderWay()
        for sequence in range(10**9, 10**9 + 1_024):
            under_way.add(sequence, 10_000 + sequence % 1_000)
        self.assertEqual(len(under_way), 1_024)
        self.assertLess(tracemalloc.get_traced_memory()[0], 20_000)


class Mailbox(RuleBasedStateMachine):
    """One mailbox, its subscriber, and pages that are read when it pleases the store."""

    def __init__(self) -> None:
        super().__init__()
        self.mail: dict[int, int] = {}
        self.last = 0
        self.page: list[Delivery] | None = None
        self.begin()

    @rule(messages=st.integers(1, 3), size=st.integers(1, 10))
    def begin(self, messages: int = 2, size: int = 8) -> None:
        """A subscription; the one before it is displaced, in whatever state it is."""
        self.taker = Taker()
        self.messages, self.size = messages, size
        self.subscription = Subscription(ACCOUNT, 1, self.taker, messages, size, 5)
        self.acknowledged: set[int] = set()
        self.page = None

    @rule(size=st.integers(1, 12), skip=st.integers(1, 3), over=st.booleans())
    def store(self, size: int, skip: int, over: bool) -> None:
        """New mail; its number may skip. For some of it there is no room but in the store."""
        self.last += skip
        self.mail[self.last] = size
        if over:
            self.subscription.arrived()
        else:
            self.subscription.stored(mail(self.last, size))

    @rule()
    @precondition(lambda self: self.page is None)
    def ask(self) -> None:
        """The store reads a page, if one is wanted."""
        wanted = self.subscription.begin_page()
        if wanted is None:
            return
        self.page = []
        room = wanted.size
        for sequence in sorted(self.mail):
            if sequence <= wanted.after or len(self.page) >= wanted.messages:
                continue
            room -= self.mail[sequence]
            if self.page and room < 0:
                break
            self.page.append(mail(sequence, self.mail[sequence]))

    @rule(fails=st.sampled_from((False, False, False, True)))
    @precondition(lambda self: self.page is not None)
    def answer(self, fails: bool) -> None:
        """The page arrives, or could not be read."""
        page, self.page = self.page, None
        if fails:
            self.subscription.fail_page()
        else:
            self.subscription.end_page(page)

    @rule(data=st.data())
    @precondition(lambda self: self.on_the_way())
    def acknowledge(self, data: st.DataObject) -> None:
        """Any of what is on the way."""
        sequence = data.draw(st.sampled_from(self.on_the_way()))
        self.acknowledged.add(sequence)
        self.mail.pop(sequence, None)
        self.subscription.acknowledge([sequence, 999])

    @rule()
    def turn(self) -> None:
        """The transport takes nothing, or something again."""
        self.taker.ready = not self.taker.ready

    @rule()
    def settle(self) -> None:
        """When all is read, taken and acknowledged, all mail has been pushed."""
        self.taker.ready = True
        for _ in range(200):
            if self.page is None:
                self.ask()
            if self.page is not None:
                self.answer(False)
            elif self.on_the_way():
                sequence = self.on_the_way()[0]
                self.acknowledged.add(sequence)
                self.mail.pop(sequence, None)
                self.subscription.acknowledge([sequence])
            else:
                break
        assert not self.mail, self.mail
        assert self.subscription.under_way == 0

    def on_the_way(self) -> list[int]:
        return [each for each in self.taker.taken if each not in self.acknowledged]

    @invariant()
    def in_order(self) -> None:
        """What is pushed is in order, once, and skips nothing."""
        taken = self.taker.taken
        assert taken == sorted(set(taken))
        if taken:
            assert not [each for each in self.mail if each < taken[-1] and each not in taken]

    @invariant()
    def within_the_window(self) -> None:
        """No more is on the way than the window holds, unless it is one message."""
        under_way = self.on_the_way()
        assert len(under_way) <= self.messages
        assert len(under_way) <= 1 or sum(self.mail[each] for each in under_way) <= self.size


class InterleavingTests(SynchronousTestCase):
    """New mail, pages, acknowledgements and displacement in any order."""

    def test_interleavings(self) -> None:
        """Everything is pushed in order, once, within the window, and nothing is left out."""
        run_state_machine_as_test(
            Mailbox, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
        )


class SlowPages(proxyForInterface(IAccountStore, "store")):
    """A store whose pages come when the test says so."""

    def __init__(self, store: IAccountStore) -> None:
        super().__init__(store)
        self.pages: list[Deferred] = []

    def waiting(self, *args: object) -> Deferred:
        page: Deferred = Deferred()
        read = self.store.waiting(*args)
        self.pages.append(page)
        page.addCallback(lambda _: read)
        return page


class PushTests(SynchronousTestCase):
    """Subscriptions over connections."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.anna, self.bert = Person(), Person()
        self.sender = self.relay.log_in(self.anna, name="anna")
        self.taker = self.relay.log_in(self.bert, name="bert")

    def fill(self, count: int, size: int = 10) -> None:
        """So much mail for Bert."""
        for _ in range(count):
            self.sender.ask(envelope(self.bert, bytes(size)))

    def test_waiting_and_new(self) -> None:
        """What waits comes behind the answer, in order; then what is new, until it is acknowledged.
        A later subscription gets what was not."""
        self.fill(3)
        self.taker.send(v3.Subscribe(100, 1000))
        first, *others = self.taker.take()
        self.assertEqual(first.body, v3.Subscribed())
        self.assertEqual([each.body.delivery.sequence for each in others], [1, 2, 3])
        self.fill(2)
        self.assertEqual(self.taker.sequences(), [4, 5])
        self.assertEqual(self.taker.ask(v3.Acknowledge((1, 4, 3))), v3.Acknowledged())
        self.taker.subscribe()
        self.assertEqual(self.taker.sequences(), [2, 5])

    def test_window(self) -> None:
        """No more comes than the window holds; an acknowledgement lets the next come."""
        self.fill(5)
        self.taker.subscribe(2)
        self.assertEqual(self.taker.sequences(), [1, 2])
        self.assertEqual(self.taker.ask(v3.Acknowledge((2,))), v3.Acknowledged())
        self.assertEqual(self.taker.sequences(), [3])
        self.assertEqual(self.taker.ask(v3.Acknowledge((1, 3))), v3.Acknowledged())
        self.assertEqual(self.taker.sequences(), [4, 5])

    def test_bad_window(self) -> None:
        """A window of nothing, or above the limits, is refused, and nothing is subscribed."""
        limits = self.relay.limits.settings
        for messages, size in (
            (0, 1),
            (1, 0),
            (limits.window_messages + 1, 1),
            (1, limits.window_bytes + 1),
        ):
            answer = self.taker.ask(v3.Subscribe(messages, size))
            self.assertEqual(answer, v3.Error(Reason.BAD_WINDOW))
        self.fill(1)
        self.assertEqual(self.taker.take(), [])
        self.taker.subscribe(limits.window_messages, limits.window_bytes)

    def test_displaced(self) -> None:
        """Another connection of his takes the mailbox over: the first is told, gets nothing more,
        may acknowledge nothing, and goes on otherwise."""
        self.fill(1)
        self.taker.subscribe()
        other = self.relay.log_in(self.bert, 2)
        other.subscribe()
        self.assertEqual(self.taker.pushed()[1:], [v3.Displaced()])
        self.fill(1)
        self.assertEqual(other.sequences(), [1, 2])
        self.assertEqual(self.taker.ask(v3.Acknowledge((1,))), v3.Error(Reason.NOT_SUBSCRIBED))
        self.assertEqual(self.taker.pushed(), [])
        self.taker.close()
        self.fill(1)
        self.assertEqual(other.sequences(), [3])

    def test_gone(self) -> None:
        """When the connection has gone its mail waits, and whoever sends does not notice."""
        self.taker.subscribe()
        self.taker.close()
        self.fill(2)
        again = self.relay.log_in(self.bert, 2)
        again.subscribe()
        self.assertEqual(again.sequences(), [1, 2])

    def test_account_deleted_elsewhere(self) -> None:
        """Whoever is subscribed to an account that another connection deletes is displaced."""
        self.taker.subscribe()
        self.relay.log_in(self.bert, 2).ask(v3.DeleteAccount())
        self.assertEqual(self.taker.pushed(), [v3.Displaced()])
        self.assertEqual(len(self.relay.factory.exchange.postmaster.subscriptions), 0)

    def test_displaced_while_reading(self) -> None:
        """A page that arrives for a connection that was displaced meanwhile is not pushed."""
        store = SlowPages(MemoryAccountStore(now=lambda: NOW))
        self.relay = MemoryRelay(store)
        self.sender = self.relay.log_in(self.anna, name="anna")
        self.taker = self.relay.log_in(self.bert, name="bert")
        self.fill(2)
        self.taker.subscribe()
        other = self.relay.log_in(self.bert, 2)
        other.subscribe()
        first, second = store.pages
        first.callback(None)
        second.callback(None)
        self.assertEqual(self.taker.pushed(), [v3.Displaced()])
        self.assertEqual(other.sequences(), [1, 2])

    def test_slow_reader(self) -> None:
        """To whoever reads nothing no more is pushed than a page beyond what his kernel takes; the
        rest waits in the store, and comes when he reads."""
        slow = self.relay.log_in(self.bert, 2, from_server=Faults(window=10_000))
        self.fill(60, 50_000)
        slow.line.server.held = True
        slow.side.transport.write(v3.Request(99, v3.Subscribe(1000, 2**22)).encode())
        slow.line.run()
        unsent = len(slow.line.server._buffer) + self.relay.limits.output_bytes
        self.assertTrue(30_000 < unsent < 100_000)
        self.assertLess(self.relay.limits.output_bytes, 200_000)
        slow.line.server.held = False
        answer, *pushes = slow.take()
        self.assertEqual(answer, v3.Response(99, v3.Subscribed()))
        self.assertEqual([each.body.delivery.sequence for each in pushes], [*range(1, 61)])
        self.assertEqual(self.relay.limits.output_bytes, 0)

    def test_store_in_trouble(self) -> None:
        """A page that cannot be read is tried again a little later."""
        self.fill(1)
        self.relay.store.waiting, read = lambda *_: 1 / 0, self.relay.store.waiting
        self.taker.subscribe()
        self.assertEqual(self.taker.pushed(), [])
        self.relay.store.waiting = read
        self.relay.wait(6, self.taker)
        self.assertEqual(self.taker.sequences(), [1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
