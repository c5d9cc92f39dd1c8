"""Some clients and a relay, with everything going wrong between and within them.

Connections break with requests and answers on their way, and what was sent on an old one is carried
out after a new one was made. Programs die before and after their commits, the relay refuses and is
restarted, profiles are restored from copies. At the end all settles, and then: every text that a
sender still knows of was shown to its recipient once, or is known not to have been delivered.
"""

from collections import Counter, deque
from functools import partial
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _events as events
from messageu.client.v3 import _inbox as inbox
from messageu.client.v3 import _outbox as outbox
from messageu.client.v3._values import Status
from messageu.model.v3 import Reason
from messageu.wire import v3
from tests.torture import report, scaled

from .harness import START, Clock, Device, Relay, introduce

DEVICES = scaled(3, 5)
DAY = 86_400.0
WAITS = (1.0, 10.0, 700.0, 4000.0, 2 * DAY)
REFUSED = (v3.Send, v3.Claim, v3.Publish, v3.Acknowledge, v3.Subscribe)
REASONS = (Reason.BUSY, Reason.INTERNAL, Reason.RATE_LIMITED)

SETTINGS = settings(
    max_examples=scaled(12, 1500),
    stateful_step_count=scaled(60, 150),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class Unreliable(Device):
    """A device whose requests travel one by one, and can be lost or late."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.travelling = deque()
        self.shown = Counter()
        self.restored = 0
        self.forgotten = set()

    def hang_up(self):
        super().hang_up()
        self.travelling = deque()

    def guarded(self, act, *args, **kwargs):
        try:
            return super().guarded(act, *args, **kwargs)
        finally:
            self.count()

    def count(self):
        for event in self.events:
            if isinstance(event, events.MessageReceived):
                self.shown[event.message.text] += 1
        self.events.clear()

    def send(self, limit):
        self.travelling.extend(self.core.requests())
        for _ in range(min(limit, len(self.travelling))):
            self.end.take(self.travelling.popleft())

    def hear(self, limit):
        for _ in range(limit):
            if self.end is None or not self.end.answers:
                return
            self.core.receive(self.end.answers.popleft())
            self.events.extend(self.core.events())
            if self.core.verdict is not None:
                self.hang_up()

    def has_shown(self, text):
        """Whether its user has heard of a text, or can see it: of what is committed at the moment
        of a kill nobody hears, but it is in the history."""
        return bool(self.shown[text]) or text in self.received() or text in self.forgotten

    def restore(self, copy):
        self.forgotten.update(self.received())
        self.database = copy
        self.restored += 1
        self.start()


class Messengers(RuleBasedStateMachine):
    """What may happen, in any order."""

    @initialize()
    def begin(self):
        self.clock = Clock()
        self.relay = Relay(self.clock)
        self.devices = [Unreliable(self.relay, f"device-{number}") for number in range(DEVICES)]
        introduce(*self.devices)
        self.ghosts = []
        self.copies = {}
        self.said = {}

    def device(self, number):
        return self.devices[number % len(self.devices)]

    def connected(self, number):
        device = self.device(number)
        if device.end is None:
            device.guarded(device.dial)
        if device.end is None and device.core.profile.stale:
            device.guarded(device.core.reset)
        return device

    numbers = st.integers(0, DEVICES - 1)

    @rule(sender=numbers, distance=st.integers(1, DEVICES - 1), count=st.integers(1, 4))
    def say(self, sender, distance, count):
        """Somebody writes to somebody."""
        one, other = self.device(sender), self.device(sender + distance)
        for _ in range(count):
            text = f"{len(self.said)} from {one.name} to {other.name}"
            self.said[text] = (one, other)
            one.guarded(lambda text=text: one.core.send_text(other.identity, text))

    @rule(number=numbers, limit=st.integers(1, 6))
    def send(self, number, limit):
        """Some of what a client wants carried out reaches the relay."""
        device = self.connected(number)
        if device.end is not None:
            device.guarded(device.send, limit)

    @rule(number=numbers, limit=st.integers(1, 6))
    def hear(self, number, limit):
        """Some of what the relay says reaches a client."""
        device = self.device(number)
        if device.end is not None:
            device.guarded(device.hear, limit)

    @rule(numbers=st.sets(numbers, min_size=1))
    def exchange(self, numbers):
        """Some clients and the relay understand each other for a while."""
        for device in [self.connected(number) for number in sorted(numbers)] * 5:
            if device.end is not None:
                device.guarded(device.send, 50)
            if device.end is not None:
                device.guarded(device.hear, 50)

    @rule(number=numbers, late=st.booleans())
    def lose_connection(self, number, late):
        """A connection breaks; what was sent on it is lost, or reaches the relay later."""
        device = self.device(number)
        if device.end is None:
            return
        if late and device.travelling:
            self.ghosts.append((device.end, device.travelling))
            device.end = None
            device.travelling = deque()
            device.core.disconnected()
        else:
            device.hang_up()

    @precondition(lambda self: self.ghosts)
    @rule(which=st.integers(0, 100))
    def late_request(self, which):
        """The relay carries out what was sent on a connection that its client has given up."""
        end, travelling = self.ghosts[which % len(self.ghosts)]
        end.take(travelling.popleft())
        self.ghosts = [ghost for ghost in self.ghosts if ghost[1]]

    @rule(number=numbers, soon=st.integers(1, 4), keeps=st.booleans())
    def kill(self, number, soon, keeps):
        """A program will die around one of its next commits."""
        database = self.device(number).database
        database.kill_at, database.keeps = database.commits + soon, keeps

    @rule()
    def restart_relay(self):
        """The relay is started again; what it has answered for is on its disk."""
        for device in self.devices:
            device.hang_up()
        self.ghosts = []
        assert not self.relay.subscribers or self.relay.subscribers.clear() is None

    @rule(
        kind=st.sampled_from(REFUSED),
        reason=st.sampled_from(REASONS),
    )
    def refuse(self, kind, reason):
        """The relay will refuse something once."""
        self.relay.refusals.setdefault(kind, []).append(v3.Error(reason, 7))

    @rule(seconds=st.sampled_from(WAITS))
    def wait(self, seconds):
        """Time passes, altogether less than what an envelope is tried for."""
        if self.clock.time + seconds > START + 6 * DAY:
            return
        self.clock.time += seconds
        for device in self.devices:
            device.guarded(device.core.tick)

    @rule(number=numbers)
    def back_up(self, number):
        """Somebody copies his profile."""
        self.copies[number] = self.device(number).database.copy()

    @precondition(lambda self: self.copies)
    @rule(number=numbers)
    def restore(self, number):
        """Somebody goes on with a copy, after he has connected with the original again."""
        copy, device = self.copies.get(number), self.device(number)
        if copy is None:
            return
        ((generation,),) = copy.inner.execute("SELECT generation FROM profile").fetchall()
        account = self.relay.store._accounts[device.identity.account_id]
        if account.generation > generation:
            device.restore(self.copies.pop(number))

    def teardown(self):
        if not hasattr(self, "devices"):
            return
        self.ghosts = []
        self.relay.refusals.clear()
        for device in self.devices:
            device.database.kill_at = None
            device.start()
        for days in (0, 0.1, 8, 16, 16):
            self.settle(days * DAY)
        self.check()

    def settle(self, seconds):
        self.clock.time += seconds
        for pause in (2.0, 2.0, 2.0, 150.0, 700.0, 700.0):
            self.exhaust()
            self.clock.time += pause
            for device in self.devices:
                device.guarded(device.core.tick)
        self.exhaust()
        for device in self.devices:
            device.hang_up()

    def exhaust(self):
        """Let all say all that they have to say now."""
        for _ in range(500):
            busy = 0
            for number, device in enumerate(self.devices):
                self.connected(number)
                busy += device.step() if device.end is not None else 1
                device.count()
            if not busy:
                return
        raise AssertionError("it does not settle")

    def check(self):
        restored = sum(device.restored for device in self.devices)
        for device in self.devices:
            texts = device.received()
            assert len(texts) == len(set(texts)), "a text is shown twice"
            if not device.restored:
                assert all(count == 1 for count in device.shown.values()), "heard of twice"
            for text, status in device.statuses().items():
                recipient = self.said[text][1]
                assert status in (Status.DELIVERED, Status.UNDELIVERED), (text, status)
                if status is Status.DELIVERED:
                    assert recipient.has_shown(text), "receipted, and was not shown"
                if not restored:
                    assert status is Status.DELIVERED, (text, status)
            if not restored:
                assert not device.core.profile.unopened, "something did not open"
                assert not any(contact.missing for contact in device.core.contacts())
        TOTALS["runs"] += 1
        TOTALS["restored"] += restored
        TOTALS["kills"] += sum(device.kills for device in self.devices)
        for device in self.devices:
            TOTALS["shown"] += len(device.received())
            TOTALS["texts"] += len(device.statuses())
            TOTALS["undelivered"] += list(device.statuses().values()).count(Status.UNDELIVERED)


TOTALS = Counter()


def play(dice, restoring=False):
    """A long run of the rules, with always the same arguments for a seed."""
    machine = Messengers()
    machine.begin()
    number = partial(dice.randrange, DEVICES)
    moves = (
        lambda: machine.say(number(), dice.randint(1, DEVICES - 1), dice.randint(1, 4)),
        lambda: machine.send(number(), dice.randint(1, 6)),
        lambda: machine.hear(number(), dice.randint(1, 6)),
        lambda: machine.exchange({number(), number()}),
        lambda: machine.lose_connection(number(), dice.random() < 0.5),
        lambda: machine.kill(number(), dice.randint(1, 4), dice.random() < 0.5),
        lambda: machine.refuse(dice.choice(REFUSED), dice.choice(REASONS)),
        lambda: machine.wait(dice.choice(WAITS)),
        lambda: machine.late_request(dice.randrange(100)) if machine.ghosts else None,
    )
    copying = (
        lambda: machine.back_up(number()),
        lambda: machine.restore(number()) if machine.copies else None,
    )
    for _ in range(60):
        dice.choice(moves + copying if restoring else moves)()
    machine.teardown()


class ModelTests(SynchronousTestCase):
    def test_whatever_happens(self):
        """Every text arrives once and opens, or is shown as not delivered; nothing twice."""
        TOTALS.clear()
        run_state_machine_as_test(Messengers, settings=SETTINGS)
        self.assertGreater(TOTALS["shown"], 0)
        report("v3 clients: breaks, kills, restores", lost=0, **TOTALS)

    def find(self):
        """Play the same rules by dice until something is found."""
        with self.assertRaises(AssertionError):
            for seed in range(60):
                play(Random(seed))

    def test_by_dice(self):
        """So it is in longer runs, which are always the same."""
        TOTALS.clear()
        for seed in range(scaled(7, 2000)):
            play(Random(seed))
        self.assertGreater(TOTALS["shown"], 10 * TOTALS["runs"])
        self.assertGreater(TOTALS["kills"], TOTALS["runs"])
        self.assertEqual(TOTALS["shown"], TOTALS["texts"])
        report("v3 clients: breaks and kills, by dice", lost=0, **TOTALS)

    def test_restored_by_dice(self):
        """Also after copies of profiles were gone on with nothing is shown twice, and whatever
        was not delivered is shown so."""
        TOTALS.clear()
        for seed in range(scaled(5, 2000)):
            play(Random(seed), restoring=True)
        self.assertGreater(TOTALS["restored"], 0)
        self.assertGreater(TOTALS["shown"], 0)
        report("v3 clients: restored from copies, by dice", **TOTALS)

    def test_finds_what_comes_twice(self):
        """A client that does not know what has come before is found."""
        self.patch(inbox, "_remember", lambda *_: True)
        self.find()

    def test_finds_a_loss(self):
        """A client that acknowledges what it could not keep is found."""
        take, died = inbox.take, set()

        def careless(unit, delivery):
            if delivery.envelope_id in died:
                return
            died.add(delivery.envelope_id)
            take(unit, delivery)

        self.patch(inbox, "take", careless)
        self.find()

    def test_finds_an_envelope_that_was_dropped(self):
        """A client that does not try again what a busy relay has refused is found."""

        def careless(unit, envelope_id, *_):
            outbox._remove(unit, envelope_id)

        self.patch(outbox, "refused", careless)
        self.find()
