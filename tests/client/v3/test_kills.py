"""A client that is killed around any of its commits goes on as if it had lost its connection."""

import contextlib

from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _events as events
from messageu.client.v3 import _inbox as inbox
from messageu.client.v3._errors import ContactExists
from messageu.client.v3._values import Status

from .harness import Clock, Device, Killed, Relay


class Scenario:
    """Two clients that register, meet, and write; ``victim`` is killed around one commit."""

    def __init__(self, kill_at=None, keeps=False, victim="alice"):
        self.clock = Clock()
        self.relay = Relay(self.clock)
        self.alice, self.bob = (Device(self.relay, name) for name in ("alice", "bob"))
        self.devices = (self.alice, self.bob)
        self.victim = self.alice if victim == "alice" else self.bob
        self.victim.database.commits = 0
        self.victim.database.kill_at, self.victim.database.keeps = kill_at, keeps

    def do(self, device, act, *args):
        """What a user does, and does again when the program died of it."""
        with contextlib.suppress(ContactExists):
            if not device.guarded(lambda: getattr(device.core, act)(*args)):
                getattr(device.core, act)(*args)

    def say(self, device, to, text):
        """Say something; when the program dies of it, the user looks before he says it again."""
        done = device.guarded(lambda: device.core.send_text(to, text))
        if not done and text not in device.statuses():
            device.core.send_text(to, text)

    def settle(self, seconds=6.0):
        for _ in range(1000):
            busy = 0
            for device in self.devices:
                try:
                    if device.end is None:
                        device.dial()
                    busy += device.step()
                except Killed:
                    device.events.extend(device.core.events())
                    device.killed()
                    busy += 1
            if busy:
                continue
            if seconds <= 0:
                return
            seconds -= 2.0
            self.clock.time += 2.0
            for device in self.devices:
                device.guarded(lambda device=device: device.core.tick())
        raise AssertionError("it does not settle")

    def run(self):
        alice, bob = self.alice, self.bob
        for device in self.devices:
            self.do(device, "register", device.name)
            self.settle(0)
        self.do(alice, "add_contact", bob.identity, "bob")
        for number in range(3):
            self.say(alice, "bob", f"a{number}")
        self.settle()
        (request,) = [*bob.core.message_requests(), *bob.core.contacts()]
        self.do(bob, "accept", request.identity, "alice")
        for number in range(3):
            self.say(bob, "alice", f"b{number}")
            self.say(alice, "bob", f"c{number}")
        self.settle()
        return self


class KillTests(SynchronousTestCase):
    def check(self, scenario):
        alice, bob = scenario.alice, scenario.bob
        self.assertEqual(bob.received(), [f"{who}{n}" for who in "ac" for n in range(3)])
        self.assertEqual(alice.received(), [f"b{number}" for number in range(3)])
        for device in (alice, bob):
            self.assertEqual(set(device.statuses().values()), {Status.DELIVERED})
            self.assertEqual(device.core.profile.unopened, 0)
            self.assertEqual([contact.missing for contact in device.core.contacts()], [0])
            self.assertEqual(device.told(events.Unopened), [])

    def runs(self):
        """The scenario with a kill around each commit of each client."""
        for victim in ("alice", "bob"):
            whole = Scenario(victim=victim).run()
            self.check(whole)
            for kill_at in range(1, whole.victim.database.commits + 1):
                for keeps in (False, True):
                    yield Scenario(kill_at, keeps, victim)

    def test_every_commit(self):
        """Before or after whichever commit a client is killed, every text arrives once."""
        kills = 0
        for scenario in self.runs():
            self.check(scenario.run())
            kills += scenario.victim.kills
        self.assertGreater(kills, 100)

    def notices(self):
        for scenario in self.runs():
            try:
                self.check(scenario.run())
            except AssertionError:
                return True
        return False

    def test_notices_a_repetition(self):
        """A client that forgets what has come, until it is acknowledged, is found by this."""
        self.patch(inbox, "_remember", lambda *_: True)
        self.assertTrue(self.notices())
