"""What every store of v3 keeps to: a mixin of tests, and the fixtures that they are run on."""

from attrs import define, evolve
from zope.interface.verify import verifyObject

from messageu.model import ClientId
from messageu.model.v3 import (
    GENERATION_BITS,
    ONE_TIME_KEYS_LIMIT,
    Bundle,
    Delivery,
    EnvelopeId,
    Handle,
    Identity,
    IdentityKeys,
    OneTimeKey,
    Reason,
    SealedEnvelope,
)
from messageu.store import (
    NO_QUOTA,
    Depth,
    ISurvey,
    MailboxSize,
    MemoryStore,
    Quota,
    SqliteStore,
    StoreUnavailable,
    SurveyPage,
    User,
)
from messageu.store.v3 import Admission, Claimed, IAccountStore, Stored
from messageu.testing.threadpool import threadless_pool
from tests.store.contract import HUGE, MANY, NOON
from tests.store.contract import MemoryFixture as MemoryMailboxes
from tests.store.contract import SqliteFixture as SqliteMailboxes

HOUR = 3600
STRANGER = ClientId(b"stranger" * 2)
TOKEN = b"invitation token"
FRESH = Stored(1)


def keys(number):
    """The public keys of somebody."""
    return IdentityKeys(bytes([number]) * 32, bytes([number + 1]) * 32)


def account_id(number):
    return keys(number).identity.account_id


def bundle(number, sequence=1, fallback_key_id=0):
    return Bundle(
        keys(number).identity,
        sequence,
        2**63 + number,
        1,
        bytes([number]) * 1216,
        fallback_key_id,
        bytes(32),
        bytes(64),
    )


def one_time_keys(*ids):
    return [OneTimeKey(number, bytes(32), number.to_bytes(64, "big")) for number in ids]


def envelope(recipient, number=0, sealed=b"sealed", hpke_key_id=1):
    """An envelope of an id made of a number, to the account of a number."""
    envelope_id = EnvelopeId(number.to_bytes(16, "big"))
    return SealedEnvelope(account_id(recipient), envelope_id, hpke_key_id, sealed)


@define
class MemoryFixture(MemoryMailboxes):
    """The accounts of a MemoryStore, with the calls that the others need."""

    account_quota: Quota = NO_QUOTA

    def __attrs_post_init__(self):
        self.store = MemoryStore(now=lambda: self.time, account_quota=self.account_quota)
        self.store.open()

    def reopen(self):
        self.result(self.store.close())
        self.store.accounts.quota = self.account_quota
        self.store.open()


@define
class SqliteFixture(SqliteMailboxes):
    """The accounts of an SqliteStore, whose thread is a clock in memory."""

    account_quota: Quota = NO_QUOTA

    def make(self):
        return SqliteStore(
            self.path,
            self.clock,
            now=lambda: self.time,
            account_quota=self.account_quota,
            new_pool=threadless_pool,
            engine=self.engine,
        )


class AccountStoreCase:
    """What can be asked of a store that ``make_fixture`` gives."""

    def setUp(self):
        self.fixture = self.make_fixture()
        self.addCleanup(self.fixture.dispose)

    @property
    def store(self):
        return self.fixture.store.accounts

    def result(self, deferred):
        return self.fixture.result(deferred)

    def register(self, number, name, generation=1, token=None):
        generation <<= GENERATION_BITS
        return self.result(self.store.register(keys(number), generation, Handle(name), token))

    def resolve(self, name):
        return self.result(self.store.resolve(Handle(name)))

    def admit(self, number, generation, random=0):
        """Of a generation, what counts, and its random bits."""
        generation = generation << GENERATION_BITS | random
        return self.result(self.store.admit(keys(number).identity, generation))

    def publish(self, number, sequence=1, ids=(), **changes):
        published = bundle(number, sequence, **changes)
        return self.result(self.store.publish(account_id(number), published, one_time_keys(*ids)))

    def claim(self, number):
        return self.result(self.store.claim(account_id(number)))

    def claimed_id(self, number):
        """The id of a one-time key that is claimed; None without one."""
        key = self.claim(number).one_time_key
        return None if key is None else key.key_id

    def put(self, *envelopes):
        return self.result(self.store.put(envelopes))

    def subscribe(self, number):
        return self.result(self.store.subscribe(account_id(number)))

    def waiting(self, number, after=0, max_messages=MANY, max_bytes=HUGE, term=None):
        return self.result(
            self.store.waiting(account_id(number), after, max_messages, max_bytes, term)
        )

    def sequences(self, number, *args, **kwargs):
        return [delivery.sequence for delivery in self.waiting(number, *args, **kwargs)]

    def acknowledge(self, number, *sequences, term=None):
        return self.result(self.store.acknowledge(account_id(number), sequences, term))

    def two(self):
        self.register(1, "alice")
        self.register(2, "bob")

    def limit(self, **quota):
        self.fixture.account_quota = evolve(NO_QUOTA, **quota)
        self.fixture.reopen()


class AccountStoreContract(AccountStoreCase):
    """Tests of :class:`IAccountStore`."""

    def test_interface(self):
        """It is what the relay asks for."""
        self.assertTrue(verifyObject(IAccountStore, self.store))

    def test_closed(self):
        """While it is closed, everything fails as unavailable; what was there is there again."""
        self.two()
        self.put(envelope(1))
        self.result(self.fixture.store.close())
        alice = account_id(1)
        for deferred in (
            self.store.admit(keys(1).identity, 9),
            self.store.register(keys(3), 1, Handle("carol"), None),
            self.store.resolve(Handle("alice")),
            self.store.publish(alice, bundle(1), ()),
            self.store.claim(alice),
            self.store.put([]),
            self.store.subscribe(alice),
            self.store.waiting(alice, 0, 1, 1),
            self.store.acknowledge(alice, [1]),
            self.store.delete_account(alice),
            self.store.expire(NOON),
            self.store.invite(TOKEN),
            self.store.release_name(Handle("alice")),
        ):
            self.assertRaises(StoreUnavailable, self.result, deferred)
        self.fixture.store.open()
        self.assertEqual(self.sequences(1), [1])
        self.assertEqual(self.resolve("carol"), Reason.NOT_FOUND)

    # Who connects

    def test_stranger(self):
        """Somebody who has no account is told so, and no generation of his is kept."""
        for generation in (5, 5, 1):
            self.assertEqual(self.admit(1, generation), Admission(False, 0))

    def test_generation(self):
        """A generation is higher than all before, from the one on that an account was made with."""
        self.register(1, "alice", generation=7)
        for generation, random in ((6, 0), (6, 2**16 - 1), (7, 1)):
            self.assertIs(self.admit(1, generation, random), Reason.STALE_STATE)
        self.assertEqual(self.admit(1, 8), Admission(True, 0))
        self.fixture.reopen()
        for generation, random in ((7, 0), (8, 1), (8, 2**16 - 1)):
            self.assertIs(self.admit(1, generation, random), Reason.STALE_STATE)
        self.assertEqual(self.admit(1, 9, 3), Admission(True, 0))
        self.assertIs(self.admit(1, 9, 2), Reason.STALE_STATE)

    def test_same_generation(self):
        """Whoever has not heard the answer comes with the very same generation, and is let in."""
        self.register(1, "alice", generation=7)
        for generation, random in ((7, 0), (8, 5), (8, 5), (9, 1)):
            self.assertEqual(self.admit(1, generation, random), Admission(True, 0))
        self.fixture.reopen()
        self.assertEqual(self.admit(1, 9, 1), Admission(True, 0))
        self.assertIs(self.admit(1, 8, 5), Reason.STALE_STATE)

    def test_great_generations(self):
        """Generations have 64 bits and no sign."""
        self.register(1, "alice", generation=0)
        for generation in (255, 256, 2**31, 2**47 - 1, 2**47, 2**48 - 1):
            self.assertEqual(self.admit(1, generation, 2**16 - 1), Admission(True, 0))
            self.assertIs(self.admit(1, generation - 1), Reason.STALE_STATE)
            self.assertIs(self.admit(1, generation, 2**16 - 2), Reason.STALE_STATE)

    def test_admission_counts_keys(self):
        """Whoever connects learns how many one-time keys he has left."""
        self.register(1, "alice")
        self.publish(1, ids=(1, 2, 3))
        self.claim(1)
        self.assertEqual(self.admit(1, 2), Admission(True, 2))

    def test_another_identity_of_the_same_id(self):
        """An account id is not an identity: other keys that have it are not this account's."""
        self.register(1, "alice")
        double = Identity(keys(1).identity.raw[:16] + bytes(16))
        self.assertEqual(self.result(self.store.admit(double, 9)), Admission(False, 0))
        self.assertEqual(self.admit(1, 2), Admission(True, 0))

    # Names

    def test_resolve(self):
        """A name leads to the keys of whoever has it."""
        self.two()
        self.assertEqual([self.resolve("alice"), self.resolve("bob")], [keys(1), keys(2)])
        self.assertIs(self.resolve("carol"), Reason.NOT_FOUND)

    def test_name_is_taken(self):
        """A name is nobody else's, nor is one that looks alike; only the very same is resolved."""
        self.assertIsNone(self.register(1, "bill.morris"))
        for name in ("bill.morris", "bi11morris", "b-il-lmo_rris", "blllmorr1s", "billrnorris"):
            self.assertIs(self.register(2, name), Reason.NAME_TAKEN)
        self.assertIs(self.resolve("billmorris"), Reason.NOT_FOUND)
        self.assertEqual(self.admit(2, 1), Admission(False, 0))

    def test_registered_again(self):
        """The same keys and name again change nothing, but that a higher generation is kept."""
        self.register(1, "alice", generation=5)
        self.put(envelope(1))
        self.publish(1, ids=(1,))
        for generation in (5, 9, 4):
            self.assertIsNone(self.register(1, "alice", generation))
        self.assertEqual(self.sequences(1), [1])
        self.assertIs(self.admit(1, 8), Reason.STALE_STATE)
        self.assertIs(self.admit(1, 9, 1), Reason.STALE_STATE)
        self.assertEqual(self.admit(1, 10), Admission(True, 1))

    def test_registered_under_another_name(self):
        """Who has an account has one name; also one that looks like it is another."""
        self.register(1, "alice")
        for name in ("carol", "al1ce"):
            self.assertIs(self.register(1, name, generation=9), Reason.ALREADY_REGISTERED)
        self.assertIs(self.resolve("carol"), Reason.NOT_FOUND)
        self.assertEqual(self.admit(1, 2), Admission(True, 0))

    def test_names_outlive_accounts(self):
        """A deleted account's name is nobody's, and nobody else's, until it is released."""
        self.two()
        self.result(self.store.delete_account(account_id(1)))
        self.assertIs(self.resolve("alice"), Reason.NOT_FOUND)
        for number in (1, 3):
            self.assertIs(self.register(number, "alice"), Reason.NAME_TAKEN)
            self.assertIs(self.register(number, "al1ce"), Reason.NAME_TAKEN)
        self.assertTrue(self.result(self.store.release_name(Handle("alice"))))
        self.assertIsNone(self.register(3, "alice"))
        self.assertEqual(self.resolve("alice"), keys(3))

    def test_names_that_are_not_released(self):
        """A name that is in use is not released, nor one that only looks like a released one."""
        self.two()
        self.result(self.store.delete_account(account_id(1)))
        for name in ("bob", "carol", "al1ce"):
            self.assertFalse(self.result(self.store.release_name(Handle(name))))
        self.assertEqual(self.resolve("bob"), keys(2))
        self.assertTrue(self.result(self.store.release_name(Handle("alice"))))
        self.assertFalse(self.result(self.store.release_name(Handle("alice"))))

    # Tokens

    def test_token(self):
        """A token makes one account."""
        self.result(self.store.invite(TOKEN))
        self.assertIsNone(self.register(1, "alice", token=TOKEN))
        self.assertIs(self.register(2, "bob", token=TOKEN), Reason.TOKEN_INVALID)
        self.assertIs(self.resolve("bob"), Reason.NOT_FOUND)

    def test_token_of_a_refusal(self):
        """A registration that is refused, or is there already, uses no token."""
        self.register(1, "alice")
        self.result(self.store.invite(TOKEN))
        self.assertIs(self.register(2, "alice", token=TOKEN), Reason.NAME_TAKEN)
        self.assertIs(self.register(1, "carol", token=TOKEN), Reason.ALREADY_REGISTERED)
        self.assertIsNone(self.register(1, "alice", token=TOKEN))
        self.assertIsNone(self.register(2, "bob", token=TOKEN))

    def test_token_comes_before_names(self):
        """Without a token nobody learns which names are taken."""
        self.register(1, "alice")
        for name in ("alice", "bob"):
            self.assertIs(self.register(2, name, token=bytes(16)), Reason.TOKEN_INVALID)

    def test_invited_twice(self):
        """A token that is made twice makes one account all the same."""
        for _ in range(2):
            self.result(self.store.invite(TOKEN))
        self.register(1, "alice", token=TOKEN)
        self.assertIs(self.register(2, "bob", token=TOKEN), Reason.TOKEN_INVALID)

    # Prekeys

    def test_publish_and_claim(self):
        """What is published is claimed, with the keys of its owner, byte for byte."""
        self.two()
        self.assertEqual(self.publish(1, ids=(7, 2**63, 2**64 - 1)), 3)
        seven, middle, last = one_time_keys(7, 2**63, 2**64 - 1)
        for key, left in ((seven, 2), (middle, 1), (last, 0), (None, 0)):
            self.assertEqual(self.claim(1), Claimed(keys(1), bundle(1), key, left))

    def test_nothing_to_claim(self):
        """There is nothing to claim of nobody, nor of an account that has published nothing."""
        self.two()
        for number in (1, 3):
            self.assertIs(self.claim(number), Reason.NOT_FOUND)

    def test_publish_for_nobody(self):
        """Prekeys are of an account, and of the one that publishes them."""
        self.two()
        self.assertIs(self.publish(3), Reason.NOT_REGISTERED)
        refused = self.store.publish(account_id(1), bundle(2), [])
        self.assertIs(self.result(refused), Reason.NOT_REGISTERED)
        self.assertIs(self.claim(1), Reason.NOT_FOUND)

    def test_next_bundle(self):
        """A bundle takes the place of one with a lower sequence, and of no other."""
        self.two()
        self.publish(1, 2**63 - 1)
        self.assertEqual(self.publish(1, 2**63), 0)
        for sequence, fallback_key_id in ((2**63 - 1, 0), (2**63, 9), (1, 0)):
            refused = self.publish(1, sequence, (1,), fallback_key_id=fallback_key_id)
            self.assertIs(refused, Reason.STALE_BUNDLE)
        self.assertEqual(self.claim(1), Claimed(keys(1), bundle(1, 2**63), None, 0))

    def test_published_again(self):
        """The very same again changes nothing, but new one-time keys come with it."""
        self.two()
        for ids, count in (((1, 2), 2), ((1, 2), 2), ((3, 2), 3)):
            self.assertEqual(self.publish(1, ids=ids), count)

    def test_ids_come_once(self):
        """A one-time key whose id was used before is not kept again, also when it was claimed, the
        store was closed, or there is a new bundle."""
        self.two()
        self.publish(1, ids=(0, 1, 2))
        self.assertEqual([self.claimed_id(1), self.claimed_id(1)], [0, 1])
        self.fixture.reopen()
        self.assertEqual(self.publish(1, 2, ids=(1, 0, 2, 3)), 2)
        self.assertEqual([self.claimed_id(1) for _ in range(3)], [2, 3, None])
        self.assertEqual(self.publish(1, 2, ids=(0, 1, 2, 3)), 0)

    def test_ids_in_any_order(self):
        """In one request the ids come in any order; of two keys with one id the first is kept."""
        self.two()
        self.publish(1, ids=(9,))
        first, second = one_time_keys(12)[0], evolve(one_time_keys(12)[0], key=b"2" * 32)
        published = [*one_time_keys(15, 11), first, second, *one_time_keys(10)]
        count = self.result(self.store.publish(account_id(1), bundle(1), published))
        self.assertEqual(count, 5)
        claimed = [self.claim(1).one_time_key for _ in range(5)]
        self.assertEqual(claimed, one_time_keys(9, 10, 11, 12, 15))

    def test_id_zero(self):
        """The id 0 is an id like others."""
        self.two()
        self.assertEqual(self.publish(1, ids=(0,)), 1)
        self.assertEqual(self.publish(1, ids=(0,)), 1)
        self.assertEqual(self.claimed_id(1), 0)
        self.assertEqual(self.publish(1, ids=(0,)), 0)

    def test_too_many(self):
        """At most so many one-time keys are kept; what is refused changes nothing at all."""
        self.two()
        self.assertEqual(self.publish(1, ids=range(ONE_TIME_KEYS_LIMIT)), ONE_TIME_KEYS_LIMIT)
        refused = self.publish(1, 2, ids=[ONE_TIME_KEYS_LIMIT])
        self.assertIs(refused, Reason.TOO_MANY)
        self.assertEqual(self.claim(1).bundle, bundle(1, 1))
        ids = range(ONE_TIME_KEYS_LIMIT + 1)
        self.assertEqual(self.publish(1, 2, ids=ids), ONE_TIME_KEYS_LIMIT)

    def test_era(self):
        """A bundle of a later era takes away the one-time keys of before, and makes room for as
        many as there were; one that is refused does not."""
        self.two()
        era = 5 << 32
        self.publish(1, 1, range(50), fallback_key_id=3)
        self.publish(2, 1, (1,))
        many = range(era, era + 51)
        refused = self.publish(1, 2, many, fallback_key_id=era)
        self.assertIs(refused, Reason.TOO_MANY)
        self.assertEqual(self.claimed_id(1), 0)
        self.assertEqual(self.publish(1, 2, many[:50], fallback_key_id=era), 50)
        self.fixture.reopen()
        self.assertEqual([self.claimed_id(1), self.claimed_id(2)], [era, 1])
        self.assertEqual(self.publish(1, 3, (), fallback_key_id=era + 1), 49)
        self.assertEqual(self.publish(1, 4, (), fallback_key_id=2), 49)

    def test_own_prekeys(self):
        """One account's one-time keys are not another's."""
        self.two()
        self.publish(1, ids=(1,))
        self.publish(2, ids=(1, 2))
        self.assertEqual([self.claimed_id(1), self.claimed_id(1)], [1, None])
        self.assertEqual([self.claimed_id(2), self.claimed_id(2)], [1, 2])

    # Mail

    def test_put(self):
        """What was put waits for its recipient, in order, byte for byte."""
        self.two()
        outcomes = self.put(
            envelope(1, 1, b"one", 2**32 - 1), envelope(2, 2, b"two"), envelope(1, 3, b"", 0)
        )
        self.assertEqual(outcomes, [Stored(1), Stored(1), Stored(2)])
        one, three = (EnvelopeId(number.to_bytes(16, "big")) for number in (1, 3))
        expected = [Delivery(1, one, 2**32 - 1, b"one"), Delivery(2, three, 0, b"")]
        self.assertEqual(list(self.waiting(1)), expected)
        self.fixture.reopen()
        self.assertEqual(list(self.waiting(1)), expected)

    def test_put_nothing(self):
        """To put nothing is allowed."""
        self.assertEqual(list(self.put()), [])

    def test_put_for_nobody(self):
        """Mail for nobody is refused, and harms no other."""
        self.two()
        self.assertEqual(
            self.put(envelope(9), envelope(1), envelope(9)),
            [Reason.NOT_FOUND, FRESH, Reason.NOT_FOUND],
        )

    def test_large_mail(self):
        """A piece of a file comes whole."""
        self.two()
        sealed = bytes(range(256)) * 1024 + bytes(16)
        self.put(envelope(1, sealed=sealed, hpke_key_id=0))
        (delivery,) = self.waiting(1)
        self.assertEqual(delivery.sealed, sealed)

    def test_many(self):
        """As many as come together are put together, in order."""
        self.two()
        outcomes = self.put(*(envelope(1 + number % 2, number) for number in range(700)))
        self.assertEqual(outcomes, [Stored(1 + number // 2) for number in range(700)])
        self.assertEqual(self.sequences(2), list(range(1, 351)))

    def test_sent_again(self):
        """The same envelope again is stored once, at its place: with the first, later, or later
        than it was acknowledged."""
        self.two()
        self.assertEqual(self.put(envelope(1), envelope(1)), [FRESH, Stored(1, known=True)])
        self.fixture.reopen()
        self.assertEqual(self.put(envelope(1)), [Stored(1, known=True)])
        self.acknowledge(1, 1)
        self.assertEqual(self.put(envelope(1)), [Stored(1, known=True)])
        self.assertEqual(self.sequences(1), [])

    def test_conflict(self):
        """Other bytes under an id that was used are refused, also when the first are gone."""
        self.two()
        self.assertEqual(self.put(envelope(1), envelope(1, sealed=b"!")), [FRESH, Reason.CONFLICT])
        self.acknowledge(1, 1)
        self.assertEqual(self.put(envelope(1, sealed=b"!")), [Reason.CONFLICT])

    def test_same_id_for_another(self):
        """An envelope's id is its own among those of one recipient."""
        self.two()
        self.assertEqual(self.put(envelope(1), envelope(2, sealed=b"!")), [FRESH, FRESH])

    def test_waiting_in_parts(self):
        """So much is given as was asked for, behind a place, but always one."""
        self.two()
        self.put(*(envelope(1, number, bytes(number)) for number in range(1, 6)))
        for after, max_messages, max_bytes, expected in (
            (0, 2, HUGE, [1, 2]),
            (2, MANY, HUGE, [3, 4, 5]),
            (0, MANY, 6, [1, 2, 3]),
            (0, MANY, 5, [1, 2]),
            (3, MANY, 0, [4]),
            (3, 1, 0, [4]),
            (4, 0, 0, [5]),
            (5, MANY, HUGE, []),
        ):
            found = self.sequences(1, after, max_messages, max_bytes)
            self.assertEqual(found, expected, (after, max_messages, max_bytes))

    def test_waiting_for_nobody(self):
        """Nothing waits for nobody."""
        self.assertEqual(self.sequences(9), [])

    def test_acknowledge(self):
        """What is acknowledged is gone; what is not there, or is another's, changes nothing."""
        self.two()
        self.put(*(envelope(1, number) for number in range(4)), envelope(2))
        self.acknowledge(1, 3, 2, 2, 99, 0, 2**64 - 1)
        self.assertEqual([self.sequences(1), self.sequences(2)], [[1, 4], [1]])
        self.acknowledge(1, 3)
        self.acknowledge(9, 1)
        self.acknowledge(1)
        self.assertEqual([self.sequences(1), self.sequences(2)], [[1, 4], [1]])

    def test_subscriptions(self):
        """A mailbox belongs to the subscription that came last: one before it gets nothing of it,
        and acknowledges nothing, also after a restart."""
        self.two()
        self.put(envelope(1), envelope(2))
        first, other = self.subscribe(1), self.subscribe(2)
        self.assertEqual(len(self.waiting(1, term=first)), 1)
        self.fixture.reopen()
        second = self.subscribe(1)
        self.assertGreater(second, first)
        self.assertIs(self.waiting(1, term=first), Reason.NOT_SUBSCRIBED)
        self.assertIs(self.acknowledge(1, 1, term=first), Reason.NOT_SUBSCRIBED)
        self.assertIs(self.acknowledge(1, term=first), Reason.NOT_SUBSCRIBED)
        self.assertEqual(len(self.waiting(1, term=second)), 1)
        self.assertIsNone(self.acknowledge(1, 1, term=second))
        self.assertEqual(list(self.waiting(1, term=second)), [])
        self.assertEqual(len(self.waiting(2, term=other)), 1)

    def test_subscription_of_nobody(self):
        """Whoever has no account, or has deleted it, cannot subscribe, and has nothing any more."""
        self.two()
        term = self.subscribe(1)
        self.result(self.store.delete_account(account_id(1)))
        for number in (1, 9):
            self.assertIs(self.subscribe(number), Reason.NOT_REGISTERED)
            self.assertIs(self.waiting(number, term=term), Reason.NOT_SUBSCRIBED)
            self.assertIs(self.acknowledge(number, 1, term=term), Reason.NOT_SUBSCRIBED)
        self.register(1, "alice2")
        self.assertIs(self.waiting(1, term=term), Reason.NOT_SUBSCRIBED)
        self.assertGreater(self.subscribe(1), term)

    def test_places_come_once(self):
        """A place is not given again, whatever is gone, also not after a new beginning."""
        self.two()
        self.put(envelope(1, 1), envelope(1, 2))
        self.acknowledge(1, 1, 2)
        self.fixture.time += 9 * HOUR
        self.result(self.store.expire(self.fixture.time))
        self.fixture.reopen()
        self.assertEqual(self.put(envelope(1, 3)), [Stored(3)])
        self.result(self.store.delete_account(account_id(1)))
        self.assertIsNone(self.register(1, "alice2"))
        self.assertEqual(self.put(envelope(1, 3)), [Stored(4)])

    # Quotas

    def test_messages_of_a_full_mailbox(self):
        """A mailbox holds so many envelopes, of all that came together too, and then no more until
        some are acknowledged."""
        self.two()
        self.put(envelope(1))
        self.limit(messages=3)
        outcomes = self.put(*(envelope(1, number) for number in range(1, 5)), envelope(2))
        full = Reason.MAILBOX_FULL
        self.assertEqual(outcomes, [Stored(2), Stored(3), full, full, Stored(1)])
        self.fixture.reopen()
        self.assertEqual(self.put(envelope(1, 4)), [full])
        self.acknowledge(1, 2)
        self.assertEqual(self.put(envelope(1, 4), envelope(1, 5)), [Stored(4), full])

    def test_bytes_of_a_full_mailbox(self):
        """A mailbox holds so many bytes; what is smaller may still have room."""
        self.two()
        self.limit(content=10)
        full = Reason.MAILBOX_FULL
        self.assertEqual(
            self.put(
                envelope(1, 1, bytes(6)),
                envelope(1, 2, bytes(5)),
                envelope(1, 3, bytes(4)),
                envelope(1, 4, b""),
                envelope(1, 5, b"!"),
            ),
            [Stored(1), full, Stored(2), Stored(3), full],
        )
        self.acknowledge(1, 1, 1)
        self.fixture.reopen()
        self.assertEqual(
            self.put(envelope(1, 6, bytes(7)), envelope(1, 7, bytes(6))), [full, Stored(4)]
        )

    def test_known_in_a_full_mailbox(self):
        """What a full mailbox has had is answered as before, and what it refused may come later."""
        self.two()
        self.limit(messages=1)
        self.put(envelope(1))
        self.assertEqual(
            self.put(envelope(1), envelope(1, sealed=b"!"), envelope(1, 2)),
            [Stored(1, known=True), Reason.CONFLICT, Reason.MAILBOX_FULL],
        )
        self.acknowledge(1, 1)
        self.assertEqual(self.put(envelope(1, 2, b"other")), [Stored(2)])

    def test_room_after_an_expiry(self):
        """What has expired makes room."""
        self.two()
        self.limit(messages=1)
        self.put(envelope(1))
        self.result(self.store.expire(NOON + 2 * HOUR))
        self.assertEqual(self.put(envelope(1, 2)), [Stored(2)])

    # What ends

    def test_expire(self):
        """Mail is deleted when all of its hour is over, never before, and the memory of it too."""
        self.fixture.time = hour = NOON - NOON % HOUR
        self.two()
        self.put(envelope(1, 1))
        self.fixture.time = hour + HOUR - 1
        self.put(envelope(1, 2), envelope(2, 2))
        self.fixture.time = hour + HOUR
        self.put(envelope(1, 3))
        for before, gone, left in (
            (hour + HOUR - 1, 0, [1, 2, 3]),
            (hour + HOUR, 3, [3]),
            (hour + 2 * HOUR - 1, 0, [3]),
            (hour + 2 * HOUR, 1, []),
            (hour + 2 * HOUR, 0, []),
        ):
            self.assertEqual(self.result(self.store.expire(before)), gone)
            self.assertEqual(self.sequences(1), left)
        self.assertEqual(self.put(envelope(1, 1, b"other")), [Stored(4)])

    def test_expire_what_is_acknowledged(self):
        """What was acknowledged does not count, and is remembered as long as if it were there."""
        self.two()
        self.put(envelope(1))
        self.acknowledge(1, 1)
        self.result(self.store.expire(NOON))
        self.assertEqual(self.put(envelope(1)), [Stored(1, known=True)])
        self.assertEqual(self.result(self.store.expire(NOON + HOUR)), 0)
        self.assertEqual(self.put(envelope(1)), [Stored(2)])

    def test_expire_when_the_clock_went_back(self):
        """What arrived at an earlier time expires earlier, although it came later."""
        self.two()
        self.put(envelope(1, 1))
        self.fixture.time -= 2 * HOUR
        self.put(envelope(1, 2))
        self.assertEqual(self.result(self.store.expire(NOON)), 1)
        self.assertEqual(self.sequences(1), [1])

    def test_delete_account(self):
        """A deleted account is a stranger's, without mail and prekeys; others keep theirs."""
        self.two()
        for number in (1, 2):
            self.put(envelope(number))
            self.publish(number, 5, ids=(1,))
        self.result(self.store.delete_account(account_id(1)))
        self.assertEqual(self.admit(1, 1), Admission(False, 0))
        self.assertEqual(self.put(envelope(1)), [Reason.NOT_FOUND])
        self.assertIs(self.claim(1), Reason.NOT_FOUND)
        self.assertIs(self.publish(1), Reason.NOT_REGISTERED)
        self.assertEqual(self.sequences(1), [])
        self.assertEqual(self.sequences(2), [1])
        self.assertEqual(self.claimed_id(2), 1)
        self.assertEqual(self.resolve("bob"), keys(2))

    def test_delete_nobody(self):
        """To delete nobody, or somebody again, changes nothing."""
        self.two()
        for number in (9, 1, 1):
            self.assertIsNone(self.result(self.store.delete_account(account_id(number))))
        self.assertEqual(self.resolve("bob"), keys(2))

    def test_after_a_deletion(self):
        """The same keys can have an account again, under another name, which knows nothing of the
        one before."""
        self.two()
        self.put(envelope(1))
        self.publish(1, 5, ids=(1, 2))
        self.result(self.store.delete_account(account_id(1)))
        self.assertIsNone(self.register(1, "alice2", generation=1))
        self.assertEqual(self.admit(1, 2), Admission(True, 0))
        self.assertEqual(self.sequences(1), [])
        self.assertEqual(self.put(envelope(1, sealed=b"other")), [Stored(2)])
        self.assertEqual(self.publish(1, 1, ids=(1,)), 1)

    def test_survey(self):
        """A survey tells who has an account, and what waits for whom."""
        self.two()
        survey = self.fixture.store.surveys["v3"]
        self.assertTrue(verifyObject(ISurvey, survey))
        self.put(envelope(2, 1, b"12345"), envelope(2, 2, b"678"), envelope(1, 3))
        self.acknowledge(1, 1)
        self.assertEqual(self.result(survey.count_users()), 2)
        self.assertEqual(
            self.result(survey.list_users(0, MANY)),
            SurveyPage([User(account_id(1), "alice"), User(account_id(2), "bob")], None),
        )
        sizes = [MailboxSize(account_id(2), 2, 8)]
        self.assertEqual(self.result(survey.list_mailboxes(0, MANY)), SurveyPage(sizes, None))
        depth = SurveyPage(Depth(1, 2, 8), None)
        self.assertEqual(self.result(survey.sum_mailboxes(0, MANY)), depth)
        self.result(self.store.delete_account(account_id(2)))
        self.assertEqual(self.result(survey.count_users()), 1)
