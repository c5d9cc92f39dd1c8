from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from messageu.testing.strategies import Verdict
from messageu.wire import (
    NEED_DATA,
    Frame,
    Items,
    LocalProtocolError,
    Parser,
    ProtocolError,
    RemoteProtocolError,
    Segment,
    Skipped,
    Whole,
)

from ._drive import drain, outcomes


@frozen
class ToyCodec:
    """A header of two characters: what sort of frame it is, and the payload's size.

    ``w`` is decoded whole, ``s`` skipped, ``e`` skipped with an error, ``i`` a row of items with
    heads of the same two characters, ``x`` fatal.
    """

    header_size: int = 2

    def read_header(self, stored: Segment, start: int) -> Frame[bytes]:
        if stored[start : start + 1] == b"i":
            return Items(int(stored[start + 1 : start + 2]), 2, self.read_item, b"end")
        return self.read_item(stored, start)

    def read_item(self, stored: Segment, start: int) -> Whole[bytes] | Skipped[bytes]:
        size = int(stored[start + 1 : start + 2])
        match bytes(stored[start : start + 1]):
            case b"w":
                return Whole(size, lambda stored, start, end: bytes(stored[start:end]))
            case b"s":
                return Skipped(size, b"skipped")
            case b"e":
                return Skipped(size, RemoteProtocolError("refused", fatal=False))
        raise RemoteProtocolError("no such frame", fatal=True)

    def read_run(self, stored: Segment, start: int, limit: int) -> None:
        """Toys are not in a hurry."""


def outcomes_of(data: bytes) -> list[object]:
    return outcomes(ToyCodec(), data)


class ParserTests(SynchronousTestCase):
    def setUp(self):
        self.parser = Parser(ToyCodec())

    def test_only_stores(self):
        """receive_data decodes nothing; next_event decodes one frame at a time."""
        self.parser.receive_data(b"w1aw1b")
        self.assertEqual((self.parser.buffered, self.parser.received), (6, 6))
        self.assertEqual(self.parser.next_event(), b"a")
        self.assertEqual((self.parser.buffered, self.parser.received), (3, 6))
        self.assertEqual(self.parser.next_event(), b"b")
        self.assertIs(self.parser.next_event(), NEED_DATA)

    def test_empty_payload(self):
        """A frame without payload is decoded when its header is there."""
        self.assertEqual(outcomes_of(b"w0s0i0"), [b"", b"skipped", b"end"])

    def test_frame_offset(self):
        """An event can be told by where its frame began, an item by its answer's frame."""
        self.parser.receive_data(b"w1as3...i6w1aw1b")
        offsets = [answer.offset for answer in drain(self.parser)]
        self.assertEqual(offsets, [0, 3, 8, 8, 8])

    def test_mid_frame(self):
        """A frame has begun with its first byte, and is complete with its last."""
        self.assertFalse(self.parser.mid_frame)
        expected = [True, True, False] + 3 * [True] + [False] + 4 * [True] + [False]
        for byte, mid_frame in zip(b"w1as2..i3w1a", expected, strict=True):
            self.parser.receive_data(bytes([byte]))
            drain(self.parser)
            self.assertEqual(self.parser.mid_frame, mid_frame)

    def test_missing(self):
        """How much a payload still lacks is known once its header has been read."""
        self.parser.receive_data(b"w")
        self.assertEqual(self.parser.missing, 0)
        self.parser.receive_data(b"5")
        self.assertIs(self.parser.next_event(), NEED_DATA)
        self.assertEqual(self.parser.missing, 5)
        self.parser.receive_data(b"abc")
        self.assertEqual(self.parser.missing, 2)
        self.parser.receive_data(b"dew1")
        self.assertEqual(self.parser.missing, 0)

    def test_skips(self):
        """What is skipped is answered at its header, and never stored."""
        self.parser.receive_data(b"s9..")
        self.assertEqual(self.parser.next_event(), b"skipped")
        self.assertEqual((self.parser.buffered, self.parser.missing), (0, 7))
        self.parser.receive_data(b"...")
        self.assertEqual((self.parser.buffered, self.parser.missing), (0, 4))
        self.assertIs(self.parser.next_event(), NEED_DATA)
        self.parser.receive_data(b"....w1a")
        self.assertEqual((self.parser.buffered, self.parser.missing), (3, 0))
        self.assertEqual(self.parser.next_event(), b"a")

    def test_refused(self):
        """After a refused frame the next one can be read."""
        self.assertEqual(outcomes_of(b"e3...w1a"), [Verdict.REFUSED, b"a"])

    def test_items(self):
        """The items of a row come one by one, then its end, then the next frame."""
        self.assertEqual(outcomes_of(b"i9w1ae2..w0w1b"), [b"a", Verdict.REFUSED, b"", b"end", b"b"])

    def test_items_before_their_row_is_complete(self):
        """An item comes as soon as it is there."""
        self.parser.receive_data(b"i9w1a")
        self.assertEqual(self.parser.next_event(), b"a")
        self.assertIs(self.parser.next_event(), NEED_DATA)
        self.assertTrue(self.parser.mid_frame)

    def test_rows_that_lie(self):
        """A row that ends inside a head, or inside an item, is fatal."""
        self.assertEqual(outcomes_of(b"i4w1a."), [b"a", Verdict.FATAL])
        self.assertEqual(outcomes_of(b"i3w2ab"), [Verdict.FATAL])
        self.assertEqual(outcomes_of(b"i3s2ab"), [Verdict.FATAL])

    def test_fatal(self):
        """After a fatal error nothing is stored, and the same error comes again."""
        self.parser.receive_data(b"x0w1a")
        for _ in range(2):
            error = self.assertRaises(RemoteProtocolError, self.parser.next_event)
            self.assertEqual((str(error), error.fatal), ("no such frame", True))
            self.assertEqual(self.parser.buffered, 0)
            self.parser.receive_data(b"w1b")
        self.assertFalse(self.parser.mid_frame)

    def test_fatal_inside_a_row(self):
        """A head that makes no sense ends the row and all that follows."""
        self.assertEqual(outcomes_of(b"i5w1ax0w1b"), [b"a", Verdict.FATAL])

    def test_close(self):
        """A parser that is closed drops what it holds and what comes, and gives no events."""
        for begun in (b"w1aw1b", b"w5ab", b"s9..", b"i9w1a", b"w"):
            parser = Parser(ToyCodec())
            parser.receive_data(begun)
            parser.next_event()
            parser.close()
            parser.receive_data(b"w1c")
            self.assertEqual((parser.buffered, parser.missing, parser.mid_frame), (0, 0, False))
            error = self.assertRaises(RemoteProtocolError, parser.next_event)
            self.assertTrue(error.fatal)

    def test_trim(self):
        """Whoever asks for no more events for now holds at most twice of what is left, and nothing
        if nothing is; what is left is decoded later."""
        for left in range(10):
            parser = Parser(ToyCodec())
            parser.receive_data(b"w1a" * 10)
            for _ in range(10 - left):
                self.assertEqual(parser.next_event(), b"a")
            self.assertEqual((parser.buffered, parser.held), (3 * left, 30))
            parser.trim()
            self.assertEqual((parser.buffered, parser.received), (3 * left, 30))
            self.assertLessEqual(parser.held, 6 * left)
            self.assertEqual([parser.next_event() for _ in range(left)], [b"a"] * left)
            self.assertIs(parser.next_event(), NEED_DATA)

    def test_a_decoder_that_refuses(self):
        """A decoder that refuses its payload leaves what follows to be decoded and stored."""

        def refuse(stored: Segment, start: int, end: int) -> bytes:
            raise RemoteProtocolError(f"{end - start} bytes refused", fatal=False)

        class Codec:
            header_size = 1

            def read_header(self, stored: Segment, start: int) -> Frame[bytes]:
                return Whole(3, refuse)

        parser = Parser(Codec())
        parser.receive_data(b"xabcxdef")
        for left in (4, 0):
            error = self.assertRaises(RemoteProtocolError, parser.next_event)
            self.assertEqual(str(error), "3 bytes refused")
            self.assertEqual(parser.buffered, left)


class ErrorTests(SynchronousTestCase):
    def test_tree(self):
        """Both sorts of error are ProtocolErrors, and neither is the other."""
        self.assertTrue(issubclass(LocalProtocolError, ProtocolError))
        self.assertTrue(issubclass(RemoteProtocolError, ProtocolError))
        self.assertFalse(issubclass(RemoteProtocolError, LocalProtocolError))
