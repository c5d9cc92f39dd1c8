"""What is answered to whom: every request, from everybody."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred, fail
from twisted.python.components import proxyForInterface
from twisted.trial.unittest import SynchronousTestCase

from messageu.model.v3 import BUNDLE_LIFE, PIECE_KEY_ID, Reason, Registration
from messageu.store import StoreError, StoreUnavailable
from messageu.store.v3 import IAccountStore, MemoryAccountStore
from messageu.wire import v3

from .relay import NOW, MemoryClient, MemoryRelay, Person, envelope

OUT, NOT, UNREGISTERED = Reason.OUT_OF_TURN, Reason.NOT_AUTHENTICATED, Reason.NOT_REGISTERED

# What is answered in each state: before hello, after it, authenticated, registered.
TABLE = {
    v3.Hello: (v3.Welcome, v3.Welcome, OUT, OUT),
    v3.Authenticate: (OUT, v3.Authenticated, OUT, OUT),
    v3.Register: (NOT, NOT, v3.Registered, v3.Registered),
    v3.Resolve: (NOT, NOT, UNREGISTERED, v3.Resolved),
    v3.Publish: (NOT, NOT, UNREGISTERED, v3.Published),
    v3.Claim: (NOT, NOT, UNREGISTERED, v3.Claimed),
    v3.Send: (NOT, NOT, UNREGISTERED, v3.Stored),
    v3.Subscribe: (NOT, NOT, UNREGISTERED, v3.Subscribed),
    v3.Acknowledge: (NOT, NOT, UNREGISTERED, Reason.NOT_SUBSCRIBED),
    v3.DeleteAccount: (NOT, NOT, UNREGISTERED, v3.AccountDeleted),
    v3.Ping: (v3.Pong, v3.Pong, v3.Pong, v3.Pong),
}


def said(answer: v3.ResponseBody) -> object:
    """The reason of an error, or the kind of an answer."""
    return answer.reason if isinstance(answer, v3.Error) else type(answer)


class TableTests(SynchronousTestCase):
    """Each request in each state."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.anna, self.bert = Person(), Person()
        bert = self.relay.log_in(self.bert, name="bert")
        bert.ask(v3.Publish(self.bert.bundle(), ()))

    def client(self, state: int) -> tuple[MemoryClient, bytes]:
        """Anna's connection in a state, and what she may sign."""
        client = self.relay.dial()
        nonce = bytes(32)
        if state >= 1:
            nonce = client.ask(v3.Hello()).nonce
        if state >= 2:
            assert said(client.ask(self.anna.proof(nonce, client.side.binding))) is v3.Authenticated
        if state >= 3:
            assert client.ask(v3.Register(b"anna")) == v3.Registered()
        return client, nonce

    def request(self, kind: type[v3.RequestBody], client: MemoryClient, nonce: bytes) -> object:
        """One that is good in itself."""
        return {
            v3.Hello: v3.Hello(),
            v3.Authenticate: self.anna.proof(nonce, client.side.binding),
            v3.Register: v3.Register(b"anna"),
            v3.Resolve: v3.Resolve(b"bert"),
            v3.Publish: v3.Publish(self.anna.bundle(), ()),
            v3.Claim: v3.Claim(self.bert.account),
            v3.Send: envelope(self.bert),
            v3.Subscribe: v3.Subscribe(1, 1000),
            v3.Acknowledge: v3.Acknowledge((1,)),
            v3.DeleteAccount: v3.DeleteAccount(),
            v3.Ping: v3.Ping(),
        }[kind]

    def test_table(self) -> None:
        """Each request in each state gets the answer of the specification, and the connection
        stays."""
        self.assertEqual(set(TABLE), set(v3.REQUESTS.values()))
        for kind, answers in TABLE.items():
            for state, expected in enumerate(answers):
                self.setUp()
                client, nonce = self.client(state)
                answer = client.ask(self.request(kind, client, nonce))
                self.assertEqual(said(answer), expected, (kind, state))
                self.assertEqual(client.ask(v3.Ping()), v3.Pong())

    def test_unknown_request(self) -> None:
        """A code that is not known is said to be so, to everybody, with its correlation."""
        for state in range(4):
            self.setUp()
            client, _ = self.client(state)
            frame = bytearray(v3.Request(77, v3.Ping()).encode())
            frame[17:19] = (799).to_bytes(2, "little")
            client.write(bytes(frame))
            self.assertEqual(client.take(), [v3.Response(77, v3.Error(Reason.UNKNOWN_REQUEST))])
            self.assertFalse(client.closed)

    def test_deleted(self) -> None:
        """After the deletion he is authenticated and no more; his name stays taken."""
        client, _ = self.client(3)
        client.ask(v3.DeleteAccount())
        self.assertEqual(said(client.ask(v3.Resolve(b"bert"))), UNREGISTERED)
        self.assertEqual(said(client.ask(v3.Register(b"anna"))), Reason.NAME_TAKEN)
        self.assertEqual(client.ask(v3.Register(b"anna2")), v3.Registered())


class AuthenticationTests(SynchronousTestCase):
    """Who is believed."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.anna = Person()

    def attempt(self, **changes: object) -> object:
        """What is said of a proof with something changed."""
        client = self.relay.dial()
        proof = self.anna.proof(client.ask(v3.Hello()).nonce, client.side.binding)
        return said(client.ask(evolve(proof, **changes)))

    def test_wrong_proof(self) -> None:
        """Whatever is wrong with a proof, the answer is one and the same, whether or not the
        account is known; and nothing is looked up."""
        for known in (False, True):
            if known:
                self.relay.log_in(self.anna, name="anna")
            self.relay.store.is_open = lambda: False
            for changes in (
                {"signature": bytes(64)},
                {"generation": 2},
                {"keys": Person().keys},
                {"keys": evolve(self.anna.keys, curve25519=bytes(32))},
                {"keys": evolve(self.anna.keys, ed25519=b"\xff" * 32)},
            ):
                self.assertEqual(self.attempt(**changes), Reason.AUTH_FAILED, changes)
            self.relay.store.is_open = lambda: True

    def test_one_attempt_a_nonce(self) -> None:
        """A nonce is used up by a wrong proof, by a stale one, and by a new hello."""
        client = self.relay.dial()
        good = self.anna.proof(client.ask(v3.Hello()).nonce, client.side.binding)
        self.assertEqual(
            [said(each) for each in client.ask_all(evolve(good, signature=bytes(64)), good)],
            [Reason.AUTH_FAILED, Reason.OUT_OF_TURN],
        )
        good = self.anna.proof(client.ask(v3.Hello()).nonce, client.side.binding)
        client.ask(v3.Hello())
        self.assertEqual(said(client.ask(good)), Reason.AUTH_FAILED)

    def test_nonces_differ(self) -> None:
        """Each hello brings another nonce."""
        client = self.relay.dial()
        self.assertEqual(len({client.ask(v3.Hello()).nonce for _ in range(10)}), 10)

    def test_relayed_proof(self) -> None:
        """A proof that was signed for one connection is worth nothing on another: whoever stands
        between cannot pass it on."""
        outer, inner = self.relay.dial(), self.relay.dial()
        nonce = inner.ask(v3.Hello()).nonce
        self.assertNotEqual(outer.side.binding, inner.side.binding)
        relayed = self.anna.proof(nonce, outer.side.binding)
        self.assertEqual(said(inner.ask(relayed)), Reason.AUTH_FAILED)

    def test_generation(self) -> None:
        """An account's generation must grow, or be the very same; then the higher one is kept."""
        self.relay.log_in(self.anna, 5, name="anna")
        for generation, expected in (
            (5, v3.Authenticated),
            (4, Reason.STALE_STATE),
            (7, v3.Authenticated),
            (6, Reason.STALE_STATE),
        ):
            answer = self.relay.dial().attempt(self.anna, generation)
            self.assertEqual(said(answer), expected)

    def test_what_is_left(self) -> None:
        """Whoever is registered is told so, and how many one-time keys are left."""
        client = self.relay.log_in(self.anna, name="anna")
        client.ask(v3.Publish(self.anna.bundle(), self.anna.one_time_keys(1, 2)))
        self.assertEqual(self.relay.dial().authenticate(self.anna, 2), v3.Authenticated(True, 2))

    def test_behind_a_proof(self) -> None:
        """What is sent behind a proof, without waiting, is judged by what the proof has led to."""
        client = self.relay.dial()
        nonce = client.ask(v3.Hello()).nonce
        answers = client.ask_all(
            self.anna.proof(nonce, client.side.binding),
            v3.Register(b"anna"),
            v3.Subscribe(1, 1),
            v3.DeleteAccount(),
            v3.Resolve(b"anna"),
        )
        self.assertEqual(
            [said(answer) for answer in answers],
            [v3.Authenticated, v3.Registered, v3.Subscribed, v3.AccountDeleted, UNREGISTERED],
        )


class RegistrationTests(SynchronousTestCase):
    """Who gets which name."""

    def register(
        self, relay: MemoryRelay, name: bytes, token: bytes | None = None, who: Person | None = None
    ) -> object:
        """What is said to somebody who asks for a name."""
        client = relay.dial()
        client.authenticate(who or Person())
        return said(client.ask(v3.Register(name, token)))

    def test_names(self) -> None:
        """A name is taken with all that look like it, and those that only the operator could mean
        are taken from the beginning."""
        relay = MemoryRelay()
        for name, expected in (
            (b"anna", v3.Registered),
            (b"anna", Reason.NAME_TAKEN),
            (b"a-nna", Reason.NAME_TAKEN),
            (b"adm1n", Reason.NAME_TAKEN),
            (b"Anna", Reason.NAME_INVALID),
            (b"an", Reason.NAME_INVALID),
            (b"-anna", Reason.NAME_INVALID),
            (b"ann\xe4", Reason.NAME_INVALID),
            (b"", Reason.NAME_INVALID),
        ):
            self.assertEqual(self.register(relay, name), expected, name)

    def test_again(self) -> None:
        """The same name, for the same account, is answered as the first time; another is not."""
        client = MemoryRelay().log_in(Person(), name="anna")
        self.assertEqual(client.ask(v3.Register(b"anna")), v3.Registered())
        self.assertEqual(said(client.ask(v3.Register(b"berta"))), Reason.ALREADY_REGISTERED)

    def test_token(self) -> None:
        """Where a token is wanted, one opens the door once; whoever has an account needs none."""
        relay = MemoryRelay(registration=Registration.TOKEN)
        token = bytes(range(16))
        relay.store.invite(token)
        anna = Person()
        for name, given, who, expected in (
            (b"anna", None, None, Reason.TOKEN_INVALID),
            (b"anna", bytes(16), None, Reason.TOKEN_INVALID),
            (b"anna", token, anna, v3.Registered),
            (b"bert", token, None, Reason.TOKEN_INVALID),
        ):
            self.assertEqual(self.register(relay, name, given, who), expected)
        client = relay.dial()
        client.authenticate(anna, 2)
        self.assertEqual(client.ask(v3.Register(b"anna")), v3.Registered())

    def test_closed(self) -> None:
        """Where the door is closed nobody gets in, token or not; those who are inside stay."""
        store = MemoryAccountStore(now=lambda: NOW)
        anna, token = Person(), bytes(range(16))
        MemoryRelay(store).log_in(anna, name="anna")
        store.invite(token)
        relay = MemoryRelay(store, Registration.CLOSED)
        for given in (None, token):
            self.assertEqual(self.register(relay, b"bert", given), Reason.REGISTRATION_CLOSED)
        client = relay.dial()
        client.authenticate(anna, 2)
        self.assertEqual(client.ask(v3.Register(b"anna")), v3.Registered())

    def test_welcome_says_so(self) -> None:
        """The welcome tells who may register, the time, and the limits that hold."""
        for mode in Registration:
            relay = MemoryRelay(
                registration=mode, window_messages=7, mail_life=1e6, idle_deadline=99.5
            )
            welcome = relay.dial().ask(v3.Hello())
            self.assertEqual(welcome.time, int(NOW))
            terms = welcome.terms
            self.assertEqual(
                (terms.registration, terms.window_messages, terms.mail_life, terms.idle),
                (mode, 7, 1_000_000, 99),
            )
            settings = relay.limits.settings
            self.assertEqual(
                (terms.sealed_size, terms.mailbox_messages, terms.mailbox_bytes),
                (settings.sealed_size, settings.mailbox_messages, settings.mailbox_bytes),
            )


class PrekeyTests(SynchronousTestCase):
    """What is published and claimed."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.anna, self.bert = Person(), Person()
        self.client = self.relay.log_in(self.anna, name="anna")
        self.other = self.relay.log_in(self.bert, name="bert")

    def publish(self, *key_ids: int, **how: float) -> object:
        """What is said to Anna's prekeys."""
        request = v3.Publish(self.anna.bundle(**how), self.anna.one_time_keys(*key_ids))
        return said(self.client.ask(request))

    def test_signatures(self) -> None:
        """What is not signed, or signed by somebody else, is not kept."""
        bundle, keys = self.anna.bundle(), self.anna.one_time_keys(1, 2)
        bert = self.bert.bundle()
        for request in (
            v3.Publish(evolve(bundle, signature=bytes(64)), ()),
            v3.Publish(evolve(bundle, sequence=2), ()),
            v3.Publish(bert, ()),
            v3.Publish(evolve(bert, identity=self.anna.keys.identity), ()),
            v3.Publish(bundle, (keys[0], evolve(keys[1], key_id=3))),
            v3.Publish(bundle, self.bert.one_time_keys(1)),
        ):
            self.assertEqual(said(self.client.ask(request)), Reason.BAD_SIGNATURE)
        self.assertEqual(said(self.other.ask(v3.Claim(self.anna.account))), Reason.NOT_FOUND)

    def test_times(self) -> None:
        """A bundle that is over, or would be good for too long, is stale; a clock that is a little
        fast does no harm."""
        for sequence, (not_after, expected) in enumerate(
            (
                (NOW, Reason.STALE_BUNDLE),
                (NOW + 1, v3.Published),
                (NOW + BUNDLE_LIFE + 3600, v3.Published),
                (NOW + BUNDLE_LIFE + 3601, Reason.STALE_BUNDLE),
            ),
            1,
        ):
            self.assertEqual(self.publish(sequence=sequence, not_after=not_after), expected)

    def test_too_many(self) -> None:
        """There is a limit to one-time keys."""
        self.assertEqual(self.publish(*range(1, 51)), v3.Published)
        self.assertEqual(self.publish(51, sequence=2), Reason.TOO_MANY)

    def test_sequence(self) -> None:
        """Another bundle has a higher sequence; the same again is answered as the first time."""
        self.assertEqual(self.publish(1, sequence=5), v3.Published)
        self.assertEqual(self.publish(1, sequence=5), v3.Published)
        self.assertEqual(self.publish(sequence=4), Reason.STALE_BUNDLE)

    def test_claim(self) -> None:
        """Each claim uses a one-time key up, in their order; then there is the bundle alone."""
        self.publish(1, 2)
        claims = [self.other.ask(v3.Claim(self.anna.account)) for _ in range(3)]
        ids = [claim.one_time_key and claim.one_time_key.key_id for claim in claims]
        self.assertEqual(ids, [1, 2, None])
        self.assertEqual({claim.keys for claim in claims}, {self.anna.keys})

    def test_prekeys_low(self) -> None:
        """An owner who is subscribed is told when fewer than ten are left."""
        self.publish(*range(1, 12))
        self.client.subscribe()
        for expected in ([], [v3.PrekeysLow(9)], [v3.PrekeysLow(8)]):
            self.other.ask(v3.Claim(self.anna.account))
            self.assertEqual(self.client.pushed(), expected)

    def test_resolve(self) -> None:
        """A name leads to keys; what nobody has, and what can be no name, is not found."""
        self.assertEqual(self.client.ask(v3.Resolve(b"bert")), v3.Resolved(self.bert.keys))
        for name in (b"carla", b"BERT", b"ber\xff"):
            self.assertEqual(said(self.client.ask(v3.Resolve(name))), Reason.NOT_FOUND)


class SendTests(SynchronousTestCase):
    """What becomes of envelopes."""

    def setUp(self) -> None:
        self.anna, self.bert = Person(), Person()
        self.start()

    def start(self, **settings: float) -> None:
        self.relay = MemoryRelay(**settings)
        self.client = self.relay.log_in(self.anna, name="anna")
        self.other = self.relay.log_in(self.bert, name="bert")

    def test_once(self) -> None:
        """The same envelope again is answered as the first time and pushed once; with other bytes
        it is a conflict."""
        self.other.subscribe()
        one = envelope(self.bert, b"one")
        answers = self.client.ask_all(
            one, one, evolve(one, envelope=evolve(one.envelope, sealed=b"2"))
        )
        self.assertEqual([said(each) for each in answers], [v3.Stored, v3.Stored, Reason.CONFLICT])
        self.assertEqual(self.other.sequences(), [1])

    def test_refused(self) -> None:
        """Nobody has this account id; more than may be sealed."""
        self.start(sealed_size=1000)
        self.assertEqual(said(self.client.ask(envelope(Person()))), Reason.NOT_FOUND)
        self.assertEqual(said(self.client.ask(envelope(self.bert, bytes(1000)))), v3.Stored)
        self.assertEqual(said(self.client.ask(envelope(self.bert, bytes(1001)))), Reason.TOO_LARGE)
        self.assertFalse(self.client.closed)
        self.client.send(envelope(self.bert, bytes(1001 + 64 * 1024)))
        self.assertEqual(self.client.pushed(), [v3.Error(Reason.MALFORMED)])
        self.assertTrue(self.client.closed)

    def test_full(self) -> None:
        """A mailbox that is full takes nothing more; it is counted, and nobody is named."""
        self.relay.store.quota = evolve(self.relay.store.quota, messages=1)
        answers = self.client.ask_all(envelope(self.bert), envelope(self.bert))
        self.assertEqual([said(each) for each in answers], [v3.Stored, Reason.MAILBOX_FULL])
        self.assertEqual(self.relay.limits.hits["mailbox_full"], 1)

    def test_piece_of_a_file(self) -> None:
        """What is no sealed message but a piece of a file is kept and pushed the same."""
        self.other.subscribe()
        one = envelope(self.bert)
        self.client.ask(evolve(one, envelope=evolve(one.envelope, hpke_key_id=PIECE_KEY_ID)))
        (deliver,) = self.other.pushed()
        self.assertEqual(deliver.delivery.hpke_key_id, PIECE_KEY_ID)

    def test_in_order(self) -> None:
        """What one connection asks for takes effect in the order in which it asks."""
        self.client.subscribe()
        answers = self.client.ask_all(
            envelope(self.anna), v3.DeleteAccount(), v3.Register(b"anna2"), envelope(self.anna)
        )
        self.assertEqual(
            [said(each) for each in answers],
            [v3.Stored, v3.AccountDeleted, v3.Registered, v3.Stored],
        )


class Failing(proxyForInterface(IAccountStore, "store")):
    """A store of which every operation fails in the same way, once it is told to."""

    error: Exception | None = None

    def _fail(self, name: str, *args: object) -> Deferred:
        return fail(self.error) if self.error is not None else getattr(self.store, name)(*args)

    def put(self, *args: object) -> Deferred:
        return self._fail("put", *args)

    def claim(self, *args: object) -> Deferred:
        return self._fail("claim", *args)


class FailureTests(SynchronousTestCase):
    """A store that cannot do it."""

    def check(self, error: Exception, reason: Reason) -> MemoryClient:
        """A send and a claim are refused for this reason, and the connection goes on."""
        store = Failing(MemoryAccountStore(now=lambda: NOW))
        relay, anna = MemoryRelay(store), Person()
        client = relay.log_in(anna, name="anna")
        store.error = error
        answers = client.ask_all(envelope(anna), v3.Claim(anna.account))
        self.assertEqual([said(answer) for answer in answers], [reason, reason])
        self.assertEqual(client.ask(v3.Ping()), v3.Pong())
        self.assertEqual(relay.limits.requests, 0)
        return client

    def test_unavailable(self) -> None:
        """The whole store does nothing: come again."""
        self.check(StoreUnavailable("full"), Reason.BUSY)

    def test_fault(self) -> None:
        """It is the fault of this operation."""
        self.check(StoreError("broken"), Reason.INTERNAL)

    def test_bug(self) -> None:
        """A bug is logged, and the connection goes on."""
        self.check(ZeroDivisionError(), Reason.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
