"""What comes: each kind of message, what does not open, and what should not be there."""

from os import urandom

from attrs import evolve

from messageu.client.v3 import _contacts as contacts
from messageu.client.v3 import _events as events
from messageu.client.v3 import _outbox as outbox
from messageu.client.v3 import _sequences as sequences
from messageu.client.v3._conversations import seal_message, take_claimed
from messageu.client.v3._database import transaction
from messageu.client.v3._errors import StateFailed
from messageu.client.v3._unit import Tools, Unit
from messageu.client.v3._values import Status
from messageu.crypto.v3 import (
    FileOffer,
    Kind,
    Message,
    decode_receipt,
    encode_receipt,
    piece_count,
)
from messageu.model.v3 import Delivery, EnvelopeId
from messageu.wire import v3

from .harness import Device, PairTestCase

CANCELS = "SELECT message_id FROM receipts WHERE cancelled ORDER BY message_id"


class Receiver:
    """A place for files, that keeps what it is told."""

    def __init__(self, wanted=()):
        self.wanted = set(wanted)
        self.offers, self.taken, self.cancels = [], [], []
        self.fails = False
        self.outcomes = {}

    def offered(self, connection, contact, message_id, offer):
        self.offers.append((contact, message_id, offer))
        return [events.FileProgress(message_id, 0, offer.pieces)]

    def outcome(self, connection, contact, message_id):
        return self.outcomes.get(message_id)

    def cancelled(self, connection, contact, message_id):
        self.cancels.append((contact, message_id))
        return [events.FileFailed(message_id, "it is over", contact)]

    def refuse(self, connection, contact):
        return []

    def reset(self, connection):
        pass

    def wants(self, connection, envelope_id):
        return envelope_id in self.wanted

    def take(self, connection, delivery):
        if self.fails:
            raise OSError("no space")
        self.taken.append(delivery)
        return []

    def tick(self, connection, now):
        return []

    def next_tick(self, connection):
        return None


class CraftTestCase(PairTestCase):
    def setUp(self):
        super().setUp()
        self.met()

    def craft(self, kind, body=b"", *, sequence=None, expiry=0, message_id=None, **keys):
        """Have Alice send a message of any sort; the id of the message."""
        message_id = message_id or urandom(16)
        unit = Unit(Tools(self.alice.database, self.clock, urandom), self.clock())
        with transaction(self.alice.database):
            of = contacts.find(unit, "bob")
            own, his = self.alice.core.profile.keys, self.bob.core.profile.keys
            if sequence is None:
                unit.execute("UPDATE contacts SET sent = sent + 1")
                sequence = of.sent + 1
            message = Message(
                keys.get("sender", own),
                keys.get("recipient", his),
                message_id,
                sequence,
                int(self.clock() * 1000),
                expiry,
                kind,
                body,
            )
            seal_message(unit, of, message, None, renewal=False)
        self.settle()
        return message_id


class KindTests(CraftTestCase):
    def test_message_id_again(self):
        """A message id that was used before is receipted again and not shown again."""
        message_id = self.craft(Kind.TEXT, b"once")
        self.relay.seen.clear()
        self.craft(Kind.TEXT, b"twice", message_id=message_id)
        self.assertEqual(self.bob.received(), ["hello", "once"])
        self.assertIn(
            self.alice.identity.account_id,
            [body.envelope.recipient for body in self.relay.seen if isinstance(body, v3.Send)],
        )

    def test_expired(self):
        """What comes after its expiry is not shown, and is not missing."""
        self.craft(Kind.TEXT, b"too late", expiry=int(self.clock()) - 1)
        self.craft(Kind.TEXT, b"in time", expiry=int(self.clock()) + 100)
        self.assertEqual(self.bob.received(), ["hello", "in time"])
        self.assertEqual(self.bob.core.contact("alice").missing, 0)

    def test_unknown_kind(self):
        """A kind that is not known is shown as such."""
        self.craft(99, b"from the future")
        message = self.bob.core.messages()[-1]
        self.assertEqual((message.kind, message.body), (99, b"from the future"))

    def test_no_utf_8(self):
        """Bytes that are no text are kept as they are and shown replaced."""
        self.craft(Kind.TEXT, b"\xff\xed\xa0\x80!")
        message = self.bob.core.messages()[-1]
        self.assertEqual(message.body, b"\xff\xed\xa0\x80!")
        self.assertEqual(message.text[-1], "!")

    def test_profile(self):
        """A display name is kept raw, beside the label."""
        self.craft(Kind.PROFILE, b"\x1b[31mAlice", sequence=0)
        contact = self.bob.core.contact("alice")
        self.assertEqual((contact.label, contact.display_name), ("alice", b"\x1b[31mAlice"))

    def test_receipt_for_nothing(self):
        """A receipt for what was never sent, or for another's message, changes nothing."""
        self.craft(Kind.RECEIPT, encode_receipt([urandom(16)]), sequence=0)
        self.assertEqual(self.bob.core.profile.unopened, 0)
        self.assertEqual(self.bob.statuses(), {"hello too": Status.DELIVERED})

    def test_late_renewal(self):
        """A renewal that is not the first of its session ends no session."""
        sessions = self.sessions(self.bob)
        self.craft(Kind.RENEWAL)
        self.assertEqual(self.sessions(self.bob), sessions)
        self.assertEqual(self.bob.core.contact("alice").missing, 0)

    def test_keys_of_others(self):
        """A message whose keys are not those of its envelope is dropped, without a trace in its
        session: what is behind it opens."""
        eve = Device(self.relay, "eve").core.profile.keys
        self.craft(Kind.TEXT, b"from eve?", sender=eve)
        self.craft(Kind.TEXT, b"for eve?", recipient=eve)
        self.assertEqual(self.bob.core.profile.unopened, 2)
        self.craft(Kind.TEXT, b"from alice")
        self.assertEqual(self.bob.received(), ["hello", "from alice"])

    def test_first_message_with_keys_of_others(self):
        """A first message that is dropped uses up no one-time key."""
        eve = Device(self.relay, "eve")
        eve.core.register("eve")
        eve.go()
        eve.core.add_contact(self.bob.identity, "bob")
        self.alice, alice = eve, self.alice
        account = "SELECT account FROM profile"
        before = self.bob.database.execute(account).fetchone()
        of = contacts.find(Unit(Tools(eve.database, self.clock, urandom), 0), "bob")
        claimed = self.relay.connect()._claim(v3.Claim(of.identity.account_id))
        with transaction(eve.database):
            take_claimed(Unit(Tools(eve.database, self.clock, urandom), self.clock()), of, claimed)
        self.craft(Kind.TEXT, b"I am alice", sender=alice.core.profile.keys)
        self.assertEqual(self.bob.core.profile.unopened, 1)
        self.assertEqual(self.bob.database.execute(account).fetchone(), before)
        self.assertEqual(self.bob.core.message_requests(), [])
        self.craft(Kind.TEXT, b"I am eve")
        self.assertEqual(len(self.bob.core.message_requests()), 1)

    def test_number_that_cannot_be(self):
        """A sequence that nobody comes to does not open."""
        self.craft(Kind.TEXT, b"?", sequence=2**63)
        self.assertEqual(self.bob.core.profile.unopened, 1)

    def test_many_gaps(self):
        """Only so many gaps are remembered; what is in older ones stays missing."""
        self.patch(sequences, "GAPS_LIMIT", 2)
        for sequence in (3, 5, 7, 9, 11, 2, 10):
            self.craft(Kind.TEXT, b"x", sequence=sequence)
        self.assertEqual(self.bob.core.contact("alice").missing, 4)
        self.craft(Kind.TEXT, b"x", sequence=8)
        self.assertEqual(self.bob.core.contact("alice").missing, 3)

    def test_gap_is_split(self):
        """What comes out of the middle of a gap leaves what is around it missing."""
        self.craft(Kind.TEXT, b"x", sequence=10)
        self.assertEqual(self.bob.core.contact("alice").missing, 8)
        self.craft(Kind.TEXT, b"x", sequence=5)
        self.craft(Kind.TEXT, b"x", sequence=5)
        self.assertEqual(self.bob.core.contact("alice").missing, 7)


class FileTests(CraftTestCase):
    def offer(self):
        return FileOffer(bytes(32), 5, bytes(32), piece_count(5), "a.txt", "text/plain")

    def with_receiver(self, **kwargs):
        receiver = Receiver(**kwargs)
        self.bob.files = {"file_receiver": receiver}
        self.bob.start()
        self.bob.go()
        return receiver

    def test_offer(self):
        """An accepted contact's file is shown once, however often it is offered; its place for
        files hears of each offer."""
        receiver = self.with_receiver()
        message_id = self.craft(Kind.FILE, self.offer().encode())
        again = evolve(self.offer(), key=b"k" * 32)
        self.craft(Kind.FILE, again.encode(), message_id=message_id)
        self.assertEqual(
            receiver.offers,
            [(self.alice.identity, message_id, offer) for offer in (self.offer(), again)],
        )
        files = [each for each in self.bob.core.messages() if each.kind == Kind.FILE]
        self.assertEqual([each.message_id for each in files], [message_id])
        self.assertIn(events.FileProgress(message_id, 0, 1), self.bob.events)

    def said(self):
        """What Bob says of messages, from now on: kinds, and the ids that they hold."""
        said = []
        real = outbox.seal_message

        def seal(unit, of, message, *args, **kwargs):
            if unit.connection is self.bob.database and message.kind in (Kind.RECEIPT, Kind.CANCEL):
                said.append((message.kind, *decode_receipt(message.body)))
            real(unit, of, message, *args, **kwargs)

        self.patch(outbox, "seal_message", seal)
        return said

    def test_receipt(self):
        """A file is not receipted before it has come; when it is offered again after that, it is
        receipted again."""
        receiver = self.with_receiver()
        said = self.said()
        message_id = self.craft(Kind.FILE, self.offer().encode())
        text = self.craft(Kind.TEXT, b"a text meanwhile")
        self.assertEqual(said, [(Kind.RECEIPT, text)])
        receiver.outcomes[message_id] = True
        for _ in range(2):
            self.craft(Kind.FILE, self.offer().encode(), message_id=message_id)
            self.assertEqual(said.pop(), (Kind.RECEIPT, message_id))

    def test_cancel(self):
        """A file that is not kept is cancelled, also where there is no place for files at all, and
        again when it is offered again; begun anew, it is not."""
        said = self.said()
        first = self.craft(Kind.FILE, self.offer().encode())
        receiver = self.with_receiver()
        second = urandom(16)
        receiver.outcomes = {first: False, second: False}
        for _ in range(2):
            self.craft(Kind.FILE, self.offer().encode(), message_id=second)
        self.assertEqual(said, [(Kind.CANCEL, each) for each in (first, second, second)])
        said.clear()
        self.bob.core.block("alice")
        self.bob.core.accept("alice")
        self.assertEqual(
            self.bob.database.execute(CANCELS).fetchall(),
            sorted([(first,), (second,)]),
        )
        del receiver.outcomes[second]
        receiver.outcomes[first] = True
        for message_id in (second, first):
            self.craft(Kind.FILE, self.offer().encode(), message_id=message_id)
        self.assertEqual(said[-2:], [(Kind.CANCEL, first), (Kind.RECEIPT, first)])
        self.assertFalse(any(second in ids for _, *ids in said))

    def test_cancelled(self):
        """A contact's cancel reaches the place for files, and nothing is answered to it."""
        receiver = self.with_receiver()
        said = self.said()
        message_id = self.craft(Kind.FILE, self.offer().encode())
        self.craft(Kind.CANCEL, encode_receipt([message_id, bytes(16)]), sequence=0)
        self.assertEqual(
            receiver.cancels, [(self.alice.identity, each) for each in (message_id, bytes(16))]
        )
        self.assertEqual(len(self.bob.told(events.FileFailed)), 2)
        self.assertEqual(said, [])

    def test_cancel_of_a_text(self):
        """A cancel gives up files only: a text of ours stays delivered, or on its way."""
        self.with_receiver()
        (mine,) = [each for each in self.bob.core.messages() if each.mine]
        self.craft(Kind.CANCEL, encode_receipt([mine.message_id]), sequence=0)
        self.assertEqual(self.bob.statuses(), {"hello too": Status.DELIVERED})

    def test_id_of_a_text(self):
        """A file under the id of a text is not taken, as no message of a known id is."""
        receiver = self.with_receiver()
        said = self.said()
        message_id = self.craft(Kind.TEXT, b"once")
        self.craft(Kind.FILE, self.offer().encode(), message_id=message_id)
        self.assertEqual((receiver.offers, self.bob.received()), ([], ["hello", "once"]))
        self.assertEqual(said, [(Kind.RECEIPT, message_id)] * 2)

    def test_offer_that_is_none(self):
        """What is no offer is counted, and the conversation goes on."""
        receiver = self.with_receiver()
        self.craft(Kind.FILE, b"x" * 90)
        self.assertEqual((receiver.offers, self.bob.core.profile.unopened), ([], 1))
        self.assertEqual(self.bob.core.contact("alice").missing, 0)

    def piece(self, envelope_id):
        delivery = Delivery(10**6, EnvelopeId(envelope_id), 0, b"piece")
        self.bob.core.receive(v3.Response(v3.PUSH, v3.Deliver(delivery)))

    def acknowledged(self):
        bodies = (request.body for request in self.bob.core.requests())
        return any(isinstance(body, v3.Acknowledge) for body in bodies)

    def test_pieces(self):
        """A piece that is wanted is handed over once; others change nothing. Both are
        acknowledged."""
        receiver = self.with_receiver(wanted=[EnvelopeId(bytes(16))])
        self.piece(bytes(16))
        self.piece(bytes(16))
        self.assertEqual(len(receiver.taken), 1)
        self.piece(b"x" * 16)
        self.assertEqual(len(receiver.taken), 1)
        self.assertTrue(self.acknowledged())

    def test_disk_is_full(self):
        """A piece that cannot be kept is not acknowledged, and comes again later."""
        receiver = self.with_receiver(wanted=[EnvelopeId(bytes(16))])
        receiver.fails = True
        self.assertRaises(StateFailed, self.piece, bytes(16))
        self.assertFalse(self.acknowledged())
        self.assertTrue(self.bob.core.verdict.reconnect)
        receiver.fails = False
        self.bob.hang_up()
        self.bob.go()
        self.piece(bytes(16))
        self.assertEqual(len(receiver.taken), 1)
