"""The rules of one connection to a relay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.client._errors import AnswerCut, AnswerNonsense, RelayError, RelayRefused
from messageu.client._session import Done, Item, Oversized, Session
from messageu.model import NOBODY, ClientId, ListedClient, MessageId, PublicKey, UserName
from messageu.testing import strategies
from messageu.wire import NEED_DATA, v2

ME = ClientId(b"m" * 16)
KEY = PublicKey(bytes(160))
STORED = v2.Stored(ME, MessageId(7))
MESSAGE = v2.WaitingMessage(ME, MessageId(1), 3, b"sealed")

ANSWERS = {
    v2.Register(UserName(b"anna"), KEY): v2.Registered(ME),
    v2.ListClients(): v2.ClientsList((ListedClient(ME, b"m"), ListedClient(NOBODY, b""))),
    v2.GetPublicKey(ME): v2.PublicKeyOf(ME, KEY),
    v2.SendMessage(ME, 3, b"sealed"): STORED,
    v2.FetchMessages(): v2.WaitingMessages((MESSAGE, MESSAGE)),
}
"""Every request, and what should answer it."""


def asked(body: v2.RequestBody, codec: v2.ResponseCodec | None = None) -> Session:
    """A session with an outstanding request."""
    session = Session(codec)
    session.ask(v2.Request(NOBODY, body))
    return session


def outcomes(session: Session) -> list[object]:
    """All results that can be had now, and the error that ends them."""
    found: list[object] = []
    try:
        while (result := session.next_result()) is not NEED_DATA:
            found.append(result)
    except RelayError as error:
        found.append((type(error), str(error)))
    return found


class SessionTests(SynchronousTestCase):
    """One request at a time, and what comes back."""

    def test_request_is_one_frame(self) -> None:
        """Asking gives the whole frame of the request."""
        request = v2.Request(ME, v2.GetPublicKey(ME))
        self.assertEqual(Session().ask(request), request.encode())

    def test_each_request_has_its_answer(self) -> None:
        """Every request is done with its own answer, its items before it, and then another can be
        asked."""
        for body, answer in ANSWERS.items():
            session = asked(body)
            self.assertFalse(session.usable)
            session.receive_data(answer.encode())
            *items, end = outcomes(session)
            self.assertTrue(all(isinstance(item, Item) for item in items))
            self.assertEqual(len(items), 2 * (type(body) in (v2.ListClients, v2.FetchMessages)))
            self.assertIsInstance(end, Done)
            self.assertTrue(session.usable)

    def test_answer_to_another_request_is_nonsense(self) -> None:
        """No request takes the answer of another, and nothing is asked after one."""
        for body in ANSWERS:
            for other, answer in ANSWERS.items():
                if other is body:
                    continue
                session = asked(body)
                session.receive_data(answer.encode())
                [(kind, _)] = outcomes(session)
                self.assertIs(kind, AnswerNonsense)
                self.assertFalse(session.usable)

    def test_any_version_byte_will_do(self) -> None:
        """The version in an answer means nothing."""
        for version in (0, 1, 3, 255):
            session = asked(v2.FetchMessages())
            session.receive_data(bytes((version,)) + v2.WaitingMessages(()).encode()[1:])
            self.assertEqual(outcomes(session), [Done(v2.EndOfMessages())])

    def test_general_error_is_refusal(self) -> None:
        """9000 refuses any request, and the connection goes on."""
        for body in ANSWERS:
            session = asked(body)
            session.receive_data(v2.GeneralError().encode())
            with self.assertRaises(RelayRefused):
                session.next_result()
            self.assertTrue(session.usable)

    def test_general_error_may_have_payload(self) -> None:
        """9000 with a payload refuses, too. The connection goes on if all of it is there."""
        frame = bytes.fromhex("02 2823 03000000") + b"why"
        for arrived, usable in ((frame, True), (frame[:-1], False)):
            session = asked(v2.ListClients())
            session.receive_data(arrived)
            with self.assertRaises(RelayRefused):
                session.next_result()
            self.assertEqual(session.usable, usable)

    def test_trailing_bytes_spoil_the_connection_only(self) -> None:
        """What follows the announced payload is ignored, and nothing more is asked."""
        session = asked(v2.SendMessage(ME, 3, b""))
        session.receive_data(STORED.encode() + b"\0")
        self.assertEqual(outcomes(session), [Done(STORED)])
        self.assertFalse(session.usable)

    def test_unasked_bytes_retire(self) -> None:
        """A relay that speaks unasked is asked nothing more, and nothing of it is read."""
        session = Session()
        session.receive_data(STORED.encode())
        self.assertFalse(session.usable)
        self.assertIs(session.next_result(), NEED_DATA)
        session.receive_data(STORED.encode())
        self.assertIs(session.next_result(), NEED_DATA)

    def test_end_while_idle_retires(self) -> None:
        """A connection that the relay has closed is not asked on."""
        session = Session()
        session.end_input()
        self.assertFalse(session.usable)

    def test_end_behind_an_answer_retires(self) -> None:
        """When the end has come behind an answer, the answer counts and nothing more is asked."""
        session = asked(v2.SendMessage(ME, 3, b"sealed"))
        session.receive_data(STORED.encode())
        session.end_input()
        self.assertEqual(outcomes(session), [Done(STORED)])
        self.assertFalse(session.usable)

    def test_answer_that_is_cut(self) -> None:
        """The end of input before the end of an answer is an error, after all that was whole."""
        whole = ANSWERS[v2.FetchMessages()].encode()
        for size, items in ((0, 0), (5, 0), (40, 1), (len(whole) - 1, 1)):
            session = asked(v2.FetchMessages())
            if size:
                session.receive_data(whole[:size])
            session.end_input()
            found = outcomes(session)
            self.assertEqual(found[:-1], [Item(MESSAGE)] * items)
            with self.subTest(size):
                self.assertIs(found[-1][0], AnswerCut)
            self.assertFalse(session.usable)

    def test_cut_tells_whether_anything_was_read(self) -> None:
        """Only an item that was handed out makes an answer one that had begun."""
        for size, begun in ((5, False), (40, True)):
            session = asked(v2.FetchMessages())
            session.receive_data(ANSWERS[v2.FetchMessages()].encode()[:size])
            session.end_input()
            for _ in range(begun):
                session.next_result()
            with self.assertRaises(AnswerCut) as caught:
                session.next_result()
            self.assertEqual(caught.exception.begun, begun)

    def test_malformed_answers_are_nonsense(self) -> None:
        """An unknown code, a size that cannot be, an item longer than its payload: nonsense."""
        for frame in (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            bytes.fromhex("02 3708 15000000") + bytes(21),
            bytes.fromhex("02 3808 1a000000") + bytes(21) + b"\xff\0\0\0",
            bytes.fromhex("02 3508 01000000") + bytes(1),
        ):
            session = asked(v2.FetchMessages())
            session.receive_data(frame)
            [(kind, text)] = outcomes(session)
            self.assertIs(kind, AnswerNonsense)
            self.assertNotIn("HTTP", text)

    def test_oversized_message_is_skipped(self) -> None:
        """A message above the limit is reported in its place, and the others come."""
        session = asked(v2.FetchMessages(), v2.ResponseCodec(content_limit=8))
        large = v2.WaitingMessage(ME, MessageId(2), 4, bytes(9))
        session.receive_data(v2.WaitingMessages((MESSAGE, large, MESSAGE)).encode())
        end = Done(v2.EndOfMessages())
        self.assertEqual(outcomes(session), [Item(MESSAGE), Item(Oversized()), Item(MESSAGE), end])
        self.assertTrue(session.usable)

    def test_oversized_message_in_answer_to_another_request(self) -> None:
        """A message above the limit where none is due is nonsense."""
        session = asked(v2.ListClients(), v2.ResponseCodec(content_limit=8))
        large = v2.WaitingMessage(ME, MessageId(2), 4, bytes(9))
        session.receive_data(v2.WaitingMessages((large,)).encode())
        [(kind, _)] = outcomes(session)
        self.assertIs(kind, AnswerNonsense)

    @given(st.sampled_from(list(ANSWERS)), st.binary(max_size=600), st.data())
    def test_any_bytes_give_results_or_errors(
        self, body: v2.RequestBody, data: bytes, more: st.DataObject
    ) -> None:
        """Whatever arrives, however it is cut: the same results, or the same error of ours."""
        if more.draw(st.booleans()):
            data = ANSWERS[body].encode() + data
        whole = asked(body)
        if data:
            whole.receive_data(data)
        expected = outcomes(whole)
        cut = asked(body)
        found = []
        for piece in more.draw(strategies.chunked(data)):
            cut.receive_data(piece)
            found += outcomes(cut)
        self.assertEqual(found, expected)
