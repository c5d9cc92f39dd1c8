"""Both stores of v3 beside a model of what the interface says, over any order of operations."""

from unittest import mock

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from messageu.model.v3 import Delivery, EnvelopeId, Handle, Reason
from messageu.store import NO_QUOTA, Quota, StoreError, StoreUnavailable, _operations
from messageu.store._sqlite import HOUSEKEEPING_PAUSE
from messageu.store.v3 import Admission, Claimed, Stored, _rules
from messageu.store.v3 import _operations as account_operations
from messageu.testing.store import POISON_KEY_ID
from tests.store.v3.contract import (
    HOUR,
    MemoryFixture,
    SqliteFixture,
    account_id,
    bundle,
    envelope,
    keys,
    one_time_keys,
)
from tests.torture import scaled

NUMBERS = st.sampled_from((1, 1, 2, 3))
GENERATIONS = st.builds(
    lambda count, random: count << 16 | random, st.integers(0, 3), st.integers(0, 1)
)
NAMES = st.sampled_from(["alice", "al1ce", "bob", "carol"]).map(Handle)
TOKENS = st.sampled_from([None, b"one".ljust(16), b"two".ljust(16)])
KEY_IDS = st.lists(
    st.sampled_from([0, 0, 1, 2, 3, 4, 2**32, 2**32 + 1, 2**63, 2**64 - 1]), max_size=3
)
FALLBACK_IDS = st.sampled_from((0, 1, 2**32, 2**32 + 1, 2**33))
SMALL_LIMIT = 3
SMALL_QUOTA = Quota(messages=3, content=20)
ENVELOPES = st.lists(
    st.tuples(
        NUMBERS,
        st.integers(0, 9),
        st.sampled_from((b"four", b"0123456", b"eightful", b"")),
        st.sampled_from((1,) * 9 + (POISON_KEY_ID,)),
    ),
    min_size=1,
    max_size=6,
)
"""Recipient, envelope id, what is sealed, and HPKE key id. A poisoned one only SQLite has."""

FAULTS = {"a full disk": {"is_full": True}, "a failing commit": {"failing_commits": 1}}


@define
class Account:
    name: str
    generation: int
    last_sequence: int
    bundle: object = None
    key_ids: list = field(factory=list)
    highest: int = -1
    mail: dict = field(factory=dict)
    sent: dict = field(factory=dict)


class AccountMachine(RuleBasedStateMachine):
    """Operations are asked for one by one, and carried out when :meth:`run` comes along.

    :ivar in_steps: whether what deletes takes several transactions, so that it has no one place
        among other operations.
    """

    def __init__(self, make_fixture, quota, *, in_steps):
        super().__init__()
        self.fixture = make_fixture(account_quota=quota)
        self.engine = getattr(self.fixture, "engine", None)
        self.quota = quota
        self.in_steps = in_steps
        self.accounts = {}
        self.names = {}
        self.tokens = set()
        self.floor = 0
        self.names_used = 0
        self.checks = []

    @property
    def store(self):
        return self.fixture.store.accounts

    def hour(self, time):
        return int(time // HOUR)

    def expect(self, deferred, expected):
        self.checks.append((deferred, expected))

    @initialize()
    def begin(self):
        """Two accounts are there from the beginning."""
        self.register(1, 1, Handle("alice"), None)
        self.register(2, 1, Handle("bob"), None)

    @rule(number=NUMBERS, generation=GENERATIONS, name=NAMES, token=TOKENS)
    def register(self, number, generation, name, token):
        self.expect(
            self.store.register(keys(number), generation, name, token),
            self.registered(number, generation, name, token),
        )

    def registered(self, number, generation, name, token):
        account = self.accounts.get(number)
        if account is not None:
            if account.name != name.text:
                return Reason.ALREADY_REGISTERED
            account.generation = max(account.generation, generation)
            return None
        if token is not None and token not in self.tokens:
            return Reason.TOKEN_INVALID
        if any(Handle(taken).skeleton == name.skeleton for taken in self.names):
            return Reason.NAME_TAKEN
        self.tokens.discard(token)
        self.names[name.text] = number
        self.accounts[number] = Account(name.text, generation, self.floor)
        return None

    @rule(number=NUMBERS, generation=GENERATIONS)
    def admit(self, number, generation):
        account = self.accounts.get(number)
        if account is None:
            expected = Admission(False, 0)
        elif generation != account.generation and generation >> 16 <= account.generation >> 16:
            expected = Reason.STALE_STATE
        else:
            account.generation = generation
            expected = Admission(True, len(account.key_ids))
        self.expect(self.store.admit(keys(number).identity, generation), expected)

    @rule(name=NAMES)
    def resolve(self, name):
        number = self.names.get(name.text)
        expected = Reason.NOT_FOUND if number is None else keys(number)
        self.expect(self.store.resolve(name), expected)

    @rule(number=NUMBERS, sequence=st.integers(1, 5), fallback=FALLBACK_IDS, ids=KEY_IDS)
    def publish(self, number, sequence, fallback, ids):
        published = bundle(number, sequence, fallback)
        self.expect(
            self.store.publish(account_id(number), published, one_time_keys(*ids)),
            self.published(number, published, ids),
        )

    def published(self, number, published, ids):
        account = self.accounts.get(number)
        if account is None:
            return Reason.NOT_REGISTERED
        kept = account.bundle
        if kept is not None and kept != published and published.sequence <= kept.sequence:
            return Reason.STALE_BUNDLE
        left = set(account.key_ids)
        eras = [each.fallback_key_id >> 32 for each in (kept, published) if each is not None]
        if eras[-1] > eras[0]:
            left = {number for number in left if number >> 32 >= eras[-1]}
        fresh = {number for number in ids if number > account.highest}
        if len(left) + len(fresh) > SMALL_LIMIT:
            return Reason.TOO_MANY
        account.bundle = published
        account.key_ids = sorted({*left, *fresh})
        account.highest = max([account.highest, *fresh])
        return len(account.key_ids)

    @rule(number=NUMBERS)
    def claim(self, number):
        account = self.accounts.get(number)
        if account is None or account.bundle is None:
            expected = Reason.NOT_FOUND
        else:
            taken = account.key_ids.pop(0) if account.key_ids else None
            key = None if taken is None else one_time_keys(taken)[0]
            expected = Claimed(keys(number), account.bundle, key, len(account.key_ids))
        self.expect(self.store.claim(account_id(number)), expected)

    @rule(envelopes=ENVELOPES)
    def put(self, envelopes):
        if self.engine is None:
            envelopes = [(*rest, 1) for *rest, _ in envelopes]
        if any(key_id == POISON_KEY_ID for *_, key_id in envelopes):
            # Then what shares its transaction is done one by one: the order stays, the room of a
            # mailbox is the same.
            self.run()
        outcomes = [self.placed(*each) for each in envelopes]
        put = [
            envelope(recipient, number, sealed, key_id)
            for recipient, number, sealed, key_id in envelopes
        ]
        self.expect(self.store.put(put), outcomes)

    def placed(self, recipient, number, sealed, key_id):
        account = self.accounts.get(recipient)
        if account is None:
            return Reason.NOT_FOUND
        if number in account.sent:
            sequence, before, _ = account.sent[number]
            return Stored(sequence, known=True) if before == sealed else Reason.CONFLICT
        size = sum(len(each) for _, each, _ in account.mail.values()) + len(sealed)
        if len(account.mail) >= self.quota.messages or size > self.quota.content:
            return Reason.MAILBOX_FULL
        if key_id == POISON_KEY_ID:
            return StoreError
        account.last_sequence += 1
        account.mail[account.last_sequence] = number, sealed, key_id
        hour = self.hour(self.fixture.time)
        account.sent[number] = account.last_sequence, sealed, hour
        return Stored(account.last_sequence)

    @rule(
        number=NUMBERS,
        after=st.integers(0, 6),
        max_messages=st.integers(1, 3),
        max_bytes=st.integers(0, 20),
    )
    def waiting(self, number, after, max_messages, max_bytes):
        account = self.accounts.get(number)
        expected, room = [], max_bytes
        for sequence, (identifier, sealed, key_id) in account.mail.items() if account else ():
            if sequence > after:
                room -= len(sealed)
                if expected and (len(expected) >= max_messages or room < 0):
                    break
                envelope_id = EnvelopeId(identifier.to_bytes(16, "big"))
                expected.append(Delivery(sequence, envelope_id, key_id, sealed))
        deferred = self.store.waiting(account_id(number), after, max_messages, max_bytes)
        self.expect(deferred.addCallback(list), expected)

    @rule(number=NUMBERS, sequences=st.lists(st.integers(1, 8), max_size=5))
    def acknowledge(self, number, sequences):
        for sequence in sequences:
            if number in self.accounts:
                self.accounts[number].mail.pop(sequence, None)
        self.expect(self.store.acknowledge(account_id(number), sequences), None)
        self.finish()

    @rule(number=NUMBERS)
    def acknowledge_all(self, number):
        self.acknowledge(number, range(99))

    @rule(number=NUMBERS)
    def begin_anew(self, number):
        """The same keys, which have had an account, get another one."""
        self.put([(number, identifier, b"before", 1) for identifier in range(3)])
        self.delete_account(number)
        self.names_used += 1
        self.register(number, 1, Handle(f"name-{self.names_used:b}".replace("1", "z")), None)
        self.put([(number, 0, b"after", 1)])

    @rule(number=NUMBERS)
    def delete_account(self, number):
        account = self.accounts.pop(number, None)
        if account is not None:
            self.names[account.name] = None
            self.floor = max(self.floor, account.last_sequence)
        self.expect(self.store.delete_account(account_id(number)), None)

    @rule(hours=st.integers(-2, 3))
    def expire(self, hours):
        before = self.fixture.time + hours * HOUR
        count = 0
        for account in self.accounts.values():
            for identifier, (sequence, _, hour) in list(account.sent.items()):
                if hour < self.hour(before):
                    del account.sent[identifier]
                    count += account.mail.pop(sequence, None) is not None
        if self.in_steps:
            # What is left of deleted accounts would count.
            self.clear_rubbish()
        self.expect(self.store.expire(before), count)
        self.finish()

    @rule(token=TOKENS.filter(bool))
    def invite(self, token):
        self.tokens.add(token)
        self.expect(self.store.invite(token), None)

    @rule(name=NAMES)
    def release_name(self, name):
        released = self.names.get(name.text, 0) is None
        if released:
            del self.names[name.text]
        self.expect(self.store.release_name(name), released)

    @rule(seconds=st.sampled_from((-HOUR, 600, HOUR, 2 * HOUR)))
    def wait(self, seconds):
        self.fixture.time += seconds

    @rule()
    def run(self):
        checks, self.checks = self.checks, []
        for deferred, expected in checks:
            result = self.fixture.result(deferred)
            if isinstance(expected, list):
                result = [type(each) if isinstance(each, StoreError) else each for each in result]
            assert result == expected, (result, expected)
            assert isinstance(result, Reason) == isinstance(expected, Reason), (result, expected)

    def finish(self):
        if self.in_steps:
            self.run()

    def clear_rubbish(self):
        """Let go what a stop has left of deleted accounts, as it does with the next expiry."""
        self.run()
        self.fixture.result(self.store.expire(-1e9))
        self.keep_house()

    def keep_house(self):
        self.run()
        for _ in range(400 if self.engine is not None else 0):
            self.fixture.clock.advance(HOUSEKEEPING_PAUSE)

    @rule(fault=st.sampled_from(sorted(FAULTS)), number=NUMBERS, name=NAMES)
    def fail_to_write(self, fault, number, name):
        """What writes fails when the disk does, and nothing of it was done."""
        if self.engine is None:
            return
        self.keep_house()
        for ask in (
            lambda: self.store.register(keys(number), 99, name, None),
            lambda: self.store.put([envelope(number, 9, b"lost")]),
            lambda: self.store.claim(account_id(number)),
            lambda: self.store.acknowledge(account_id(number), range(9)),
            lambda: self.store.delete_account(account_id(number)),
            lambda: self.store.expire(self.fixture.time + 9 * HOUR),
        ):
            with mock.patch.multiple(self.engine, **FAULTS[fault]):
                try:
                    result = self.fixture.result(ask())
                except StoreUnavailable:
                    continue
                raise AssertionError(result)

    @rule()
    def reopen(self):
        """What was asked for is done, and stays."""
        self.run()
        self.fixture.reopen()

    def teardown(self):
        self.run()
        if self.engine is not None:
            self.clear_rubbish()
            self.check_rows()
        self.fixture.dispose()

    def check_rows(self):
        """Nothing is left in the database of what is gone, and mailboxes hold what they say."""
        accounts = self.accounts.values()
        for table, count in (
            ("account", len(accounts)),
            ("account_mailbox", len(accounts)),
            ("account_name", len(self.names)),
            ("account_token", len(self.tokens)),
            ("account_prekey", sum(len(account.key_ids) for account in accounts)),
            ("account_mail", sum(len(account.mail) for account in accounts)),
            ("account_tombstone", sum(len(account.sent) for account in accounts)),
            ("account_rubbish", 0),
        ):
            found = self.fixture.sql(f"SELECT count(*) FROM {table}")
            assert found == [(count,)], (table, found, count)
        usage = self.fixture.sql(
            "SELECT messages, content FROM account_mailbox JOIN account ON account = key"
            " ORDER BY id"
        )
        held = {
            account_id(number): (
                len(account.mail),
                sum(len(sealed) for _, sealed, _ in account.mail.values()),
            )
            for number, account in self.accounts.items()
        }
        assert usage == [held[each] for each in sorted(held, key=lambda each: each.raw)]


class AccountModelTests(SynchronousTestCase):
    def run_machine(self, make_fixture, examples, quota=NO_QUOTA, *, in_steps=False):
        with mock.patch.object(_rules, "ONE_TIME_KEYS_LIMIT", SMALL_LIMIT):
            run_state_machine_as_test(
                lambda: AccountMachine(make_fixture, quota, in_steps=in_steps),
                settings=settings(max_examples=examples, stateful_step_count=30),
            )

    def test_memory(self):
        """The accounts in memory do what the interface says."""
        self.run_machine(MemoryFixture, scaled(40, 2_000))

    def test_memory_with_quota(self):
        """So they do where mailboxes become full."""
        self.run_machine(MemoryFixture, scaled(25, 1_000), SMALL_QUOTA)

    def test_sqlite(self):
        """The accounts in SQLite do what the interface says, however operations are grouped, also
        while the disk is full or fails."""
        self.run_machine(SqliteFixture, scaled(30, 1_000))

    def test_sqlite_with_quota(self):
        """So they do where mailboxes become full."""
        self.run_machine(SqliteFixture, scaled(20, 500), SMALL_QUOTA)

    def test_sqlite_in_steps(self):
        """So they do where what deletes takes many transactions."""
        with (
            mock.patch.object(_operations, "DELETABLE", 8),
            mock.patch.object(account_operations, "TOMBSTONES_STEP", 2),
        ):
            self.run_machine(SqliteFixture, scaled(40, 1_000), in_steps=True)
