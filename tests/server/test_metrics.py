"""What a relay counts and measures, and how it is asked for it."""

from __future__ import annotations

from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from messageu.model import ClientId, MessageId, UserName
from messageu.model.v3 import Reason
from messageu.server import IMetrics, Limits, LimitSettings, Metrics, NoMetrics, RelayFactory
from messageu.server._census import Census
from messageu.server._handlers import HANDLERS
from messageu.server._metrics import FAMILIES
from messageu.server._monitoring import METRICS_CONNECTIONS, Inside, MetricsFactory
from messageu.server._readiness import Readiness
from messageu.server.v3._handlers import HANDLERS as V3_HANDLERS
from messageu.server.v3._handlers import Handler
from messageu.server.v3._measured import measured_handlers
from messageu.store import MemoryStore, StoreUnavailable
from messageu.testing.transport import HalfCloseableRecorder, Line
from messageu.wire import v2, v3
from tests.server.relay import KEY, MemoryRelay, SlowStore

STRANGER = ClientId(bytes(16))


def samples(page: bytes) -> dict[tuple[str, ...], float]:
    """The samples of a page: name and label values, and the number."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


class MeasuredRelay(MemoryRelay):
    """A relay that measures."""

    def __init__(self, store: object = None, **settings: float) -> None:
        super().__init__(store, **settings)
        self.metrics = Metrics()
        self.factory = RelayFactory(self.store, self.clock, self.limits, metrics=self.metrics)
        self.factory.exchange = evolve(self.factory.exchange, probe_of=lambda end: end)
        self.factory.doStart()

    def counted(self, name: str = "messageu_requests_total") -> dict[tuple[str, ...], float]:
        """The samples of one name, by their labels."""
        return {
            key: value
            for (each, *key), value in self._samples()
            if each == name
            for key in [tuple(key)]
        }

    def _samples(self) -> list[tuple[tuple[str, ...], float]]:
        return list(samples(self.metrics.page({})).items())


class InterfaceTests(SynchronousTestCase):
    """The two that can be told."""

    def test_interfaces(self) -> None:
        """Both are what the relay asks of them; only one wants to know."""
        for metrics, on in ((Metrics(), True), (NoMetrics(), False)):
            self.assertTrue(verifyObject(IMetrics, metrics))
            self.assertIs(metrics.on, on)

    def test_nobody_wants_to_know(self) -> None:
        """Without metrics nothing stands between a request and its rule."""
        relay = MemoryRelay()
        exchange = relay.factory.exchange
        self.assertIs(exchange.handlers, HANDLERS)
        self.assertEqual(exchange.send, exchange.postmaster.send)
        exchange.metrics.answered("v2", "600", "answered", 1.0)
        exchange.metrics.committed(1, 1.0)
        exchange.metrics.refused_frame("v2")


class RequestTests(SynchronousTestCase):
    """Requests of v2."""

    def test_outcomes(self) -> None:
        """Each request counts once, under its code and what became of it, however it is asked."""
        relay = MeasuredRelay()
        me = relay.register("me")
        client = relay.dial()
        client.ask(v2.Register(UserName.from_text("me"), KEY))
        client.ask(v2.ListClients(), me)
        client.ask(v2.GetPublicKey(me), me)
        client.ask(v2.GetPublicKey(STRANGER), me)
        client.send(
            *(v2.Request(me, v2.SendMessage(to, 3, b"x")).encode() for to in (me, STRANGER, me))
        )
        client.take()
        client.ask(v2.FetchMessages(), me)
        self.assertEqual(
            relay.counted(),
            {
                ("v2", "600", "answered"): 1,
                ("v2", "600", "refused"): 1,
                ("v2", "601", "answered"): 1,
                ("v2", "602", "answered"): 1,
                ("v2", "602", "refused"): 1,
                ("v2", "603", "answered"): 2,
                ("v2", "603", "refused"): 1,
                ("v2", "604", "answered"): 1,
            },
        )

    def test_long_answer(self) -> None:
        """What is asked for twice, as its answer is longer than one piece, counts once."""
        relay = MeasuredRelay(streams=1, chunk=1024)
        me = relay.register("me")
        for _ in range(3):
            relay.send(me, me, bytes(5000))
        relay.factory.exchange.streams.acquire()
        client = relay.dial()
        self.assertEqual(client.ask(v2.FetchMessages(), me), [])
        relay.factory.exchange.streams.release()
        client.line.run()
        self.assertTrue(client.take())
        self.assertEqual(relay.counted()["v2", "604", "answered"], 1)

    def test_times(self) -> None:
        """The time of a request goes from its arrival to its answer."""
        store = SlowStore(MemoryStore(now=lambda: 0.0))
        relay = MeasuredRelay(store)
        me = relay.register("me")
        client = relay.dial()
        client.ask(v2.SendMessage(me, 3, b"x"), me)
        relay.clock.advance(0.3)
        store.finish(0)
        client.line.run()
        self.assertEqual(client.take(), [v2.Stored(me, MessageId(1))])
        buckets = relay.counted("messageu_request_seconds_bucket")
        self.assertEqual(buckets["v2", "603", "0.25"], 0)
        self.assertEqual(buckets["v2", "603", "0.5"], 1)

    def test_failed(self) -> None:
        """What the store has failed to do is counted as such; a send is answered as if refused."""
        relay = MeasuredRelay()
        me = relay.register("me")
        relay.store.close()
        client = relay.dial()
        client.ask(v2.GetPublicKey(me), me)
        client.ask(v2.SendMessage(me, 3, b"x"), me)
        counted = relay.counted()
        self.assertEqual(counted["v2", "602", "failed"], 1)
        self.assertEqual(counted["v2", "603", "refused"], 1)

    def test_no_request(self) -> None:
        """A frame that is no request is counted, without what its sender has written."""
        relay = MeasuredRelay()
        client = relay.dial()
        client.send(bytes(16) + b"\x02" + (777).to_bytes(2, "little") + bytes(4))
        self.assertEqual(relay.counted(), {})
        self.assertEqual(relay.counted("messageu_refused_frames_total"), {("v2",): 1})


class V3RequestTests(SynchronousTestCase):
    """Requests of v3."""

    def test_outcomes(self) -> None:
        """Each counts under its code, or as unknown, and under the reason if it was refused."""
        clock, metrics = Clock(), Metrics()
        answers = {v3.Ping: v3.Pong(), v3.UnknownRequest: v3.Error(Reason.UNKNOWN_REQUEST)}
        handlers = measured_handlers(
            {body: Handler(lambda *args, body=body: args[3](answers[body]), 0) for body in answers},
            metrics,
            clock,
        )
        given = []
        for body, handler in handlers.items():
            handler.ask(None, None, body, given.append, None)
        self.assertEqual(given, list(answers.values()))
        counted = samples(metrics.page({}))
        self.assertEqual(counted["messageu_requests_total", "v3", "710", "answered"], 1)
        self.assertEqual(counted["messageu_requests_total", "v3", "unknown", "unknown_request"], 1)

    def test_all(self) -> None:
        """Every request of v3 is measured, and asks the same as it does otherwise."""
        measured = measured_handlers(V3_HANDLERS, Metrics(), Clock())
        self.assertEqual(list(measured), list(V3_HANDLERS))
        for body, handler in measured.items():
            self.assertIsNot(handler.ask, V3_HANDLERS[body].ask)
            self.assertEqual(evolve(handler, ask=V3_HANDLERS[body].ask), V3_HANDLERS[body])


class PageTests(SynchronousTestCase):
    """The page, and who asks for it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.limits = Limits(LimitSettings(connections=7))
        self.checked: Deferred[None] = succeed(None)
        self.readiness = Readiness(lambda: self.checked, self.clock)
        self.readiness.serve()
        self.metrics = Metrics()
        self.store = MemoryStore(now=self.clock.seconds)
        self.store.open()
        census = Census(self.store.surveys, self.clock)
        self.factory = MetricsFactory(self.metrics, self.readiness, self.look, census, self.clock)

    def look(self) -> Inside:
        """What there is to be read."""
        return Inside(self.limits, {"v2": 3, "v3": 4}, 2, {"stored": 5})

    def ask(self, path: str = "/metrics") -> tuple[bytes, bytes]:
        """The head and the body of an answer."""
        line = Line(HalfCloseableRecorder(), self.factory.buildProtocol(None))
        line.client.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        line.run()
        head, _, body = bytes(line.client.protocol.received).partition(b"\r\n\r\n")
        return head, body

    def test_page(self) -> None:
        """It has every family that there is, and what is read when it is asked for."""
        self.limits.hit("connections", "192.0.2.1")
        self.metrics.committed(3, 0.004)
        self.metrics.committed_behind(2, 0.5)
        head, body = self.ask()
        self.assertIn(b"200 OK", head)
        self.assertIn(b"text/plain; version=0.0.4; charset=utf-8", head)
        told = [line.split()[2] for line in body.decode().splitlines() if line.startswith("# TYPE")]
        self.assertEqual(told, list(FAMILIES))
        read = samples(body)
        self.assertEqual(read["messageu_connections", "v3"], 4)
        self.assertEqual(read["messageu_connections_limit",], 7)
        self.assertEqual(read["messageu_limit_hits_total", "connections"], 1)
        self.assertEqual(read["messageu_v3_subscriptions",], 2)
        self.assertEqual(read["messageu_v3_envelopes_total", "stored"], 5)
        self.assertEqual(read["messageu_store_batch_operations_bucket", "4"], 1)
        self.assertEqual(read["messageu_store_commit_seconds_sum",], 0.004)
        self.assertEqual(read["messageu_store_background_seconds_sum",], 0.5)
        self.assertNotIn(b"192.0.2.1", body)

    def test_condition(self) -> None:
        """It says how the relay is, also when that is bad: then it is not asked in vain."""
        self.assertEqual(samples(self.ask()[1])["messageu_condition", "ready"], 1)
        self.clock.advance(5)
        self.checked = fail(StoreUnavailable("no"))
        head, body = self.ask()
        self.assertIn(b"200 OK", head)
        self.assertEqual(samples(body)["messageu_condition", "ready"], 0)
        self.assertEqual(samples(body)["messageu_condition", "store-failing"], 1)

    def test_nothing_else(self) -> None:
        """There is nothing else, and only some are heard at once."""
        self.assertIn(b"404", self.ask("/healthz")[0])
        held = [self.factory.buildProtocol(None) for _ in range(METRICS_CONNECTIONS)]
        for channel in held:
            Line(HalfCloseableRecorder(), channel)
        self.assertIsNone(self.factory.buildProtocol(None))
