"""Requests to a relay, whatever it does with its connections and versions."""

from __future__ import annotations

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from messageu.client import (
    AnswerCut,
    AnswerNonsense,
    OutcomeUnknown,
    Patience,
    RelayRefused,
    RelaySilent,
    RelayUnreachable,
    TooManyRequests,
)
from messageu.client._relay import REQUESTS_LIMIT, Destination, Relay
from messageu.model import NOBODY, UserName
from messageu.testing.transport import Faults
from messageu.wire import v2

from .relay import ANNA, BERN, ForeignRelay

LIST = v2.ListClients(), v2.EndOfClients
KEY_OF_BERN = v2.GetPublicKey(BERN.client_id), v2.PublicKeyOf
SEND = v2.SendMessage(BERN.client_id, 1, b""), v2.Stored
REGISTER = v2.Register(UserName(b"carl"), ANNA.private_key.public_key), v2.Registered


class RelayTests(SynchronousTestCase):
    """A relay that is asked over a foreign one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.foreign = ForeignRelay()
        self.foreign.add(ANNA)
        self.foreign.add(BERN)
        self.relay = Relay(self.clock, lambda: Destination("there:1357", self.foreign), Patience())

    def ask(self, asked: tuple[v2.RequestBody, type]) -> Deferred[object]:
        """Ask, and let everything happen."""
        asking = Deferred.fromCoroutine(self.relay.ask(ANNA.client_id, *asked))
        self.foreign.run()
        return asking

    def answers(self, *all_asked: tuple[v2.RequestBody, type]) -> None:
        """Each of these is answered."""
        for asked in all_asked:
            self.assertIsInstance(self.successResultOf(self.ask(asked)), asked[1])

    def fails(self, asked: tuple[v2.RequestBody, type], kind: type[Exception]) -> str:
        """Asking fails; the text."""
        return str(self.failureResultOf(self.ask(asked), kind).value)

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self.foreign.lines)

    def test_endpoint_is_one(self) -> None:
        """The foreign relay can be connected to as anything else."""
        verifyObject(IStreamClientEndpoint, self.foreign)

    def test_kept_connection_is_used_again(self) -> None:
        """With a relay that keeps connections, one is enough, for sends too once that is known."""
        self.answers(LIST, KEY_OF_BERN, SEND, SEND, LIST)
        self.assertEqual(self.connections, 1)

    def test_send_goes_out_on_fresh_connection(self) -> None:
        """Before a relay has been seen to keep connections, no message goes out on a used one."""
        self.answers(LIST, SEND)
        self.assertEqual(self.connections, 2)
        self.answers(LIST, SEND)
        self.assertEqual(self.connections, 2)

    def test_closing_relay_gets_one_connection_each(self) -> None:
        """With a relay that closes after each answer everything works, and nothing arrives twice."""
        self.foreign.closes = True
        self.answers(LIST, KEY_OF_BERN, SEND, SEND, LIST, SEND)
        self.assertEqual(self.foreign.codes, [601, 602, 603, 603, 601, 603])
        self.assertEqual(self.connections, 6)

    def test_request_overtaken_by_close_is_repeated(self) -> None:
        """A harmless request on a connection that the relay was closing goes out once more."""
        self.answers(LIST)
        self.foreign.lines[-1].server.loseConnection()
        self.answers(LIST)
        self.assertEqual(self.connections, 2)

    def test_send_overtaken_by_close_is_not_repeated(self) -> None:
        """A message on a connection that the relay was closing may have been stored: it is said."""
        self.answers(LIST, LIST)
        self.foreign.lines[-1].server.loseConnection()
        text = self.fails(SEND, OutcomeUnknown)
        self.assertIn("without an answer (there:1357); the message may or may not", text)
        self.assertEqual(self.foreign.codes, [601, 601])
        self.answers(SEND)
        self.assertEqual(self.connections, 2)

    def test_idle_close_is_noticed(self) -> None:
        """A connection that was closed while nothing was asked is not used, not even by a send."""
        self.answers(LIST, LIST)
        self.foreign.lines[-1].server.loseConnection()
        self.foreign.run()
        self.answers(SEND)
        self.assertEqual(self.connections, 2)

    def test_fresh_connection_is_not_tried_twice(self) -> None:
        """A relay that closes without an answer is asked once."""
        self.foreign.closes = True
        self.foreign.says.extend([b"", b""])
        text = self.fails(LIST, AnswerCut)
        self.assertIn("closed the connection without an answer (there:1357)", text)
        self.assertEqual(self.connections, 1)

    def test_begun_answer_is_not_asked_for_again(self) -> None:
        """When a used connection breaks in the middle of the items, they do not come twice."""
        self.answers(LIST)
        self.foreign.put_text("one", sender=BERN, recipient=ANNA)
        self.foreign.put_text("two", sender=BERN, recipient=ANNA)
        sent = self.foreign.lines[-1].server._delivered
        self.foreign.lines[-1].server.faults = Faults(cut_after=sent + 7 + 25 + 16 + 10)
        self.fails((v2.FetchMessages(), v2.EndOfMessages), AnswerCut)
        self.assertEqual(self.foreign.codes, [601, 604])

    def test_late_trailing_bytes(self) -> None:
        """Bytes that arrive after an answer, just when more is asked, cost a new connection."""
        self.answers(LIST)
        self.foreign.lines[-1].server.write(b"trailing")
        self.answers(LIST)
        self.assertEqual(self.connections, 2)

    def test_trailing_bytes_with_each_answer(self) -> None:
        """A relay that sends more than it announces is understood."""
        self.foreign.tail = b"\0" * 30
        self.answers(LIST, KEY_OF_BERN, SEND, LIST)

    def test_nonsense_is_said(self) -> None:
        """Something else that answers there is called by its name; a send is in doubt."""
        self.foreign.says.extend([b"HTTP/1.1 400 Bad Request\r\n", b"HTTP/1.1 400 Bad\r\n"])
        self.assertIn("is it a MessageU relay?", self.fails(LIST, AnswerNonsense))
        self.assertIn("may or may not", self.fails(SEND, OutcomeUnknown))

    def test_silence_is_said(self) -> None:
        """A relay that does not answer is given up; a registration is in doubt."""
        self.foreign.says.extend([None, None])
        asking = self.ask(LIST)
        self.clock.advance(31)
        text = str(self.failureResultOf(asking, RelaySilent).value)
        self.assertIn("silent for 30 seconds (there:1357)", text)
        asking = self.ask(REGISTER)
        self.clock.advance(31)
        text = str(self.failureResultOf(asking, OutcomeUnknown).value)
        self.assertIn("the name may or may not have been registered", text)

    def test_unreachable_relay(self) -> None:
        """What hinders a connection is said in our own words."""
        for hindrance, words in (
            (error.ConnectionRefusedError(), "nothing listens there"),
            (error.TCPTimedOutError(), "it does not react"),
            (error.DNSLookupError("secret.example"), "its name is not known"),
            (ValueError("invalid hostname: secret.example"), "its name is not known"),
            (error.NoRouteError(), "there is no way to it"),
            (error.ConnectError(), "no connection comes about"),
            (OSError(24, "Too many open files"), "no connection comes about"),
        ):
            self.foreign.unreachable.append(hindrance)
            text = self.fails(LIST, RelayUnreachable)
            self.assertEqual(text, f"the relay at there:1357 cannot be reached: {words}")

    def hang_connecting(self, canceller: object = None) -> None:
        """From now on no connection comes about."""
        self.foreign.connect = lambda _: Deferred(canceller)  # type: ignore[method-assign]

    def test_connecting_takes_too_long(self) -> None:
        """A connection that does not come about is given up."""
        self.hang_connecting(lambda d: d.errback(error.ConnectingCancelledError(None)))
        asking = self.ask(LIST)
        self.clock.advance(10)
        text = str(self.failureResultOf(asking, RelayUnreachable).value)
        self.assertIn("it does not react", text)

    def test_connecting_is_cancelled(self) -> None:
        """Who cancels while there is no connection yet is told so, and the next has its turn."""
        self.hang_connecting(lambda d: d.errback(error.ConnectingCancelledError(None)))
        asking = self.ask(LIST)
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        del self.foreign.connect
        self.answers(LIST)

    def test_connect(self) -> None:
        """Connecting beforehand saves the first request from doing it, once."""
        for _ in range(2):
            self.successResultOf(Deferred.fromCoroutine(self.relay.connect()))
        self.answers(SEND)
        self.assertEqual(self.connections, 1)

    def test_close(self) -> None:
        """After closing, the next request opens a new connection."""
        self.answers(LIST)
        for _ in range(2):
            closing = Deferred.fromCoroutine(self.relay.close())
            self.foreign.run()
            self.successResultOf(closing)
        self.answers(LIST)
        self.assertEqual(self.connections, 2)

    def test_requests_wait_for_each_other(self) -> None:
        """Requests that are asked at once are answered in turn, never pipelined."""
        self.foreign.says.append(None)
        asked = [self.ask(LIST) for _ in range(3)]
        self.assertEqual(self.foreign.codes, [601])
        self.foreign.lines[0].server.write(v2.ClientsList(()).encode())
        self.foreign.run()
        for asking in asked:
            self.successResultOf(asking)

    def test_too_many_requests(self) -> None:
        """No more than a number of requests may wait."""
        self.foreign.says.append(None)
        asked = [self.ask(LIST) for _ in range(REQUESTS_LIMIT + 1)]
        self.fails(LIST, TooManyRequests)
        # The garbage collector would end them in no order at all, with complaints.
        for asking in reversed(asked):
            asking.cancel()
            self.failureResultOf(asking, CancelledError)

    def test_version_is_found_out(self) -> None:
        """A relay that knows only version 1 is asked in it from then on."""
        self.foreign.version = 1
        self.answers(LIST, LIST)
        self.assertEqual([each.version for each in self.foreign.requests], [2, 1, 1])
        self.assertEqual(self.relay.version, 1)

    def test_version_2_is_kept(self) -> None:
        """A relay that has taken version 2 is not asked in version 1."""
        self.foreign.version = 2
        self.answers(LIST)
        self.fails((v2.GetPublicKey(NOBODY), v2.PublicKeyOf), RelayRefused)
        self.assertEqual([each.version for each in self.foreign.requests], [2, 2])

    def test_refused_in_both_versions(self) -> None:
        """A refusal is reported after both versions, and neither is believed in."""
        self.foreign.closes = True
        self.fails((v2.Register(UserName(b"bern"), KEY_OF_ANNA), v2.Registered), RelayRefused)
        self.assertEqual([each.version for each in self.foreign.requests], [2, 1])
        self.assertIsNone(self.relay.version)


KEY_OF_ANNA = ANNA.private_key.public_key
