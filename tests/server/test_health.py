"""How a relay is asked over HTTP how it is."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from messageu.server import Door, Health
from messageu.server._health import HEALTH_CONNECTIONS, HealthFactory
from messageu.server._http import ANSWER_DEADLINE, HEAD_SIZE_LIMIT
from messageu.store import IChecked
from messageu.testing.transport import Faults, HalfCloseableRecorder, Line


@implementer(IChecked)
class Store:
    """A store that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Deferred[None]] = []

    def check(self) -> Deferred[None]:
        """Wait."""
        self.asked.append(Deferred())
        return self.asked[-1]


class HealthTests(SynchronousTestCase):
    """Questions, and their answers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.factory = HealthFactory(Health(Door("health", None), self.store), self.clock)
        self.factory.doStart()
        self.factory.readiness.serve()

    def dial(self, faults: Faults | None = None) -> Line:
        """A connection."""
        channel = self.factory.buildProtocol(None)
        assert channel is not None, "refused"
        line = Line(HalfCloseableRecorder(), channel, from_server=faults)
        line.run()
        return line

    def ask(self, request: bytes) -> Line:
        """A connection on which something is asked."""
        line = self.dial()
        line.client.write(request)
        line.run()
        return line

    def answer(self, request: bytes) -> tuple[int, bytes]:
        """The status and the body of an answer that comes at once, and ends the connection."""
        return self.answer_on(self.ask(request))

    def answer_on(self, line: Line) -> tuple[int, bytes]:
        line.run()
        head, _, body = bytes(line.client.protocol.received).partition(b"\r\n\r\n")
        self.assertTrue(line.server.closed)
        return int(head.split()[1]), body

    def get(self, path: str) -> bytes:
        """As HAProxy asks."""
        return f"GET {path} HTTP/1.0\r\n\r\n".encode()

    def test_alive(self) -> None:
        """It is alive as long as it answers, whatever its store does."""
        self.assertEqual(self.answer(self.get("/healthz")), (200, b"ready\n"))
        self.factory.readiness.drain()
        self.assertEqual(self.answer(self.get("/healthz")), (200, b"ready\n"))
        self.assertEqual(self.store.asked, [])

    def test_ready(self) -> None:
        """It is ready when its store has committed something."""
        line = self.ask(self.get("/readyz"))
        self.assertEqual(line.client.protocol.received, b"")
        self.store.asked[0].callback(None)
        self.assertEqual(self.answer_on(line), (200, b"ready\n"))

    def test_not_ready(self) -> None:
        """Otherwise the answer is 503, and one word says why."""
        line = self.ask(self.get("/readyz"))
        self.clock.advance(2)
        self.assertEqual(self.answer_on(line), (503, b"store-slow\n"))
        self.factory.readiness.drain()
        self.assertEqual(self.answer(self.get("/readyz")), (503, b"draining\n"))

    def test_forms(self) -> None:
        """GET and HEAD, with HTTP 1.0 and 1.1, with and without a query, whatever headers there
        are; each answer ends its connection, and says nothing of the program or the host."""
        self.factory.readiness.drain()
        for request, body in (
            (b"GET /readyz HTTP/1.1\r\nHost: relay\r\n\r\n", b"draining\n"),
            (b"GET /readyz?verbose=1 HTTP/1.0\r\n\r\n", b"draining\n"),
            (b"HEAD /readyz HTTP/1.1\r\nHost: relay\r\n\r\n", b""),
            (b"GET /readyz HTTP/1.1\r\nConnection: keep-alive\r\nHost: x\r\n\r\n", b"draining\n"),
        ):
            line = self.ask(request)
            self.assertEqual(self.answer_on(line), (503, body), request)
            head = bytes(line.client.protocol.received).partition(b"\r\n\r\n")[0].lower()
            names = {header.partition(b":")[0] for header in head.split(b"\r\n")[1:]}
            allowed = {b"cache-control", b"content-length", b"content-type", b"connection"}
            self.assertEqual(names - allowed, set())
            self.assertIn(b"content-length: 9", head)

    def test_others(self) -> None:
        """There is nothing else, and nothing can be done."""
        for request, status in (
            (self.get("/"), 404),
            (self.get("/readyz/"), 404),
            (self.get("/../healthz"), 404),
            (self.get("http://x/healthz"), 404),
            (b"POST /readyz HTTP/1.0\r\nContent-Length: 0\r\n\r\n", 405),
            (b"DELETE /healthz HTTP/1.0\r\n\r\n", 405),
            (b"nonsense\r\n\r\n", 400),
            (b"GET /healthz HTTP/1.0\r\nno header\r\n\r\n", 400),
        ):
            self.assertEqual(self.answer(request)[0], status, request)
        self.assertEqual(self.store.asked, [])

    def test_large_head(self) -> None:
        """A head that is too large is refused."""
        for request in (
            self.get("/" + "a" * HEAD_SIZE_LIMIT),
            b"GET /healthz HTTP/1.0\r\n" + b"Name: value\r\n" * (HEAD_SIZE_LIMIT // 10) + b"\r\n",
        ):
            self.assertEqual(self.answer(request)[0], 400)

    def test_body(self) -> None:
        """What comes with a question is not kept, however it comes."""
        size = 1 << 20
        for head, body in (
            (b"Content-Length: %d" % size, bytes(size)),
            (b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (size, bytes(size))),
        ):
            line = self.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
            (channel,) = self.factory._channels
            content = channel.requests[0].content
            line.client.write(body[:-9])
            line.run()
            self.assertEqual(content.seek(0, 2), 0)
            line.client.write(body[-9:])
            self.assertEqual(self.answer_on(line)[0], 200)

    def test_silence(self) -> None:
        """Whoever takes long is cut off, in whatever he takes it, and nobody is told who it was."""
        with capturedLogs() as events:
            for request, faults in (
                (b"", None),
                (b"GET /heal", None),
                (b"GET /healthz HTTP/1.0\r\nContent-Length: 99\r\n\r\n1", None),
                (self.get("/healthz"), Faults(window=1)),
            ):
                line = self.dial(faults)
                line.server.held = faults is not None
                line.client.write(request)
                line.run()
                for _ in range(int(ANSWER_DEADLINE)):
                    self.assertFalse(line.server.closed, request)
                    line.client.write(request[-1:] if faults is None else b"")
                    line.run()
                    self.clock.advance(1)
                line.run()
                self.assertTrue(line.server.closed, request)
        self.assertEqual(events, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gone(self) -> None:
        """Whoever does not wait for the answer is not answered."""
        line = self.ask(self.get("/readyz"))
        line.reset()
        line.run()
        self.store.asked[0].callback(None)
        line.run()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_many(self) -> None:
        """There are no more connections at once than the limit, and others when some have ended."""
        lines = [self.dial() for _ in range(HEALTH_CONNECTIONS)]
        self.assertIsNone(self.factory.buildProtocol(None))
        lines[0].client.loseConnection()
        lines[0].run()
        self.dial()

    def test_stop(self) -> None:
        """With its last port all connections end; no timer is left, and nothing was logged of
        those who asked."""
        with capturedLogs() as events:
            self.answer(self.get("/healthz"))
            line = self.dial()
            self.factory.doStop()
            line.run()
        self.assertTrue(line.server.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(events, [])
