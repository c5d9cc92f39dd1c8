"""Clients and a relay without a network: all in memory, driven by hand, killed at will."""

from __future__ import annotations

from collections import deque
from hashlib import sha256

import sqlcipher3.dbapi2 as sqlcipher
from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _events as events
from messageu.client.v3._core import Core
from messageu.client.v3._errors import StaleState
from messageu.crypto.signatures import is_signed
from messageu.model.v3 import Handle, Reason, Registration, Terms, authentication_text
from messageu.store import StoreError
from messageu.store.v3 import MemoryAccountStore, Stored
from messageu.wire import v3

START = 1_800_000_000.0
RELAY = "messageu://relay.example:1358#pin"
BINDING = b"b" * 32
MAIL_LIFE = 30 * 86_400
TERMS = Terms(2**20, 1000, 2**30, 64, 2**22, 50, MAIL_LIFE, 600, Registration.OPEN)


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self):
        self.time = START

    def __call__(self):
        return self.time


class Killed(Exception):
    """The process is gone."""


class Database:
    """A database in memory whose process can be killed around a commit.

    :ivar kill_at: the number of the commit to be killed at; None: none.
    :ivar keeps: whether that commit is on the disk.
    """

    def __init__(self):
        self.inner = sqlcipher.connect(":memory:", isolation_level=None)
        self.commits = 0
        self.kill_at = None
        self.keeps = False

    @property
    def in_transaction(self):
        return self.inner.in_transaction

    def execute(self, sql, parameters=()):
        if sql != "COMMIT":
            return self.inner.execute(sql, parameters)
        self.commits += 1
        if self.commits != self.kill_at:
            return self.inner.execute(sql)
        if self.keeps:
            self.inner.execute(sql)
        raise Killed

    def copy(self):
        """A backup of what is committed."""
        other = Database()
        self.inner.backup(other.inner)
        return other


def result(deferred):
    """What a store in memory has answered, or the error that it failed with."""
    outcome = []
    deferred.addBoth(outcome.append)
    (answer,) = outcome
    return answer


class Relay:
    """What a relay of v3 does, without a network.

    :ivar refusals: answers that are given instead, once each, by the type of a request.
    """

    def __init__(self, now):
        self.now = now
        self.store = MemoryAccountStore(now=now)
        self.subscribers = {}
        self.refusals = {}
        self.seen = []

    def connect(self):
        return RelayEnd(self)

    def push(self, account):
        """Push what waits for somebody."""
        end = self.subscribers.get(account)
        if end is not None:
            end.push()


class RelayEnd:
    """A relay's end of one connection; ``answers`` are on their way to the client."""

    def __init__(self, relay):
        self.relay = relay
        self.answers = deque()
        self.account = self.keys = self.nonce = None
        self.registered = False
        self.generation = 0
        self.window = (0, 0)
        self.out = {}
        self.pushed = 0

    def take(self, request):
        """Carry out a request."""
        # What goes over the wire is bytes.
        body = type(request.body).decode(request.body.encode())
        self.relay.seen.append(body)
        refusals = self.relay.refusals.get(type(body))
        answer = refusals.pop(0) if refusals else None
        if answer is None:
            answer = getattr(self, f"_{type(body).__name__.lower()}")(body)
        if isinstance(answer, Reason):
            answer = v3.Error(answer)
        if isinstance(answer, StoreError):
            answer = v3.Error(Reason.INTERNAL)
        self.answers.append(v3.Response(request.correlation, answer))
        if isinstance(body, v3.Send):
            self.relay.push(body.envelope.recipient)
        if isinstance(body, v3.Subscribe | v3.Acknowledge):
            self.push()

    def close(self):
        if self.relay.subscribers.get(self.account) is self:
            del self.relay.subscribers[self.account]
        self.answers.clear()

    def push(self):
        messages = self.window[0] - len(self.out)
        size = self.window[1] - sum(self.out.values())
        if self.relay.subscribers.get(self.account) is not self or messages <= 0 or size <= 0:
            return
        store = self.relay.store
        for delivery in result(store.waiting(self.account, self.pushed, messages, size)):
            self.out[delivery.sequence] = len(delivery.sealed)
            self.pushed = delivery.sequence
            self.answers.append(v3.Response(v3.PUSH, v3.Deliver(delivery)))

    def _hello(self, _):
        self.nonce = sha256(str(id(self)).encode()).digest()
        return v3.Welcome(self.nonce, int(self.relay.now()), TERMS)

    def _authenticate(self, body):
        nonce, self.nonce = self.nonce, None
        text = authentication_text(nonce, body.keys.identity, body.generation, BINDING)
        if not is_signed(body.keys.ed25519, body.signature, text):
            return Reason.AUTH_FAILED
        admission = result(self.relay.store.admit(body.keys.identity, body.generation))
        if isinstance(admission, Reason | StoreError):
            return admission
        self.keys, self.account = body.keys, body.keys.identity.account_id
        self.registered, self.generation = admission.registered, body.generation
        return v3.Authenticated(admission.registered, admission.one_time_keys)

    def _register(self, body):
        name = Handle.from_raw(body.name)
        answer = result(self.relay.store.register(self.keys, self.generation, name, body.token))
        if answer is not None:
            return answer
        self.registered = True
        return v3.Registered()

    def _resolve(self, body):
        keys = result(self.relay.store.resolve(Handle.from_raw(body.name)))
        return keys if isinstance(keys, Reason | StoreError) else v3.Resolved(keys)

    def _publish(self, body):
        left = result(self.relay.store.publish(self.account, body.bundle, body.one_time_keys))
        return (
            v3.Published(left) if isinstance(left, int) and not isinstance(left, Reason) else left
        )

    def _claim(self, body):
        claimed = result(self.relay.store.claim(body.account_id))
        if isinstance(claimed, Reason | StoreError):
            return claimed
        return v3.Claimed(claimed.keys, claimed.bundle, claimed.one_time_key)

    def _send(self, body):
        (outcome,) = result(self.relay.store.put([body.envelope]))
        return v3.Stored(body.envelope.envelope_id) if isinstance(outcome, Stored) else outcome

    def _subscribe(self, body):
        before = self.relay.subscribers.get(self.account)
        if before is not None and before is not self:
            before.answers.append(v3.Response(v3.PUSH, v3.Displaced()))
        self.relay.subscribers[self.account] = self
        self.window, self.pushed, self.out = (body.messages, body.size), 0, {}
        return v3.Subscribed()

    def _acknowledge(self, body):
        if self.relay.subscribers.get(self.account) is not self:
            return Reason.NOT_SUBSCRIBED
        result(self.relay.store.acknowledge(self.account, body.sequences))
        for sequence in body.sequences:
            self.out.pop(sequence, None)
        return v3.Acknowledged()

    def _deleteaccount(self, _):
        result(self.relay.store.delete_account(self.account))
        return v3.AccountDeleted()

    def _ping(self, _):
        return v3.Pong()


class Device:
    """A client: its database, and the program that is killed and started again."""

    def __init__(self, relay, name, *, database=None, **files):
        self.relay, self.name, self.files = relay, name, files
        self.now = relay.now
        self.events = []
        self.end = None
        self.kills = 0
        if database is None:
            self.database = Database()
            self.core = Core.create(self.database, RELAY, now=self.now, **files)
        else:
            self.database = database
            self.start()

    def start(self):
        """Start the program again: all that it knows is in the database."""
        self.hang_up()
        self.core = Core(self.database, now=self.now, **self.files)

    def killed(self):
        """What is left when the process is gone, which is started again."""
        self.kills += 1
        self.database.kill_at = None
        assert not self.database.in_transaction
        self.start()

    def guarded(self, act, *args, **kwargs):
        """Do something; if the program is killed by it, it is started again. Whether it was
        done."""
        try:
            act(*args, **kwargs)
        except Killed:
            self.killed()
            return False
        finally:
            self.events.extend(self.core.events())
        return True

    def dial(self):
        """Connect; False when the profile must be reset first."""
        self.hang_up()
        try:
            self.core.begin()
        except StaleState:
            return False
        self.end = self.relay.connect()
        self.core.connected(BINDING)
        return True

    def hang_up(self):
        """Lose the connection, and all that is on its way."""
        if self.end is not None:
            self.end.close()
            self.end = None
            self.core.disconnected()

    def write(self):
        """Send what the core wants sent; how much it was."""
        count = 0
        while self.end is not None and (requests := self.core.requests()):
            for request in requests:
                count += 1
                self.end.take(request)
        return count

    def read(self):
        """Hand the core what the relay has answered; how much it was."""
        count = 0
        while self.end is not None and self.end.answers:
            count += 1
            answer = self.end.answers.popleft()
            body = type(answer.body).decode(answer.body.encode())
            self.core.receive(v3.Response(answer.correlation, body))
            self.events.extend(self.core.events())
            if self.core.verdict is not None:
                self.hang_up()
        return count

    def step(self):
        """One exchange with the relay; whether anything happened."""
        if self.core.verdict is not None:
            self.hang_up()
        return self.write() + self.read()

    def go(self):
        """Connect if need be, and exchange until there is nothing left."""
        if self.end is None and not self.dial():
            return
        while self.step():
            pass

    def told(self, kind):
        """Events of a kind, as they were told."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def identity(self):
        return self.core.profile.identity

    def received(self):
        """The texts in the history that came, in their order."""
        return [message.text for message in self.core.messages(limit=10**6) if not message.mine]

    def statuses(self):
        """What has become of the texts that we have sent."""
        sent = (message for message in self.core.messages(limit=10**6) if message.mine)
        return {message.text: message.status for message in sent}


def settle(*devices, clock=None, seconds=0.0):
    """Let devices exchange until nothing happens any more, with time for what waits for it."""
    for _ in range(1000):
        for device in devices:
            if device.end is None:
                device.dial()
        busy = sum(device.step() for device in devices)
        if busy:
            continue
        if clock is None or seconds <= 0:
            return
        clock.time += min(seconds, 2.0)
        seconds -= 2.0
        for device in devices:
            device.core.tick()
            device.events.extend(device.core.events())
    raise AssertionError("it does not settle")


def pair(**files):
    """Two registered clients that know each other by links, settled."""
    clock = Clock()
    relay = Relay(clock)
    alice, bob = Device(relay, "alice", **files), Device(relay, "bob", **files)
    introduce(alice, bob)
    return clock, relay, alice, bob


def introduce(*devices):
    """Register devices and make each a contact of all others."""
    for device in devices:
        device.core.register(device.name)
        device.go()
        assert device.told(events.Registered)
    for device in devices:
        for other in devices:
            if other is not device:
                device.core.add_contact(other.identity, other.name)


class PairTestCase(SynchronousTestCase):
    def setUp(self):
        self.clock, self.relay, self.alice, self.bob = pair()

    def settle(self, seconds=4.0):
        settle(self.alice, self.bob, clock=self.clock, seconds=seconds)

    def later(self, seconds):
        """Time passes while nobody is connected."""
        for device in (self.alice, self.bob):
            device.hang_up()
        self.clock.time += seconds
        for device in (self.alice, self.bob):
            device.core.tick()
            device.events.extend(device.core.events())

    def say(self, one, to, text):
        return one.core.send_text(to, text)

    def met(self):
        """They have heard of each other."""
        self.say(self.alice, "bob", "hello")
        self.say(self.bob, "alice", "hello too")
        self.settle()
        return self

    def sessions(self, device):
        query = "SELECT id FROM sessions ORDER BY epoch DESC, id"
        return [session_id for (session_id,) in device.database.execute(query).fetchall()]
