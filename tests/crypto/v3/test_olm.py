"""Accounts and sessions: what vodozemac promises, and what the client relies on."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.signatures import is_bundle_signed, is_one_time_key_signed, is_signed
from messageu.crypto.v3 import Account, Ciphertext, CryptoError, Session
from messageu.model import v3

from ._people import SMALL_ORDER, account, conversation, damaged, hpke_key, one_time_key

STEPS = st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), min_size=1, max_size=25)
"""Who speaks next, and what is said."""


def again(thing):
    """The same, after its program has ended and begun again."""
    return type(thing).restore(thing.dump())


class AccountTests(SynchronousTestCase):
    """The long-lived keys, and the prekeys."""

    def test_keys(self):
        """Its public keys are its own, stay through a restart, and sign."""
        anna = Account.create()
        self.assertEqual(again(anna).keys, anna.keys)
        self.assertNotEqual(Account.create().keys, anna.keys)
        self.assertTrue(is_signed(anna.keys.ed25519, again(anna).sign(b"text"), b"text"))

    def test_one_time_keys(self):
        """New ones are told of, signed and under ids of their own, until they are published."""
        berta = account("berta")
        berta.make_one_time_keys(3)
        berta = again(berta)
        first = berta.unpublished_one_time_keys()
        self.assertEqual([key.key_id for key in first], [0, 1, 2])
        self.assertTrue(all(is_one_time_key_signed(berta.keys, key) for key in first))
        berta.mark_published()
        self.assertEqual(list(again(berta).unpublished_one_time_keys()), [])
        berta.make_one_time_keys(30)
        second = berta.unpublished_one_time_keys()
        self.assertEqual([key.key_id for key in second], list(range(3, 33)))
        self.assertEqual(len({key.key for key in (*first, *second)}), 33)

    def test_too_many_one_time_keys(self):
        """No more are made at once than a relay takes, nor fewer than none."""
        berta = account("berta")
        for count in (-1, 51):
            self.assertRaises(CryptoError, berta.make_one_time_keys, count)
        berta.make_one_time_keys(50)
        self.assertEqual(len(berta.unpublished_one_time_keys()), 50)

    def test_eras(self):
        """A state from before gives no id away twice, once it is in a later era."""
        berta = account("berta")
        berta.make_one_time_keys(2)
        backup = again(berta)
        given = {key.key_id for key in berta.unpublished_one_time_keys()}
        berta.mark_published()
        berta.make_one_time_keys(2)
        given |= {key.key_id for key in berta.unpublished_one_time_keys()}
        berta.rotate_fallback_key()
        given.add(berta.fallback_key()[0])

        backup.begin_era(5)
        backup.make_one_time_keys(3)
        backup.rotate_fallback_key()
        backup = again(backup)
        keys = backup.unpublished_one_time_keys()
        later = {key.key_id for key in keys} | {backup.fallback_key()[0]}
        self.assertEqual({key_id >> 32 for key_id in later}, {5})
        self.assertGreater(min(later), max(given))
        self.assertTrue(all(is_one_time_key_signed(backup.keys, key) for key in keys))
        first = account("anna").begin(backup.keys, keys[0].key).encrypt(b"hello")
        self.assertEqual(backup.accept(account("anna").keys, first)[1], b"hello")
        self.assertEqual(backup.era, 5)
        for era in (-1, 0, 5, 2**32):
            self.assertRaises(CryptoError, backup.begin_era, era)

    def test_fallback_key(self):
        """There is one from the beginning; it stays the same until it is rotated."""
        berta = Account.create()
        first = berta.fallback_key()
        berta.mark_published()
        self.assertEqual(again(berta).fallback_key(), first)
        berta.rotate_fallback_key()
        second = again(berta).fallback_key()
        self.assertNotEqual(second[1], first[1])
        self.assertEqual((first[0], second[0]), (0, 1))

    def test_bundle(self):
        """A bundle holds what it was given and the newest fallback key, and is signed."""
        berta = account("berta")
        berta.rotate_fallback_key()
        public = hpke_key("berta").public
        bundle = berta.make_bundle(5, 1_800_000_000, 9, public)
        self.assertEqual((bundle.fallback_key_id, bundle.fallback_key), berta.fallback_key())
        self.assertEqual(
            (bundle.identity, bundle.sequence, bundle.not_after, bundle.hpke_key_id),
            (berta.keys.identity, 5, 1_800_000_000, 9),
        )
        self.assertEqual(bundle.hpke_key, public)
        self.assertTrue(is_bundle_signed(berta.keys, bundle))

    @given(st.text(max_size=200))
    def test_dumps_that_are_none(self, dump):
        """What is no dump is refused."""
        self.assertRaises(CryptoError, Account.restore, dump)
        self.assertRaises(CryptoError, Session.restore, dump)

    def test_damaged_dump(self):
        """A dump that has changed is refused, and so is one of another version."""
        dump = account("anna").dump()
        version, era, key_id, key, pickle = dump.split(" ")
        for wrong in (
            dump[:-1],
            dump[:-8] + "AAAAAAAA",
            f"2 {era} {key_id} {key} {pickle}",
            f"{version} x {key_id} {key} {pickle}",
            f"{version} {era} x {key} {pickle}",
            f"{version} {era} {key_id} x {pickle}",
            f"{version} {key_id} {key} {pickle}",
        ):
            self.assertRaises(CryptoError, Account.restore, wrong)
        session = conversation()[0].dump()
        self.assertRaises(CryptoError, Session.restore, session[:-8] + "AAAAAAAA")
        self.assertRaises(CryptoError, Account.restore, session)

    def test_shown(self):
        """The repr of an account and of a session is their type and nothing more."""
        for thing in (account("anna"), conversation()[0]):
            self.assertRegex(repr(thing), r"\A<messageu\.crypto\.v3\._olm\.\w+ object at 0x\w+>\Z")


class FirstMessageTests(SynchronousTestCase):
    """How a session begins."""

    def setUp(self):
        self.anna, self.berta = account("anna"), account("berta")

    def test_one_time_key(self):
        """A session begins with a one-time key, which opens one session and no second."""
        key = one_time_key(self.berta)
        ours = self.anna.begin(self.berta.keys, key)
        first = ours.encrypt(b"hello")
        self.assertEqual((first.type, first.session_id), (0, ours.id))
        before = again(self.berta)
        theirs, text = self.berta.accept(self.anna.keys, first)
        self.assertEqual((theirs.id, text), (ours.id, b"hello"))
        self.assertRaises(CryptoError, self.berta.accept, self.anna.keys, first)
        self.assertRaises(CryptoError, again(self.berta).accept, self.anna.keys, first)
        other = self.anna.begin(self.berta.keys, key).encrypt(b"hello again")
        self.assertRaises(CryptoError, self.berta.accept, self.anna.keys, other)
        self.assertEqual(before.accept(self.anna.keys, first)[1], b"hello")

    def test_fallback_key(self):
        """A first message to a fallback key opens again, until two rotations later.

        This is why the client remembers the ids of sessions.
        """
        first = self.anna.begin(self.berta.keys, self.berta.fallback_key()[1]).encrypt(b"hello")
        for _ in range(2):
            session, text = self.berta.accept(self.anna.keys, first)
            self.assertEqual((session.id, text), (first.session_id, b"hello"))
            self.assertRaises(CryptoError, session.decrypt, first)
        self.berta.rotate_fallback_key()
        self.assertEqual(again(self.berta).accept(self.anna.keys, first)[0].id, first.session_id)
        self.berta.rotate_fallback_key()
        self.assertRaises(CryptoError, self.berta.accept, self.anna.keys, first)

    def test_later_first_messages(self):
        """Until the other has answered all are first messages, of a session that is known."""
        ours = self.anna.begin(self.berta.keys, one_time_key(self.berta))
        messages = [ours.encrypt(b"%d" % number) for number in range(3)]
        self.assertEqual({message.session_id for message in messages}, {ours.id})
        theirs, text = self.berta.accept(self.anna.keys, messages[1])
        self.assertEqual(text, b"1")
        self.assertEqual([theirs.decrypt(messages[at]) for at in (2, 0)], [b"2", b"0"])
        ours.decrypt(theirs.encrypt(b"yes"))
        later = ours.encrypt(b"later")
        self.assertEqual((later.type, later.session_id), (1, None))

    def test_somebody_else(self):
        """Who names another's keys around a first message of his is refused, and so is his victim."""
        carla = account("carla")
        first = carla.begin(self.berta.keys, one_time_key(self.berta)).encrypt(b"I am Anna")
        self.assertRaises(CryptoError, self.berta.accept, self.anna.keys, first)
        self.assertRaises(CryptoError, self.anna.accept, carla.keys, first)
        self.assertEqual(self.berta.accept(carla.keys, first)[1], b"I am Anna")

    def test_crossed(self):
        """Two sessions that begin at once are both readable, and one of them has the lower id."""
        ours = self.anna.begin(self.berta.keys, one_time_key(self.berta))
        theirs = self.berta.begin(self.anna.keys, one_time_key(self.anna))
        to_berta, to_anna = ours.encrypt(b"from anna"), theirs.encrypt(b"from berta")
        of_berta, text = self.berta.accept(self.anna.keys, to_berta)
        of_anna, other_text = self.anna.accept(self.berta.keys, to_anna)
        self.assertEqual((text, other_text), (b"from anna", b"from berta"))
        self.assertEqual({ours.id, of_anna.id}, {theirs.id, of_berta.id})
        lower = min(ours.id, of_anna.id)
        by_id = {ours.id: (ours, of_berta), of_anna.id: (of_anna, theirs)}
        one, other = by_id[lower]
        self.assertEqual(other.decrypt(one.encrypt(b"on")), b"on")
        self.assertEqual(one.decrypt(other.encrypt(b"and on")), b"and on")

    def test_keys_that_give_nothing(self):
        """No session begins with a key that is too short, or with which every secret is the same."""
        for key in (b"", bytes(31), bytes(33), *SMALL_ORDER):
            self.assertRaises(CryptoError, self.anna.begin, self.berta.keys, key)
        good = self.berta.fallback_key()[1]
        for curve in SMALL_ORDER:
            keys = v3.IdentityKeys(self.berta.keys.ed25519, curve)
            self.assertRaises(CryptoError, self.anna.begin, keys, good)
            first = self.berta.begin(self.anna.keys, self.anna.fallback_key()[1]).encrypt(b"")
            self.assertRaises(CryptoError, self.anna.accept, keys, first)


class HostileTests(SynchronousTestCase):
    """What a contact can send: it is refused by the one error, and nothing changes."""

    @settings(max_examples=150)
    @given(st.data())
    def test_first_message(self, data):
        """A first message that has been tampered with."""
        anna, berta = account("anna"), account("berta")
        original = anna.begin(berta.keys, berta.fallback_key()[1]).encrypt(b"hello")
        raw = data.draw(st.binary(max_size=200) | damaged([original.raw]))
        changed = Ciphertext(0, raw)
        try:
            session, text = berta.accept(anna.keys, changed)
        except CryptoError:
            pass
        else:
            # What is not part of the meaning can be written in more ways than one.
            self.assertEqual((session.id, text), (original.session_id, b"hello"))
        self.assertEqual(berta.accept(anna.keys, original)[1], b"hello")

    @settings(max_examples=150)
    @given(st.data(), st.sampled_from((0, 1)))
    def test_message(self, data, kind):
        """A message of a session that has been tampered with, of either type."""
        ours, theirs = conversation()
        original = ours.encrypt(b"hello")
        changed = Ciphertext(kind, data.draw(st.binary(max_size=200) | damaged([original.raw])))
        try:
            self.assertEqual(theirs.decrypt(changed), b"hello")
        except CryptoError:
            self.assertEqual(theirs.decrypt(original), b"hello")

    @given(st.binary(max_size=200))
    def test_session_id(self, raw):
        """What is no first message has no session, and says so by the one error."""
        self.assertRaises(CryptoError, getattr, Ciphertext(0, raw), "session_id")
        self.assertIsNone(Ciphertext(1, raw).session_id)

    def test_types(self):
        """There are two types of ciphertexts, and the one is not taken for the other."""
        for kind in (-1, 2, 255, 2**70):
            self.assertRaises(CryptoError, Ciphertext, kind, b"")
        ours, theirs = conversation()
        normal = ours.encrypt(b"hello")
        self.assertEqual(normal.type, 1)
        self.assertRaises(CryptoError, theirs.decrypt, Ciphertext(0, normal.raw))
        self.assertRaises(CryptoError, account("berta").accept, account("anna").keys, normal)

    def test_gap(self):
        """A gap of more than 2,000 is refused, one of 2,000 is not."""
        ours, theirs = conversation()
        messages = [ours.encrypt(b"") for _ in range(2003)]
        self.assertRaises(CryptoError, theirs.decrypt, messages[2002])
        self.assertEqual(theirs.decrypt(messages[1999]), b"")
        self.assertEqual(theirs.decrypt(messages[2002]), b"")

    def test_another_session(self):
        """A message opens in its own session only."""
        ours, _ = conversation()
        _, others = conversation()
        self.assertRaises(CryptoError, others.decrypt, ours.encrypt(b"hello"))


class ConversationTests(SynchronousTestCase):
    """What is said in a session."""

    @given(STEPS)
    def test_restarts(self, steps):
        """Whoever speaks, and however often both begin again, what was said arrives."""
        sessions = list(conversation())
        for speaker, text in steps:
            ciphertext = sessions[speaker].encrypt(text)
            sessions = [again(session) for session in sessions]
            self.assertEqual(sessions[not speaker].decrypt(ciphertext), text)
            sessions = [again(session) for session in sessions]
        self.assertEqual(sessions[0].id, sessions[1].id)

    @settings(max_examples=25)
    @given(st.permutations(range(41)), st.randoms(use_true_random=False))
    def test_order(self, order, random):
        """Up to 40 messages that were overtaken still open, in any order, also after a restart."""
        ours, theirs = conversation()
        messages = [ours.encrypt(b"%d" % number) for number in range(41)]
        for number in order:
            self.assertEqual(theirs.decrypt(messages[number]), b"%d" % number)
            if random.random() < 0.1:
                theirs = again(theirs)

    def test_more_than_forty(self):
        """Of more than 40 that were overtaken the oldest is lost."""
        ours, theirs = conversation()
        messages = [ours.encrypt(b"%d" % number) for number in range(42)]
        theirs.decrypt(messages[41])
        self.assertRaises(CryptoError, theirs.decrypt, messages[0])
        self.assertEqual(theirs.decrypt(messages[1]), b"1")

    @given(STEPS)
    def test_replays(self, steps):
        """Nothing opens twice, neither at once nor later, nor does one read what he said."""
        sessions = conversation()
        seen = []
        for speaker, text in steps:
            ciphertext = sessions[speaker].encrypt(text)
            self.assertRaises(CryptoError, sessions[speaker].decrypt, ciphertext)
            sessions[not speaker].decrypt(ciphertext)
            seen.append((not speaker, ciphertext))
            for reader, earlier in seen:
                self.assertRaises(CryptoError, sessions[reader].decrypt, earlier)

    def test_state_of_before(self):
        """A state that is restored from before repeats itself; then only one of the two arrives.

        This is why there are generations.
        """
        ours, theirs = conversation()
        theirs.decrypt(ours.encrypt(b"a turn of the ratchet"))
        copy = again(ours)
        self.assertEqual(again(ours).encrypt(b"the same"), again(copy).encrypt(b"the same"))
        one, other = ours.encrypt(b"meet at one"), copy.encrypt(b"meet at two")
        self.assertEqual(theirs.decrypt(one), b"meet at one")
        self.assertRaises(CryptoError, theirs.decrypt, other)


class HealingTests(SynchronousTestCase):
    """What a thief of a dump can read."""

    def test_past(self):
        """What was read before the theft stays closed, on both sides."""
        ours, theirs = conversation()
        past = [ours.encrypt(b"secret %d" % number) for number in range(5)]
        answers = []
        for ciphertext in past:
            theirs.decrypt(ciphertext)
            answers.append(theirs.encrypt(b"yes"))
            ours.decrypt(answers[-1])
        for stolen in (ours.dump(), theirs.dump()):
            for ciphertext in (*past, *answers):
                thief = Session.restore(stolen)
                self.assertRaises(CryptoError, thief.decrypt, ciphertext)

    def test_future(self):
        """He reads what comes until both have spoken, and no more."""
        ours, theirs = conversation()
        stolen = theirs.dump()
        first = ours.encrypt(b"one")
        self.assertEqual(Session.restore(stolen).decrypt(first), b"one")
        theirs.decrypt(first)
        # Anna's next words still go to the key that was stolen; her answer to a new one of
        # berta's does not.
        ours.decrypt(theirs.encrypt(b"two"))
        second = ours.encrypt(b"three")
        self.assertRaises(CryptoError, Session.restore(stolen).decrypt, second)
        thief = Session.restore(stolen)
        thief.decrypt(first)
        self.assertRaises(CryptoError, thief.decrypt, second)
        self.assertEqual(theirs.decrypt(second), b"three")

    @given(st.integers(1, 8))
    def test_until_an_answer(self, count):
        """Without an answer nothing heals: all that one side says on is read."""
        ours, theirs = conversation()
        thief = again(theirs)
        for number in range(count):
            self.assertEqual(thief.decrypt(ours.encrypt(b"%d" % number)), b"%d" % number)
