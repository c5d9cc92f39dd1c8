"""Bytes in, lines out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from messageu.cli import EndOfInput, Lines, LineTooLong


class LinesTests(SynchronousTestCase):
    """Lines of at most 8 bytes."""

    def setUp(self) -> None:
        self.wanted = 0
        self.lines = Lines(self.want, limit=8)

    def want(self) -> None:
        """A chunk is asked for."""
        self.wanted += 1

    def line(self) -> bytes:
        """The next line, which is there."""
        return self.successResultOf(self.lines.next_line())

    def test_asks_only_on_demand(self) -> None:
        """A chunk is asked for when somebody waits and no line is there."""
        self.assertEqual(self.wanted, 0)
        waiting = self.lines.next_line()
        self.assertEqual(self.wanted, 1)
        self.lines.receive_data(b"on")
        self.assertEqual(self.wanted, 2)
        self.lines.receive_data(b"e\r\ntwo\n\nth")
        self.assertEqual(self.successResultOf(waiting), b"one")
        self.assertEqual([self.line(), self.line()], [b"two", b""])
        self.assertEqual(self.wanted, 2)
        waiting = self.lines.next_line()
        self.assertEqual(self.wanted, 3)
        self.assertNoResult(waiting)

    def test_end(self) -> None:
        """What stands before the end is a line; then there are none, however often one asks."""
        self.lines.receive_data(b"one\nlast")
        self.lines.end_input()
        self.assertEqual([self.line(), self.line()], [b"one", b"last"])
        for _ in range(2):
            self.failureResultOf(self.lines.next_line(), EndOfInput)
        self.assertEqual(self.wanted, 0)

    def test_end_while_waiting(self) -> None:
        """Who waits is told of the end."""
        waiting = self.lines.next_line()
        self.lines.end_input()
        self.failureResultOf(waiting, EndOfInput)

    def test_long_line_is_skipped(self) -> None:
        """Of a line above the limit nothing is kept, and the next one is read."""
        for pieces in (
            [b"12345678\n", b"123456789\nnext\n"],
            [b"12345678\n", *[b"123456"] * 9, b"\nnext\n"],
        ):
            self.setUp()
            for piece in pieces[:1]:
                self.lines.receive_data(piece)
            self.assertEqual(self.line(), b"12345678")
            waiting = self.lines.next_line()
            for piece in pieces[1:]:
                self.lines.receive_data(piece)
                self.assertLess(len(self.lines._buffer), 16)
            self.failureResultOf(waiting, LineTooLong)
            self.assertEqual(self.line(), b"next")

    def test_long_line_at_the_end(self) -> None:
        """A line above the limit that nothing ends is skipped, too."""
        waiting = self.lines.next_line()
        self.lines.receive_data(b"123456789")
        self.lines.end_input()
        self.failureResultOf(waiting, LineTooLong)
        self.failureResultOf(self.lines.next_line(), EndOfInput)

    @given(st.lists(st.binary(max_size=12), max_size=8))
    def test_any_chunks(self, chunks: list[bytes]) -> None:
        """However the input is cut, the lines are the same."""

        def read(pieces: list[bytes]) -> list[object]:
            waiting_chunks = [piece for piece in pieces if piece]
            lines = Lines(lambda: None, limit=8)
            found: list[object] = []
            while True:
                waiting: Deferred[bytes] = lines.next_line()
                while not waiting.called:
                    if waiting_chunks:
                        lines.receive_data(waiting_chunks.pop(0))
                    else:
                        lines.end_input()
                result: list[object] = []
                waiting.addBoth(result.append)
                if isinstance(result[0], bytes):
                    found.append(result[0])
                elif result[0].check(EndOfInput):
                    return found
                else:
                    found.append(LineTooLong)

        whole = b"".join(chunks)
        self.assertEqual(read(chunks), read([whole]))
        self.assertEqual(read([bytes((byte,)) for byte in whole]), read([whole]))
