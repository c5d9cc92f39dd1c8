"""One connection of v3: TLS and the pin before a word, and an end to every wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IPushProducer, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import TLSVersion
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

from messageu.client import AnswerCut, AnswerNonsense, ClientError, RelaySilent
from messageu.client.v3 import RelayNotTrusted, RelayNotV3
from messageu.client.v3._connection import Patience, RelayConnection, TlsEndpoint
from messageu.model import ClientId
from messageu.model.v3 import Delivery, EnvelopeId, SealedEnvelope
from messageu.testing.network import MemoryNetwork
from messageu.testing.transport import Faults
from messageu.wire import v3

from .tls import FakeRelay, Key, listener, relay_key

PING = v3.Request(1, v3.Ping())


class Refused(ClientError):
    """Of a driver that does not want to go on."""


class FakeDriver:
    """Asks what it is told to, and remembers what it hears."""

    def __init__(self) -> None:
        self.binding: bytes | None = None
        self.heard: list[v3.Response] = []
        self.why: ClientError | None = None
        self.asking: deque[list[v3.Request]] = deque()
        self.asked = 0
        self.raises: ClientError | None = None

    def connected(self, channel_binding: bytes) -> None:
        self.binding = channel_binding
        self._raise()

    def receive(self, response: v3.Response) -> None:
        self.heard.append(response)
        self._raise()

    def requests(self) -> Sequence[v3.Request]:
        self.asked += 1
        return self.asking.popleft() if self.asking else []

    def lost(self, why: ClientError) -> None:
        assert self.why is None
        self.why = why

    def _raise(self) -> None:
        if self.raises is not None:
            raise self.raises


class ConnectionCase(SynchronousTestCase):
    """A relay that listens in memory, and a connection to it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.relays: list[FakeRelay] = []
        self.driver = FakeDriver()

    def make_relay(self) -> FakeRelay:
        """The relay's side of one connection."""
        self.relays.append(FakeRelay())
        return self.relays[-1]

    def dial(self, pin: bytes | None = None, **options: object) -> RelayConnection:
        """Connect to a relay of such a kind, and let happen what happens."""
        self.network.listener = listener(self.clock, self.make_relay, **options)
        connection = RelayConnection(
            self.clock, pin or relay_key().pin, self.driver, Patience(progress=30)
        )
        endpoint = TlsEndpoint(self.network.endpoint(), self.clock)
        connecting: Deferred[object] = endpoint.connect(Factory.forProtocol(lambda: connection))
        self.assertIs(self.successResultOf(connecting), connection)
        self.network.run()
        return connection

    def assert_given_up(self, kind: type[ClientError], words: str) -> None:
        """The driver knows why it is over, the relay has no byte of ours, and no timer is left."""
        self.assertIs(type(self.driver.why), kind, self.driver.why)
        self.assertIn(words, str(self.driver.why))
        self.network.wait(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(all(relay.lost for relay in self.relays))


class HandshakeTests(ConnectionCase):
    """Until TLS is up."""

    def test_interfaces(self) -> None:
        """What Twisted asks of it is there."""
        self.assertTrue(verifyClass(IHandshakeListener, RelayConnection))
        self.assertTrue(verifyClass(IPushProducer, RelayConnection))
        endpoint = TlsEndpoint(self.network.endpoint(), self.clock)
        self.assertTrue(verifyObject(IStreamClientEndpoint, endpoint))

    def test_channel_binding(self) -> None:
        """The driver learns of a good relay with 32 bytes that the relay has, too, and that are
        others on the next connection."""
        self.dial()
        theirs = self.relays[0].transport.getHandle()
        mine = theirs.export_keying_material(b"EXPORTER-Channel-Binding", 32)
        self.assertEqual(self.driver.binding, mine)
        self.dial()
        self.assertEqual(len(self.driver.binding), 32)
        self.assertNotEqual(self.driver.binding, mine)

    def test_no_name_is_told(self) -> None:
        """The relay is not told by which name it was found."""
        self.dial()
        self.assertIsNone(self.relays[0].transport.getHandle().get_servername())

    def test_another_key(self) -> None:
        """A relay that shows another key is left before anything is said."""
        self.driver.asking.append([PING])
        self.dial(key=relay_key("somebody else"))
        self.assert_given_up(RelayNotTrusted, "another key")
        self.assertEqual((self.driver.binding, self.relays[0].received), (None, []))

    def test_pin_of_another(self) -> None:
        """Each bit of the pin counts."""
        pin = bytearray(relay_key().pin)
        pin[-1] ^= 1
        self.dial(bytes(pin))
        self.assert_given_up(RelayNotTrusted, "another key")

    def test_old_tls(self) -> None:
        """A relay without TLS 1.3 is left."""
        self.dial(newest=TLSVersion.TLSv1_2)
        self.assert_given_up(RelayNotV3, "TLS 1.3")
        self.assertIsNone(self.driver.binding)

    def test_no_protocol(self) -> None:
        """A relay that does not choose messageu/3 is left before anything is said."""
        self.driver.asking.append([PING])
        self.dial(protocols=())
        self.assert_given_up(RelayNotV3, "MessageU 3")
        self.assertEqual((self.driver.binding, self.relays[0].received), (None, []))

    def test_other_protocol(self) -> None:
        """So is one that has another protocol only."""
        self.dial(protocols=(b"h2",))
        self.assert_given_up(RelayNotV3, "MessageU 3")

    def test_no_tls(self) -> None:
        """A relay that speaks before TLS, as one of v2 does, is left."""
        self.network.listener = Factory.forProtocol(self.make_relay)
        key = Key(lambda **_: None, relay_key().pin)
        connection = RelayConnection(self.clock, key.pin, self.driver, Patience())
        TlsEndpoint(self.network.endpoint(), self.clock).connect(
            Factory.forProtocol(lambda: connection)
        )
        self.relays[0].dataReceived = lambda _: None
        self.relays[0].transport.write(b"\x02\x28\x23\0\0\0\0")
        self.network.run()
        self.assert_given_up(RelayNotV3, "TLS 1.3")

    def test_silence(self) -> None:
        """A relay that does not get on with TLS is left after the time for it."""
        self.network.new_faults = lambda: (Faults(), Faults(window=100))
        self.network.listener = Factory.forProtocol(self.make_relay)
        connection = RelayConnection(self.clock, relay_key().pin, self.driver, Patience())
        TlsEndpoint(self.network.endpoint(), self.clock).connect(
            Factory.forProtocol(lambda: connection)
        )
        self.relays[0].dataReceived = lambda _: None
        self.network.wait(14.9)
        self.assertIsNone(self.driver.why)
        self.network.wait(0.2)
        self.assert_given_up(RelaySilent, "silent for 15 seconds")

    def test_lost_before(self) -> None:
        """A connection that is lost during the handshake is told of."""
        self.network.new_faults = lambda: (Faults(), Faults(cut_after=500))
        self.dial()
        self.assert_given_up(AnswerCut, "closed the connection")

    def test_driver_that_refuses(self) -> None:
        """A driver that cannot go on ends it."""
        self.driver.raises = Refused("no")
        self.dial()
        self.assert_given_up(Refused, "no")


class TrafficTests(ConnectionCase):
    """Requests and answers."""

    def test_round_trip(self) -> None:
        """What the driver asks arrives, and what the relay says is heard, as it was said."""
        self.driver.asking.extend([[PING], [v3.Request(2, v3.Hello())]])
        self.dial()
        self.assertEqual(self.relays[0].received, [PING, v3.Request(2, v3.Hello())])
        self.relays[0].say(v3.Pong(), 1)
        self.relays[0].say(v3.PrekeysLow(3))
        self.network.run()
        heard = [v3.Response(1, v3.Pong()), v3.Response(0, v3.PrekeysLow(3))]
        self.assertEqual(self.driver.heard, heard)

    def test_bytes_one_by_one(self) -> None:
        """Frames may come in pieces of one byte."""
        self.network.new_faults = lambda: (Faults(piece=1), Faults(piece=1))
        self.driver.asking.append([PING])
        self.dial()
        self.relays[0].say(v3.Pong(), 1)
        self.network.run()
        self.assertEqual(self.driver.heard, [v3.Response(1, v3.Pong())])

    def test_asked_after_an_answer(self) -> None:
        """After an answer the driver is asked what is next."""
        self.driver.asking.append([PING])
        self.dial()
        self.driver.asking.extend([[], [v3.Request(2, v3.Ping())]])
        self.relays[0].say(v3.Pong(), 1)
        self.network.run()
        self.assertEqual(len(self.relays[0].received), 1)
        self.relays[0].say(v3.PrekeysLow(1))
        self.network.run()
        self.assertEqual(len(self.relays[0].received), 2)

    def test_output_is_bounded(self) -> None:
        """While the relay reads nothing the driver is not asked for ever; all arrives when it reads
        again."""
        size = 100_000
        self.dial()
        sends = [
            v3.Request(
                number, v3.Send(SealedEnvelope(ClientId(bytes(16)), envelope, 1, bytes(size)))
            )
            for number in range(1, 101)
            for envelope in [EnvelopeId(number.to_bytes(16, "big"))]
        ]
        self.driver.asking.extend([send] for send in sends)
        self.driver.asked = 0
        self.relays[0].transport.transport.pauseProducing()
        line = self.network.lines[0]
        line.client.faults = Faults(window=1000)
        line.client.held = True
        self.connection_of(line).pump()
        self.network.run()
        self.assertLess(self.driver.asked, 5)
        line.client.faults = Faults()
        line.client.held = False
        self.relays[0].transport.transport.resumeProducing()
        self.network.run()
        self.assertEqual(self.relays[0].received, sends)

    @staticmethod
    def connection_of(line: object) -> RelayConnection:
        """Our protocol, inside TLS."""
        return line.client.protocol.wrappedProtocol

    def test_nonsense(self) -> None:
        """A relay that says what is no frame is left."""
        self.dial()
        self.relays[0].transport.write(bytes(100))
        self.network.run()
        self.assert_given_up(AnswerNonsense, "none")

    def test_nothing_after_a_refusal(self) -> None:
        """When the driver cannot go on, it hears nothing more."""
        self.dial()
        self.driver.raises = Refused("the disk is full")
        for left in (3, 2):
            self.relays[0].say(v3.PrekeysLow(left))
        self.network.run()
        self.assertEqual(len(self.driver.heard), 1)
        self.assert_given_up(Refused, "the disk is full")

    def test_requests_that_cannot_be_made(self) -> None:
        """When the driver cannot say what to ask, it is over."""
        self.driver.requests = self.refuse
        self.dial()
        self.assert_given_up(Refused, "no")

    @staticmethod
    def refuse() -> Sequence[v3.Request]:
        """In place of requests."""
        raise Refused("no")

    def test_closed_by_relay(self) -> None:
        """The driver is told when the relay closes the connection, once."""
        self.dial()
        self.relays[0].transport.loseConnection()
        self.network.run()
        self.assert_given_up(AnswerCut, "closed the connection")

    def test_close(self) -> None:
        """Closing ends it in good order; doing so again does nothing."""
        connection = self.dial()
        connection.close()
        connection.close()
        self.network.run()
        self.assert_given_up(AnswerCut, "closed the connection")

    def test_close_that_is_not_answered(self) -> None:
        """A relay that does not say good-bye is not waited for."""
        connection = self.dial()
        self.network.lines[0].server.held = True
        connection.close()
        self.network.wait(1.9)
        self.assertIsNone(self.driver.why)
        self.network.wait(0.2)
        self.assert_given_up(AnswerCut, "closed")

    def test_close_during_handshake(self) -> None:
        """It can be closed before TLS is up."""
        self.network.listener = Factory.forProtocol(self.make_relay)
        connection = RelayConnection(self.clock, relay_key().pin, self.driver, Patience())
        TlsEndpoint(self.network.endpoint(), self.clock).connect(
            Factory.forProtocol(lambda: connection)
        )
        self.relays[0].dataReceived = lambda _: None
        connection.close()
        self.network.run()
        self.assert_given_up(AnswerCut, "closed")


class DeadlineTests(ConnectionCase):
    """Waiting has an end while an answer is due, and none otherwise."""

    def test_silence(self) -> None:
        """A relay that does not answer is left after 30 seconds."""
        self.driver.asking.append([PING])
        self.dial()
        self.network.wait(29.9)
        self.assertIsNone(self.driver.why)
        self.network.wait(0.3)
        self.assert_given_up(RelaySilent, "silent for 30 seconds")

    def test_nothing_is_due(self) -> None:
        """Without a question a connection may be silent for ever."""
        self.driver.asking.append([PING])
        self.dial()
        self.relays[0].say(v3.Pong(), 1)
        self.network.wait(10_000, step=1000)
        self.assertIsNone(self.driver.why)

    def test_whole_frames_count(self) -> None:
        """Each whole frame begins the time anew; bytes of one that never ends do not."""
        self.driver.asking.append([PING])
        self.dial()
        for _ in range(3):
            self.network.wait(25, step=5)
            self.relays[0].say(v3.PrekeysLow(1))
            self.network.run()
        self.assertIsNone(self.driver.why)
        frame = v3.push(v3.Deliver(Delivery(1, EnvelopeId(bytes(16)), 1, bytes(16_384))))
        for place in range(30):
            self.relays[0].transport.write(frame[place : place + 1])
            self.network.wait(2, step=1)
        self.assert_given_up(RelaySilent, "silent")

    def test_large_requests_take_time(self) -> None:
        """What is large is granted the time that a slow line needs."""
        envelope = SealedEnvelope(ClientId(bytes(16)), EnvelopeId(bytes(16)), 1, bytes(2**20))
        self.driver.asking.append([v3.Request(1, v3.Send(envelope))])
        self.dial()
        self.network.wait(90, step=5)
        self.assertIsNone(self.driver.why)
        self.network.wait(10, step=1)
        self.assert_given_up(RelaySilent, "silent")
