"""How much there may be, and for how long."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.python.components import proxyForInterface
from twisted.trial.unittest import SynchronousTestCase

from messageu.model.v3 import Reason, SealedEnvelope
from messageu.server import LIMITS, Limits, LimitSettings
from messageu.store.v3 import IAccountStore, MemoryAccountStore
from messageu.testing.transport import Faults
from messageu.wire import v3

from .relay import NOW, MemoryClient, MemoryRelay, Person, envelope


class SlowStore(proxyForInterface(IAccountStore, "store")):
    """A store whose ``put`` answers when the test says so.

    :ivar puts: those that were not answered yet.
    """

    def __init__(self) -> None:
        super().__init__(MemoryAccountStore(now=lambda: NOW))
        self.puts: list[tuple[list[SealedEnvelope], Deferred[Any]]] = []

    def put(self, envelopes: list[SealedEnvelope]) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self.puts.append((envelopes, answer))
        return answer

    def finish(self) -> None:
        """Do the oldest put now."""
        envelopes, answer = self.puts.pop(0)
        self.store.put(envelopes).chainDeferred(answer)


class RateTests(SynchronousTestCase):
    """How often one may ask."""

    def setUp(self) -> None:
        self.relay = MemoryRelay(
            resolves_a_minute=2,
            publishes_a_minute=2,
            claims_a_minute=4,
            claims_of_one_a_minute=2,
            sends_a_minute=2,
        )
        self.anna, self.bert, self.carla, self.david = (Person() for _ in range(4))
        self.client = self.relay.log_in(self.anna, name="anna")
        for name in ("bert", "carla", "david"):
            person = getattr(self, name)
            self.relay.log_in(person, name=name).ask(v3.Publish(person.bundle(), ()))

    def check(self, *bodies: v3.RequestBody, limit: str, wait: int) -> None:
        """All but the last are answered; the last not before so many seconds."""
        *before, last = self.client.ask_all(*bodies)
        self.assertFalse([answer for answer in before if isinstance(answer, v3.Error)])
        self.assertEqual(last, v3.Error(Reason.RATE_LIMITED, wait))
        self.assertEqual(self.relay.limits.hits[limit], 1)
        self.relay.clock.advance(wait)
        self.assertNotIsInstance(self.client.ask(bodies[-1]), v3.Error)

    def test_sends(self) -> None:
        """Envelopes, whoever they are for."""
        sends = [envelope(each) for each in (self.bert, self.carla, self.bert)]
        self.check(*sends, limit="sends_a_minute", wait=30)

    def test_resolves(self) -> None:
        """Names."""
        self.check(*[v3.Resolve(b"bert")] * 3, limit="resolves_a_minute", wait=30)

    def test_publishes(self) -> None:
        """Bundles."""
        publishes = [v3.Publish(self.anna.bundle(each), ()) for each in (1, 2, 3)]
        self.check(*publishes, limit="publishes_a_minute", wait=30)

    def test_claims_of_one(self) -> None:
        """Prekeys of one account; those of another are not meant."""
        bert, carla = v3.Claim(self.bert.account), v3.Claim(self.carla.account)
        self.check(bert, bert, bert, limit="claims_of_one_a_minute", wait=30)
        self.assertIsInstance(self.client.ask(carla), v3.Claimed)

    def test_claims(self) -> None:
        """Prekeys of all accounts."""
        claims = [v3.Claim(each.account) for each in (self.bert, self.carla)] * 2
        self.check(*claims, v3.Claim(self.david.account), limit="claims_a_minute", wait=15)

    def test_authentications(self) -> None:
        """Attempts to authenticate from one address, good or bad: whoever is refused for that has
        not used up what he may sign."""
        self.relay = MemoryRelay(authentications_a_minute=1)
        self.relay.log_in(self.anna)
        client = self.relay.dial()
        proof = self.bert.proof(client.ask(v3.Hello()).nonce, client.side.binding)
        self.assertEqual(client.ask(proof), v3.Error(Reason.RATE_LIMITED, 60))
        self.relay.log_in(self.carla, host="192.0.2.2")
        self.relay.clock.advance(60)
        self.assertIsInstance(client.ask(proof), v3.Authenticated)

    def test_registrations(self) -> None:
        """Names from one address."""
        relay = MemoryRelay(registrations_a_minute=1)
        relay.log_in(self.anna, name="anna")
        client = relay.log_in(self.bert)
        answer = client.ask(v3.Register(b"bert"))
        self.assertEqual(answer, v3.Error(Reason.RATE_LIMITED, 60))

    def test_file(self) -> None:
        """With the defaults, all pieces of a file of 1 GiB can be sent without a pause."""
        self.assertGreater(LIMITS["sends_a_minute"].default, 4096)


class BackpressureTests(SynchronousTestCase):
    """What is held for one connection."""

    def setUp(self) -> None:
        self.store = SlowStore()
        self.anna = Person()

    def start(self, **settings: float) -> MemoryClient:
        self.relay = MemoryRelay(self.store, **settings)
        return self.relay.log_in(self.anna, name="anna")

    def test_read_ahead(self) -> None:
        """Only so many requests of one connection are in progress; then nothing more is read, until
        there is an answer. All are answered."""
        client = self.start(read_ahead=4)
        client.send(*[envelope(self.anna, bytes(40_000)) for _ in range(20)])
        self.assertEqual(self.relay.limits.requests, 4)
        self.assertLess(self.relay.limits.input_bytes, 400_000)
        stored = 0
        while self.store.puts:
            self.store.finish()
            stored += len(client.take())
        self.assertEqual((stored, self.relay.limits.requests), (20, 0))
        self.assertEqual(self.relay.limits.input_bytes, 0)

    def test_many_sequences(self) -> None:
        """An acknowledgement of many counts as many requests, and what it holds is counted."""
        client = self.start()
        answers: list[Deferred[None]] = [Deferred() for _ in range(40)]
        waiting = iter(answers)
        self.store.acknowledge = lambda *_: next(waiting)
        client.subscribe()
        client.send(v3.Acknowledge(tuple(range(1_024))))
        self.assertGreaterEqual(self.relay.limits.input_bytes, 40 * 1_024)
        client.send(*[v3.Acknowledge(tuple(range(1_024)))] * 9)
        self.assertEqual(self.relay.limits.requests, 1)
        answers[0].callback(None)
        client.line.run()
        self.assertEqual(self.relay.limits.requests, 1)
        for answer in answers[1:10]:
            answer.callback(None)
        self.assertEqual(client.take(), [v3.Response(n, v3.Acknowledged()) for n in range(5, 15)])
        self.assertEqual(self.relay.limits.input_bytes, 0)
        client.send(*[v3.Acknowledge((1,))] * 30)
        self.assertEqual(self.relay.limits.requests, 30)

    def test_all_together(self) -> None:
        """Consecutive sends of all connections are one put."""
        clients = [self.start()]
        clients += [self.relay.log_in(self.anna, number) for number in (2, 3)]
        for client in clients:
            client.side.transport.write(v3.Request(999, envelope(self.anna)).encode())
        self.relay.clock.advance(0)
        for _ in range(4):
            for client in clients:
                client.line.step()
        self.relay.clock.advance(0)
        self.assertEqual([len(envelopes) for envelopes, _ in self.store.puts], [3])

    def test_gone_meanwhile(self) -> None:
        """What somebody has sent who is gone is stored, and nothing is held for him."""
        client = self.start()
        client.send(envelope(self.anna, bytes(10_000)))
        client.line.reset()
        self.assertEqual(self.relay.limits.connections, 0)
        self.store.finish()
        limits = self.relay.limits
        self.assertEqual((limits.requests, limits.input_bytes, limits.output_bytes), (0, 0, 0))
        again = self.relay.log_in(self.anna, 2)
        again.subscribe()
        self.assertEqual(again.sequences(), [1])

    def test_correlation_in_use(self) -> None:
        """A correlation that is not answered yet cannot be used again."""
        client = self.start()
        request = v3.Request(7, envelope(self.anna)).encode()
        client.write(request + request)
        self.assertEqual(client.pushed(), [v3.Error(Reason.MALFORMED)])
        self.store.finish()
        client.line.run()
        self.assertTrue(client.closed)

    def test_answers_nobody_reads(self) -> None:
        """Whoever asks and asks and reads no answer is not heard any more, and cut off in time."""
        relay = MemoryRelay(resolves_a_minute=1_000_000)
        client = relay.log_in(self.anna, name="anna", from_server=Faults(window=2_000))
        client.line.server.held = True
        for _ in range(100):
            client.side.transport.write(
                b"".join(v3.Request(n, v3.Resolve(b"anna")).encode() for n in range(1, 101))
            )
            client.line.run()
        self.assertTrue(0 < relay.limits.output_bytes < 200_000)
        self.assertLess(len(client.line.server._buffer), 300_000)
        relay.wait(32, client)
        self.assertEqual(relay.limits.hits["progress_deadline"], 1)
        self.assertEqual((relay.limits.connections, relay.limits.output_bytes), (0, 0))


class DeadlineTests(SynchronousTestCase):
    """What takes too long."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.client = self.relay.dial()

    def test_frame(self) -> None:
        """A request that does not go on is given up."""
        self.client.write(v3.Request(1, v3.Ping()).encode()[:25])
        self.relay.wait(62, self.client)
        self.assertEqual(self.client.pushed(), [v3.Error(Reason.MALFORMED)])
        self.assertTrue(self.client.closed)
        self.assertEqual(self.relay.limits.hits["frame_deadline"], 1)

    def test_idle(self) -> None:
        """Whoever says nothing is sent away, with a goodbye; whoever pings stays."""
        self.client, other = self.relay.log_in(Person()), self.relay.log_in(Person())
        for _ in range(4):
            self.relay.wait(200, self.client, other)
            self.assertEqual(other.ask(v3.Ping()), v3.Pong())
        self.assertEqual(self.client.pushed(), [v3.GoingAway(5)])
        self.assertTrue(self.client.closed)
        self.assertFalse(other.closed)

    def test_authentication(self) -> None:
        """Whoever does not show in time who he is is sent away, also if he pings, or has tried; whoever
        has shown it stays."""
        anna = self.relay.log_in(Person())
        self.client.ask(v3.Hello())
        self.client.ask(Person().proof(bytes(32), self.client.side.binding))
        for _ in range(4):
            self.relay.wait(20, self.client, anna)
            self.assertEqual(self.client.ask(v3.Ping()), v3.Pong())
        self.relay.wait(12, self.client, anna)
        self.assertEqual(self.client.pushed(), [v3.GoingAway(5)])
        self.assertEqual((self.client.closed, anna.closed), (True, False))
        self.assertEqual(self.relay.limits.hits["authentication_deadline"], 1)

    def test_authentication_after_waiting(self) -> None:
        """There is time for whoever has to wait for as long as a limit can make him wait."""
        longest = Limits(LimitSettings(authentications_a_minute=1))
        longest.take("authentications_a_minute", "a", "a", 0)
        wait = longest.take("authentications_a_minute", "a", "a", 0)
        self.assertLess(wait, longest.settings.authentication_deadline)

    def test_goodbye_that_is_not_answered(self) -> None:
        """Whoever stays after garbage is cut off, and so is whoever goes on sending."""
        self.relay = MemoryRelay(discarded_bytes=1000)
        silent, loud = self.relay.dial(), self.relay.dial()
        for client in (silent, loud):
            client.line.client.pauseProducing()
            client.write(b"\xff" * 23)
        loud.write(bytes(2_000))
        self.assertEqual(self.relay.limits.connections, 1)
        self.relay.wait(12, silent)
        self.assertEqual(self.relay.limits.connections, 0)
        hits = self.relay.limits.hits
        self.assertEqual((hits["discarded_bytes"], hits["discard_deadline"]), (1, 1))

    def test_stop(self) -> None:
        """A stop says goodbye to everybody, and what was taken is answered."""
        store, anna = SlowStore(), Person()
        self.relay = MemoryRelay(store)
        client = self.relay.log_in(anna, name="anna")
        other = self.relay.dial()
        client.send(envelope(anna))
        stopped = self.relay.factory.drain()
        self.assertEqual(other.pushed(), [v3.GoingAway(5)])
        self.assertNoResult(stopped)
        store.finish()
        bodies = [type(response.body) for response in client.take()]
        self.assertEqual(bodies, [v3.GoingAway, v3.Stored])
        self.successResultOf(stopped)
        self.assertIsNone(self.relay.listener.buildProtocol(None))

    def test_stop_with_grace(self) -> None:
        """Whoever is not done within the grace period is cut off."""
        anna = Person()
        self.relay = MemoryRelay(SlowStore())
        client = self.relay.log_in(anna, name="anna")
        client.send(envelope(anna))
        stopped = self.relay.factory.drain()
        self.relay.wait(11, client)
        self.successResultOf(stopped)
        self.assertTrue(client.closed)


class LogTests(SynchronousTestCase):
    """What is logged of people."""

    def test_nobody_is_named(self) -> None:
        """Whatever is asked, met and refused, no name, key, id or address is in the log."""
        relay = MemoryRelay(sends_a_minute=1, authentications_a_minute=4)
        anna, bert = Person(), Person()
        with capturedLogs() as events:
            client = relay.log_in(anna, name="anna-of-the-log")
            other = relay.log_in(bert, name="bert")
            client.ask_all(envelope(bert), envelope(bert), v3.Resolve(b"anna-of-the-log"))
            client.ask_all(v3.Claim(bert.account), v3.DeleteAccount())
            relay.log_in(anna, 2)
            relay.log_in(anna, 3)
            relay.dial().attempt(anna, 4)
            other.write(b"\xff" * 23)
        text = repr(events)
        self.assertIn("sends_a_minute", text)
        self.assertIn("authentications_a_minute", text)
        for secret in ("of-the-log", "192.0.2.1", repr(anna.account), repr(anna.keys)):
            self.assertNotIn(secret, text)
