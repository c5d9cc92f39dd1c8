"""Two relays of v3 on the same accounts: what one hears of the other, and what it does about it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.components import proxyForInterface
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ClientId
from messageu.model.v3 import Reason
from messageu.server import Limits, LimitSettings, RelayService
from messageu.server._limits import RATES
from messageu.store import Arrived, MemoryStore, Missed, PrekeysTaken, Sharers, Subscribed
from messageu.store.v3 import IAccountStore
from messageu.wire import v3

from .relay import MemoryClient, MemoryRelay, Person, envelope

STRANGER = ClientId(b"stranger" * 2)


class SlowSubscriptions(proxyForInterface(IAccountStore, "store")):
    """A store that has given a mailbox to a subscription, and says so when the test says so."""

    def __init__(self, store: IAccountStore) -> None:
        super().__init__(store)
        self.is_slow = False
        self.answers: list[Deferred] = []

    def subscribe(self, account: ClientId) -> Deferred:
        given = self.store.subscribe(account)
        if not self.is_slow:
            return given
        answer: Deferred = Deferred()
        self.answers.append(answer)
        return answer.addCallback(lambda _: given)


class SharingCase(SynchronousTestCase):
    """Anna sends through one relay, and Bert has a connection to the other."""

    def setUp(self) -> None:
        self.here = MemoryRelay()
        self.slow = SlowSubscriptions(self.here.store)
        self.there = MemoryRelay(self.slow)
        self.anna, self.bert = Person(), Person()
        self.sender = self.here.log_in(self.anna, name="anna")
        self.taker = self.there.log_in(self.bert, name="bert")

    def send(self, client: MemoryClient, *contents: bytes) -> None:
        """Mail for Bert."""
        for content in contents:
            self.assertIsInstance(client.ask(envelope(self.bert, content)), v3.Stored)

    def subscribed(self, client: MemoryClient) -> None:
        """Bert is subscribed, and has what waits."""
        client.subscribe()
        client.take()

    def arrive(self) -> None:
        """The other relay announces mail for Bert."""
        self.there.hear(Arrived(frozenset({self.bert.account, STRANGER})))


class MailTests(SharingCase):
    def test_arrived(self) -> None:
        """What another relay has stored is pushed when that is heard."""
        self.subscribed(self.taker)
        self.send(self.sender, b"one", b"two")
        self.assertEqual(self.taker.pushed(), [])
        self.arrive()
        self.assertEqual(self.taker.sequences(), [1, 2])
        self.arrive()
        self.assertEqual(self.taker.sequences(), [])

    def test_missed(self) -> None:
        """When something may have been missed, all mailboxes are looked at."""
        carl = Person()
        other = self.there.log_in(carl, name="carl")
        for client in (self.taker, other):
            self.subscribed(client)
        self.send(self.sender, b"one")
        self.sender.ask(envelope(carl))
        self.there.hear(Missed())
        self.assertEqual((self.taker.sequences(), other.sequences()), ([1], [1]))

    def test_nobody_here(self) -> None:
        """What concerns nobody who is here is nothing."""
        for news in (
            Arrived(frozenset({self.bert.account})),
            Subscribed(self.bert.account, 9),
            PrekeysTaken(self.bert.account, 0),
            Missed(),
            Sharers(3),
        ):
            self.there.hear(news)
        self.assertEqual(self.taker.take(), [])

    def test_order(self) -> None:
        """What is stored here does not overtake what another relay has stored before, of which
        nothing was heard yet."""
        neighbour = self.there.log_in(Person(), name="carl")
        self.subscribed(self.taker)
        self.send(neighbour, b"one")
        self.send(self.sender, b"two", b"three")
        self.send(neighbour, b"four")
        self.assertEqual(self.taker.sequences(), [1, 2, 3, 4])
        self.arrive()
        self.assertEqual(self.taker.sequences(), [])

    def test_window(self) -> None:
        """What another has stored comes through the window like anything else."""
        self.taker.subscribe(2)
        self.taker.take()
        self.send(self.sender, b"one", b"two", b"three")
        self.arrive()
        self.assertEqual(self.taker.sequences(), [1, 2])
        self.assertEqual(self.taker.ask(v3.Acknowledge((1, 2))), v3.Acknowledged())
        self.assertEqual(self.taker.sequences(), [3])


class DisplacedTests(SharingCase):
    """Bert subscribes at the other relay, too."""

    def subscribe_here(self) -> MemoryClient:
        client = self.here.log_in(self.bert, 2)
        self.subscribed(client)
        return client

    def assertDisplaced(self, client: MemoryClient) -> None:
        self.assertEqual(client.pushed(), [v3.Displaced()])
        self.assertEqual(client.ask(v3.Acknowledge((1,))), v3.Error(Reason.NOT_SUBSCRIBED))
        self.assertEqual(len(self.there.factory.exchange.postmaster.subscriptions), 0)

    def test_heard(self) -> None:
        """Who is subscribed here is displaced by a later subscription elsewhere, and told."""
        self.subscribed(self.taker)
        self.subscribe_here()
        self.there.hear(Subscribed(self.bert.account, 2))
        self.assertDisplaced(self.taker)

    def test_older(self) -> None:
        """Not by an older one, whose news come late, nor by his own."""
        other = self.subscribe_here()
        self.subscribed(self.taker)
        for term in (1, 2):
            self.there.hear(Subscribed(self.bert.account, term))
        self.send(self.sender, b"one")
        self.arrive()
        self.assertEqual(self.taker.sequences(), [1])
        self.here.hear(Subscribed(self.bert.account, 2))
        self.assertEqual(other.pushed()[-1], v3.Displaced())

    def test_found_out_when_it_reads(self) -> None:
        """If that was not heard, he gets nothing more all the same, and is told with the next look."""
        self.subscribed(self.taker)
        self.subscribe_here()
        self.send(self.sender, b"one")
        self.assertEqual(self.taker.pushed(), [])
        self.there.hear(Missed())
        self.assertDisplaced(self.taker)

    def test_found_out_by_new_mail(self) -> None:
        """Or with the next mail that cannot be pushed without a look."""
        self.subscribed(self.taker)
        self.subscribe_here()
        self.send(self.sender, b"one")
        neighbour = self.there.log_in(Person(), name="carl")
        self.send(neighbour, b"two")
        self.assertDisplaced(self.taker)

    def test_found_out_when_he_acknowledges(self) -> None:
        """Or when he acknowledges: that deletes nothing."""
        self.send(self.sender, b"one")
        self.subscribed(self.taker)
        other = self.subscribe_here()
        self.assertEqual(self.taker.ask(v3.Acknowledge((1,))), v3.Error(Reason.NOT_SUBSCRIBED))
        self.assertDisplaced(self.taker)
        other.subscribe()
        self.assertEqual(other.sequences(), [1])

    def test_heard_too_early(self) -> None:
        """A subscription that was displaced before its relay knew of it is none for long."""
        self.slow.is_slow = True
        self.taker.send(v3.Subscribe(9, 999))
        self.subscribe_here()
        self.there.hear(Subscribed(self.bert.account, 2))
        (answer,) = self.slow.answers
        answer.callback(None)
        self.assertEqual(
            [response.body for response in self.taker.take()], [v3.Subscribed(), v3.Displaced()]
        )

    def test_account_is_deleted(self) -> None:
        """Who is subscribed to an account that was deleted elsewhere is displaced."""
        self.subscribed(self.taker)
        self.here.log_in(self.bert, 2).ask(v3.DeleteAccount())
        self.there.hear(Subscribed(self.bert.account, 2**63 - 1))
        self.assertDisplaced(self.taker)


class PrekeyTests(SharingCase):
    def test_few_are_left(self) -> None:
        """Whose one-time keys were claimed elsewhere is warned when few are left."""
        low = self.there.limits.settings.prekeys_low
        self.subscribed(self.taker)
        self.there.hear(PrekeysTaken(self.bert.account, low))
        self.assertEqual(self.taker.pushed(), [])
        self.there.hear(PrekeysTaken(self.bert.account, low - 1))
        self.assertEqual(self.taker.pushed(), [v3.PrekeysLow(low - 1)])


class RateTests(SynchronousTestCase):
    """What there may be so many of a minute, of all relays together."""

    def taken(self, limits: Limits, rate: str, now: float) -> int:
        """How many somebody is allowed now."""
        allowed = 0
        while limits.take(rate, "somebody", "192.0.2.1", now) == 0:
            allowed += 1
        return allowed

    def test_divided(self) -> None:
        """Each of so many gives its share of every rate, at once and each minute."""
        for rate in RATES:
            limits = Limits(LimitSettings(**{rate: 10}))
            limits.share_among(2)
            self.assertEqual(self.taken(limits, rate, 0), 5)
            self.assertEqual(self.taken(limits, rate, 12), 1)
            self.assertEqual(self.taken(limits, rate, 60), 4)
            limits.share_among(1)
            self.assertEqual(self.taken(limits, rate, 60), 0)
            self.assertEqual(self.taken(limits, rate, 120), 10)

    def test_at_least_one(self) -> None:
        """Nobody is shut out because there are many relays, unless it was for nobody."""
        limits = Limits(LimitSettings(claims_a_minute=3, registrations_a_minute=0))
        limits.share_among(9)
        self.assertEqual(self.taken(limits, "claims_a_minute", 0), 1)
        self.assertEqual(self.taken(limits, "registrations_a_minute", 0), 0)

    def test_heard(self) -> None:
        """A relay hears how many they are."""
        store = MemoryStore(now=lambda: 0.0)
        limits = Limits(LimitSettings(registrations_a_minute=8))
        service = RelayService((), store, MemoryRelay().clock, limits)
        service.startService()
        for news in (Missed(), Sharers(4)):
            store.hear(news)
        self.assertEqual(self.taken(limits, "registrations_a_minute", 0), 2)
        self.successResultOf(service.stopService())
