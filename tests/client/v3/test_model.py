"""Some clients and a relay, with everything going wrong between and within them.

Connections break with requests and answers on their way, and what was sent on an old one is carried
out after a new one was made. Programs die before and after their commits, the relay refuses and is
restarted, profiles are restored from copies, files are changed or removed while they are sent. At the
end all settles, and then: every text and every file that a sender still knows of was shown to its
recipient once, as it was, or is known not to have been delivered.
"""

import re
from collections import Counter, deque
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

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
from messageu.client.v3 import _transfers as transfers
from messageu.client.v3._file_receiver import FileReceiver
from messageu.client.v3._file_sender import FileSender
from messageu.client.v3._values import Status, Why
from messageu.crypto.v3 import FileOffer, Kind
from messageu.model.v3 import Reason
from messageu.wire import v3
from tests.torture import report, scaled

from .harness import START, Clock, Device, Relay, introduce
from .small_pieces import SMALL_PIECE, free_space, small_pieces

DEVICES = scaled(3, 5)
DAY = 86_400.0
WAITS = (1.0, 10.0, 700.0, 4000.0, 2 * DAY)
REFUSED = (v3.Send, v3.Claim, v3.Publish, v3.Acknowledge, v3.Subscribe)
UNKNOWN = """
    SELECT identity FROM contacts WHERE NOT sent AND id NOT IN (SELECT contact FROM sessions)
"""
"""With whom a copy has no session: they are not told when it is reset."""

REASONS = (Reason.BUSY, Reason.INTERNAL, Reason.RATE_LIMITED)

SETTINGS = settings(
    max_examples=scaled(12, 1500),
    stateful_step_count=scaled(60, 150),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def content_of(text, size):
    """What is in the file that is called so."""
    return Random(text).randbytes(size)


class Unreliable(Device):
    """A device whose requests travel one by one, and can be lost or late.

    What it says of texts is true of files, too: these stand for their names.
    """

    def __init__(self, relay, name, folder):
        self.folder = folder
        super().__init__(relay, name, **self.new_tools())
        self.travelling = deque()
        self.shown = Counter()
        self.restored = 0
        self.unknown = set()
        self.forgotten = set()

    def new_tools(self):
        return {
            "file_sender": FileSender(),
            "file_receiver": FileReceiver(self.folder, free=free_space),
        }

    def start(self):
        self.files["file_receiver"].close()
        self.files = self.new_tools()
        super().start()

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
            if isinstance(event, events.MessageReceived) and event.message.kind == Kind.TEXT:
                self.shown[event.message.text] += 1
            elif isinstance(event, events.FileReceived):
                self.shown[re.sub(r" \(\d+\)\Z", "", event.path.name)] += 1
        self.events.clear()

    def received(self):
        """Texts that came, and files that are there."""
        messages = [each for each in self.core.messages(limit=10**6) if not each.mine]
        return [self.text_of(each) for each in messages if self.has_come(each)]

    def statuses(self):
        sent = (message for message in self.core.messages(limit=10**6) if message.mine)
        return {self.text_of(message): (message.status, message.why) for message in sent}

    def text_of(self, message):
        is_text = message.kind == Kind.TEXT
        return message.text if is_text else FileOffer.decode(message.body).name

    def has_come(self, message):
        return message.kind == Kind.TEXT or self.path_of(message) is not None

    def path_of(self, message):
        return self.files["file_receiver"].path_of(
            self.database, message.contact, message.message_id
        )

    def check_files(self):
        """What is there is what was sent, and nothing is there besides."""
        paths = []
        for message in self.core.messages(limit=10**6):
            if not message.mine and message.kind == Kind.FILE and self.has_come(message):
                paths.append(self.path_of(message))
                offer = FileOffer.decode(message.body)
                assert paths[-1].read_bytes() == content_of(offer.name, offer.size)
        there = {*self.folder.iterdir()} if self.folder.exists() else set()
        assert there >= {*paths}
        assert self.restored or there == {*paths}, there ^ {*paths}

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
        self.unknown.update(identity for (identity,) in copy.execute(UNKNOWN).fetchall())
        self.forgotten.update(self.received())
        self.database = copy
        self.restored += 1
        self.start()


class Messengers(RuleBasedStateMachine):
    """What may happen, in any order."""

    @initialize()
    def begin(self):
        self.end = ExitStack()
        self.end.enter_context(small_pieces())
        self.folder = Path(self.end.enter_context(TemporaryDirectory()))
        self.clock = Clock()
        self.relay = Relay(self.clock)
        names = [f"device-{number}" for number in range(DEVICES)]
        self.devices = [Unreliable(self.relay, name, self.folder / name) for name in names]
        introduce(*self.devices)
        self.ghosts = []
        self.copies = {}
        self.said = {}
        self.spoilt = set()

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

    @rule(sender=numbers, distance=st.integers(1, DEVICES - 1), pieces=st.integers(0, 3))
    def send_file(self, sender, distance, pieces):
        """Somebody sends a file to somebody."""
        one, other = self.device(sender), self.device(sender + distance)
        text = f"file {len(self.said)} from {one.name} to {other.name}"
        self.said[text] = (one, other)
        path = self.folder / text
        path.write_bytes(content_of(text, pieces * SMALL_PIECE + pieces % 2))
        one.guarded(lambda: one.core.send_file(other.identity, path))

    @precondition(lambda self: self.said)
    @rule(which=st.integers(0, 100), removed=st.booleans())
    def spoil(self, which, removed):
        """Somebody removes a file that he has sent, or changes it."""
        path = self.folder / [*self.said][which % len(self.said)]
        if path.exists():
            self.spoilt.add(path.name)
            if removed:
                path.unlink()
            else:
                path.write_bytes(bytes(path.stat().st_size))

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
        with self.end:
            self.finish()

    def finish(self):
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
            device.check_files()
            for text, (status, why) in device.statuses().items():
                recipient = self.said[text][1]
                assert status in (Status.DELIVERED, Status.UNDELIVERED), (text, status)
                if status is Status.DELIVERED:
                    assert recipient.has_shown(text), "receipted, and was not shown"
                told = recipient.restored and device.identity.raw not in recipient.unknown
                if not device.restored and (told or not recipient.restored):
                    gone = text in self.spoilt and why is Why.FILE_GONE
                    assert status is Status.DELIVERED or gone, (text, status, why)
            if not restored:
                assert not device.core.profile.unopened, "something did not open"
                assert not any(contact.missing for contact in device.core.contacts())
        TOTALS["runs"] += 1
        TOTALS["restored"] += restored
        TOTALS["kills"] += sum(device.kills for device in self.devices)
        for device in self.devices:
            TOTALS["shown"] += len(device.received())
            TOTALS["texts"] += len(device.statuses())
            TOTALS["files"] += len([text for text in device.received() if text[:4] == "file"])
            statuses = [status for status, _ in device.statuses().values()]
            TOTALS["undelivered"] += statuses.count(Status.UNDELIVERED)


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
        lambda: machine.send_file(number(), dice.randint(1, DEVICES - 1), dice.randint(0, 3)),
        lambda: machine.spoil(dice.randrange(100), dice.random() < 0.5) if machine.said else None,
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
        """Every text and file arrives once and opens, or is shown as not delivered; nothing twice."""
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
        self.assertEqual(TOTALS["shown"] + TOTALS["undelivered"], TOTALS["texts"])
        self.assertGreater(TOTALS["files"], 3 * TOTALS["runs"])
        report("v3 clients: breaks and kills, by dice", lost=0, **TOTALS)

    def test_restored_by_dice(self):
        """Also after copies of profiles were gone on with nothing is shown twice, and whatever
        was not delivered is shown so."""
        TOTALS.clear()
        for seed in range(scaled(5, 2000)):
            play(Random(seed), restoring=True)
        self.assertGreater(TOTALS["restored"], 0)
        self.assertGreater(TOTALS["shown"], 0)
        self.assertGreater(TOTALS["files"], TOTALS["runs"])
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

    def test_finds_a_receipt_that_comes_early(self):
        """A client that receipts a file when it is offered is found."""
        take_offer = transfers.take_offer

        def careless(unit, of, message_id, offer):
            take_offer(unit, of, message_id, offer)
            transfers.note(unit, of, message_id)

        self.patch(transfers, "take_offer", careless)
        self.find()
