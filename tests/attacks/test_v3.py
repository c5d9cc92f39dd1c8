"""The attacks of the table on v3, where each of them fails.

Each test first makes sure that the attack is the one that is meant: that it would work if the thing
that stops it were not there, or that the honest way works.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

from attrs import evolve
from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import RelayNotTrusted, RelayNotV3
from messageu.client.v3 import _events as events
from messageu.client.v3._account import load_account, read_own
from messageu.client.v3._connection import Patience, RelayConnection, TlsEndpoint
from messageu.client.v3._conversations import open_envelope
from messageu.client.v3._errors import IdentityHasChanged
from messageu.client.v3._values import Status
from messageu.crypto.v3 import (
    Account,
    Ciphertext,
    CryptoError,
    HpkeKey,
    Kind,
    Message,
    open_piece,
    seal,
    seal_piece,
    unseal,
)
from messageu.model.v3 import (
    PIECE_KEY_ID,
    PIECE_SIZE,
    Bundle,
    Delivery,
    EnvelopeId,
    Handle,
    IdentityKeys,
    OneTimeKey,
    Reason,
    SealedEnvelope,
    authentication_text,
    one_time_key_text,
)
from messageu.store.v3 import Stored
from messageu.testing.network import MemoryNetwork
from messageu.wire import v3
from tests.client.v3.tls import listener, relay_key
from tests.server.v3.relay import ClientTls, MemoryRelay, Person
from tests.store.v3.contract import SqliteFixture

from .v3 import TlsDevice, V3Case

HANDSHAKE = 22
APPLICATION_DATA = 23
"""Types of a record of TLS."""


class MailboxTests(V3Case):
    """Nobody is somebody because he knows an id."""

    def test_draining(self) -> None:
        """No request names a mailbox, nobody is bob without his key, and an id in a header ends
        the connection: bob gets his mail."""
        self.bob.hang_up()
        self.alice.core.send_text("bob", "for bob alone")
        self.settle(self.alice)
        stranger = self.relay.inner.dial()
        for body in (v3.Subscribe(10, 10_000), v3.Acknowledge((1,)), v3.DeleteAccount()):
            self.assertEqual(stranger.ask(body), v3.Error(Reason.NOT_AUTHENTICATED))
        mallory = self.relay.inner.log_in(Person(), name="mallory")
        mallory.subscribe()
        self.assertEqual(mallory.pushed(), [])
        mallory.ask(v3.Acknowledge((1, 2, 3)))
        named = v3.Request(9, v3.Subscribe(10, 10_000)).encode()
        stranger.write(self.bob.identity.account_id.raw + named[16:])
        self.assertEqual([each.body.reason for each in stranger.take()], [Reason.MALFORMED])
        self.settle()
        self.assertEqual(self.bob.received(), ["for bob alone"])

    def test_forged_proof(self) -> None:
        """bob's keys with mallory's signature are nobody, and whether bob is known is not told."""
        nobody = IdentityKeys(bytes(range(32)), bytes(32))
        for keys in (self.bob.core.profile.keys, nobody):
            connection, mallory = self.relay.inner.dial(), Person()
            welcome = connection.ask(v3.Hello())
            text = authentication_text(welcome.nonce, keys.identity, 2**60, connection.side.binding)
            answer = connection.ask(v3.Authenticate(keys, 2**60, mallory.ed25519.sign(text)))
            self.assertEqual(answer, v3.Error(Reason.AUTH_FAILED))
            again = connection.ask(v3.Authenticate(keys, 2**60, mallory.ed25519.sign(text)))
            self.assertEqual(again, v3.Error(Reason.OUT_OF_TURN))

    def test_squatted_name(self) -> None:
        """Names of the operator, and what looks like them or like alice's, are taken; a name is
        not free again when its account is deleted."""
        mallory = self.relay.inner.log_in(Person())
        for name in (b"admin", b"postmaster", b"adm1n", b"a1ice", b"al.ice", b"alice"):
            self.assertEqual(mallory.ask(v3.Register(name)), v3.Error(Reason.NAME_TAKEN), name)
        for name in (b"alice ", b"Alice", "аlice".encode()):
            self.assertEqual(mallory.ask(v3.Register(name)), v3.Error(Reason.NAME_INVALID), name)
        self.raw(self.alice).ask(v3.DeleteAccount())
        self.assertEqual(mallory.ask(v3.Register(b"alice")), v3.Error(Reason.NAME_TAKEN))
        self.assertEqual(mallory.ask(v3.Register(b"alina")), v3.Registered())


class Mallory:
    """Somebody who has an account, speaks by hand, and seals what he likes."""

    def __init__(self, case: V3Case, keys: IdentityKeys | None = None) -> None:
        self.account = Account.create()
        self.keys = keys or self.account.keys
        self.hpke = HpkeKey.create()
        self.connection = case.relay.inner.dial()
        welcome = self.connection.ask(v3.Hello())
        text = authentication_text(
            welcome.nonce, self.keys.identity, 1, self.connection.side.binding
        )
        proof = v3.Authenticate(self.keys, 1, self.account.sign(text))
        case.assertIsInstance(self.connection.ask(proof), v3.Authenticated)
        case.assertEqual(self.connection.ask(v3.Register(b"mallory")), v3.Registered())

    def claim(self, victim: TlsDevice) -> v3.Claimed:
        """Somebody's prekeys."""
        return self.connection.ask(v3.Claim(victim.identity.account_id))

    def send(
        self, victim: TlsDevice, bundle: Bundle, sender: IdentityKeys, ciphertext: Ciphertext
    ) -> v3.Send:
        """Seal a ciphertext for somebody, in anybody's name, and send it."""
        envelope_id, key_id = EnvelopeId(b"m" * 16), bundle.hpke_key_id
        sealed = seal(sender, ciphertext, victim.identity, envelope_id, key_id, bundle.hpke_key)
        envelope = SealedEnvelope(victim.identity.account_id, envelope_id, key_id, sealed)
        body = v3.Send(envelope)
        answer = self.connection.ask(body)
        assert isinstance(answer, v3.Stored), answer
        return body

    def text(self, sender: IdentityKeys, recipient: IdentityKeys, text: bytes) -> bytes:
        """A message that names whom he likes."""
        message = Message(sender, recipient, b"x" * 16, 1, 1, 0, Kind.TEXT, text)
        return message.encode()


class SenderTests(V3Case):
    """Who a message is from."""

    def test_forged_sender(self) -> None:
        """A seal that names alice is not opened by a ratchet that she is not in, nor is a message
        that names alice shown in mallory's. Her own sessions stay as they are."""
        self.converse()
        mallory = Mallory(self)
        alice, bob = self.alice.core.profile.keys, self.bob.core.profile.keys
        halves = IdentityKeys(alice.ed25519, mallory.keys.curve25519)
        for number, (in_seal, in_message) in enumerate(
            ((alice, alice), (mallory.keys, alice), (alice, mallory.keys), (halves, alice))
        ):
            claimed = mallory.claim(self.bob)
            session = mallory.account.begin(bob, claimed.one_time_key.key)
            ciphertext = session.encrypt(mallory.text(in_message, bob, b"pay mallory"))
            self.forge(mallory, claimed.bundle, in_seal, ciphertext, number)
        self.settle()
        self.assertEqual(self.bob.received(), ["hello"])
        self.assertEqual(self.bob.core.message_requests(), [])
        self.assertEqual(self.bob.core.profile.unopened, 4)
        self.say("still here")
        self.assertEqual(self.bob.received(), ["hello", "still here"])

    def forge(self, mallory, bundle, sender, ciphertext, number) -> None:
        envelope_id = EnvelopeId(bytes((number,)) * 16)
        sealed = seal(
            sender, ciphertext, self.bob.identity, envelope_id, bundle.hpke_key_id, bundle.hpke_key
        )
        envelope = SealedEnvelope(
            self.bob.identity.account_id, envelope_id, bundle.hpke_key_id, sealed
        )
        self.assertIsInstance(mallory.connection.ask(v3.Send(envelope)), v3.Stored)

    def test_honest_stranger(self) -> None:
        """The same by hand, but honest, is a request of mallory's: the attack above is well made."""
        mallory = Mallory(self)
        bob = self.bob.core.profile.keys
        claimed = mallory.claim(self.bob)
        session = mallory.account.begin(bob, claimed.one_time_key.key)
        ciphertext = session.encrypt(mallory.text(mallory.keys, bob, b"it is me"))
        mallory.send(self.bob, claimed.bundle, mallory.keys, ciphertext)
        self.settle()
        (request,) = self.bob.core.message_requests()
        self.assertEqual(request.identity, mallory.keys.identity)

    def test_passed_on_as_ones_own(self) -> None:
        """What alice has sealed for bob opens for nobody else, and for bob as no other envelope."""
        self.say("I owe you 100")
        (sent,) = (body.envelope for body in self.sent() if self.is_to_bob(body))
        mallory = Mallory(self)
        other = evolve(sent, envelope_id=EnvelopeId(b"m" * 16))
        self.assertIsInstance(mallory.connection.ask(v3.Send(other)), v3.Stored)
        self.settle()
        self.assertEqual(self.bob.received(), ["I owe you 100"])
        self.assertEqual(self.bob.core.profile.unopened, 1)

    def is_to_bob(self, body: v3.Send) -> bool:
        """Whose mailbox it is for."""
        return body.envelope.recipient == self.bob.identity.account_id

    def test_misbinding(self) -> None:
        """mallory shows bob's Curve25519 key beside his own Ed25519 key, and bob's one-time key as
        his own. What alice writes to mallory then opens in bob's ratchet as alice's, and is for
        somebody else: bob drops it."""
        bob = self.bob.core.profile.keys
        account = Account.create()
        both = IdentityKeys(account.keys.ed25519, bob.curve25519)
        mallory = Mallory.__new__(Mallory)
        mallory.account = account
        self.enter(mallory, both)
        stolen = mallory.claim(self.bob).one_time_key
        text = one_time_key_text(both.identity, stolen.key_id, stolen.key)
        one_time_key = OneTimeKey(stolen.key_id, stolen.key, account.sign(text))
        unsigned = Bundle(
            both.identity, 1, int(self.relay.now()) + 86400, 1, mallory.hpke.public, 1,
            stolen.key, bytes(64),
        )  # fmt: skip
        bundle = evolve(unsigned, signature=account.sign(unsigned.signed_text))
        self.assertIsInstance(
            mallory.connection.ask(v3.Publish(bundle, (one_time_key,))), v3.Published
        )
        self.alice.core.add_contact(both.identity, "mallory")
        self.alice.core.send_text("mallory", "I owe you 100")
        self.settle()
        mallory.connection.subscribe()
        (push,) = mallory.connection.pushed()
        delivery = push.delivery
        unsealed = unseal(delivery.sealed, mallory.hpke, both.identity, delivery.envelope_id, 1)
        with self.bob.core._reading() as unit:
            bobs = load_account(unit)
        _, plaintext = bobs.accept(unsealed.sender, unsealed.ciphertext)
        self.assertIn(b"I owe you 100", plaintext)  # nothing but what is in it stops the attack
        claimed = mallory.claim(self.bob)
        mallory.send(self.bob, claimed.bundle, unsealed.sender, unsealed.ciphertext)
        self.settle()
        self.assertEqual(self.bob.received(), [])
        self.assertEqual(self.bob.core.profile.unopened, 1)

    def enter(self, mallory: Mallory, keys: IdentityKeys) -> None:
        """Register an identity of two keys of different people: the relay lets everybody."""
        mallory.keys, mallory.hpke = keys, HpkeKey.create()
        mallory.connection = self.relay.inner.dial()
        welcome = mallory.connection.ask(v3.Hello())
        text = authentication_text(welcome.nonce, keys.identity, 1, mallory.connection.side.binding)
        proof = v3.Authenticate(keys, 1, mallory.account.sign(text))
        self.assertIsInstance(mallory.connection.ask(proof), v3.Authenticated)
        self.assertEqual(mallory.connection.ask(v3.Register(b"mallory")), v3.Registered())


class KeyTests(V3Case):
    """Whose keys somebody writes to."""

    def answer_claims(self, change: Callable[[v3.Claimed], v3.Claimed]) -> None:
        """The relay says something else about prekeys."""

        def changed(response: v3.Response):
            if isinstance(response.body, v3.Claimed):
                response = v3.Response(response.correlation, change(response.body))
            return (response,)

        self.relay.on_response = changed

    def assert_refused(self, change: Callable[[v3.Claimed], v3.Claimed]) -> None:
        """alice writes nothing to whom the relay says bob is, and hears of it."""
        self.answer_claims(change)
        before = len(self.sent())
        self.alice.events.clear()
        self.alice.core.send_text("bob", "between us")
        self.settle()
        self.assertEqual(len(self.sent()), before)
        self.assertEqual([event.what for event in self.alice.told(events.Refused)], ["claim"])

    def prekeys_of(self, person: Account, claimed: v3.Claimed, **changed) -> v3.Claimed:
        """What somebody would publish who wants to be taken for bob."""
        bundle = evolve(claimed.bundle, **changed)
        bundle = evolve(bundle, signature=person.sign(bundle.signed_text))
        key = claimed.one_time_key
        text = one_time_key_text(bundle.identity, key.key_id, key.key)
        return v3.Claimed(claimed.keys, bundle, OneTimeKey(key.key_id, key.key, person.sign(text)))

    def test_swapped_key(self) -> None:
        """Prekeys of the relay's own, under its own identity or bob's, are not written to."""
        own = Account.create()
        self.assert_refused(
            lambda claimed: evolve(
                self.prekeys_of(own, claimed, identity=own.keys.identity), keys=own.keys
            )
        )

    def test_swapped_key_in_bobs_name(self) -> None:
        """Nor are they when the relay shows bob's identity keys with them."""
        own = Account.create()
        self.assert_refused(lambda claimed: self.prekeys_of(own, claimed))

    def test_foreign_prekey(self) -> None:
        """A one-time key of carol's, signed by her, is not taken for bob's."""
        carol = self.device("carol")
        theirs = Mallory(self).claim(carol)
        self.assert_refused(lambda claimed: evolve(claimed, one_time_key=theirs.one_time_key))

    def test_foreign_bundle(self) -> None:
        """Nor is her bundle."""
        carol = self.device("carol")
        theirs = Mallory(self).claim(carol)
        self.assert_refused(lambda claimed: evolve(claimed, bundle=theirs.bundle))

    def test_stale_prekey(self) -> None:
        """A bundle that is signed, but whose time is over, is not written to."""
        with self.bob.core._reading() as unit:
            bobs = load_account(unit)
        self.assert_refused(
            lambda claimed: self.prekeys_of(bobs, claimed, not_after=int(self.relay.now()))
        )

    def test_older_prekey(self) -> None:
        """A bundle that is older than one that alice has seen is not written to, with a new
        session least of all."""
        with self.bob.core._reading() as unit:
            bobs = load_account(unit)
        self.answer_claims(lambda claimed: self.prekeys_of(bobs, claimed, sequence=7))
        self.say("with the seventh")
        self.assertEqual(self.bob.received(), ["with the seventh"])
        self.alice.core.reset()
        self.alice.hang_up()
        self.assert_refused(lambda claimed: self.prekeys_of(bobs, claimed, sequence=6))

    def test_honest_relay(self) -> None:
        """The prekeys that bob has published are written to: nothing of the above is in the way."""
        self.answer_claims(lambda claimed: claimed)
        self.say("between us")
        self.assertEqual(self.bob.received(), ["between us"])

    def test_name_of_another(self) -> None:
        """When the relay says that bob's name is somebody else's now, alice hears of it, and writes
        to neither until she decides."""
        carol = self.device("carol")
        self.alice.core.remove("bob")
        self.alice.core.resolve("bob")
        self.settle()
        self.alice.core.add_contact(self.bob.identity, "bob", name="bob")

        def lies(response: v3.Response):
            if isinstance(response.body, v3.Resolved):
                body = v3.Resolved(carol.core.profile.keys)
                response = v3.Response(response.correlation, body)
            return (response,)

        self.relay.on_response = lies
        self.alice.core.resolve("bob")
        self.settle()
        (changed,) = self.alice.told(events.IdentityChanged)
        self.assertEqual(changed.contact, self.bob.identity)
        self.assertRaises(IdentityHasChanged, self.alice.core.send_text, "bob", "x")

    def test_safety_number(self) -> None:
        """Who is deceived about an identity sees another safety number."""
        carol = self.device("carol")
        self.alice.core.add_contact(carol.identity, "not bob")
        right = self.bob.core.safety_number("alice")
        self.assertEqual(self.alice.core.safety_number("bob"), right)
        self.assertNotEqual(self.alice.core.safety_number("not bob"), right)


class DeliveryTests(V3Case):
    """What the relay does with mail on its way."""

    def test_replay(self) -> None:
        """What the relay delivers twice, in another place or under another id, is shown once."""
        self.converse()

        def twice(delivery: Delivery):
            yield delivery
            yield evolve(delivery, sequence=delivery.sequence + 1000)
            yield evolve(
                delivery, sequence=delivery.sequence + 2000, envelope_id=EnvelopeId(b"r" * 16)
            )

        self.tamper(twice)
        self.say("once")
        self.assertEqual(self.bob.received(), ["hello", "once"])

    def test_replay_later(self) -> None:
        """Nor is it shown again when it comes after it was acknowledged."""
        self.converse()
        kept: list[Delivery] = []
        self.tamper(lambda delivery: (kept.append(delivery), delivery)[1:])
        self.say("once")
        unopened = self.bob.core.profile.unopened
        for delivery in kept:
            self.bob.core.receive(v3.Response(v3.PUSH, v3.Deliver(delivery)))
        self.settle()
        self.assertEqual(self.bob.received(), ["hello", "once"])
        self.assertGreater(self.bob.core.profile.unopened, unopened)

    def test_replayed_first_message(self) -> None:
        """A first message under a fallback key, which Olm opens again, is not shown again when its
        session is gone."""

        def without_one_time_key(response: v3.Response):
            if isinstance(response.body, v3.Claimed):
                body = evolve(response.body, one_time_key=None)
                response = v3.Response(response.correlation, body)
            elif isinstance(response.body, v3.Deliver):
                kept.append(response.body.delivery)
            return (response,)

        kept: list[Delivery] = []
        self.relay.on_response = without_one_time_key
        self.say("first")
        self.assertEqual(self.bob.received(), ["first"])
        first = kept[0]
        for table in ("sessions", "arrivals"):  # as after five newer ones, and an acknowledgement
            self.bob.database.execute(f"DELETE FROM {table}")
        with self.bob.core._reading() as unit:
            own, bobs = read_own(unit), load_account(unit)
            key = HpkeKey.restore(
                unit.value("SELECT secret FROM hpke_keys WHERE id = ?", first.hpke_key_id)
            )
        unsealed = unseal(first.sealed, key, own.identity, first.envelope_id, first.hpke_key_id)
        _, again = bobs.accept(unsealed.sender, unsealed.ciphertext)
        self.assertIn(b"first", again)  # it opens: what is remembered is what stops it
        self.bob.database.execute("DELETE FROM messages")
        self.bob.core.receive(v3.Response(v3.PUSH, v3.Deliver(first)))
        self.settle()
        self.assertEqual((self.bob.received(), self.bob.core.profile.unopened), ([], 1))

    def hold(self) -> list[Delivery]:
        """The relay keeps back what is for bob; what it has kept."""
        kept: list[Delivery] = []
        self.tamper(lambda delivery: (kept.append(delivery), ())[1])
        return kept

    def hand(self, *deliveries: Delivery) -> None:
        """The relay delivers after all."""
        self.tamper(lambda delivery: (delivery,))
        for delivery in deliveries:
            self.bob.core.receive(v3.Response(v3.PUSH, v3.Deliver(delivery)))
            self.bob.events.extend(self.bob.core.events())

    def test_reorder(self) -> None:
        """Texts in another order open, and as long as one before them has not come it is missed."""
        self.converse()
        kept = self.hold()
        self.say("no", "shall I pay him?", "yes")
        self.hand(*kept[::-1])
        self.assertEqual(
            [event.count for event in self.bob.told(events.MessagesMissing)], [2, 1, 0]
        )
        self.assertEqual(set(self.bob.received()), {"hello", "no", "shall I pay him?", "yes"})

    def test_withhold(self) -> None:
        """A text that the relay keeps back is missed by bob, and is not delivered for alice."""
        self.converse()
        kept = self.hold()
        self.say("do not", "sell")
        self.hand(kept[-1])
        self.settle(seconds=10)
        self.assertEqual(self.bob.received(), ["hello", "sell"])
        self.assertEqual(self.bob.core.contact("alice").missing, 1)
        self.assertEqual(self.alice.statuses()["do not"], Status.STORED)
        self.assertEqual(self.alice.statuses()["sell"], Status.DELIVERED)

    def test_withheld_end(self) -> None:
        """The last text that is kept back cannot be missed by bob, but alice sees no receipt."""
        self.converse()
        self.hold()
        self.say("sell")
        self.settle(seconds=10)
        self.assertEqual(self.alice.statuses()["sell"], Status.STORED)

    def test_flipped_bits(self) -> None:
        """A bit that is turned over anywhere in what is sealed, in its id or its key's makes it
        not open; the session goes on."""
        self.converse()
        kept = self.hold()
        self.say("100")
        (whole,) = kept
        size = len(whole.sealed)
        unopened = self.bob.core.profile.unopened
        places = (0, 1, 1000, 1087, 1088, 1119, 1120, 1121, size - 17, size - 16, size - 1)
        broken = [evolve(whole, sealed=_flipped(whole.sealed, at)) for at in places]
        broken += [
            evolve(whole, envelope_id=EnvelopeId(_flipped(whole.envelope_id.raw, 3))),
            evolve(whole, hpke_key_id=whole.hpke_key_id + 2),
            evolve(whole, hpke_key_id=PIECE_KEY_ID),  # a piece of no file, and so not counted
        ]
        for number, delivery in enumerate(broken):
            if delivery.envelope_id == whole.envelope_id:
                self.bob.database.execute("DELETE FROM arrivals")
            self.hand(evolve(delivery, sequence=5000 + number))
        self.assertEqual(self.bob.received(), ["hello"])
        self.assertEqual(self.bob.core.profile.unopened, unopened + len(broken) - 1)
        self.bob.database.execute("DELETE FROM arrivals")
        self.hand(whole)
        self.assertEqual(self.bob.received(), ["hello", "100"])

    def test_flipped_bits_below_the_seal(self) -> None:
        """Whoever gets below the seal, and seals anew what he has changed, breaks the ratchet's
        authentication: a bit anywhere in the ciphertext makes it not open."""
        self.converse()
        kept = self.hold()
        self.say("100")
        (whole,) = kept
        with self.bob.core._reading() as unit:
            own = read_own(unit)
            key = HpkeKey.restore(
                unit.value("SELECT secret FROM hpke_keys WHERE id = ?", whole.hpke_key_id)
            )
        unsealed = unseal(whole.sealed, key, own.identity, whole.envelope_id, whole.hpke_key_id)
        raw = unsealed.ciphertext.raw
        for number, at in enumerate((0, 1, 10, 40, len(raw) // 2, len(raw) - 9, len(raw) - 1)):
            envelope_id = EnvelopeId(bytes((number,)) * 16)
            try:
                ciphertext = Ciphertext(unsealed.ciphertext.type, _flipped(raw, at))
                sealed = seal(
                    unsealed.sender, ciphertext, own.identity, envelope_id, whole.hpke_key_id,
                    key.public,
                )  # fmt: skip
            except CryptoError as error:
                raise AssertionError from error
            self.hand(Delivery(6000 + number, envelope_id, whole.hpke_key_id, sealed))
        self.assertEqual(self.bob.received(), ["hello"])
        self.hand(whole)
        self.assertEqual(self.bob.received(), ["hello", "100"])

    def test_truncated(self) -> None:
        """An envelope that is cut anywhere does not open, nor does one to which something is
        added."""
        self.converse()
        kept = self.hold()
        self.say("we pay, but only if you come")
        (whole,) = kept
        size = len(whole.sealed)
        for number, length in enumerate((0, 1, 15, 1119, 1120, 1136, size // 2, size - 1)):
            self.bob.database.execute("DELETE FROM arrivals")
            self.hand(evolve(whole, sequence=7000 + number, sealed=whole.sealed[:length]))
        self.bob.database.execute("DELETE FROM arrivals")
        self.hand(evolve(whole, sequence=8000, sealed=whole.sealed + b"\0"))
        self.assertEqual(self.bob.received(), ["hello"])
        self.assertEqual(self.bob.core.profile.unopened, 9)


def _flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]


class FileTests(SynchronousTestCase):
    """Pieces of a file, which no ratchet protects."""

    KEY = bytes(range(32))

    def piece(self, index: int, *, last: bool) -> bytes:
        """A sealed piece."""
        return seal_piece(self.KEY, index, last, b"p" * PIECE_SIZE)

    def test_flipped_bits(self) -> None:
        """A piece of which a bit was turned over does not open, nor does one under another key."""
        sealed = self.piece(0, last=False)
        open_piece(self.KEY, 0, False, sealed)
        for at in (0, 1000, PIECE_SIZE - 1, PIECE_SIZE, PIECE_SIZE + 15):
            self.assertRaises(CryptoError, open_piece, self.KEY, 0, False, _flipped(sealed, at))
        self.assertRaises(CryptoError, open_piece, _flipped(self.KEY, 5), 0, False, sealed)

    def test_truncated(self) -> None:
        """A piece in another's place does not open, nor one before the end as the last: a file
        cannot be cut, or its pieces reordered, unnoticed."""
        sealed = self.piece(3, last=False)
        for index, last in ((2, False), (4, False), (3, True), (0, True)):
            self.assertRaises(CryptoError, open_piece, self.KEY, index, last, sealed)
        self.assertRaises(CryptoError, open_piece, self.KEY, 3, False, self.piece(3, last=True))
        self.assertRaises(CryptoError, open_piece, self.KEY, 3, False, sealed[:-1])
        self.assertRaises(CryptoError, open_piece, self.KEY, 3, False, sealed[:1000])


class ChannelTests(V3Case):
    """Whom a client talks to."""

    def test_relayed_challenge(self) -> None:
        """What bob signs for mallory's relay, to the real one's challenge, is nobody at the real
        one: it is bound to another channel. The same on the right channel is bob."""
        mallory = self.relay.inner.dial()
        mallorys_relay = MemoryRelay().dial()
        for binding, expected in (
            (mallorys_relay.side.binding, v3.Error(Reason.AUTH_FAILED)),
            (mallory.side.binding, v3.Authenticated(registered=True, one_time_keys=50)),
        ):
            welcome = mallory.ask(v3.Hello())
            proof = self.proof(self.bob, welcome.nonce, binding)
            self.assertEqual(mallory.ask(proof), expected)

    def test_old_tls(self) -> None:
        """A relay says nothing to TLS 1.2."""
        connection = self.relay.inner.dial(tls=ClientTls(version=SSL.TLS1_2_VERSION))
        self.assertTrue(connection.closed)
        self.assertEqual((connection.side.binding, bytes(connection.side.received)), (None, b""))

    def test_missing_alpn(self) -> None:
        """A relay closes on whoever does not name the protocol, and answers nothing."""
        for protocols in ((), (b"h2",), (b"messageu/2",)):
            connection = self.relay.inner.dial(tls=ClientTls(protocols))
            self.assertTrue(connection.closed, protocols)
            self.assertEqual(bytes(connection.side.received), b"")


class _Heard(Protocol):
    heard: bytearray

    def dataReceived(self, data: bytes) -> None:
        self.heard += data


class _Driver:
    def __init__(self) -> None:
        self.binding = self.why = None

    def connected(self, channel_binding: bytes) -> None:
        self.binding = channel_binding

    def receive(self, response: v3.Response) -> None:
        raise AssertionError

    def requests(self):
        return ()

    def lost(self, why: Exception) -> None:
        self.why = why


class ClientChannelTests(SynchronousTestCase):
    """Whom a client talks to, from its side."""

    def setUp(self) -> None:
        """A network, and what a relay hears on it."""
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.driver = _Driver()

    def dial(self, listens, pin: bytes) -> None:
        """Connect to whatever listens."""
        self.network.listener = listens
        connection = RelayConnection(self.clock, pin, self.driver, Patience())
        TlsEndpoint(self.network.endpoint(), self.clock).connect(
            Factory.forProtocol(lambda: connection)
        )
        self.network.run()

    def relay(self, **options):
        """Something that speaks TLS, and the pin of the relay that was meant."""
        self.heard = bytearray()

        def make():
            protocol = Factory.forProtocol(_Heard).buildProtocol(None)
            protocol.heard = self.heard
            return protocol

        return listener(self.clock, make, **options)

    def test_wrong_pin(self) -> None:
        """A relay with another key is left before a word is said; the one that was meant is not."""
        self.dial(self.relay(key=relay_key("somebody else")), relay_key().pin)
        self.assertIsInstance(self.driver.why, RelayNotTrusted)
        self.assertEqual((self.driver.binding, bytes(self.heard)), (None, b""))
        self.driver = _Driver()
        self.dial(self.relay(), relay_key().pin)
        self.assertIsNotNone(self.driver.binding)

    def test_no_alpn(self) -> None:
        """So is one that does not name the protocol, with the right key."""
        self.dial(self.relay(protocols=()), relay_key().pin)
        self.assertIsInstance(self.driver.why, RelayNotV3)
        self.assertEqual((self.driver.binding, bytes(self.heard)), (None, b""))

    def test_downgrade(self) -> None:
        """Whoever answers as a relay of v2 is left: there is no way from v3 to v2, and no byte
        of v2 is sent."""
        seen = bytearray()

        class V2(_Heard):
            heard = seen

            def connectionMade(self):
                self.transport.write(b"\x02\x28\x23\x00\x00\x00\x00")  # 9000

        self.dial(Factory.forProtocol(V2), relay_key().pin)
        self.network.wait(60)
        self.assertIsNotNone(self.driver.why)
        self.assertIsNone(self.driver.binding)
        records, kinds = bytes(seen), []
        while records:
            kinds.append(records[0])
            records = records[5 + int.from_bytes(records[3:5], "big") :]
        self.assertEqual(kinds[0], HANDSHAKE)
        self.assertNotIn(APPLICATION_DATA, kinds)


class ThiefTests(V3Case):
    """What is on disks."""

    def opens(self, thief: TlsDevice, delivery: Delivery) -> bool:
        """Whether a stolen state opens an envelope, with everything that is in it."""
        with thief.core._reading() as unit:
            try:
                open_envelope(unit, read_own(unit), delivery)
            except CryptoError:
                return False
        return True

    def test_stolen_state(self) -> None:
        """Whoever steals bob's state, keys and passphrase does not open what bob has read before,
        and no more what alice writes after a round trip."""
        kept: list[Delivery] = []

        def keep(delivery: Delivery):
            kept.append(delivery)
            return (delivery,)

        self.converse()
        self.tamper(keep)
        self.say("last year")
        past = self.to_bob(kept)
        thief = TlsDevice(self.relay, "bob", database=self.bob.database.copy())
        self.assertEqual([self.opens(thief, delivery) for delivery in past], [False])
        kept.clear()
        self.say("just now")
        now = self.to_bob(kept)
        self.assertEqual([self.opens(thief, delivery) for delivery in now], [True])
        self.say("my answer", by=self.bob, to="alice")
        kept.clear()
        self.say("healed")
        healed = self.to_bob(kept)
        self.assertEqual([self.opens(thief, delivery) for delivery in healed], [False])
        self.assertEqual(self.bob.received()[-1], "healed")

    def to_bob(self, kept: list[Delivery]) -> list[Delivery]:
        """Of what was delivered, texts for bob: the receipts are alice's."""
        envelope_ids = {
            body.envelope.envelope_id
            for body in self.sent()
            if body.envelope.recipient == self.bob.identity.account_id
        }
        return [delivery for delivery in kept if delivery.envelope_id in envelope_ids]

    def test_copied_client(self) -> None:
        """A copy of bob's profile is told that it is one when it connects, sends nothing, and takes
        nothing; and if it was first, bob is told."""
        self.converse()
        copied = self.bob.database.copy()
        self.say("one")
        self.settle()
        self.bob.hang_up()
        self.bob.go()
        copy = TlsDevice(self.relay, "bob", database=copied)
        before = len(self.relay.seen)
        copy.core.send_text("alice", "from the copy")
        copy.go()
        self.assertEqual(len(copy.told(events.StateIsStale)), 1)
        kinds = {type(body) for body in self.relay.seen[before:]}
        self.assertEqual(kinds, {v3.Hello, v3.Authenticate})
        copy.go()
        self.assertEqual({type(body) for body in self.relay.seen[before:]}, kinds)
        self.say("two")
        self.assertEqual(self.bob.received(), ["hello", "one", "two"])
        self.assertEqual(self.alice.received(), ["hi"])

    def test_restored_within_a_connection(self) -> None:
        """A backup that was made within the last connection is not told from bob, which is a limit
        of generations. What it then sends in a ratchet that has gone on does not open, and is not
        shown to alice; bob, when he comes back, is told."""
        self.converse()
        backup = self.bob.database.copy()
        self.say("two", by=self.bob, to="alice")
        copy = TlsDevice(self.relay, "bob", database=backup)
        copy.go()
        self.assertFalse(copy.core.profile.stale)
        copy.core.send_text("alice", "from the copy")
        self.settle(self.alice, copy)
        self.assertEqual(self.alice.received(), ["hi", "two"])
        self.assertEqual(self.alice.core.profile.unopened, 1)
        self.bob.hang_up()
        self.bob.go()
        self.assertTrue(self.bob.core.profile.stale)

    def test_restored_client(self) -> None:
        """A profile that is restored from a backup is told so, and when its user resets it, it gets
        and sends again what was not receipted."""
        self.converse()
        backup = self.bob.database.copy()
        self.bob.hang_up()
        self.say("one")
        self.say("two", by=self.bob, to="alice")
        self.bob.hang_up()
        bob = TlsDevice(self.relay, "bob", database=backup)
        bob.go()
        self.assertTrue(bob.core.profile.stale)
        bob.core.reset()
        self.settle(self.alice, bob, seconds=30)
        self.alice.core.send_text("bob", "three")
        self.settle(self.alice, bob, seconds=30)
        self.assertEqual(bob.received()[-1], "three")
        bob.core.send_text("alice", "four")
        self.settle(self.alice, bob, seconds=30)
        self.assertEqual(self.alice.received()[-1], "four")


class DatabaseTests(SynchronousTestCase):
    """What is on the relay's disk."""

    def test_stolen_database(self) -> None:
        """The relay's database has no sender of a message, and none of its words."""
        fixture = SqliteFixture()
        self.addCleanup(fixture.dispose)
        store = fixture.store.accounts
        case = V3Case()
        case.setUp()
        case.say("for bob alone")
        (sent, *_) = (body.envelope for body in case.sent())
        for device in (case.alice, case.bob):
            keys = device.core.profile.keys
            fixture.result(store.register(keys, 1, Handle(device.name), None))
        self.assertIsInstance(fixture.result(store.put([sent]))[0], Stored)
        with closing(sqlite3.connect(fixture.path)) as database:
            columns = [row[1] for row in database.execute("PRAGMA table_info(account_mail)")]
            ((rows, *_),) = [database.execute("SELECT * FROM account_mail").fetchall()]
            everything = b"\n".join(line.encode() for line in database.iterdump())
        self.assertNotIn(b"for bob alone", everything)
        alice = case.alice.identity
        for value in rows:
            if isinstance(value, bytes):
                self.assertNotIn(alice.account_id.raw, value)
                self.assertNotIn(case.alice.core.profile.keys.curve25519, value)
        self.assertEqual(
            columns, ["place", "account", "sequence", "envelope_id", "hpke_key_id", "sealed"]
        )


class ExhaustionTests(V3Case):
    """Using up what others need."""

    settings = {"claims_of_one_a_minute": 5, "sends_a_minute": 20, "registrations_a_minute": 4}  # noqa: RUF012

    def test_prekeys(self) -> None:
        """One account can claim only so many of bob's prekeys a minute; when they are all gone alice
        still reaches bob, who has made new ones."""
        mallory = Mallory(self)
        answers = [mallory.claim(self.bob) for _ in range(7)]
        self.assertEqual({type(answer) for answer in answers[:5]}, {v3.Claimed})
        self.assertEqual(
            [getattr(answer, "reason", None) for answer in answers[5:]], [Reason.RATE_LIMITED] * 2
        )
        for _ in range(12):
            self.relay.wait(60)
            for _ in range(5):
                last = mallory.claim(self.bob)
        self.assertIsNone(last.one_time_key)
        self.say("still here")
        self.assertEqual(self.bob.received(), ["still here"])

    def test_sends(self) -> None:
        """Nobody sends without an account, and one account sends only so much a minute."""
        envelope = SealedEnvelope(self.bob.identity.account_id, EnvelopeId(bytes(16)), 1, b"junk")
        stranger = self.relay.inner.dial()
        self.assertEqual(stranger.ask(v3.Send(envelope)), v3.Error(Reason.NOT_AUTHENTICATED))
        mallory = Mallory(self)
        answers = [
            mallory.connection.ask(
                v3.Send(evolve(envelope, envelope_id=EnvelopeId(bytes((number,)) * 16)))
            )
            for number in range(22)
        ]
        self.assertEqual({type(answer) for answer in answers[:20]}, {v3.Stored})
        self.assertEqual(
            [getattr(answer, "reason", None) for answer in answers[20:]], [Reason.RATE_LIMITED] * 2
        )
        self.settle()
        self.say("still here")
        self.assertEqual(self.bob.received(), ["still here"])
        self.assertEqual(self.bob.core.profile.unopened, 20)

    def test_registrations(self) -> None:
        """From one address only so many accounts are made a minute."""
        reasons = []
        for number in range(6):
            connection = self.relay.inner.log_in(Person(), host="198.51.100.66")
            answer = connection.ask(v3.Register(b"sybil-%d" % number))
            reasons.append(getattr(answer, "reason", None))
        self.assertEqual(reasons, [None] * 4 + [Reason.RATE_LIMITED] * 2)
