"""Display names: whom they are told to, and when."""

from messageu.client.v3 import _outbox as outbox
from messageu.client.v3._errors import NameInvalid
from messageu.client.v3._values import Trust
from messageu.crypto.v3 import Kind
from messageu.model.v3 import Reason
from messageu.wire import v3

from .harness import Device, PairTestCase, settle


class NamingTests(PairTestCase):
    def setUp(self):
        super().setUp()
        self.told = []
        real = outbox.seal_message

        def seal(unit, of, message, *args, **kwargs):
            if message.kind == Kind.PROFILE:
                self.told.append((of.label, message.body.decode()))
            real(unit, of, message, *args, **kwargs)

        self.patch(outbox, "seal_message", seal)

    def name_at(self, device, who):
        return device.core.contact(who).display_name.decode()

    def test_first_message(self):
        """A name is told behind the first message to a contact, and not before."""
        self.alice.core.set_display_name("Alice Liddell")
        self.settle()
        self.assertEqual((self.told, self.name_at(self.bob, "alice")), ([], ""))
        self.say(self.alice, "bob", "hello")
        self.settle()
        self.assertEqual(self.name_at(self.bob, "alice"), "Alice Liddell")
        self.assertEqual(self.bob.received(), ["hello"])
        told = len(self.told)
        self.say(self.alice, "bob", "hello again")
        self.settle()
        self.assertEqual(len(self.told), told)
        self.assertEqual(self.alice.core.profile.display_name, "Alice Liddell")

    def test_changes(self):
        """Whenever it changes it is told to those to whom we have written, before anything else;
        also that there is none any more."""
        self.met()
        self.assertEqual(self.told, [])
        for name in ("Alice", "Älice \U0001f407", "", "x" * 256):
            self.alice.core.set_display_name(name)
            self.say(self.alice, "bob", f"I am {name}")
            self.settle()
            self.assertEqual(self.name_at(self.bob, "alice"), name)
        self.assertEqual([who for who, _ in self.told], ["bob"] * 4)

    def test_told_once(self):
        """Somebody who has receipted something is told once, and a silent relay changes nothing."""
        self.met()
        self.alice.core.set_display_name("Alice")
        self.alice.hang_up()
        self.later(3600.0)
        self.settle()
        self.later(86_400.0)
        self.settle()
        self.assertEqual(self.told, [("bob", "Alice")])

    def test_request(self):
        """Who does not know us learns it when he has accepted us."""
        carl = Device(self.relay, "carl")
        carl.core.register("carl")
        carl.go()
        self.alice.core.add_contact(carl.identity, "carl")
        self.alice.core.set_display_name("Alice")
        self.say(self.alice, "carl", "may I?")
        settle(self.alice, carl, clock=self.clock, seconds=4.0)
        (request,) = carl.core.message_requests()
        self.assertEqual(request.display_name, b"")
        carl.core.accept(request.identity, "alice")
        settle(self.alice, carl, clock=self.clock, seconds=4.0)
        self.assertEqual(self.name_at(carl, "alice"), "Alice")
        self.assertEqual(carl.received(), ["may I?"])

    def test_begun_anew(self):
        """A contact who goes on with a copy is told again, and so he is when we do."""
        copy = self.met().bob.database.copy()
        self.alice.core.set_display_name("Alice")
        self.settle()
        self.bob.database = copy
        self.bob.start()
        self.bob.core.reset()
        self.assertEqual(self.name_at(self.bob, "alice"), "")
        self.settle()
        self.assertEqual(self.name_at(self.bob, "alice"), "Alice")
        told = len(self.told)
        self.alice.core.reset()
        self.settle()
        self.assertEqual(self.told[told:], [("bob", "Alice")])

    def test_not_trusted(self):
        """Who is not written to is not told; he is when he may be written to again."""
        self.met()
        self.alice.core.set_trust(Trust.MANUAL)
        self.alice.core.set_display_name("Alice")
        self.settle()
        self.assertEqual(self.told, [])
        self.alice.core.verify("bob")
        self.settle()
        self.assertEqual(self.told, [("bob", "Alice")])

    def test_blocked(self):
        """Who is blocked is not told, and is when he is let in again."""
        self.met()
        self.alice.core.block("bob")
        self.alice.core.set_display_name("Alice")
        self.settle()
        self.assertEqual(self.told, [])
        self.alice.core.accept("bob")
        self.settle()
        self.assertEqual(self.told, [("bob", "Alice")])

    def test_no_account(self):
        """Nobody asks again and again for the prekeys of an account that is gone, to tell it."""
        self.met()
        self.bob.core.delete_account()
        self.bob.go()
        self.alice.hang_up()
        self.alice.core.set_display_name("Alice")
        self.alice.core.reset()
        self.relay.seen.clear()
        for _ in range(20):
            self.alice.go()
            self.clock.time += 60.0
            self.alice.core.tick()
        claims = [body for body in self.relay.seen if isinstance(body, v3.Claim)]
        self.assertEqual(len(claims), 1)

    def test_given_up(self):
        """What the relay has not taken for a week is told when it does."""
        self.met()
        self.alice.core.set_display_name("Alice")
        self.relay.refusals[v3.Send] = [v3.Error(Reason.BUSY, 3600)] * 1000
        for _ in range(9):
            self.alice.go()
            self.later(86_400.0)
        self.relay.refusals.clear()
        self.settle()
        self.assertEqual(self.name_at(self.bob, "alice"), "Alice")
        self.assertEqual(self.told, [("bob", "Alice")] * 2)

    def test_killed(self):
        """Killed around any commit, it is told all the same, and texts are shown once."""
        kills, commits = 0, self.change("whole", None)
        for commit in range(1, commits + 1):
            for keeps in (False, True):
                self.change("killed", (commit, keeps))
                kills += self.alice.kills
        self.assertGreater(kills, 5)

    def change(self, text, kill):
        PairTestCase.setUp(self)
        self.met()
        database = self.alice.database
        database.commits = 0
        if kill is not None:
            database.kill_at, database.keeps = kill
        if not self.alice.guarded(lambda: self.alice.core.set_display_name("Alice")):
            self.alice.core.set_display_name("Alice")
        for _ in range(4):
            for device in (self.alice, self.bob):
                device.guarded(device.go)
            self.clock.time += 2.0
            for device in (self.alice, self.bob):
                device.guarded(device.core.tick)
        self.assertEqual(self.name_at(self.bob, "alice"), "Alice")
        self.assertEqual(self.bob.received(), ["hello"])
        return database.commits

    def test_invalid(self):
        """A name that is too long, or no text, is refused, and nothing is changed."""
        self.alice.core.set_display_name("Alice")
        for name in ("x" * 257, "\udc80"):
            self.assertRaises(NameInvalid, self.alice.core.set_display_name, name)
        self.assertEqual(self.alice.core.profile.display_name, "Alice")
