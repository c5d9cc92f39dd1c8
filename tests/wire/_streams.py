"""What holds for every stream of every version, however it is cut."""

import struct
from collections.abc import Iterable

from attrs import frozen
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.testing.strategies import Verdict, chunked
from messageu.wire import NEED_DATA, Codec, Parser, RemoteProtocolError
from tests.wire._drive import answers_to, drain


@frozen
class Direction:
    """A codec, and what may be stored of each code's payload, in bytes."""

    codec: Codec
    header: struct.Struct
    most_stored: dict[int, int]
    most_unknown: int = 0

    def bound(self, data: bytes, parser: Parser) -> int:
        """How much may wait when all events have been taken, judged by the bytes themselves."""
        consumed = parser.received - parser.buffered
        start = parser.frame_offset
        if consumed < start + self.header.size:
            return self.header.size - 1
        *_, code, size = self.header.unpack_from(data, start)
        if consumed == start + self.header.size + size:
            return self.header.size - 1
        return max(0, min(size, self.most_stored.get(code, self.most_unknown)) - 1)


def cut(streams: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, list[bytes]]]:
    """Bytes, and the same bytes in pieces."""
    return streams.flatmap(lambda data: st.tuples(st.just(data), chunked(data)))


def bytewise(data: bytes) -> list[bytes]:
    """The same bytes, one by one."""
    return [bytes([byte]) for byte in data]


class StreamCase(SynchronousTestCase):
    """What every stream is asked for."""

    def assert_same(self, direction: Direction, data: bytes, chunks: list[bytes]) -> None:
        """These pieces, and single bytes, give what the whole gives."""
        whole = answers_to(direction.codec, [data])
        self.assertEqual(b"".join(chunks), data)
        self.assertEqual(answers_to(direction.codec, chunks), whole)
        self.assertEqual(answers_to(direction.codec, bytewise(data)), whole)

    def assert_same_late(self, direction: Direction, data: bytes, chunks: list[bytes]) -> None:
        """Events that are taken at the end are those that are taken after each piece."""
        parser = Parser(direction.codec)
        for chunk in chunks:
            parser.receive_data(chunk)
        self.assertEqual(drain(parser), answers_to(direction.codec, [data]))

    def assert_bounded(self, direction: Direction, data: bytes, chunks: list[bytes]) -> None:
        """No more waits than the frame that has begun may have."""
        parser = Parser(direction.codec)
        received = 0
        for chunk in chunks:
            parser.receive_data(chunk)
            answers = drain(parser)
            if answers and answers[-1].outcome is Verdict.FATAL:
                self._assert_failed(parser, answers[-1].reason)
                return
            received += len(chunk)
            self.assertEqual(parser.received, received)
            self.assertLessEqual(parser.buffered, direction.bound(data, parser))
            self.assertEqual(parser.held, parser.buffered)
            self.assertIs(parser.next_event(), NEED_DATA)

    def _assert_failed(self, parser: Parser, reason: str) -> None:
        """After a fatal error it stays failed, and stores nothing more."""
        offset = parser.frame_offset
        for data in (b"", b"x" * 1000):
            parser.receive_data(data)
            self.assertEqual(parser.buffered, 0)
            self.assertEqual(parser.missing, 0)
            self.assertFalse(parser.mid_frame)
            error = self.assertRaises(RemoteProtocolError, parser.next_event)
            self.assertTrue(error.fatal)
            self.assertEqual(str(error), reason)
            self.assertEqual(parser.frame_offset, offset)

    def assert_honest(self, direction: Direction, data: bytes) -> None:
        """With one byte less than ``missing`` nothing comes; with all of them ``missing`` falls."""
        parser = Parser(direction.codec)
        rest = memoryview(data)
        while rest:
            promised = max(1, parser.missing)
            head, last, rest = rest[: promised - 1], rest[promised - 1 : promised], rest[promised:]
            parser.receive_data(bytes(head))
            self.assertEqual(drain(parser), [])
            parser.receive_data(bytes(last))
            answers = drain(parser)
            if answers and answers[-1].outcome is Verdict.FATAL:
                return

    def assert_ours(self, direction: Direction, data: bytes, texts: Iterable[str]) -> None:
        """The text of an error is one of these."""
        for answer in answers_to(direction.codec, [data]):
            if answer.reason:
                self.assertIn(answer.reason, texts)
