"""Opening what was fetched, and telling what comes again from what is new."""

from __future__ import annotations

import errno
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from messageu.client import (
    FileReceived,
    KeyReceived,
    KeyRequest,
    Keyring,
    Text,
    Undecipherable,
    Why,
)
from messageu.client._inbox import (
    OVERSIZED,
    THREAD_FROM,
    LastAnswer,
    Opener,
    fingerprint,
)
from messageu.crypto.v2 import SymmetricKey, wrap
from messageu.model import ListedClient, MessageId
from messageu.wire import Parser, v2

from .relay import ANNA, BERN, KEY, at_once, wild_clients, wild_identity


def mark(number: int, content: bytes = b"hi", kind: int = 3) -> bytes:
    """The fingerprint of a message from bern."""
    return fingerprint(v2.WaitingMessage(BERN.client_id, MessageId(number), kind, content))


class LastAnswerTests(SynchronousTestCase):
    """What comes again."""

    def setUp(self) -> None:
        self.last = LastAnswer()

    def answer(self, *marks: bytes, whole: bool = True) -> tuple[list[bytes], bool]:
        """An answer arrives: what of it is new, and whether it was the same again."""
        self.last.begin()
        new = []
        for each in marks:
            if not self.last.comes_again(each):
                new.append(each)
                self.last.note(each)
        return new, whole and self.last.end()

    def test_broken_answer_comes_again(self) -> None:
        """What a broken answer brought is not new in the next, and only there."""
        self.answer(mark(1), mark(2), whole=False)
        self.assertEqual(self.answer(mark(1), mark(2), mark(3))[0], [mark(3)])
        self.answer()
        self.assertEqual(self.answer(mark(1))[0], [mark(1)])

    def test_answer_that_breaks_twice(self) -> None:
        """What one attempt brought, and the next did not reach, is still known in the third."""
        self.answer(mark(1), mark(2), whole=False)
        self.answer(mark(1), whole=False)
        self.assertEqual(self.answer(mark(1), mark(2), mark(3))[0], [mark(3)])

    def test_whole_answer_comes_again(self) -> None:
        """An answer that the relay does not know to have arrived is not new either."""
        self.answer(mark(1))
        self.assertEqual(self.answer(mark(1)), ([], True))
        self.assertEqual(self.answer(mark(1), mark(2)), ([mark(2)], False))

    def test_equal_messages_count(self) -> None:
        """Of equal messages as many come again as were there before; one more is new."""
        self.answer(mark(7), mark(7))
        self.assertEqual(self.answer(mark(7), mark(7), mark(7))[0], [mark(7)])

    def test_differences(self) -> None:
        """Another id, sender, type or content is another message."""
        self.answer(mark(1))
        other = v2.WaitingMessage(ANNA.client_id, MessageId(1), 3, b"hi")
        different = [mark(2), mark(1, b"ho"), mark(1, kind=4), fingerprint(other)]
        self.assertEqual(self.answer(*different)[0], different)

    def test_id_zero_says_nothing(self) -> None:
        """Messages with the id 0, and those that were skipped, are never taken for repetitions,
        but an answer of them can be the same again."""
        self.answer(mark(0), OVERSIZED)
        self.assertEqual(self.answer(mark(0), OVERSIZED), ([mark(0), OVERSIZED], True))

    def test_empty_answers_are_not_the_same_again(self) -> None:
        """Two empty answers are nothing to stop for."""
        self.answer()
        self.assertEqual(self.answer(), ([], False))

    def test_is_bounded(self) -> None:
        """Beyond the limit nothing is remembered, and so it is new."""
        self.last = LastAnswer(limit=1)
        self.answer(mark(1), mark(2))
        self.assertEqual(self.answer(mark(1), mark(2))[0], [mark(2)])

    @given(st.lists(st.lists(st.integers(1, 3).map(mark), max_size=4), max_size=5), st.data())
    def test_nothing_new_is_withheld(self, answers: list[list[bytes]], data: st.DataObject) -> None:
        """Of each message at least as many are new as there are more of it than were noted since
        the last whole answer began."""
        self.last = LastAnswer()
        known: list[bytes] = []
        for marks in answers:
            whole = data.draw(st.booleans())
            new, _ = self.answer(*marks, whole=whole)
            for each in set(marks):
                self.assertGreaterEqual(new.count(each), marks.count(each) - known.count(each))
            known = list(marks) if whole else known + new


class OpenerTests(SynchronousTestCase):
    """anna opens what bern sealed."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.ring = Keyring(ANNA.client_id)
        self.ring.learn_name(ListedClient(BERN.client_id, b"bern"))
        self.in_thread: list[object] = []

        def run_in_thread(function: Any, *arguments: object) -> Deferred[Any]:
            self.in_thread.append(function)
            return at_once(function, *arguments)

        self.opener = Opener(ANNA.private_key, self.ring, run_in_thread, self.folder)

    def open(self, kind: int, content: bytes) -> Any:
        """Open a message."""
        message = v2.WaitingMessage(BERN.client_id, MessageId(1), kind, content)
        return self.successResultOf(Deferred.fromCoroutine(self.opener.open(message)))

    def assert_undecipherable(self, message: object, why: Why) -> None:
        """It could not be read, and that is why."""
        self.assertIsInstance(message, Undecipherable)
        self.assertIs(message.why, why)
        self.assertEqual(message.sender.name, b"bern")

    def test_key_request(self) -> None:
        """Type 1 asks for a key, whatever it contains."""
        for content in (b"", bytes(128)):
            self.assertEqual(self.open(1, content).sender.client_id, BERN.client_id)
            self.assertIsInstance(self.open(1, content), KeyRequest)

    def test_key(self) -> None:
        """Type 2 replaces the key that is shared with its sender."""
        for key in (KEY, SymmetricKey(b"k" * 16)):
            message = self.open(2, wrap(ANNA.private_key.public_key, key))
            self.assertIsInstance(message, KeyReceived)
            self.assertEqual(self.ring.peer(BERN.client_id).symmetric_key, key)

    def test_key_that_is_not_for_us(self) -> None:
        """A key that does not open changes nothing."""
        self.ring.share(BERN.client_id, KEY)
        for content in (b"", bytes(128), wrap(BERN.private_key.public_key, KEY)):
            self.assert_undecipherable(self.open(2, content), Why.NOT_FOR_US)
        self.assertEqual(self.ring.peer(BERN.client_id).symmetric_key, KEY)

    def test_text(self) -> None:
        """Type 3 is a text; bytes that are no UTF-8 become escapes."""
        self.ring.share(BERN.client_id, KEY)
        for raw, text in ((b"hello", "hello"), (b"", ""), (b"\xff\xc3\xa9", "\\xffé")):
            message = self.open(3, KEY.seal(raw))
            self.assertIsInstance(message, Text)
            self.assertEqual((message.raw, message.text), (raw, text))
        self.assertNotIn("hello", repr(self.open(3, KEY.seal(b"hello"))))

    def test_text_without_key(self) -> None:
        """Without a shared key a text and a file cannot be read."""
        for kind in (3, 4):
            self.assert_undecipherable(self.open(kind, KEY.seal(b"hello")), Why.NO_KEY)

    def test_wrong_key(self) -> None:
        """What does not open with the shared key cannot be read, and no file is made of it."""
        self.ring.share(BERN.client_id, SymmetricKey(b"w" * 16))
        for kind in (3, 4):
            for content in (b"", b"short", KEY.seal(b"hello"), KEY.seal(b"hello")[:-1]):
                self.assert_undecipherable(self.open(kind, content), Why.WRONG_KEY)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_unknown_type(self) -> None:
        """A type that nobody knows cannot be read."""
        for kind in (0, 5, 255):
            self.assert_undecipherable(self.open(kind, b""), Why.UNKNOWN_TYPE)

    def test_file(self) -> None:
        """Type 4 is saved under a name of our own, for the owner alone."""
        self.ring.share(BERN.client_id, KEY)
        paths = [self.open(4, KEY.seal(b"../../evil")).path for _ in range(2)]
        self.assertEqual(len(set(paths)), 2)
        for path in paths:
            self.assertEqual(path.parent, self.folder)
            self.assertTrue(path.is_absolute())
            self.assertRegex(path.name, r"^messageu-\w+\Z")
            self.assertEqual(path.read_bytes(), b"../../evil")
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_file_goes_to_temporary_folder(self) -> None:
        """Without a folder of choice, a file goes where temporary files go."""
        self.opener = Opener(ANNA.private_key, self.ring, at_once)
        self.ring.share(BERN.client_id, KEY)
        with mock.patch("tempfile.tempdir", str(self.folder)):
            message = self.open(4, KEY.seal(b"content"))
        self.assertIsInstance(message, FileReceived)
        self.assertEqual(message.path.parent, self.folder)

    def test_file_that_cannot_be_written(self) -> None:
        """A full disk is an error, and leaves no piece behind."""
        self.ring.share(BERN.client_id, KEY)
        message = v2.WaitingMessage(BERN.client_id, MessageId(1), 4, KEY.seal(b"content"))
        with mock.patch("os.fdopen", side_effect=OSError(errno.ENOSPC, "full")):
            self.failureResultOf(Deferred.fromCoroutine(self.opener.open(message)), OSError)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_large_content_is_opened_in_thread(self) -> None:
        """Only what takes a while is left to a thread."""
        self.ring.share(BERN.client_id, KEY)
        for size, threads in ((THREAD_FROM - 17, 0), (THREAD_FROM, 2)):
            self.assertEqual(len(self.open(3, KEY.seal(bytes(size))).raw), size)
            self.assertEqual(self.open(4, KEY.seal(bytes(size))).path.stat().st_size, size)
            self.assertEqual(len(self.in_thread), threads)

    def test_mail_of_wild_clients(self) -> None:
        """What foreign clients sealed for each other is opened with their identities."""
        for peer, texts in (
            ("peer-a", {"hello-from-A-1234", "reply from B 5678"}),
            ("peer-b", {"hello-from-A-1234", "reply from B 5678"}),
        ):
            people = [wild_identity(peer, person) for person in "AB"]
            openers = {
                person.client_id: Opener(
                    person.private_key, Keyring(person.client_id), at_once, self.folder
                )
                for person in people
            }
            found = set()
            for sender, body in _sent_in(wild_clients()[peer]["requests"]):
                message = v2.WaitingMessage(sender, MessageId(1), body.type, body.content)
                opening = Deferred.fromCoroutine(openers[body.recipient].open(message))
                opened = self.successResultOf(opening)
                if isinstance(opened, KeyReceived):
                    key = openers[body.recipient].keyring.peer(sender).symmetric_key
                    openers[sender].keyring.share(body.recipient, key)
                if isinstance(opened, Text):
                    found.add(opened.text)
            self.assertEqual(found, texts)


def _sent_in(requests: list[dict[str, Any]]) -> list[tuple[Any, v2.SendMessage]]:
    """The messages among the requests of a foreign client: who sent them, and what."""
    parser = Parser(v2.RequestCodec())
    sent = []
    for each in requests:
        parser.receive_data(bytes.fromhex(each["frame"]))
        request = parser.next_event()
        if isinstance(request.body, v2.SendMessage):
            sent.append((request.client_id, request.body))
    return sent
