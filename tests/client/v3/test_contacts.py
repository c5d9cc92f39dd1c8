"""Contacts, requests, names and trust."""

from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _events as events
from messageu.client.v3 import _inbox as inbox
from messageu.client.v3._errors import (
    ContactExists,
    ContactInvalid,
    ContactUnknown,
    IdentityHasChanged,
    NotAccepted,
    NotVerified,
    OtherRelay,
)
from messageu.client.v3._values import Status, Trust
from messageu.model.v3 import Identity, Reason
from messageu.wire import v3

from .harness import (
    RELAY,
    Clock,
    Device,
    PairTestCase,
    Relay,
    settle,
)

DAY = 86_400.0
HOUR = 3_600.0


class RequestTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.relay = Relay(self.clock)
        self.alice, self.bob = (Device(self.relay, name) for name in ("alice", "bob"))
        for device in (self.alice, self.bob):
            device.core.register(device.name)
            device.go()
        self.alice.core.add_contact(self.bob.identity, "bob")

    def settle(self, seconds=4.0):
        settle(self.alice, self.bob, clock=self.clock, seconds=seconds)

    def ask(self, count=1):
        for number in range(count):
            self.alice.core.send_text("bob", f"{number}")
        self.settle()
        return self.bob.core.message_requests()[0]

    def test_stranger_asks(self):
        """A stranger's text is a request, without a receipt until it is accepted."""
        request = self.ask()
        self.assertEqual(self.bob.told(events.RequestReceived)[0].contact, self.alice.identity)
        self.assertEqual(self.alice.statuses(), {"0": Status.STORED})
        self.assertRaises(NotAccepted, self.bob.core.send_text, request.identity, "no")
        self.bob.core.accept(request.identity, "alice")
        self.settle()
        self.assertEqual(self.alice.statuses(), {"0": Status.DELIVERED})
        self.assertEqual(self.bob.core.message_requests(), [])

    def test_requests_are_capped(self):
        """Of one who asks only so many texts are kept; the others are missing."""
        request = self.ask(inbox.REQUEST_MESSAGES_LIMIT + 5)
        self.assertEqual(len(self.bob.received()), inbox.REQUEST_MESSAGES_LIMIT)
        self.bob.core.accept(request.identity, "alice")
        self.alice.core.send_text("bob", "at last")
        self.settle()
        self.assertEqual(self.bob.received()[-1], "at last")
        self.assertEqual(self.bob.core.contact("alice").missing, 5)

    def test_blocked(self):
        """What a blocked sender writes is dropped and not receipted; unblocked, he is heard."""
        request = self.ask()
        self.bob.core.block(request.identity)
        self.alice.core.send_text("bob", "dropped")
        self.settle()
        self.bob.core.accept(request.identity, "alice")
        self.alice.core.send_text("bob", "heard")
        self.settle()
        self.assertEqual(self.bob.received(), ["0", "heard"])
        self.assertEqual(self.bob.core.contact("alice").missing, 0)
        self.assertEqual(self.alice.statuses()["dropped"], Status.STORED)

    def test_removed(self):
        """Who was removed asks anew when he writes again, on the session that is there."""
        request = self.ask()
        self.bob.core.accept(request.identity, "alice")
        self.settle()
        self.bob.core.remove("alice")
        self.assertRaises(ContactUnknown, self.bob.core.contact, "alice")
        self.assertEqual(self.bob.received(), [])
        self.alice.core.send_text("bob", "once more")
        self.settle()
        self.assertEqual(self.bob.received(), ["once more"])
        self.assertEqual(len(self.bob.core.message_requests()), 1)
        self.assertEqual(self.bob.core.profile.unopened, 0)


class ContactTests(PairTestCase):
    def test_contacts_that_cannot_be(self):
        """Ourselves, a label twice, a contact twice and another relay's are refused."""
        add = self.alice.core.add_contact
        self.assertRaises(ContactInvalid, add, self.alice.identity, "me")
        self.assertRaises(ContactInvalid, add, Identity(bytes(32)), " ")
        self.assertRaises(ContactInvalid, add, Identity(bytes(32)), "\ud800")
        self.assertRaises(ContactExists, add, Identity(bytes(32)), "bob")
        self.assertRaises(ContactExists, add, self.bob.identity, "robert")
        self.assertRaises(OtherRelay, add, Identity(bytes(32)), "x", relay="messageu://other:1#p")
        add(Identity(bytes(32)), "x", relay=RELAY)
        self.assertEqual([contact.label for contact in self.alice.core.contacts()], ["bob", "x"])

    def test_only_verified(self):
        """When only verified contacts are written to, the others are not; what waits stays."""
        self.alice.hang_up()
        self.say(self.alice, "bob", "waits")
        self.alice.core.set_trust(Trust.MANUAL)
        self.assertRaises(NotVerified, self.say, self.alice, "bob", "no")
        self.settle()
        self.assertEqual(self.bob.received(), [])
        self.alice.core.verify("bob")
        self.settle()
        self.assertEqual(self.bob.received(), ["waits"])

    def test_safety_number(self):
        """Both see the same 60 digits."""
        number = self.alice.core.safety_number("bob")
        self.assertEqual(number, self.bob.core.safety_number("alice"))
        self.assertEqual(len(number), 60)

    def resolved(self):
        """Bob's name is another's by now."""
        self.alice.core.resolve("bob")
        self.alice.go()
        self.assertEqual(
            self.alice.told(events.Resolved),
            [events.Resolved("bob", self.bob.core.profile.keys)],
        )
        self.alice.core.remove("bob")
        self.alice.core.add_contact(self.bob.identity, "bob", name="bob")
        eve = Device(self.relay, "eve")
        keys = eve.core.profile.keys
        self.relay.refusals[v3.Resolve] = [v3.Resolved(keys)]
        self.alice.core.resolve("bob")
        self.alice.go()
        return keys.identity

    def test_identity_has_changed(self):
        """When a name leads to somebody else, nothing is sent until the user decides."""
        eve = self.resolved()
        self.assertEqual(
            self.alice.told(events.IdentityChanged),
            [events.IdentityChanged(self.bob.identity, eve)],
        )
        self.assertRaises(IdentityHasChanged, self.say, self.alice, "bob", "who is it?")
        self.alice.core.decide("bob", replace=False)
        self.say(self.alice, "bob", "still you")
        self.settle()
        self.assertEqual(self.bob.received(), ["still you"])

    def test_identity_is_replaced(self):
        """The new owner of a name can take the contact's place."""
        eve = self.resolved()
        contact = self.alice.core.decide("bob", replace=True)
        self.assertEqual((contact.identity, contact.name, contact.verified), (eve, "bob", False))
        self.assertRaises(ContactUnknown, self.alice.core.contact, self.bob.identity)

    def test_nobody_has_that_name(self):
        """A name that nobody has is told with the answer."""
        self.alice.core.resolve("nobody-here")
        self.alice.go()
        (refused,) = self.alice.told(events.Refused)
        self.assertEqual(
            (refused.what, refused.name, refused.reason),
            ("resolve", "nobody-here", Reason.NOT_FOUND),
        )
