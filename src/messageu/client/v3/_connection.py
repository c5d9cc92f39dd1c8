"""One connection to a relay of v3: TLS, the pin, frames both ways, and an end to every wait."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any, Final, Protocol

from attrs import frozen
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from messageu.crypto.certificates import pin_of
from messageu.model.v3 import CHANNEL_BINDING_SIZE
from messageu.wire import NEED_DATA, Parser, RemoteProtocolError, v3

from .._errors import AnswerCut, AnswerNonsense, ClientError, RelayError, RelaySilent

ALPN: Final = b"messageu/3"
TLS_VERSION: Final = "TLSv1.3"
BINDING_LABEL: Final = b"EXPORTER-Channel-Binding"


_NOT_V3: Final = "what listens there does not speak MessageU 3 over TLS 1.3"


class RelayNotV3(RelayError):
    """What listens there is no relay of MessageU 3."""


class RelayNotTrusted(RelayError):
    """The relay showed another key than the one that its address names."""


@frozen
class Patience:
    """How long a connection is waited for, in seconds.

    :ivar handshake: until TLS is up, from the moment that TCP is.
    :ivar progress: without a whole frame while an answer is due.
    :ivar slowest: bytes a second that are granted to what is on its way, either way.
    :ivar farewell: for the relay's part in closing a connection.
    """

    handshake: float = 15.0
    progress: float = 30.0
    slowest: float = 16 * 1024
    farewell: float = 2.0


class Driver(Protocol):
    """Who decides what is said on a connection. None of these may raise but a ClientError."""

    def connected(self, channel_binding: bytes) -> None:
        """TLS is up, and the relay is the one that was meant."""
        ...  # pragma: no cover

    def receive(self, response: v3.Response) -> None:
        """The relay has answered, or pushed."""
        ...  # pragma: no cover

    def requests(self) -> Sequence[v3.Request]:
        """What is to be written next; nothing when there is nothing to say now."""
        ...  # pragma: no cover

    def lost(self, why: RelayError | ClientError) -> None:
        """The connection is gone. It comes last, and once."""
        ...  # pragma: no cover


@implementer(IStreamClientEndpoint)
@frozen
class TlsEndpoint:
    """The same way, with TLS on it. ``connect`` answers when TCP is up."""

    _endpoint: IStreamClientEndpoint
    _clock: IReactorTime

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        """Begin to connect."""
        # The pin is compared when it is up: nobody's certificates are asked, and no name is told.
        options = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_3, acceptableProtocols=[ALPN])
        # Twisted's own wrapper would take the global reactor's clock.
        factory = TLSMemoryBIOFactory(options, True, protocolFactory, self._clock)
        connecting: Deferred[Any] = self._endpoint.connect(factory)
        return connecting.addCallback(lambda wrapper: wrapper.wrappedProtocol)


@implementer(IHandshakeListener, IPushProducer)
class RelayConnection(TwistedProtocol):
    """Carries requests and answers between a :class:`Driver` and a relay.

    What is asked is taken from the driver only while the transport takes it; so the output that
    waits here is what one call of ``requests`` gives, and the transport's own buffer.

    :ivar certificate: what the relay has shown, as DER, when its key was the right one.
    """

    transport: TLSMemoryBIOProtocol

    def __init__(self, clock: IReactorTime, pin: bytes, driver: Driver, patience: Patience) -> None:
        self._clock = clock
        self._pin = pin
        self._driver = driver
        self._patience = patience
        self._parser: Parser[v3.Response] = Parser(v3.ResponseCodec())
        self._unanswered: dict[int, int] = {}  # the size of each request's frame, in bytes
        self._up = False
        self._ending = False
        self._lost = False
        self._paused = False
        self._pumping = False
        self._why: ClientError | None = None
        self.certificate: bytes | None = None
        self._timer: IDelayedCall | None = None

    def pump(self) -> None:
        """Write what the driver wants to ask now."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._up and not self._ending and not self._paused:
                requests = self._driver.requests()
                if not requests:
                    return
                for request in requests:
                    self._write(request)
        except ClientError as error:
            self.fail(error)
        finally:
            self._pumping = False

    def close(self) -> None:
        """Close in good order, or not, when that takes too long."""
        if self._ending:
            return
        if not self._up:
            self.fail(AnswerCut("the connection was closed", begun=False))
            return
        self._ending = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._expect_within(self._patience.farewell)

    def fail(self, why: ClientError) -> None:
        """Reset the connection."""
        if self._why is None:
            self._why = why
        self._ending = True
        self._parser.close()
        if not self._lost:
            self.transport.abortConnection()

    # What the transport tells.

    def connectionMade(self) -> None:
        """TCP is up: TLS is to follow."""
        self._expect_within(self._patience.handshake)

    def handshakeCompleted(self) -> None:
        """Compare everything before anything is written."""
        if self._ending:
            return
        connection = self.transport.getHandle()
        wrong = self._find_fault(connection)
        if wrong is not None:
            self.fail(wrong)
            return
        self._stop_timer()
        self._up = True
        # A frame that waits for the acknowledgement of the one before waits for 40 ms.
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        binding = connection.export_keying_material(BINDING_LABEL, CHANNEL_BINDING_SIZE)
        try:
            self._driver.connected(binding)
        except ClientError as error:
            self.fail(error)
            return
        self.pump()

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the relay."""
        self._parser.receive_data(data)
        last, heard = self._parser.frame_offset, 0
        try:
            while not self._ending and (response := self._parser.next_event()) is not NEED_DATA:
                heard += 1
                self._unanswered.pop(response.correlation, None)
                self._driver.receive(response)
        except RemoteProtocolError:
            self.fail(AnswerNonsense("the relay's answer is none", begun=True))
            return
        except ClientError as error:
            self.fail(error)
            return
        self.pump()
        if heard or self._parser.frame_offset != last:  # a byte now and then is no progress
            self._expect_answer()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """It is over."""
        self._lost = True
        self._ending = True
        self._stop_timer()
        self._driver.lost(self._why or self._explain(reason))

    def pauseProducing(self) -> None:
        """The transport takes no more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It does again."""
        self._paused = False
        self.pump()

    def stopProducing(self) -> None:
        """It never does again; connectionLost follows."""
        self._paused = True

    # How it is done.

    def _find_fault(self, connection: SSL.Connection) -> RelayError | None:
        if connection.get_protocol_version_name() != TLS_VERSION:
            return RelayNotV3(_NOT_V3)
        if connection.get_alpn_proto_negotiated() != ALPN:
            return RelayNotV3(_NOT_V3)
        certificate = connection.get_peer_certificate()
        if certificate is None:
            return RelayNotTrusted("the relay shows no key")
        shown = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        if not hmac.compare_digest(pin_of(shown), self._pin):
            return RelayNotTrusted(
                "the relay shows another key than the one in its address: "
                "ask its operator for the address, and do not go on before"
            )
        self.certificate = shown
        return None

    def _explain(self, reason: Failure | None) -> RelayError:
        if not self._up and reason is not None and reason.check(SSL.Error):
            return RelayNotV3(_NOT_V3)
        return AnswerCut("the relay closed the connection", begun=self._up)

    def _write(self, request: v3.Request) -> None:
        frame = request.encode()
        waited_for = bool(self._unanswered)
        self._unanswered[request.correlation] = len(frame)
        self.transport.write(frame)
        if not waited_for:
            self._expect_answer()

    def _expect_answer(self) -> None:
        """While anything is unanswered, a whole frame is due after a time that its size grants."""
        if self._ending:
            return
        if not self._unanswered:
            self._stop_timer()
            return
        on_the_way = sum(self._unanswered.values()) + self._parser.missing
        self._expect_within(self._patience.progress + on_the_way / self._patience.slowest)

    def _expect_within(self, seconds: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.reset(seconds)
        else:
            self._timer = self._clock.callLater(seconds, self._time_out)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _time_out(self) -> None:
        self._timer = None
        if self._ending:
            self.fail(AnswerCut("the connection was closed", begun=True))
            return
        seconds = self._patience.progress if self._up else self._patience.handshake
        self.fail(RelaySilent(f"the relay has been silent for {seconds:g} seconds"))
