"""What is to be seen, without a screen."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from messageu.client import FileNotSaved
from messageu.tui._book import (
    MOVING_LIMIT,
    NOTICES_LIMIT,
    PAGE,
    STALE_LIMIT,
    UNREAD_LIMIT,
    WINDOW_LIMIT,
    Book,
    Search,
)
from messageu.tui._port import (
    FileMoved,
    FileShown,
    ItemChanged,
    Line,
    LineChanged,
    Mark,
    Notice,
    PeopleChanged,
    State,
)
from messageu.tui._seen import SEEN_FILE, Seen

from .world import FakeConversations


class BookCase(SynchronousTestCase):
    """A book of made up conversations."""

    def setUp(self) -> None:
        self.port = FakeConversations()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def book(self) -> Book:
        """A book that hears of everything."""
        book = Book(self.port, Seen(self.folder))
        self.port.observers = [book.hear]
        return book

    def names(self, book: Book) -> list[str]:
        """Who is listed, from the top."""
        return [each.person.name for each in book.conversations()]

    def numbers(self, book: Book) -> list[int]:
        """What is in the window."""
        return [] if book.window is None else [item.number for item in book.window.items]


class ListTests(BookCase):
    """The list of conversations."""

    def test_order(self) -> None:
        """Those who ask come first, then whoever was heard of last, then names."""
        for name in ("zoe", "Anna", "bern"):
            self.port.person(name)
        self.port.put(self.port.person("carl"), "old")
        self.port.put(self.port.person("dora"), "new")
        self.port.person("eve", Mark.ASKS)
        book = self.book()
        self.assertEqual(self.names(book), ["eve", "dora", "carl", "Anna", "bern", "zoe"])
        self.port.come(self.port.person("zoe"), "here I am")
        self.assertEqual(self.names(book)[:2], ["eve", "zoe"])

    def test_unread(self) -> None:
        """What was not seen is counted, ours not, and up to a limit."""
        anna = self.port.person("anna")
        self.port.put(anna, "one")
        self.port.put(anna, "mine", mine=True)
        book = self.book()
        self.assertEqual(book.conversation(anna).badge, "1")
        for _ in range(UNREAD_LIMIT):
            self.port.come(anna, "more")
        self.assertEqual(book.conversation(anna).badge, "99+")
        self.assertEqual(book.unread, 1)
        book.open(anna)
        self.assertEqual((book.conversation(anna).badge, book.unread), ("", 0))

    def test_seen_stays_seen(self) -> None:
        """What was seen is so after a restart; what was seen but not saved is new again."""
        anna = self.port.person("anna")
        self.port.put(anna, "one")
        seen = Seen(self.folder)
        book = Book(self.port, seen)
        book.open(anna)
        self.assertEqual(self.book().conversation(anna).unread, 1)
        seen.save()
        self.assertEqual(self.book().conversation(anna).unread, 0)
        self.port.put(anna, "two")
        self.assertEqual(self.book().conversation(anna).unread, 1)

    def test_inattentive(self) -> None:
        """What comes while nobody looks is new, though its conversation is open."""
        anna = self.port.person("anna")
        book = self.book()
        book.open(anna)
        book.watch(attentive=False)
        self.port.come(anna, "hello?")
        book.catch_up()
        self.assertEqual(book.conversation(anna).unread, 1)
        book.watch(attentive=True)
        self.assertEqual(book.conversation(anna).unread, 0)

    def test_new_person(self) -> None:
        """Somebody of whom nobody has heard is listed when something is heard of him."""
        book = self.book()
        eve = self.port.person("eve", Mark.ASKS)
        self.port.come(eve, "hi")
        self.assertTrue(book.catch_up().people)
        self.assertEqual(book.conversation(eve).unread, 1)

    def test_removed_person(self) -> None:
        """The conversation with somebody who is gone is not open any more."""
        anna = self.port.person("anna")
        book = self.book()
        book.open(anna)
        del self.port.everybody[anna]
        book.hear(PeopleChanged())
        book.catch_up()
        self.assertIsNone(book.current)

    def test_beside(self) -> None:
        """One goes up and down in the list, and around its ends."""
        book = self.book()
        self.assertIsNone(book.beside(1))
        keys = [self.port.person(name) for name in ("a", "b", "c")]
        book = self.book()
        self.assertEqual(book.beside(1), keys[0])
        book.open(keys[0])
        self.assertEqual((book.beside(1), book.beside(-1)), (keys[1], keys[2]))


class WindowTests(BookCase):
    """The part of a conversation that is held."""

    def setUp(self) -> None:
        super().setUp()
        self.anna, self.bern = self.port.person("anna"), self.port.person("bern")

    def test_pages(self) -> None:
        """A long history is read by pages, and never more of it is held than the limit."""
        for number in range(500):
            self.port.put(self.anna if number % 2 else self.bern, str(number))
        book = self.book()
        book.open(self.anna)
        self.assertEqual(len(self.numbers(book)), PAGE)
        while book.window.older():
            self.assertLessEqual(len(self.numbers(book)), WINDOW_LIMIT)
        self.assertEqual((self.numbers(book)[0], book.window.at_start), (2, True))
        self.assertFalse(book.window.at_end)
        while book.window.newer():
            numbers = self.numbers(book)
            self.assertEqual(numbers, list(range(numbers[0], numbers[-1] + 1, 2)))
        self.assertEqual((self.numbers(book)[-1], book.window.at_end), (500, True))
        self.assertLessEqual(self.port.read, 1_000)

    def test_follow(self) -> None:
        """What comes is at the end of what is shown, unless one reads what is far above."""
        book = self.book()
        book.open(self.anna)
        self.port.come(self.anna, "one")
        self.port.come(self.bern, "other")
        book.catch_up()
        self.assertEqual(self.numbers(book), [1])
        for _ in range(WINDOW_LIMIT + PAGE):
            self.port.put(self.anna, "more")
        book.open_at(self.anna, 1)
        self.port.come(self.anna, "new")
        book.catch_up()
        self.assertEqual(self.numbers(book)[0], 1)
        self.assertFalse(book.window.at_end)
        self.assertEqual(book.conversation(self.anna).unread, 1)

    def test_thousands_at_once(self) -> None:
        """After thousands of messages at once the last ones are shown, with one reading."""
        book = self.book()
        book.open(self.anna)
        for number in range(5_000):
            self.port.come(self.anna, str(number))
        self.port.read = 0
        book.catch_up()
        self.assertEqual((self.numbers(book)[-1], book.window.at_end), (5_000, True))
        self.assertLessEqual(len(self.numbers(book)), WINDOW_LIMIT)
        self.assertLessEqual(self.port.read, PAGE)

    def test_fate(self) -> None:
        """What becomes of a message is seen, also when it becomes of very many."""
        item = self.port.put(self.anna, "hello", mine=True)
        book = self.book()
        book.open(self.anna)
        self.port.become(item, state=State.DELIVERED)
        self.assertTrue(book.catch_up().messages)
        self.assertIs(book.window.items[0].state, State.DELIVERED)
        for number in range(STALE_LIMIT + 1):
            book.hear(ItemChanged(number.to_bytes(16, "big"), None))
        self.port.become(item, state=State.UNDELIVERED)
        book.catch_up()
        self.assertIs(book.window.items[0].state, State.UNDELIVERED)

    def test_progress(self) -> None:
        """It is known of a bounded number of files how far they are, until they are there."""
        item = self.port.put(self.anna, file=FileShown("x", 9))
        book = self.book()
        book.hear(FileMoved(item.message_id, self.anna, 1, 4))
        self.assertEqual(book.moved(item), (1, 4))
        book.hear(FileMoved(item.message_id, self.anna, 4, 4))
        self.assertIsNone(book.moved(item))
        book.hear(FileMoved(item.message_id, self.anna, 1, 4))
        for number in range(MOVING_LIMIT):
            book.hear(FileMoved(number.to_bytes(20, "big"), None, 1, 2))
        self.assertIsNone(book.moved(item))

    def test_changes(self) -> None:
        """What is to be shown anew is said once; notices are bounded."""
        book = self.book()
        book.catch_up()
        self.assertEqual(book.catch_up(), type(book.catch_up())())
        book.hear(LineChanged(Line(online=True)))
        for number in range(NOTICES_LIMIT + 1):
            book.hear(Notice(str(number)))
        changes = book.catch_up()
        self.assertTrue(changes.line)
        self.assertEqual(changes.notices[0].words, "1")
        self.assertEqual(len(changes.notices), NOTICES_LIMIT)


class SearchTests(BookCase):
    """Looking for a text."""

    def found(self, wanted: str) -> list[int]:
        """All that is found, to the end."""
        search = Search(self.port, wanted)
        while not search.done:
            search.step()
        return [item.number for item in search.found]

    def test_search(self) -> None:
        """Messages of everybody are found, the newest first, however they are spelt; files by name."""
        anna, bern = self.port.person("anna"), self.port.person("bern")
        self.port.put(anna, "Straße nach Bern")
        for _ in range(Search.STEP * 2):
            self.port.put(anna, "nothing")
        self.port.put(bern, "In der STRASSE", mine=True)
        self.port.put(bern, file=FileShown("strasse.pdf", 3))
        self.assertEqual(self.found("strasse"), [403, 402, 1])
        self.assertEqual(self.found("[/b] %_"), [])
        self.assertEqual(self.found(""), [])

    def test_limit(self) -> None:
        """No more is found than the limit."""
        anna = self.port.person("anna")
        for _ in range(Search.STEP):
            self.port.put(anna, "same")
        self.assertEqual(len(self.found("same")), Search.LIMIT)


class SeenTests(BookCase):
    """The file of what was seen."""

    def test_file(self) -> None:
        """It is for its owner only, and written when something has changed."""
        seen = Seen(self.folder)
        seen.save()
        self.assertFalse((self.folder / SEEN_FILE).exists())
        self.assertTrue(seen.advance(b"\x01", 7))
        self.assertFalse(seen.advance(b"\x01", 6))
        seen.save()
        file = self.folder / SEEN_FILE
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        self.assertEqual(json.loads(file.read_text("ascii")), {"01": 7})

    def test_nonsense(self) -> None:
        """A file that is none of ours is as good as none."""
        for content in (
            b"",
            b"[]",
            b'{"zz": 1}',
            b'{"01": "x"}',
            b"\xff",
            b"[" * 10_000,
            b'{"1": null}',
        ):
            (self.folder / SEEN_FILE).write_bytes(content)
            self.assertEqual(Seen(self.folder).place(b"\x01"), 0)

    def test_no_place(self) -> None:
        """Where it cannot be written, that is a line."""
        seen = Seen(self.folder / "gone")
        seen.advance(b"\x01", 1)
        self.assertRaises(FileNotSaved, seen.save)
